"""The HEAR common API as a test suite that any model must pass.

Names are looked up when they are first used: importing this package loads neither torch nor numpy, so that
the pytest plugin costs nothing in a run that does not ask for it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CHECKS", "Check", "Finding", "Outcome", "Validation", "explain", "to_json", "to_junit", "validate"]

_REPORT = ("to_json", "to_junit")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _REPORT:
        from benchmarks.validate import report

        return getattr(report, name)
    from benchmarks.validate import suite

    suite.load_checks()
    return getattr(suite, name)
