"""The command ``delores models``. It imports no library of a model."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["models"]

WIDTH = 80


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List the encoders that need no wrapper: what each needs, its sizes, sample rate, options and licence."""
    from benchmarks.encoders.catalogue import ADAPTERS, READY
    from benchmarks.terminal import console, print_json

    if as_json:
        print_json({"models": [asdict(each) for each in READY.values()],
                    "adapters": [asdict(each) for each in ADAPTERS.values()]})  # fmt: skip
        return
    lines = ["Short names"]
    for ready in READY.values():
        sizes = f"{ready.scene} (scene), {ready.timestamp} (timestamp) dimensions"
        facts = [f"{ready.rate} Hz, {sizes}", f"licence: {ready.licence}"]
        lines += _entry(ready.name, ready.description, [*facts, *_more(ready.options, ready.needs)])
    lines += ["", "Adapters"]
    for adapter in ADAPTERS.values():
        facts = [f"rate: {adapter.rate}; dimensions: {adapter.sizes}", f"licence: {adapter.licence}"]
        lines += _entry(adapter.form, adapter.description, [*facts, *_more(adapter.options, adapter.needs)])
    lines += ["", "Besides these, a model is any importable module with the three HEAR functions,",
              "or the path of such a .py file. Every command takes a model in the form",
              "[LABEL=]MODEL[@WEIGHTS][?option=value&...]."]  # fmt: skip
    console().print("\n".join(lines))


def _more(options: str, needs: str) -> list[str]:
    return [*([f"options: {options}"] if options else []), *([f"needs: {needs}"] if needs else [])]


def _entry(name: str, description: str, facts: list[str]) -> list[str]:
    return [*_wrapped(f"{name}: {description}", 2), *(line for fact in facts for line in _wrapped(fact, 6))]


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2), break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
