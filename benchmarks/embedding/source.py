"""The source of a model's module: a hash of its files as they were when this process imported them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

from hear_delores.errors import DeloresError
from hear_delores.files import file_hash

__all__ = ["source_of"]

_SEEN: dict[str, tuple[ModuleType, str]] = {}  # by name: the module and its source when it was first met


def source_of(module: ModuleType) -> str:
    """64 hexadecimal digits of the module's file, or of all Python files of a package; "" where it has none.

    Raises:
        DeloresError: the files were changed since this process imported them, and it would run the old code.
    """
    now = _hash(module)
    seen, first = _SEEN.get(module.__name__, (None, ""))
    if seen is not module:
        _SEEN[module.__name__] = module, now
    elif first != now:
        raise DeloresError(
            f"{module.__file__} was changed after this process had imported it; start Python again (on a Dask "
            "cluster, start the workers again)"
        )
    return now


def _hash(module: ModuleType) -> str:
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file():
        return ""
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    digest = hashlib.sha256()
    for each in files:
        digest.update(f"{each.relative_to(file.parent).as_posix()}\0{file_hash(each)}\0".encode())
    return digest.hexdigest()
