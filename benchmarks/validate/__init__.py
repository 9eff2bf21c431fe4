"""The HEAR common API as a test suite that any model must pass.

Names are looked up when they are first used: importing this package loads neither torch nor numpy, so that
the pytest plugin costs nothing in a run that does not ask for it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = [
    "CHECKS", "Check", "Finding", "ModelReport", "Outcome", "Validation", "explain", "to_json", "to_junit", "validate",
    "validate_model",
]  # fmt: skip

_MODULES = {
    **dict.fromkeys(("Check", "Finding", "Outcome"), "check"),
    **dict.fromkeys(("Validation", "explain", "validate"), "validation"),
    **dict.fromkeys(("ModelReport", "validate_model"), "model_report"),
    **dict.fromkeys(("to_json", "to_junit"), "outcome_files"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "CHECKS":
        return importlib.import_module(f"{__name__}.checks").all_checks()
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


class _Callable(ModuleType):
    """This package is a function of the front door, too: ``benchmarks.validate(model)`` returns a report.

    Importing any of its modules makes ``benchmarks.validate`` this package, whatever stood there before.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from benchmarks.validate.model_report import validate_model

        return validate_model(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
