"""The source of a model's module: a hash of its files as they were when this process imported them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from benchmarks.embedding.resolve import FILE_MODULE
from hear_delores.errors import DeloresError
from hear_delores.files import file_hash

__all__ = ["source_of"]

#: By name: the module, its files, and their hash when it was first met.
_SEEN: dict[str, tuple[ModuleType, list[Path], str]] = {}


def source_of(module: ModuleType) -> str:
    """64 hexadecimal digits of the module's file, or of all Python files of a package; "" where it has none.

    A model that is a file counts with what it has imported from beside it.

    Raises:
        DeloresError: the files were changed since this process imported them, and it would run the old code.
    """
    seen, files, first = _SEEN.get(module.__name__, (None, [], ""))
    if seen is not module:
        files = _files(module)
        now = _hash(files)
        _SEEN[module.__name__] = module, files, now
    elif first != (now := _hash(files)):
        raise DeloresError(
            f"{module.__file__} was changed after this process had imported it; start Python again (on a Dask "
            "cluster, start the workers again)"
        )
    return now


def _files(module: ModuleType) -> list[Path]:
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file():
        return []
    if file.name == "__init__.py":
        return sorted(file.parent.rglob("*.py"))
    if not FILE_MODULE.match(module.__name__):
        return [file]
    origins = (getattr(each, "__file__", None) for name, each in list(sys.modules.items()) if "." not in name)
    beside = {Path(origin) for origin in origins if origin and Path(origin).parent == file.parent}
    return [file, *sorted(beside - {file})]


def _hash(files: list[Path]) -> str:
    if not files:
        return ""
    digest = hashlib.sha256()
    for each in files:
        name = each.relative_to(files[0].parent).as_posix() if each.is_file() else f"{each} is gone"
        digest.update(f"{name}\0{file_hash(each) if each.is_file() else ''}\0".encode())
    return digest.hexdigest()
