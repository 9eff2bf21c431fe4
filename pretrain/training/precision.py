"""Which number format is faster on this machine: a matrix product of the work's own shape, timed in both.

A processor may multiply bfloat16 without instructions for it, several times slower than float32: what it can do says
nothing of what it gains.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

__all__ = ["ProductTimes", "time_products"]

BUDGET_S = 0.03  # for both formats together, after one product of each
LARGEST = 4096  # rows and columns that are timed: of a larger product both take more time alike
WORTH = 1.1  # so many times as fast bfloat16 has to be, or what it rounds away is for nothing
ALTERNATIONS = 50


@dataclass(frozen=True)
class ProductTimes:
    """Seconds of one product (rows, inputs) x (inputs, outputs) in either format; infinite where it cannot be made."""

    rows: int
    inputs: int
    outputs: int
    float32_s: float
    bfloat16_s: float

    @property
    def faster(self) -> Literal["float32", "bfloat16"]:
        """``bfloat16`` where that is worth it, else ``float32``."""
        return "bfloat16" if self.bfloat16_s * WORTH <= self.float32_s else "float32"

    @property
    def bfloat16_is_slower(self) -> bool:
        """Whether bfloat16 costs time in place of saving it."""
        return self.bfloat16_s > self.float32_s

    def describe(self) -> str:
        """Both figures, for people."""
        shape = f"a product of {self.rows} x {self.inputs} by {self.inputs} x {self.outputs}"
        if math.isinf(self.bfloat16_s):
            return f"{shape} cannot be made in bfloat16 here"
        return f"{shape} takes {1e3 * self.bfloat16_s:.3g} ms in bfloat16, {1e3 * self.float32_s:.3g} ms in float32"


def time_products(rows: int, inputs: int, outputs: int, device: torch.device | str) -> ProductTimes:
    """The least seconds of a linear layer's product in float32 and, with its conversions, in bfloat16.

    The two are computed alternately for a few hundredths of a second. On a processor its own seconds count, of all
    threads: by the clock, a product that had to wait for another program would be the slower one. A shape is timed once
    in a process, so that all seeds of a command are trained alike. No random state is touched. Sizes above 4096 are
    timed as 4096.

    Args:
        rows: of a batch.
        inputs, outputs: of the layer.
    """
    rows, inputs, outputs = (min(size, LARGEST) for size in (rows, inputs, outputs))
    return _times(rows, inputs, outputs, torch.device(device), torch.get_num_threads())


@functools.lru_cache(maxsize=256)
def _times(rows: int, inputs: int, outputs: int, device: torch.device, threads: int) -> ProductTimes:
    """As :func:`time_products`, of sizes that are timed as they are; ``threads`` are those that torch has."""
    # Not all alike, and none of them denormal.
    values = torch.linspace(-1, 1, rows * inputs, device=device).view(rows, inputs)
    weight = torch.linspace(-1, 1, outputs * inputs, device=device).view(outputs, inputs)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "float32": lambda: F.linear(values, weight),
        "bfloat16": lambda: F.linear(values.bfloat16(), weight.bfloat16()).float(),
    }
    seconds = dict.fromkeys(ways, math.inf)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for name in list(ways):
            try:
                _seconds(ways[name], device)  # loads what the library needs
            except RuntimeError:
                del ways[name]
        end = _clock(device) + BUDGET_S
        for number in range(ALTERNATIONS):
            for name, product in ways.items():
                seconds[name] = min(seconds[name], _seconds(product, device))
            if number and _clock(device) > end:
                break
    return ProductTimes(rows, inputs, outputs, seconds["float32"], seconds["bfloat16"])


def _seconds(product: Callable[[], torch.Tensor], device: torch.device) -> float:
    began = _clock(device)
    product()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return _clock(device) - began


def _clock(device: torch.device) -> float:
    # Windows counts a processor's time in steps of 16 ms.
    return time.process_time() if device.type == "cpu" and sys.platform != "win32" else time.perf_counter()
