"""Models whose files and packages have the same top-level names, such as ``models`` or ``utils``, in one process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.embedding.spec import ModelSpec
from hear_delores.errors import DeloresError

__all__ = ["NameClash", "folders_of_models", "names_of_its_own"]

#: Top-level modules that a model has brought, from a folder that only it has put on the path: {name: folder}.
_BROUGHT: dict[str, Path] = {}


class NameClash(DeloresError):
    """Another model of this process has brought a module of a name that this one has, too; each needs a process."""


def folders_of_models() -> list[str]:
    """The folders that models have put on the path of this process."""
    return sorted({str(folder) for folder in _BROUGHT.values()})


@contextlib.contextmanager
def names_of_its_own(spec: ModelSpec) -> Iterator[None]:
    """Within, a model is imported and loaded: what it brings is noted.

    Raises:
        NameClash: a folder that the model puts on the path has a module of the name of one that is another model's,
            which it would be given in place of its own.
    """
    beside = [spec.file.resolve().parent] if spec.file is not None else []
    _check(spec, beside)
    before, known = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        added = [Path(entry) for entry in sys.path if entry and entry not in before and entry not in ("", ".")]
        _check(spec, added)
        for folder in {*beside, *added}:
            for name in set(sys.modules) - known:
                origin = getattr(sys.modules.get(name), "__file__", None)
                if "." not in name and origin and _lies_in(name, Path(origin), folder):
                    _BROUGHT.setdefault(name, folder)


def _lies_in(name: str, file: Path, folder: Path) -> bool:
    return file in (folder / f"{name}.py", folder / name / "__init__.py")


def _check(spec: ModelSpec, folders: list[Path]) -> None:
    for folder in folders:
        for name, owner in _BROUGHT.items():
            if owner != folder and ((folder / f"{name}.py").is_file() or (folder / name).is_dir()):
                raise NameClash(
                    f"model {spec.label}: {folder} has a module {name!r}, and this process has another model's, of "
                    f"{owner}; load them in processes of their own, as 'delores run' does"
                )
