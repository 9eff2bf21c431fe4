"""What lies in a folder, to tell afterwards what a command changed there."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

__all__ = ["Snapshot", "changes", "take_snapshot"]

Snapshot = dict[str, str]
"""Path below the folder (as text that keeps any bytes) -> what is there: kind, and content of a file or link."""


def take_snapshot(folder: Path) -> Snapshot:
    """Everything below a folder; links are not followed, FIFOs and devices not opened."""
    found: Snapshot = {}
    for directory, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, folder)] = _describe(path)
    return found


def _describe(path: str) -> str:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return f"link {os.readlink(path)}"
    if stat.S_ISREG(mode):
        with open(path, "rb") as stream:
            return (
                f"file {hashlib.file_digest(stream, 'sha256').hexdigest()}"
                if hasattr(hashlib, "file_digest")
                else (f"file {hashlib.sha256(stream.read()).hexdigest()}")
            )
    return f"kind {stat.S_IFMT(mode):o}"


def changes(before: Snapshot, after: Snapshot) -> tuple[list[str], list[str], list[str]]:
    """Paths that were changed, are gone, and are new; each sorted."""
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    return changed, sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
