"""What a run hears: the batches of a corpus of any kind as log-mel inputs, and the statistics of these."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hear_delores.frontend import LogMel
from pretrain.config import PretrainConfig
from pretrain.data.batches import (
    STATISTICS,
    TRAINING,
    Batch,
    Batches,
    Sampler,
    batches,
    crop_length,
    log_mel_of,
    to_log_mel,
)
from pretrain.data.corpus import Corpus, Progress
from pretrain.data.synthesis.parameters import Sounds
from pretrain.data.synthesis.stream import SoundStream, synthesiser
from pretrain.data.synthesis.synthesiser import Synthesiser

__all__ = ["Listener", "SoundSampler", "measure_statistics", "open_sampler", "sample_batches"]

STATISTICS_BATCH = 128


class SoundSampler:
    """Batches of new sounds, or of sounds among the clips of a pool, evenly spread over the rows of each batch.

    Args:
        corpus: its ``share`` says how many of the rows are synthetic; at least one is of either kind.
        rows: which rows of each batch to make, all by default.
    """

    def __init__(
        self, corpus: Corpus, config: PretrainConfig, batch_size: int, stream: int, rows: range | None = None
    ) -> None:
        self.batch_size, self.rows = batch_size, range(batch_size) if rows is None else rows
        self._stream = SoundStream(config, stream)
        count = batch_size if corpus.share == 1 else min(max(round(corpus.share * batch_size), 1), batch_size - 1)
        places = torch.arange(batch_size)
        is_sound = (places + 1) * count // batch_size > places * count // batch_size
        self._synthetic = is_sound[self.rows.start : self.rows.stop]
        self._before, self._count = int(is_sound[: self.rows.start].sum()), count
        first, stop = self.rows.start - self._before, self.rows.stop - self._before - int(self._synthetic.sum())
        length = crop_length(corpus, config)
        self._blank = torch.from_numpy(corpus.blank(0, length))
        others = batch_size - count
        self._pool: Sampler | None = None
        if others:
            renditions = _renditions(corpus, stream)
            self._pool = Sampler(corpus, length, others, config.seed, stream, range(first, stop), renditions)

    def batch(self, step: int) -> Batch:
        """This sampler's rows of batch ``step``."""
        pool = Batch(self._blank, []) if self._pool is None else self._pool.batch(step)
        sounds = self._stream.pairs(step * self._count + self._before, int(self._synthetic.sum()))
        return pool._replace(sounds=sounds, synthetic=self._synthetic)


def open_sampler(
    corpus: Corpus, config: PretrainConfig, batch_size: int, stream: int = TRAINING, rows: range | None = None
) -> Batches:
    """The sampler that the corpus asks for."""
    if corpus.share:
        return SoundSampler(corpus, config, batch_size, stream, rows)
    renditions = _renditions(corpus, stream)
    return Sampler(corpus, crop_length(corpus, config), batch_size, config.seed, stream, rows, renditions)


def _renditions(corpus: Corpus, stream: int) -> float:
    """How probably a second view is of another clip. Statistics have no second view."""
    return 0.0 if stream == STATISTICS else corpus.renditions


class Listener:
    """Batches -> log-mel inputs, on the device: crops of recordings, log-mel frames, and sounds, rendered here."""

    def __init__(self, config: PretrainConfig, logmel: LogMel, device: torch.device | str) -> None:
        self.config, self.logmel, self.device = config, logmel, device
        self._synthesiser: Synthesiser | None = None

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, n_mels, n_frames) float32 each, what the two views are made of.

        One and the same tensor where nothing differs: for recordings without ``views.renditions``, and with
        ``views.delta`` of 0.
        """
        # Pinned, so that the copy runs beside what is still being computed of the last step.
        pinned = batch.audio.pin_memory() if torch.device(self.device).type == "cuda" else batch.audio
        audio = pinned.to(self.device, non_blocking=True)
        if batch.sounds is None or batch.synthetic is None or not len(batch.sounds[0].kinds):
            heard = to_log_mel(audio, self.logmel)
            return heard, self._second(heard, batch)
        one, other = batch.sounds
        first = self._rendered(one)
        second = first if other is one else self._rendered(other)
        if not len(audio):
            return first, second
        heard, synthetic = to_log_mel(audio, self.logmel), batch.synthetic.to(self.device)
        return _among(heard, first, synthetic), _among(self._second(heard, batch), second, synthetic)

    def _second(self, heard: Tensor, batch: Batch) -> Tensor:
        """What the second views of recordings are made of: the first ones', but for those with other renditions."""
        if batch.renditions is None or not len(batch.renditions[0]):
            return heard
        rows, audio = batch.renditions
        others = to_log_mel(audio.to(self.device), self.logmel)
        return heard.index_copy(0, rows.to(self.device), others)

    def _rendered(self, sounds: Sounds) -> Tensor:
        if self._synthesiser is None:
            self._synthesiser = synthesiser(self.config, self.device)
        return log_mel_of(self._synthesiser(sounds), self.logmel)


def _among(others: Tensor, sounds: Tensor, synthetic: Tensor) -> Tensor:
    """One batch of both, ``sounds`` in the rows that ``synthetic`` marks."""
    whole = others.new_empty(len(synthetic), *others.shape[1:])
    whole[synthetic], whole[~synthetic] = sounds, others
    return whole


def sample_batches(
    corpus: Corpus, config: PretrainConfig, wanted: int, size: int, stream: int, what: str, progress: Progress | None
) -> Iterator[Batch]:
    """Batches of ``wanted`` clips, each at most once, ``size`` at a time: what ``progress`` calls ``what``.

    They are drawn from a random ``stream`` of their own. Raises DeloresError as :meth:`Corpus.read` does.
    """
    sampler = open_sampler(corpus, config, size, stream)
    steps = -(-wanted // size)
    for done, batch in enumerate(batches(sampler, 0, steps, config.data.threads, config.data.prefetch), 1):
        yield batch.first(wanted - (done - 1) * size)
        if progress is not None:
            progress(what, done, steps)


def measure_statistics(
    corpus: Corpus,
    logmel: LogMel,
    config: PretrainConfig,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[float, float]:
    """Mean and standard deviation of the log-mel values over random clips, as the network will be shown them.

    Over ``data.statistics_clips`` crops, each clip at most once, zero padding included, summed in float64.
    Without ``normalization`` they are 0 and 1.
    """
    if config.normalization == "none":
        return 0.0, 1.0
    wanted = min(len(corpus), config.data.statistics_clips)
    size = min(STATISTICS_BATCH, wanted)
    listen = Listener(config, logmel, device)
    total = squares = 0.0
    count = 0
    for batch in sample_batches(corpus, config, wanted, size, STATISTICS, "statistics", progress):
        mel = listen(batch)[0].double()
        total += float(mel.sum())
        squares += float(mel.square().sum())
        count += mel.numel()
    mean = total / count
    variance = max(squares / count - mean * mean, 0.0)
    return mean, max(variance**0.5, 1e-3)  # a corpus of pure silence has no spread; dividing by 0 would be NaN
