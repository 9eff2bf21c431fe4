"""Inline SVG and numbers for the page: its templates, axes with round ticks.

Drawings carry classes instead of colours, so that they follow the page from light to dark and to paper.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["Axis", "axis_of", "draw", "fixed", "number_text", "templates", "tick_texts", "ticks"]


def templates(**filters: Callable[..., Any]) -> Environment:
    """The templates beside this file, which escape what they are given, with the numbers of drawings as filters."""
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"fixed": fixed, "tick_texts": tick_texts, **filters}
    return environment


@lru_cache(maxsize=1)
def _drawings() -> Any:
    return templates().get_template("drawings.svg.j2").module


def draw(name: str, **values: Any) -> Markup:
    """The drawing that the macro ``name`` of ``drawings.svg.j2`` makes of some values."""
    return Markup(getattr(_drawings(), name)(**values).strip())


def fixed(value: float, digits: int = 2) -> str:
    """A number with at most ``digits`` decimals and no idle zeros.

    >>> fixed(12.0), fixed(0.126), fixed(-0.001)
    ('12', '0.13', '0')
    """
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def number_text(value: float) -> str:
    """A number for people: three significant digits, thousands with k, M, G.

    >>> [number_text(v) for v in (0.00012, 0.5, 12.345, 249.7, 27230.9, 4.2e6)]
    ['0.00012', '0.5', '12.3', '250', '27.2k', '4.2M']
    """
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size and size < 1e-3:
        return f"{value:.2g}"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return _significant(value / (1e3 if unit == "k" else limit)) + unit
    return _significant(value)


def _significant(value: float) -> str:
    if value == 0:
        return "0"
    return fixed(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2, 2.5 or 5 times a power of ten apart) from ``low`` to ``high``.

    >>> ticks(0, 100), ticks(11.2, 12.1, 4)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [11.25, 11.5, 11.75, 12.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 2.5, 5) if power * factor >= rough * 0.999), power * 10)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """The numbers of an axis, each with the decimals that tell it from the next.

    >>> tick_texts([12.0, 12.05, 12.1]), tick_texts([0.0, 20000.0, 40000.0]), tick_texts([0.01, 1.0, 100.0])
    (['12', '12.05', '12.1'], ['0', '20k', '40k'], ['0.01', '1', '100'])
    """
    steps = [b - a for a, b in itertools.pairwise(values)]
    if not steps or min(steps) <= 0:
        return [number_text(value) for value in values]
    largest = max(abs(value) for value in values)
    scale, unit = next(((s, u) for s, u in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= 10 * s), (1.0, ""))
    digits = max(0, math.ceil(-math.log10(min(steps) / scale) - 1e-9) + 1)
    if digits > 6:
        return [number_text(value) for value in values]
    texts = [fixed(value / scale, digits) for value in values]
    return [text if text == "0" else text + unit for text in texts]


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, linear or logarithmic; ``at`` is the place of a value, 0 to 1."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """The share of the axis at which ``value`` lies, held within 0 and 1."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        place = math.log10(value) if self.log else value
        return min(max((place - low) / (high - low), 0.0), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers on the axis; powers of ten, thinned, on a logarithmic one."""
        if not self.log:
            return ticks(self.low, self.high, count)
        low, high = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        every = max(1, math.ceil((high - low + 1) / count))
        found = [10.0**power for power in range(low, high + 1, every)]
        return found if len(found) > 1 else [self.low, self.high]


def axis_of(values: Sequence[float], *, log_beyond: float = 200.0) -> Axis:
    """An axis that holds all finite values with a little air; logarithmic where they span more than ``log_beyond``."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Axis(0.0, 1.0)
    low, high = min(finite), max(finite)
    if low > 0 and high / low > log_beyond:
        return Axis(low / 1.1, high * 1.1, log=True)
    air = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return Axis(max(0.0, low - air) if low >= 0 else low - air, high + air)
