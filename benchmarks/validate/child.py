"""A function of the checks in a process of its own: for a clean import, or the memory of one long call."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hear_delores.documents import read_json
from hear_delores.errors import DeloresError

__all__ = ["in_fresh_process"]

# The path first, by what needs no import: -c has put the current directory, and what is called json there, first.
_START = (
    "import sys; sys.path[:] = sys.argv[1].split(chr(10)); from hear_delores.siblings import call; "
    f"call({__name__!r}, 'main')"
)


def in_fresh_process(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
    """What a function at the top level of a module returns in a fresh Python that finds the same modules.

    The arguments and what it returns pass through JSON.

    Raises:
        DeloresError: the process failed, was killed or did not end in ``timeout`` seconds; with its last word.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        job = json.dumps([function.__module__, function.__name__, arguments, str(answer)])
        path = "\n".join(entry or os.getcwd() for entry in sys.path)
        try:
            ran = subprocess.run(
                [sys.executable, "-c", _START, path, job], capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise DeloresError(f"a fresh process did not end in {timeout:g} s") from None
        if ran.returncode == -9:
            raise DeloresError("the system killed the process; it probably ran out of memory")
        if not answer.exists():
            raise DeloresError((ran.stderr.strip().splitlines() or [f"it ended with code {ran.returncode}"])[-1])
        return read_json(answer, None, nan=True)


def main() -> None:
    """The other side of :func:`in_fresh_process`."""
    module, function, arguments, answer = json.loads(sys.argv[2])
    sys.argv = sys.argv[:1]
    Path(answer).write_text(json.dumps(getattr(importlib.import_module(module), function)(*arguments)))
