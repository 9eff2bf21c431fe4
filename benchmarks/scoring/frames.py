"""The clips of one or more splits as all their timestamp embeddings: ragged on disk, padded batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.scoring.rows import IN_MEMORY_BYTES, Rows

__all__ = ["ClipMeans", "Frames", "Padded"]

PADDED_BYTES = 1 << 26  # embeddings in one call of a head, padding included; a longer clip comes alone

#: (n, t, d) float32 with zeros after a clip's end, and (n, t) bool: which frames are a clip's.
Padded = tuple[torch.Tensor, torch.Tensor]


class Frames:
    """Clips of some splits, one after another; their frames held on ``device`` when small, else read when asked for.

    ``targets`` is (n_clips, n_labels) float32 on ``device``. Each clip has at least one frame.
    """

    def __init__(
        self,
        task: EmbeddingsTask,
        split_names: Sequence[str],
        device: torch.device | str = "cpu",
        in_memory_bytes: int = IN_MEMORY_BYTES,
        padded_bytes: int = PADDED_BYTES,
    ) -> None:
        self._rows = Rows(task, split_names, device, in_memory_bytes)
        self.device, self.targets = self._rows.device, self._rows.targets
        counts = [count for name in split_names if (count := task.splits[name].frame_counts) is not None]
        self._counts = torch.from_numpy(np.concatenate(counts))
        self._starts = self._counts.cumsum(0) - self._counts
        self.size = task.embedding_size
        self._most = max(1, padded_bytes // (4 * self.size))  # frames in one call, padding included

    def __len__(self) -> int:
        return len(self._counts)

    def take(self, indices: torch.Tensor) -> Padded:
        """Chosen clips: ``indices`` (m,) int64 on the CPU -> embeddings (m, t, d), mask (m, t); t is the longest's."""
        counts = self._counts[indices]
        places = torch.arange(int(counts.max()))
        held = places < counts[:, None]
        found = torch.zeros((*held.shape, self.size), device=self.device)
        mask = held.to(self.device)
        found[mask] = self._rows.take((self._starts[indices][:, None] + places)[held])
        return found, mask

    def embeddings(self, start: int, stop: int) -> Padded:
        """Clips ``start`` to ``stop`` in stored order."""
        return self.take(torch.arange(start, stop))

    def subset(self, indices: torch.Tensor) -> Frames:
        """Only the clips ``indices`` (m,) int64 on the CPU, in that order."""
        chosen = copy.copy(self)
        chosen.targets = self.targets[indices.to(self.device)]
        chosen._counts, chosen._starts = self._counts[indices], self._starts[indices]
        return chosen

    def portions(self, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        """``indices`` in their order, in as few portions as fit one call of a head."""
        start, longest = 0, 0
        for number, count in enumerate(self._counts[indices].tolist()):
            longest = max(longest, count)
            if number > start and longest * (number - start + 1) > self._most:
                yield indices[start:number]
                start, longest = number, count
        yield indices[start:]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of consecutive clips that fit one call of a head."""
        for portion in self.portions(torch.arange(len(self))):
            yield int(portion[0]), int(portion[-1]) + 1

    def unpadded(self) -> Iterator[torch.Tensor]:
        """The frames of all clips, (k, d) float32 at a time: what a mean over frames is taken of."""
        for start, stop in self.blocks():
            found, mask = self.embeddings(start, stop)
            yield found[mask]


class ClipMeans:
    """The mean frame of each of some clips, in place of their frames: what a mean over clips is taken of."""

    def __init__(self, clips: Frames) -> None:
        self.clips = clips

    def unpadded(self) -> Iterator[torch.Tensor]:
        """The mean frames of all clips, (k, d) float32 at a time."""
        for start, stop in self.clips.blocks():
            found, mask = self.clips.embeddings(start, stop)
            yield found.sum(dim=1) / mask.sum(dim=1, keepdim=True)
