"""Which crop of which clip is in which batch: a pure function of the seed, prepared ahead by threads."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hear_delores.frontend import LogMel
from pretrain.config import PretrainConfig
from pretrain.data.ahead import ahead
from pretrain.data.corpus import Corpus
from pretrain.data.synthesis.parameters import Sounds

__all__ = ["Batch", "Batches", "Sampler", "batches", "crop_length", "log_mel_of", "to_float", "to_log_mel"]

TRAINING, STATISTICS, DECORRELATION = 0, 1, 2  # separate random streams
ORDER, CROP, RENDITION = 0, 1, 2
CACHED_CLIPS = 8


class Batch(NamedTuple):
    """``audio`` (B, n_samples) int16; ``bad``: numbers of the bad clips, which others replace.

    From a pack of features, ``audio`` is their log-mel frames, (B, n_frames, n_mels) float16.

    ``renditions``: which rows of ``audio`` have a second view of another clip, (k,) int64, and that clip's crops, like
    ``audio``; None where no row has one.

    ``sounds``: the parameters of clips that are synthetic, two neighbours each; ``synthetic``: (B,) bool, which rows
    they are. The others, in their order, are in ``audio``.
    """

    audio: Tensor
    bad: list[int]
    sounds: tuple[Sounds, Sounds] | None = None
    synthetic: Tensor | None = None
    renditions: tuple[Tensor, Tensor] | None = None

    def first(self, count: int) -> Batch:
        """The first ``count`` rows."""
        if self.sounds is None or self.synthetic is None:
            return self._replace(audio=self.audio[:count], renditions=self._first_renditions(count))
        synthetic = self.synthetic[:count]
        made = int(synthetic.sum())
        one, other = self.sounds
        shorter = one.rows(slice(made))
        sounds = shorter, shorter if other is one else other.rows(slice(made))
        others = len(synthetic) - made
        renditions = self._first_renditions(others)
        return self._replace(audio=self.audio[:others], sounds=sounds, synthetic=synthetic, renditions=renditions)

    def _first_renditions(self, count: int) -> tuple[Tensor, Tensor] | None:
        if self.renditions is None:
            return None
        rows, audio = self.renditions
        return rows[rows < count], audio[rows < count]


@functools.lru_cache(maxsize=8)
def _permutation(stream: int, seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng([ORDER, stream, seed, epoch]).permutation(n)


@functools.lru_cache(maxsize=8)
def _places(stream: int, seed: int, epoch: int, n: int) -> NDArray[np.float64]:
    """Where in [0, 1) each clip is cropped in an epoch."""
    return np.random.default_rng([CROP, stream, seed, epoch]).random(n)


@functools.lru_cache(maxsize=8)
def _partners(stream: int, seed: int, epoch: int, n: int) -> NDArray[np.float64]:
    """(n, 3) in [0, 1): whether a clip's second view is of another one in an epoch, which, and where it is cropped."""
    return np.random.default_rng([RENDITION, stream, seed, epoch]).random((n, 3))


class Sampler:
    """Random crops of a corpus, shuffled without replacement epoch after epoch.

    Batches run on across the ends of epochs: no clip is dropped, and a corpus may be smaller than a batch.

    ``n_samples``: the crop's length, in log-mel frames where the corpus holds those (:func:`crop_length`).

    ``rows``: which rows of each batch to read, all by default; of several processes, each reads its own.

    ``renditions``: how probably the second view of a clip is of another clip of its group.
    """

    def __init__(
        self,
        corpus: Corpus,
        n_samples: int,
        batch_size: int,
        seed: int,
        stream: int = TRAINING,
        rows: range | None = None,
        renditions: float = 0.0,
    ) -> None:
        self.corpus, self.n_samples, self.batch_size = corpus, n_samples, batch_size
        self.seed, self.stream = seed, stream
        self.rows = range(batch_size) if rows is None else rows
        self.renditions = renditions
        self._members = _members(corpus) if renditions else {}

    def indices(self, step: int) -> list[tuple[int, int]]:
        """(epoch, clip) of every row of batch ``step``."""
        n, first = len(self.corpus), step * self.batch_size
        orders = {
            epoch: _permutation(self.stream, self.seed, epoch, n)
            for epoch in range(first // n, (first + self.batch_size - 1) // n + 1)
        }
        places = (divmod(i, n) for i in range(first, first + self.batch_size))
        return [(epoch, int(orders[epoch][place])) for epoch, place in places]

    def crop_start(self, epoch: int, clip: int, length: int) -> int:
        """The first sample of the crop: uniform among all places where it fits, 0 for a clip too short."""
        room = max(0, length - self.n_samples)
        return int(_places(self.stream, self.seed, epoch, len(self.corpus))[clip] * (room + 1))

    def rendition(self, epoch: int, clip: int) -> tuple[int, float] | None:
        """The other clip that the second view of a clip is of, and where in [0, 1) it is cropped; None for itself."""
        members = self._members.get(int(self.corpus.groups()[clip]), ()) if self.renditions else ()
        if len(members) < 2:
            return None
        asked, which, place = _partners(self.stream, self.seed, epoch, len(self.corpus))[clip]
        if asked >= self.renditions:
            return None
        others = len(members) - 1
        number = int(which * others)
        return int(members[number if members[number] != clip else others]), float(place)

    def batch(self, step: int) -> Batch:
        """The crops of this sampler's rows of batch ``step``, shorter clips padded with zeros at their end."""
        audio = self.corpus.blank(len(self.rows), self.n_samples)
        bad: list[int] = []
        rows: list[int] = []
        crops: list[NDArray[Any]] = []
        for row, (epoch, clip) in enumerate(self.indices(step)[self.rows.start : self.rows.stop]):
            crop, met = self.corpus.crop(clip, self.n_samples, functools.partial(self.crop_start, epoch, clip))
            bad += met
            audio[row, : len(crop)] = crop
            other = self.rendition(epoch, (clip + len(met)) % len(self.corpus))  # of the clip that stands in
            second = None if other is None else self._crop_of(*other, bad)
            if second is not None:
                rows.append(row)
                crops.append(second)
        return Batch(torch.from_numpy(audio), bad, renditions=self._stacked(rows, crops))

    def _stacked(self, rows: list[int], crops: list[NDArray[Any]]) -> tuple[Tensor, Tensor] | None:
        """The rows and their crops, shorter ones padded like :meth:`batch`'s; None without any."""
        if not rows:
            return None
        audio = self.corpus.blank(len(rows), self.n_samples)
        for place, crop in enumerate(crops):
            audio[place, : len(crop)] = crop
        return torch.tensor(rows), torch.from_numpy(audio)

    def _crop_of(self, clip: int, place: float, bad: list[int]) -> NDArray[Any] | None:
        """The crop of a clip at this place; None, and its number in ``bad``, where its content is bad."""
        samples, met = self.corpus.read(clip)
        if met:  # what stands in for it is of another group
            bad += met[:1]
            return None
        start = int(place * (max(0, len(samples) - self.n_samples) + 1))
        return samples[start : start + self.n_samples]


def _members(corpus: Corpus) -> dict[int, NDArray[np.int64]]:
    """The clips of each group, ascending."""
    groups = corpus.groups()
    order = np.argsort(groups, kind="stable")
    numbers, firsts = np.unique(groups[order], return_index=True)
    parts = np.split(order, firsts[1:])
    return {int(number): part for number, part in zip(numbers, parts, strict=True) if number >= 0}


class Batches(Protocol):
    """What gives the batches of a run by number: a :class:`Sampler`, or one that makes sounds."""

    batch_size: int
    rows: range

    def batch(self, step: int) -> Batch:
        """Batch ``step``, this process's rows of it."""


def batches(sampler: Batches, start: int, stop: int, threads: int, prefetch: int) -> Iterator[Batch]:
    """Batches ``start`` .. ``stop`` - 1 in order, ``prefetch`` of them made ahead by ``threads`` threads."""
    return ahead(sampler.batch, range(start, stop), threads, prefetch)


def crop_length(corpus: Corpus, config: PretrainConfig) -> int:
    """The length of a crop in what the corpus holds: samples, or log-mel frames."""
    return config.segment_frames if corpus.content == "log-mel" else config.segment_samples


def to_log_mel(crops: Tensor, logmel: LogMel) -> Tensor:
    """Log-mel inputs (B, n_mels, n_frames) float32 of a batch's crops, whatever they are of."""
    return crops.mT.float().contiguous() if crops.is_floating_point() else log_mel_of(crops, logmel)


def log_mel_of(audio: Tensor, logmel: LogMel) -> Tensor:
    """Log-mel inputs (B, n_mels, n_frames) float32 of waveforms, int16 or in [-1, 1]."""
    if audio.device.type != "cpu":
        return logmel(to_float(audio))
    # A few clips' spectra fit into a processor's cache, a batch's do not.
    return torch.cat([logmel(to_float(part)) for part in audio.split(CACHED_CLIPS)])


def to_float(audio: Tensor) -> Tensor:
    """int16 samples as float32 in [-1, 1); what is float32 already, as it is."""
    return audio if audio.is_floating_point() else audio.float() / 32768.0
