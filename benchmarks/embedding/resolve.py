"""The module behind a model, and how its ``load_model`` is called: for short names, adapters, modules and files."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.embedding.foreign_code import contained, one_line
from benchmarks.embedding.spec import MODULE, ModelSpec
from benchmarks.encoders.catalogue import ADAPTERS, READY
from hear_delores.errors import DeloresError

__all__ = ["FILE_MODULE", "FUNCTIONS", "HearModule", "find_module", "imported"]

#: The HEAR common API.
FUNCTIONS = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")

#: What the module of a file is called, so that two files of one name do not meet. The first group is left out.
FILE_MODULE = re.compile(r"^delores_file_[0-9a-f]{12}_")


@dataclass(frozen=True)
class HearModule:
    """A module with ``load_model``, and what that is given.

    Attributes:
        arguments, options: of ``load_model``.
    """

    module: ModuleType
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """What ``load_model`` returns. Whatever it raises passes through."""
        load_model = self.module.load_model
        return load_model(*self.arguments, **_as_written(load_model, self.options))


def find_module(spec: ModelSpec) -> HearModule:
    """The module of a model, imported.

    Raises:
        DeloresError: there is none, or importing it fails; without the model's label.
    """
    path = (spec.path,) if spec.path else ()
    if spec.adapter is not None:
        adapter, target = spec.adapter
        if adapter == "xares":
            return HearModule(imported(ADAPTERS[adapter].module), (*_class_of(target), spec.path), spec.options)
        return HearModule(imported(ADAPTERS[adapter].module), (target, spec.path), spec.options)
    if spec.file is not None:
        return HearModule(imported_file(spec.file), path, spec.options)
    ready = READY.get(spec.module)
    return HearModule(imported(ready.module if ready else spec.module), path, spec.options)


def _class_of(target: str) -> tuple[ModuleType, str]:
    """The module of MODULE:CLASS or FILE.py:CLASS, imported, and the name of the class."""
    place, _, name = target.rpartition(":")
    if not name.isidentifier() or not (place.endswith(".py") or MODULE.fullmatch(place)):
        raise DeloresError(f"expected xares:MODULE:CLASS or xares:FILE.py:CLASS, got xares:{target}")
    return imported_file(Path(place).expanduser()) if place.endswith(".py") else imported(place), name


def imported(name: str) -> ModuleType:
    """The module ``name``.

    Raises:
        DeloresError: it is not there, or importing it fails.
    """
    try:
        with contained():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Either the module itself (or a package it lies in) is missing, or something that it needs.
        if error.name and f"{name}.".startswith(f"{error.name}."):
            close = difflib.get_close_matches(name, READY, n=1)
            advice = f". Did you mean {close[0]!r}?" if close else ""
            raise DeloresError(f"no module named {error.name!r}; install it or check the name{advice}") from None
        raise DeloresError(f"importing {name} needs {error.name!r}; install it") from error
    except DeloresError:
        raise
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise DeloresError(f"importing {name} failed: {one_line(error)}") from error


def imported_file(file: Path) -> ModuleType:
    """The module in a file, under a name that no other file has. What lies beside it can be imported, too.

    Raises:
        DeloresError: there is no such file, or running it fails.
    """
    whole = file.resolve()
    if not whole.is_file():
        raise DeloresError(f"there is no file {file}; check the path, or name a module without .py")
    name = f"delores_file_{hashlib.sha256(str(whole).encode()).hexdigest()[:12]}_{whole.stem}"
    if name in sys.modules:
        return sys.modules[name]
    if str(whole.parent) not in sys.path:
        sys.path.append(str(whole.parent))  # last: its neighbours must not replace what others import
    found = importlib.util.spec_from_file_location(name, whole)
    assert found is not None
    assert found.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        with contained():
            found.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ModuleNotFoundError):
            raise DeloresError(
                f"importing {file} needs {error.name!r}; install it, or put it beside the file"
            ) from error
        if isinstance(error, Exception):
            raise DeloresError(f"importing {file} failed: {one_line(error)}") from error
        raise
    return module


def _as_written(function: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options, with numbers and names as text for arguments that are said to be strings."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return dict(options)

    def is_text(name: str) -> bool:
        parameter = parameters.get(name)
        if parameter is None:
            return False
        if parameter.annotation is not inspect.Parameter.empty:
            return parameter.annotation in (str, "str")
        return isinstance(parameter.default, str)

    return {
        key: str(value).lower() if isinstance(value, bool) and is_text(key)
        else str(value) if isinstance(value, (int, float)) and is_text(key) else value
        for key, value in options.items()
    }  # fmt: skip
