"""What is asked of a model in a process of its own: a clean import, and the memory of one long call."""

from __future__ import annotations

import hashlib
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

__all__ = ["import_changes", "long_call", "run_probe"]

IMPORT_TIMEOUT_S = 300
# The path first, by what needs no import: -c has put the current directory, and what is called json there, first.
_START = (
    "import sys; sys.path[:] = sys.argv[1].split(chr(10)); from hear_delores.siblings import call; "
    "call('benchmarks.validate.probe', 'main')"
)


def import_changes(module: str, seed: int) -> dict[str, Any]:
    """What importing ``module`` does to this process, whose random states are seeded first.

    Returns:
        ``settings``, the names of those that change; ``random``, a digest of the random state after the
        import for each owner's that changes.
    """
    from benchmarks.validate.state import random_states, seed_all, settings

    seed_all(seed)
    before = settings(), random_states()
    importlib.import_module(module)
    after = settings(), random_states()
    return {
        "settings": [name for name in before[0] if before[0][name] != after[0][name]],
        "random": {
            owner: hashlib.sha256(repr(value).encode()).hexdigest()
            for owner, value in after[1].items()
            if value != before[1][owner]
        },
    }


def long_call(module: str, model_path: str, device: str | None, seconds: float) -> dict[str, Any]:
    """Embeds ``seconds`` of noise; returns its findings as [level, message] and the peak memory in bytes."""
    import torch

    from benchmarks.validate.checks.sounds import judge_sound
    from benchmarks.validate.subject import Subject

    subject = Subject(module, model_path, device)
    subject.load()
    audio = subject.noise(1, int(seconds * subject.model.sample_rate))
    findings = [[f.level, f.message] for f in judge_sound(subject, audio, f"{seconds:g} s of noise")]
    cuda = max((torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())), default=0)
    return {"findings": findings, "memory": {"memory": _peak_bytes(), "GPU memory": cuda}}


def _peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_probe(name: str, *arguments: Any, timeout: float | None = None) -> Any:
    """``import_changes`` or ``long_call`` in a fresh Python that finds the same modules.

    Raises:
        DeloresError: the process failed, was killed or did not end in ``timeout`` seconds; with its last word.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        job = json.dumps([name, list(arguments), str(answer)])
        path = "\n".join(entry or os.getcwd() for entry in sys.path)
        try:
            ran = subprocess.run(
                [sys.executable, "-c", _START, path, job], capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise DeloresError(f"a fresh process did not end in {timeout:g} s") from None
        if ran.returncode == -9:
            raise DeloresError("the system killed the process, as it does when memory runs out")
        if not answer.exists():
            raise DeloresError((ran.stderr.strip().splitlines() or [f"it ended with code {ran.returncode}"])[-1])
        return read_json(answer, None, nan=True)


def main() -> None:
    """The other side of ``run_probe``."""
    name, arguments, answer = json.loads(sys.argv[2])
    sys.argv = sys.argv[:1]
    jobs: dict[str, Callable[..., Any]] = {"import_changes": import_changes, "long_call": long_call}
    Path(answer).write_text(json.dumps(jobs[name](*arguments)))
