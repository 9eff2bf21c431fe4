"""Which crop of which clip is in which batch: a pure function of the seed, prepared ahead by threads."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hear_delores.frontend import LogMel
from pretrain.config import PretrainConfig
from pretrain.data.ahead import ahead
from pretrain.data.corpus import Corpus, Progress

__all__ = [
    "Batch",
    "Sampler",
    "batches",
    "crop_length",
    "measure_statistics",
    "sample_crops",
    "to_float",
    "to_log_mel",
]

TRAINING, STATISTICS, DECORRELATION = 0, 1, 2  # separate random streams
ORDER, CROP = 0, 1
STATISTICS_BATCH = 128
CACHED_CLIPS = 8


class Batch(NamedTuple):
    """``audio`` (B, n_samples) int16; ``bad``: numbers of the bad clips, which others replace.

    From a pack of features, ``audio`` is their log-mel frames, (B, n_frames, n_mels) float16.
    """

    audio: Tensor
    bad: list[int]


@functools.lru_cache(maxsize=8)
def _permutation(stream: int, seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng([ORDER, stream, seed, epoch]).permutation(n)


@functools.lru_cache(maxsize=8)
def _places(stream: int, seed: int, epoch: int, n: int) -> NDArray[np.float64]:
    """Where in [0, 1) each clip is cropped in an epoch."""
    return np.random.default_rng([CROP, stream, seed, epoch]).random(n)


class Sampler:
    """Random crops of a corpus, shuffled without replacement epoch after epoch.

    Batches run on across the ends of epochs: no clip is dropped, and a corpus may be smaller than a batch.

    ``n_samples``: the crop's length, in log-mel frames where the corpus holds those (:func:`crop_length`).

    ``rows``: which rows of each batch to read, all by default; of several processes, each reads its own.
    """

    def __init__(
        self,
        corpus: Corpus,
        n_samples: int,
        batch_size: int,
        seed: int,
        stream: int = TRAINING,
        rows: range | None = None,
    ) -> None:
        self.corpus, self.n_samples, self.batch_size = corpus, n_samples, batch_size
        self.seed, self.stream = seed, stream
        self.rows = range(batch_size) if rows is None else rows

    def indices(self, step: int) -> list[tuple[int, int]]:
        """(epoch, clip) of every row of batch ``step``."""
        n = len(self.corpus)
        places = (divmod(i, n) for i in range(step * self.batch_size, (step + 1) * self.batch_size))
        return [(epoch, int(_permutation(self.stream, self.seed, epoch, n)[place])) for epoch, place in places]

    def crop_start(self, epoch: int, clip: int, length: int) -> int:
        """The first sample of the crop: uniform among all places where it fits, 0 for a clip too short."""
        room = max(0, length - self.n_samples)
        return int(_places(self.stream, self.seed, epoch, len(self.corpus))[clip] * (room + 1))

    def batch(self, step: int) -> Batch:
        """The crops of this sampler's rows of batch ``step``, shorter clips padded with zeros at their end."""
        audio = self.corpus.blank(len(self.rows), self.n_samples)
        bad: list[int] = []
        for row, (epoch, clip) in enumerate(self.indices(step)[self.rows.start : self.rows.stop]):
            samples, met = self.corpus.read(clip)
            bad += met
            start = self.crop_start(epoch, clip, len(samples))
            crop = samples[start : start + self.n_samples]
            audio[row, : len(crop)] = crop
        return Batch(torch.from_numpy(audio), bad)


def batches(sampler: Sampler, start: int, stop: int, threads: int, prefetch: int) -> Iterator[Batch]:
    """Batches ``start`` .. ``stop`` - 1 in order, ``prefetch`` of them made ahead by ``threads`` threads."""
    return ahead(sampler.batch, range(start, stop), threads, prefetch)


def sample_crops(
    corpus: Corpus, config: PretrainConfig, wanted: int, size: int, stream: int, what: str, progress: Progress | None
) -> Iterator[Tensor]:
    """Crops of ``wanted`` clips, each at most once, ``size`` at a time: what ``progress`` calls ``what``.

    They are drawn from a random ``stream`` of their own. Raises DeloresError as :meth:`Corpus.read` does.
    """
    sampler = Sampler(corpus, crop_length(corpus, config), size, config.seed, stream)
    steps = -(-wanted // size)
    for done, batch in enumerate(batches(sampler, 0, steps, config.data.threads, config.data.prefetch), 1):
        yield batch.audio[: wanted - (done - 1) * size]
        if progress is not None:
            progress(what, done, steps)


def crop_length(corpus: Corpus, config: PretrainConfig) -> int:
    """The length of a crop in what the corpus holds: samples, or log-mel frames."""
    return config.segment_frames if corpus.content == "log-mel" else config.segment_samples


def to_log_mel(crops: Tensor, logmel: LogMel) -> Tensor:
    """Log-mel inputs (B, n_mels, n_frames) float32 of a batch's crops, whatever they are of."""
    if crops.is_floating_point():
        return crops.mT.float().contiguous()
    if crops.device.type != "cpu":
        return logmel(to_float(crops))
    # A few clips' spectra fit into a processor's cache, a batch's do not.
    return torch.cat([logmel(to_float(part)) for part in crops.split(CACHED_CLIPS)])


def to_float(audio: Tensor) -> Tensor:
    """int16 samples as float32 in [-1, 1)."""
    return audio.float() / 32768.0


def measure_statistics(
    corpus: Corpus,
    logmel: LogMel,
    config: PretrainConfig,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[float, float]:
    """Mean and standard deviation of the log-mel values over random crops, as the network will be shown them.

    Over ``data.statistics_clips`` crops, each clip at most once, zero padding included, summed in float64.
    Without ``normalization`` they are 0 and 1.
    """
    if config.normalization == "none":
        return 0.0, 1.0
    wanted = min(len(corpus), config.data.statistics_clips)
    size = min(STATISTICS_BATCH, wanted)
    total = squares = 0.0
    count = 0
    for crops in sample_crops(corpus, config, wanted, size, STATISTICS, "statistics", progress):
        mel = to_log_mel(crops.to(device), logmel).double()
        total += float(mel.sum())
        squares += float(mel.square().sum())
        count += mel.numel()
    mean = total / count
    variance = max(squares / count - mean * mean, 0.0)
    return mean, max(variance**0.5, 1e-3)  # a corpus of pure silence has no spread; dividing by 0 would be NaN
