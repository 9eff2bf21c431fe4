"""The bundled weights: their names and files."""

from __future__ import annotations

import os
from pathlib import Path

from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.hub import PREFIX, fetch

__all__ = ["WEIGHTS", "find_weights", "shipped_weights"]

WEIGHTS = Path(__file__).parent / "weights"


def shipped_weights(folder: Path = WEIGHTS) -> tuple[str, dict[str, Path]]:
    """The name of the default weights, and all shipped weights as name -> file.

    Read from ``index.json``: {"default": name, "weights": {name: file name}}.

    Raises:
        DeloresError: the index is absent or damaged.
    """
    index = folder / "index.json"
    if not index.exists():
        raise DeloresError(f"Expected shipped weights, but there is no {index}: pass a checkpoint's path.")
    try:
        content = read_json(index)
        files = {str(name): folder / str(file) for name, file in content["weights"].items()}
        if content["default"] in files:
            return content["default"], files
        what = f"the default weights {content['default']!r} to be listed"
    except (ValueError, KeyError, TypeError, AttributeError):
        what = "an index of the shipped weights"
    raise DeloresError(f"Expected {what} in {index}: install the package again.")


def find_weights(name_or_path: str | os.PathLike[str] = "", folder: Path = WEIGHTS) -> Path:
    """The file of a checkpoint: the shipped default for "", an existing path, shipped weights by name, or ``hf:...``.

    Raises:
        DeloresError: it is none of these, or cannot be got from the Hub.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise DeloresError(f"Expected a checkpoint's path or name, but got {type(name_or_path).__name__}.")
    name = os.fspath(name_or_path)
    if name.startswith(PREFIX):
        return fetch(name)
    path = Path(name).expanduser()
    if name and path.is_file():
        return path
    is_path = path.parent != Path() or path.suffix or path.exists()
    if name and (is_path or not (folder / "index.json").exists()):
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise DeloresError(f"Expected a checkpoint at {name}, but {what}: check the path.")
    default, files = shipped_weights(folder)
    if name and name not in files:
        raise DeloresError(
            f"There is neither a file {name} nor shipped weights of that name. {did_you_mean(name, files)}"
        )
    return files[name or default]
