"""How fast this machine is: a model on short pieces of noise, steps of heads of a shape, reading of audio."""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.embedding.model import LoadedModel
from benchmarks.metrics.decode import FrameIndex
from benchmarks.metrics.registry import find_metrics
from benchmarks.running.workload import Workload
from benchmarks.scoring.descent import Adam
from benchmarks.scoring.hear.grid import HeadConfig, postprocessing_configs
from benchmarks.scoring.hear.heads import HeadJob, initial_head
from benchmarks.scoring.hear.stacked import HeadStack
from benchmarks.scoring.linear.protocol import LinearHead
from benchmarks.tasks.mono_audio import read_audio
from benchmarks.tasks.writer import write_wav
from hear_delores.memory import resident_bytes

__all__ = ["ModelSpeed", "head_seconds", "judging_seconds", "linear_seconds", "model_speed", "reading_seconds"]

#: Clips of these lengths are embedded; what a clip costs is a straight line through both.
LENGTHS_S = (1.0, 5.0)
#: About so long each measurement takes.
MODEL_S, STEP_S = 1.0, 0.1
#: Frames and clips that a metric is timed on.
JUDGED = 2000


@dataclass(frozen=True)
class ModelSpeed:
    """What one kind of embedding costs: ``per_clip_s`` and ``per_second_s`` seconds, and memory per second of audio.

    Attributes:
        frames_per_s: rows of a second of audio, of timestamp embeddings; 0 for scene embeddings.
        base_bytes: that the process holds with the model loaded.
        bytes_per_s: that it took more for each second of audio in a call.
        size: of an embedding.
    """

    per_clip_s: float
    per_second_s: float
    frames_per_s: float
    base_bytes: int
    bytes_per_s: float
    size: int

    def seconds(self, clips: int, audio_s: float) -> float:
        """Of embedding so many clips with so many seconds in all."""
        return clips * self.per_clip_s + audio_s * self.per_second_s


def model_speed(model: LoadedModel, event: bool, batch_seconds: float) -> ModelSpeed:
    """Measured in a few seconds: the model on batches of noise of two lengths, none larger than in a run."""
    call: Callable[[np.ndarray], Any] = model.timestamps if event else model.scene
    size = model.timestamp_embedding_size if event else model.scene_embedding_size
    noise = np.random.default_rng(0)
    base, held, largest, frames = resident_bytes(os.getpid()), 0, 0.0, 0.0
    per_clip = []
    for length in LENGTHS_S:
        samples = max(1, round(length * model.sample_rate))

        def timed(n: int, samples: int = samples) -> tuple[float, Any]:
            audio = noise.uniform(-0.1, 0.1, (n, samples)).astype(np.float32)
            began = time.perf_counter()
            answer = call(audio)
            return time.perf_counter() - began, answer

        timed(1)  # what only the first call costs
        once, answer = timed(1)
        n = int(max(1, min(MODEL_S / max(once, 1e-6), batch_seconds / length)))
        timed(n)  # of a new shape
        seconds, answer = timed(n)
        per_clip.append(seconds / n)
        held, largest = max(held, resident_bytes(os.getpid())), max(largest, n * length)
        frames = answer[0].shape[1] / length if event else 0.0
    slope = max(0.0, (per_clip[1] - per_clip[0]) / (LENGTHS_S[1] - LENGTHS_S[0]))
    return ModelSpeed(
        max(0.0, per_clip[1] - slope * LENGTHS_S[1]), slope, frames, base, max(0, held - base) / largest, size
    )


def reading_seconds(work: Workload, rate: int) -> float:
    """Of decoding (and resampling) a clip of the task: some of its files, or as long a file of noise."""
    if work.audio:
        began, n = time.perf_counter(), 0
        for file in work.audio:
            read_audio(file, rate)
            n += 1
            if time.perf_counter() - began > STEP_S:
                break
        return (time.perf_counter() - began) / n
    return _reading_of_noise(work.rate, rate) * work.clip_s


@functools.cache
def _reading_of_noise(held: int, rate: int) -> float:
    """Seconds for a second of audio."""
    seconds = 10.0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "noise.wav"
        write_wav(file, np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * held)), held)
        read_audio(file, rate)
        began = time.perf_counter()
        read_audio(file, rate)
        return (time.perf_counter() - began) / seconds


@functools.cache
def head_seconds(
    size: int, labels: int, config: HeadConfig, rows: int, kind: str, precision: str, device: str
) -> float:
    """Of a step of one head of protocol hear on ``rows`` rows; on a processor, on one thread as in a run."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(rows, size, generator=generator).to(device)
    targets = torch.zeros(rows, labels, device=device)
    targets[:, 0] = 1.0
    train = SimpleNamespace(
        embeddings=lambda start, stop: embeddings[start:stop], targets=targets, device=torch.device(device),
        mean=lambda: embeddings.double().mean(dim=0),
    )  # fmt: skip
    fold: Any = SimpleNamespace(train=train)
    threads = torch.get_num_threads()
    try:
        if device == "cpu":
            torch.set_num_threads(1)
        stack = HeadStack([HeadJob("", config, fold, 0, kind, True)], [_head(config, fold)], precision)
        wanted = targets.argmax(dim=1) if kind == "multiclass" else targets
        return _timed(lambda: stack.step(embeddings, wanted, kind), device)
    finally:
        torch.set_num_threads(threads)


def _head(config: HeadConfig, fold: Any) -> Any:
    with torch.random.fork_rng([]):
        return initial_head(HeadJob("", config, fold, 0, "multiclass", True))


@functools.cache
def linear_seconds(size: int, labels: int, rows: int, device: str) -> float:
    """Of a step of protocol linear on ``rows`` rows."""
    rows_of = torch.zeros(rows, size, device=device)
    with torch.random.fork_rng([]):
        head = LinearHead(torch.zeros(size), torch.ones(size), labels).to(device)
    optimizer = Adam(list(head.parameters()), 1e-3)

    def step() -> None:
        optimizer.step(torch.autograd.grad(head(rows_of).square().mean(), optimizer.parameters))

    return _timed(step, device)


@functools.cache
def product_rate(device: str) -> float:
    """Multiplications and additions of a matrix product per second."""
    n = 1024
    matrix = torch.ones(n, n, device=device)
    return 2 * n**3 / _timed(lambda: matrix @ matrix, device)


def judging_seconds(work: Workload, rows: int, hop_ms: float) -> float:
    """Of scoring ``rows`` validation rows once by the task's first metric, with every postprocessing of events."""
    n = min(rows, JUDGED)
    metric = find_metrics(work.metadata["evaluation"], "event" if work.is_event else "scene")[0]
    generator = np.random.default_rng(0)
    probabilities = generator.uniform(size=(n, work.labels)).astype(np.float32)
    if work.is_event:
        labels = [str(number) for number in range(work.labels)]
        frames = FrameIndex([f"{i}" for i in range(n // 100 + 1)], np.arange(n) // 100, hop_ms * (np.arange(n) % 100))
        truth = frames.events(probabilities**4, labels)
        choices = len(postprocessing_configs(work.metadata))

        def judge() -> None:
            metric.scores(frames.events(probabilities**4, labels, median_filter_ms=250.0), truth)
    else:
        target = np.zeros((n, work.labels), dtype=np.float32)
        target[np.arange(n), np.arange(n) % work.labels] = 1.0
        choices = 1

        def judge() -> None:
            metric.scores(probabilities, target)

    return _timed(judge) * choices * rows / n


def _timed(step: Callable[[], Any], device: str = "cpu") -> float:
    """Seconds of a step, the first left out."""
    step()
    n, began = 0, time.perf_counter()
    while n == 0 or time.perf_counter() - began < STEP_S:
        step()
        n += 1
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / n
