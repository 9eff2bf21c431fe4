"""The top floor: tasks, scoring, result records and what people read. It may use both floors below.

What a program needs to score models is here, and is imported when it is first used:

>>> import benchmarks
>>> benchmarks.ModelSpec.parse("mine=hear_delores@delores-s-1024").label
'mine'
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["ModelSpec", "RunSummary", "TaskFolder", "load_records", "load_results", "run", "write_demo_tasks"]

_HOMES = {
    "ModelSpec": "benchmarks.embedding.spec",
    "RunSummary": "benchmarks.running.run",
    "TaskFolder": "benchmarks.tasks.folder",
    "load_records": "benchmarks.results.record",
    "load_results": "benchmarks.results.frame",
    "run": "benchmarks.running.run",
    "write_demo_tasks": "benchmarks.tasks.demo.demo_tasks",
}


def __getattr__(name: str) -> Any:
    """A public name from where it is defined. torch takes seconds to import, so nothing is imported before."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
