"""The checks, a module for each kind. A module in this folder is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.validate.check import Check
from hear_delores.errors import DeloresError

__all__ = ["all_checks"]

#: What is run and shown first; other modules follow by name.
_FIRST = ("contract", "side_effects", "behaviour", "edge_cases", "timing")


def all_checks() -> dict[str, Check]:
    """Every check by name, in the order in which they are run and shown.

    Raises:
        DeloresError: two checks have one name.
    """
    checks: dict[str, Check] = {}
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    for name in dict.fromkeys((*_FIRST, *found)):
        module = importlib.import_module(f"{__name__}.{name}")
        for check in vars(module).values():
            if isinstance(check, Check) and checks.setdefault(check.name, check) is not check:
                raise DeloresError(f"duplicate check {check.name!r} in {module.__name__}; give it another name")
    return checks
