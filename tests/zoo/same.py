"""Whether two folders of results are the same to the bit, but for what is measured in seconds, bytes and dates."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

__all__ = ["differences"]

MEASURED = frozenset(
    {
        "seconds",
        "created",
        "peak_memory_bytes",
        "date",
        "embedding_path",
        "time_in_min",
        "time_in_min_mean",
        "time_in_min_std",
        "versions",
    }
)
"""Keys whose values no two runs share: times, memory, dates, and the folder of a trial."""
_SECONDS = re.compile(r"\d{4}-\d\d-\d\d[T ]?[\d:.+Z]*|\b\d+(\.\d+)?(?= (s|MiB|MB|GB)\b)")


def differences(whole: Path, other: Path) -> str:
    """The first difference of ``other``'s output from ``whole``'s, or ""."""
    names, others = (_listing(folder / "place" / "out") for folder in (whole, other))
    if missing := sorted(names - others):
        return f"{missing[0]} is missing"
    if left := sorted(others - names):
        return f"{left[0]} is left behind"
    for name in sorted(names):
        a, b = (folder / "place" / "out" / name for folder in (whole, other))
        if a.is_file() and not _same(a, b):
            return f"{name} differs"
    return ""


def _listing(folder: Path) -> set[str]:
    """Everything below a folder. An empty lock file is no trace: locks live as long as their processes."""
    found = set()
    for directory, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(directory, name)
            if not (name.endswith(".lock") and path.is_file() and path.stat().st_size == 0):
                found.add(path.relative_to(folder).as_posix())
    return found


def _same(a: Path, b: Path) -> bool:
    if a.read_bytes() == b.read_bytes():
        return True
    if a.suffix == ".json":
        return _without(json.loads(a.read_text())) == _without(json.loads(b.read_text()))
    if a.suffix == ".jsonl":
        return [_without(json.loads(x)) for x in a.read_text().splitlines()] == [
            _without(json.loads(x)) for x in b.read_text().splitlines()
        ]
    if a.suffix in (".md", ".csv", ".html"):
        return _SECONDS.sub("", a.read_text()) == _SECONDS.sub("", b.read_text())
    if a.suffix == ".pt":
        import torch

        return _same_state(*(torch.load(path, weights_only=True) for path in (a, b)))
    return False


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner) for key, inner in value.items() if key not in MEASURED}
    return [_without(inner) for inner in value] if isinstance(value, list) else value


def _same_state(a: Any, b: Any) -> bool:
    import torch

    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same_state(a[key], b[key]) for key in a.keys() - MEASURED)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same_state, a, b))
    return bool(a == b)
