"""The audio of a task folder as fine-tuning needs it: random crops to train on, whole clips to score."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.embedding.layout import row_order
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.mono_audio import read_audio
from hear_delores.errors import DeloresError
from pretrain.data.ahead import ahead
from pretrain.data.audio import file_length
from pretrain.distributed.world import ALONE, World

__all__ = ["Clips", "crop", "training_batches", "whole_batches"]

CACHE_BYTES = 1 << 30  # decoded audio that is kept; what does not fit is decoded again in every epoch
READERS = 2  # threads that make batches while the model computes
SCORE_SECONDS = 120.0  # audio in one call of the model when clips are scored


class Clips:
    """The clips of some splits, in the order of the rows that ``delores embed`` writes.

    Attributes:
        files: their names.
        targets: (n, n_labels) float32 of 0 and 1.
    """

    def __init__(
        self, task: TaskFolder, split_names: Sequence[str], sample_rate: int, cache_bytes: int = CACHE_BYTES
    ) -> None:
        order = row_order({split: list(task.raw_labels(split)) for split in task.splits})
        rate = task.nearest_rate(sample_rate)
        pairs = [(split, file) for split in split_names for file in order[split]]
        self.sample_rate = sample_rate
        self.files = tuple(file for _, file in pairs)
        self.targets = np.zeros((len(pairs), len(task.vocabulary)), dtype=np.float32)
        column = {label: number for number, label in enumerate(task.vocabulary)}
        labels = {split: task.labels(split) for split in split_names}
        for row, (split, file) in enumerate(pairs):
            self.targets[row, [column[label] for label in labels[split][file]]] = 1.0
        self._paths: list[Path] = [task.audio_file(split, file, rate) for split, file in pairs]
        self._kept: dict[int, np.ndarray] = {}
        self._left, self._lock = cache_bytes, threading.Lock()
        self._lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, rows: torch.Tensor) -> Clips:
        """Only the clips ``rows`` (m,) int64, in that order."""
        numbers = rows.tolist()
        chosen = copy.copy(self)
        chosen.files = tuple(self.files[row] for row in numbers)
        chosen.targets = self.targets[numbers]
        chosen._paths = [self._paths[row] for row in numbers]
        chosen._kept, chosen._lock, chosen._lengths = {}, threading.Lock(), None
        return chosen

    def audio(self, row: int) -> np.ndarray:
        """(n_samples,) float32 at :attr:`sample_rate`. Raises DeloresError naming a file that cannot be used."""
        if (kept := self._kept.get(row)) is not None:
            return kept
        audio, _ = read_audio(self._paths[row], self.sample_rate)
        with self._lock:
            if row not in self._kept and audio.nbytes <= self._left:
                self._kept[row] = audio
                self._left -= audio.nbytes
        return audio

    def lengths(self) -> np.ndarray:
        """Samples of each clip at :attr:`sample_rate` as the files' headers state them, (n,) int64."""
        if self._lengths is None:
            self._lengths = np.array([self._stated_length(row) for row in range(len(self))], dtype=np.int64)
        return self._lengths

    def _stated_length(self, row: int) -> int:
        try:
            frames, rate = file_length(self._paths[row])
        except DeloresError:
            return len(self.audio(row))  # says what is wrong with the file
        return max(1, round(frames * self.sample_rate / rate))


def crop(audio: np.ndarray, n_samples: int, position: float) -> np.ndarray:
    """A window of ``n_samples``; ``position`` in [0, 1) says where among all places it can lie.

    A shorter clip lies whole inside the window at such a place, with silence around it.
    """
    spare = len(audio) - n_samples
    start = int(position * (abs(spare) + 1))
    if spare >= 0:
        return audio[start : start + n_samples]
    return np.pad(audio, (start, -spare - start))


def training_batches(
    clips: Clips, order: torch.Tensor, positions: torch.Tensor, batch_size: int, n_samples: int, world: World = ALONE
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Crops (b, n_samples) and targets (b, n_labels), float32 on the CPU, made ahead by threads.

    The clips come in ``order`` (n,) and are cropped at ``positions`` (n,) float64 in [0, 1); a last batch of one
    clip, which BatchNorm may not train on, joins the batch before, as one of fewer clips than processes does. Of
    several processes each gets its consecutive rows of every batch, whose numbers differ by one at most.

    Raises:
        DeloresError: a batch has fewer clips than there are processes.
    """
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] < max(2, world.size):
        starts.pop()
    if min(batch_size, len(order)) < world.size:
        raise DeloresError(
            f"protocol finetune: batches of {min(batch_size, len(order))} clips cannot be shared among {world.size} "
            "processes; set a larger batch_size, or start fewer processes"
        )

    def batch(bounds: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        first, last = bounds
        start, stop = (first + (last - first) * rank // world.size for rank in (world.rank, world.rank + 1))
        rows = order[start:stop].tolist()
        places = positions[start:stop].tolist()
        audio = np.stack([crop(clips.audio(row), n_samples, place) for row, place in zip(rows, places, strict=True)])
        return torch.from_numpy(audio), torch.from_numpy(clips.targets[rows])

    yield from ahead(batch, list(zip(starts, [*starts[1:], len(order)], strict=True)), READERS, READERS + 1)


def whole_batches(clips: Clips, least_samples: int, world: World = ALONE) -> Iterator[tuple[list[int], np.ndarray]]:
    """Rows and their whole audio (b, n_samples), clips of one length together, each row once (by one process).

    A clip shorter than ``least_samples`` is followed by silence to that length, as crops in training are.
    """
    lengths = np.maximum(clips.lengths(), least_samples)
    groups: list[list[int]] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        last = groups[-1] if groups else []
        same = bool(last) and lengths[last[0]] == lengths[row]
        if same and (len(last) + 1) * lengths[row] <= SCORE_SECONDS * clips.sample_rate:
            last.append(row)
        else:
            groups.append([row])
    for group in groups[world.rank :: world.size]:
        found: dict[int, list[tuple[int, np.ndarray]]] = {}
        for row in group:  # a header may be off by a few samples
            audio = clips.audio(row)
            audio = np.pad(audio, (0, max(0, least_samples - len(audio))))
            found.setdefault(len(audio), []).append((row, audio))
        for same_length in found.values():
            yield [row for row, _ in same_length], np.stack([audio for _, audio in same_length])
