"""The top floor: tasks, scoring, result records and what people read. It may use both floors below.

What a program needs to score models is here: what each command does, as a function. A name is imported when it is
first used. A model is a string everywhere, as on the command line:

>>> import benchmarks
>>> benchmarks.ModelSpec.parse("mine=hear_delores@delores-s-1024").label
'mine'
>>> model = benchmarks.load_model("log-mel", device="cpu")
>>> model.sample_rate, model.scene_embedding_size
(16000, 128)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.embedding.model import LoadedModel, load_model
    from benchmarks.embedding.spec import ModelSpec
    from benchmarks.front_door import embed, score
    from benchmarks.reading.read_results import compare, compare_all, robustness, tables
    from benchmarks.reading.training_free import geometry
    from benchmarks.results.frame import load_results
    from benchmarks.results.record import load_records
    from benchmarks.running.layer_sweep import layers
    from benchmarks.running.run import RunSummary, run
    from benchmarks.tasks.demo.demo_tasks import write_demo_tasks
    from benchmarks.tasks.find import load_task
    from benchmarks.tasks.folder import TaskFolder
    from benchmarks.validate.model_report import validate_model as validate

__all__ = [
    "LoadedModel", "ModelSpec", "RunSummary", "TaskFolder", "compare", "compare_all", "embed", "geometry", "layers",
    "load_model", "load_records", "load_results", "load_task", "robustness", "run", "score", "tables", "validate",
    "write_demo_tasks",
]  # fmt: skip

_HOMES = {
    "LoadedModel": "benchmarks.embedding.model",
    "ModelSpec": "benchmarks.embedding.spec",
    "RunSummary": "benchmarks.running.run",
    "TaskFolder": "benchmarks.tasks.folder",
    "compare": "benchmarks.reading.read_results",
    "compare_all": "benchmarks.reading.read_results",
    "embed": "benchmarks.front_door",
    "geometry": "benchmarks.reading.training_free",
    "layers": "benchmarks.running.layer_sweep",
    "load_model": "benchmarks.embedding.model",
    "load_records": "benchmarks.results.record",
    "load_results": "benchmarks.results.frame",
    "load_task": "benchmarks.tasks.find",
    "robustness": "benchmarks.reading.read_results",
    "run": "benchmarks.running.run",
    "score": "benchmarks.front_door",
    "tables": "benchmarks.reading.read_results",
    "write_demo_tasks": "benchmarks.tasks.demo.demo_tasks",
}


def __getattr__(name: str) -> Any:
    """A public name from where it is defined. torch takes seconds to import, so nothing is imported before."""
    if name == "validate":  # the package of the checks, which can be called
        return importlib.import_module("benchmarks.validate")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
