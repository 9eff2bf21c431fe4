"""The packages that are installed beside this one, found by the folder in which they lie.

``benchmarks`` and ``pretrain`` are common words: many a user's repository has a ``benchmarks/`` (the layout of asv) or
a ``pretrain.py``, and where the current directory or PYTHONPATH comes first, Python takes those. Whatever starts this
project's code by name (the command ``delores``, its processes, pytest's plugin) starts here, as ``hear_delores`` is a
name of our own. Nothing else of the path changes, so that all other packages are those that the user chose.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

from hear_delores.errors import DeloresError

TYPE_CHECKING = False  # see hear_delores/__init__.py
if TYPE_CHECKING:
    from typing import Any

__all__ = ["call", "current_folder_last", "delores", "take_siblings"]

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMES = ("pretrain", "benchmarks")


def take_siblings() -> None:
    """Makes ``pretrain`` and ``benchmarks`` this project's packages, whatever else on the path has these names.

    Raises:
        DeloresError: another module of such a name was imported before.
    """
    for name in NAMES:
        spec = PathFinder.find_spec(name, [FOLDER])
        if spec is None or spec.loader is None:  # hear_delores is here alone
            continue
        if (there := sys.modules.get(name)) is None:
            module = sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(module)
        elif os.path.realpath(getattr(there, "__file__", None) or "") != os.path.realpath(spec.origin or ""):
            raise DeloresError(
                f"{name!r} is {getattr(there, '__file__', None)} in this process, expected {spec.origin}: "
                "start from another folder, or rename the other module"
            )


def call(module: str, function: str, *arguments: object) -> Any:
    """What ``function`` of a sibling's ``module`` returns.

    A process that is given this function, and not the other, does not look for the sibling before it is ours.
    """
    take_siblings()
    return getattr(importlib.import_module(module), function)(*arguments)


def current_folder_last() -> None:
    """A user's module is found in the current directory, as ``python -m`` finds it, unless the name is taken."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)


def delores() -> None:
    """The command ``delores``. Ctrl-C while it is being imported is exit code 130, as it is later on."""
    try:
        call("benchmarks.cli", "main")
    except DeloresError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
