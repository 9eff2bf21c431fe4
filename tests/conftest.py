"""What all tests share."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

#: What a process of ``warm`` has imported before it is forked. None of it starts a thread.
IMPORTED = [
    "torch", "torch._dynamo", "numpy.random", "pretrain.training.start", "benchmarks.cli", "benchmarks.scoring.score",
    "benchmarks.scoring.finetune.protocol", "benchmarks.running.run", "benchmarks.running.processes",
]  # fmt: skip
#: Makes a forked process what ``python -c CODE ARGUMENTS`` would have been.
BEGINNING = """
import os, sys
for number, path in ((1, out), (2, err)):
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(opened, number)
    os.close(opened)
os.environ.clear()
os.environ.update(environment)
os.chdir(cwd)
sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
sys.argv = ["-c", *arguments]
exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
"""


class WarmProcess:
    """A process that :class:`Warm` has started; ``pid``, ``poll``, ``kill`` and ``returncode`` as of a Popen."""

    def __init__(self, process: multiprocessing.process.BaseProcess, folder: Path) -> None:
        self._process, self._folder = process, folder
        assert process.pid is not None
        self.pid: int = process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def finish(self, timeout: float = 250) -> subprocess.CompletedProcess[str]:
        """Waits for the end; what it printed, and how it ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"the process did not end in {timeout} s: {self.said('err')}")
        return subprocess.CompletedProcess([], self._process.exitcode, self.said("out"), self.said("err"))

    def said(self, stream: str) -> str:
        """What it has printed so far on ``out`` or ``err``."""
        path = self._folder / stream
        return path.read_text() if path.exists() else ""


class Warm:
    """Starts Python processes that have imported torch and the commands: forks of one that has, where forks are safe.

    An import takes longer than most of what tests do in a process of their own. Processes that are to import
    something for the first time need an interpreter of their own.

    Attributes:
        context: multiprocessing's context that starts them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            self.context.set_forkserver_preload(IMPORTED)

    def start(
        self, code: str, *arguments: object, cwd: str | Path | None = None, env: Mapping[str, str] | None = None
    ) -> WarmProcess:
        """As ``python -c code arguments``; ``env`` is what it has besides the environment of this process."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        given = {
            "code": code, "arguments": [str(argument) for argument in arguments], "cwd": str(cwd or os.getcwd()),
            "environment": {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            "out": str(folder / "out"), "err": str(folder / "err"),
        }  # fmt: skip
        process = self.context.Process(target=exec, args=(BEGINNING, given))
        process.start()
        return WarmProcess(process, folder)

    def run(self, code: str, *arguments: object, timeout: float = 250, **more: object) -> subprocess.CompletedProcess:
        """As ``start``, and waits for its end."""
        return self.start(code, *arguments, **more).finish(timeout)

    def pair(
        self, code: str, *arguments: object, cwd: str | Path | None = None, env: Mapping[str, str] | None = None
    ) -> list[tuple[int, str, str]]:
        """Runs two processes that can find each other, as torchrun starts them: code, output and errors by rank."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {**(env or {}), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        both = [
            self.start(code, *arguments, cwd=cwd, env={**common, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
        ]
        ended = [process.finish() for process in both]
        return [(process.returncode, process.stdout, process.stderr) for process in ended]


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm:
    """Starts processes that need not import torch first."""
    return Warm(tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Test processes run side by side: one thread each, so that they do not take each other's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered between runs is not that of the developer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def mel_power(
    audio: np.ndarray, *, sr: int, n_fft: int, hop_length: int, win_length: int | None = None, **filters: object
) -> np.ndarray:
    """(..., n_mels, n_frames): ``librosa.feature.melspectrogram`` with zeros beyond the ends, by librosa's filters.

    The transform is numpy's in double precision: in a new environment, numba compiles that of librosa for a minute.
    """
    from librosa.filters import mel
    from scipy.signal import get_window

    window = get_window("hann", win_length or n_fft)
    before = (n_fft - len(window)) // 2
    window = np.pad(window, (before, n_fft - len(window) - before))
    padded = np.pad(np.asarray(audio, dtype=np.float64), [(0, 0)] * (audio.ndim - 1) + [(n_fft // 2, n_fft // 2)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., ::hop_length, :]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return mel(sr=sr, n_fft=n_fft, **filters) @ power.swapaxes(-1, -2)


@pytest.fixture(scope="session")
def librosa_mel() -> Callable[..., np.ndarray]:
    """``mel_power``."""
    return mel_power


@pytest.fixture
def few_probe_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model is recognised by is seen in few of the probe sounds: there are 20 s of them for each model."""
    from benchmarks.embedding import sketch

    monkeypatch.setattr(sketch, "LENGTHS_S", {length: sketch.LENGTHS_S[length] for length in (0.1, sketch.REPEATED_S)})


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recordings that developers may have beside the checkout; the test is skipped where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recordings in ../shared/data are not here")
    return folder
