"""What the checks found as GitHub's annotations: lines that its runner shows beside the file of a pull request."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.embedding.spec import ModelSpec
from benchmarks.validate.check import Outcome

__all__ = ["on_github", "workflow_commands"]

#: A finding's level, and what GitHub's runner calls it.
_COMMANDS = {"fail": "error", "warn": "warning"}


def on_github() -> bool:
    """Whether this process runs in a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def workflow_commands(model: str, outcomes: Iterable[Outcome]) -> Iterator[str]:
    """One workflow command for each finding: ``::error file=...,title=CHECK::message``, or ``::warning``.

    The file is that of the model's module, when it lies in the repository that is checked out.
    """
    file = _file_in_workspace(model)
    place = f"file={_escaped(file, ':,')}," if file else ""
    for outcome in outcomes:
        title = _escaped(f"HEAR API: {outcome.check.name}", ":,")
        for finding in outcome.findings:
            yield f"::{_COMMANDS[finding.level]} {place}title={title}::{_escaped(finding.message)}"


def _escaped(text: str, more: str = "") -> str:
    """As GitHub's runner reads it: it takes ``%0A`` for a line break, and in properties also ``%3A`` and ``%2C``."""
    for mark in "%\r\n" + more:
        text = text.replace(mark, f"%{ord(mark):02X}")
    return text


def _file_in_workspace(model: str) -> str:
    """The path of the model's source file from the root of the repository; "" where it is not in it."""
    spec = ModelSpec.parse(model)
    if spec.file is not None:
        file = spec.file
    elif spec.adapter is None:
        try:
            found = importlib.util.find_spec(spec.module)
        except (ImportError, ValueError, AttributeError):
            return ""
        file = Path(found.origin) if found is not None and found.origin else Path()
    else:
        return ""
    root = Path(os.environ.get("GITHUB_WORKSPACE", ".")).resolve()
    whole = file.resolve()
    return whole.relative_to(root).as_posix() if whole.is_file() and root in whole.parents else ""
