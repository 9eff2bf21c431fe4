"""The rows of one or more splits as tensors, in stored order: what a classifier trains on and predicts."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from benchmarks.embedding.folder import EmbeddingsTask
from pretrain.data.ahead import ahead

__all__ = ["Rows", "standardisation"]

IN_MEMORY_BYTES = 1 << 30  # larger sets are read from the memory map batch by batch


class Rows:
    """Rows of some splits, one after another; held on ``device`` when small, else read when asked for.

    ``targets`` is (n, n_labels) float32 on ``device``. Rows of a task of events are frames of ``files``, and
    ``file_of_row`` (n,) int64 says of which; of clips it is None.
    """

    def __init__(
        self,
        task: EmbeddingsTask,
        split_names: Sequence[str],
        device: torch.device | str = "cpu",
        in_memory_bytes: int = IN_MEMORY_BYTES,
    ) -> None:
        splits = [task.splits[name] for name in split_names]
        self.device = torch.device(device)
        self._parts = [split.embeddings for split in splits]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
        self.targets = torch.from_numpy(np.concatenate([split.targets for split in splits])).to(self.device)
        self.files = tuple(file for split in splits for file in split.files)
        self.file_of_row: np.ndarray | None = None
        if task.is_event:
            first = np.cumsum([0, *(len(split.files) for split in splits)])
            numbers = [split.file_index + start for split, start in zip(splits, first, strict=False)]
            self.file_of_row = np.concatenate(numbers).astype(np.int64)
        self._whole: torch.Tensor | None = None
        size = sum(part.nbytes for part in self._parts)
        if self.device.type == "cuda":
            in_memory_bytes = max(in_memory_bytes, torch.cuda.mem_get_info(self.device)[0] // 4)
        if size <= in_memory_bytes:
            self._whole = self._resident()

    def _resident(self) -> torch.Tensor:
        """All rows on the device, (n, d) float32; on an accelerator block by block, without a second copy here."""
        if self.device.type == "cpu":
            return torch.from_numpy(np.concatenate(self._parts))
        whole = torch.empty(len(self), self._parts[0].shape[1], device=self.device)
        bounds = list(self.blocks())
        with contextlib.closing(self.batches(bounds)) as read:
            for (start, stop), block in zip(bounds, read, strict=True):
                whole[start:stop] = block
        return whole

    def __len__(self) -> int:
        return int(self._starts[-1])

    def embeddings(self, start: int, stop: int) -> torch.Tensor:
        """Rows ``start`` to ``stop`` in stored order: (stop - start, d) float32."""
        if self._whole is not None:
            return self._whole[start:stop]
        pieces = [
            part[max(start - first, 0) : max(stop - first, 0)]
            for first, part in zip(self._starts[:-1], self._parts, strict=True)
        ]
        rows = torch.from_numpy(np.concatenate(pieces))
        if self.device.type != "cuda":
            return rows.to(self.device)
        return rows.pin_memory().to(self.device, non_blocking=True)

    def batches(self, bounds: Sequence[tuple[int, int]]) -> Generator[torch.Tensor, None, None]:
        """The rows of each (start, stop); those that are not held on the device are read one batch ahead."""
        threads = int(self._whole is None and self.device.type != "cpu")
        return ahead(lambda bound: self.embeddings(*bound), bounds, threads, depth=2)

    def take(self, indices: torch.Tensor) -> torch.Tensor:
        """Chosen rows: ``indices`` (m,) int64 on the CPU -> (m, d) float32."""
        if self._whole is not None:
            return self._whole[indices.to(self.device)]
        rows = indices.numpy()
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        found = np.empty((len(rows), self._parts[0].shape[1]), dtype=np.float32)
        for number, part in enumerate(self._parts):
            here = part_of == number
            found[here] = part[rows[here] - self._starts[number]]
        return torch.from_numpy(found).to(self.device)

    def subset(self, indices: torch.Tensor) -> Rows:
        """Only the rows ``indices`` (m,) int64 on the CPU, in that order, held on the device."""
        chosen = copy.copy(self)
        chosen.targets = self.targets[indices.to(self.device)]
        if self.file_of_row is not None:
            chosen.file_of_row = self.file_of_row[indices.numpy()]
        chosen._whole = self.take(indices)
        chosen._parts, chosen._starts = [], np.array([0, len(indices)])
        return chosen

    def portions(self, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        """``indices`` in one portion: a batch of rows is small."""
        yield indices

    def unpadded(self) -> Iterator[torch.Tensor]:
        """All rows, (k, d) float32 at a time."""
        for start, stop in self.blocks():
            yield self.embeddings(start, stop)

    def mean(self) -> torch.Tensor:
        """Of each dimension over all rows, (d,) float64 on the device."""
        total = sum(block.double().sum(dim=0) for block in self.unpadded())
        return torch.as_tensor(total) / len(self)

    def standardised(self, mean: torch.Tensor | float, scale: torch.Tensor | float) -> np.ndarray:
        """(x - mean) / scale of all rows, (n, d) float32 in memory."""
        blocks = [(self.embeddings(start, stop).cpu() - mean) / scale for start, stop in self.blocks()]
        return torch.cat(blocks).numpy()

    def blocks(self, size: int = 8192) -> Iterator[tuple[int, int]]:
        """(start, stop) of consecutive blocks of at most ``size`` rows."""
        for start in range(0, len(self), size):
            yield start, min(start + size, len(self))


class Spread(Protocol):
    """Whose mean and deviation are asked for: rows, or the frames of clips."""

    def unpadded(self) -> Iterator[torch.Tensor]:
        """All of them, (k, d) float32 at a time."""


def standardisation(rows: Spread) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (ddof 0) of each dimension over ``rows``, (d,) float32, in float64 sums.

    A constant dimension gets the scale 1, so that it becomes 0 on the training rows. Of clips, over all their frames.
    """
    total, n = torch.zeros(()), 0
    for block in rows.unpadded():
        total, n = total.to(block.device) + block.double().sum(dim=0), n + len(block)
    mean = (total / n).cpu()
    square = torch.zeros_like(mean)
    for block in rows.unpadded():
        square += (block.double().cpu() - mean).square().sum(dim=0)
    scale = (square / n).sqrt()
    # Below the resolution of float32 around the mean, a dimension is constant.
    constant = scale <= 1e-6 * mean.abs()
    return mean.float(), torch.where(constant, 1.0, scale).float()
