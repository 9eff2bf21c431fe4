"""The kinds of inputs, one module for each with a function ``cases``."""

from __future__ import annotations

import importlib

from tests.zoo.cases import Case

__all__ = ["KINDS", "all_cases"]

KINDS = {
    "audio": "audio",
    "csv": "csv_files",
    "task": "task_folders",
    "embeddings": "embeddings",
    "record": "records",
    "checkpoint": "checkpoints",
    "config": "configs",
    "archive": "archives",
    "arguments": "arguments",
    "again": "again",
}
"""Kind -> its module."""


def all_cases() -> list[Case]:
    """Every case, in an order that does not change."""
    found: list[Case] = []
    for module in KINDS.values():
        found += importlib.import_module(f"tests.zoo.kinds.{module}").cases()
    names = [(case.kind, case.name) for case in found]
    if len(set(names)) != len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise RuntimeError(f"two cases are called {doubled}")
    return found
