"""Which crop of which clip comes when: shuffled, uniform, and the same for any number of threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hear_delores.frontend import LogMel
from pretrain.config import DataConfig, PretrainConfig
from pretrain.data.batches import Sampler, batches, to_float
from pretrain.data.corpus import Corpus
from pretrain.data.listening import measure_statistics


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Seven clips; sample k of clip c is 4096 c + k, so that a crop says where it is from."""
    folder = tmp_path_factory.mktemp("counting")
    for c in range(7):
        length = 60 if c == 6 else 400
        soundfile.write(folder / f"{c}.wav", (4096 * c + np.arange(length)).astype(np.int16), 16000)
    corpus = Corpus.from_path(folder)
    corpus.load()
    return corpus


def test_every_clip_comes_once_per_epoch_in_a_new_order(counting: Corpus) -> None:
    sampler = Sampler(counting, 100, batch_size=3, seed=5)
    rows = [row for step in range(14) for row in sampler.indices(step)]
    orders = {e: [clip for epoch, clip in rows if epoch == e] for e in range(6)}
    assert all(sorted(order) == list(range(7)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) > 4
    again = Sampler(counting, 100, batch_size=3, seed=5)
    assert again.indices(9) == sampler.indices(9)
    assert [Sampler(counting, 100, 3, seed=6).indices(s) for s in range(3)] != [sampler.indices(s) for s in range(3)]


def check_crops(sampler: Sampler) -> None:
    """Uniform starts over all places, contiguous content, short clips padded at the end."""
    starts: Counter[int] = Counter()
    for step in range(600):  # batches of 7 clips: 600 epochs
        audio = sampler.batch(step).audio.numpy()
        assert audio.dtype == np.int16
        for row in audio:
            clip, start = divmod(int(row[0]), 4096)
            if clip == 6:
                assert start == 0
                np.testing.assert_array_equal(row, np.r_[6 * 4096 + np.arange(60), np.zeros(40)])
                continue
            np.testing.assert_array_equal(row, clip * 4096 + start + np.arange(100))
            starts[start] += 1
    drawn = np.array([starts[s] for s in range(301)])
    assert drawn[0] > 0
    assert drawn[300] > 0  # the last place where a crop of 100 fits into 400
    expected = drawn.sum() / 301
    assert expected > 11
    assert ((drawn - expected) ** 2 / expected).sum() < 400  # chi square, 300 degrees of freedom: p < 1e-4


def test_crops_start_anywhere(counting: Corpus) -> None:
    check_crops(Sampler(counting, 100, batch_size=7, seed=0))


class FromZero(Sampler):
    def crop_start(self, epoch: int, clip: int, length: int) -> int:
        return 0


class FirstHalf(Sampler):
    def crop_start(self, epoch: int, clip: int, length: int) -> int:
        return super().crop_start(epoch, clip, length) // 2


class SameEveryEpoch(Sampler):
    def crop_start(self, epoch: int, clip: int, length: int) -> int:
        return super().crop_start(0, clip, length)


@pytest.mark.parametrize("broken", [FromZero, FirstHalf, SameEveryEpoch])
def test_the_check_rejects_broken_crops(counting: Corpus, broken: type[Sampler]) -> None:
    with pytest.raises(AssertionError):
        check_crops(broken(counting, 100, batch_size=7, seed=0))


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 1), (2, 4), (5, 3)])
def test_batches_do_not_depend_on_threads(clips: Path, threads: int, prefetch: int) -> None:
    corpus = Corpus.from_path(clips, DataConfig(cache_mb=0))
    sampler = Sampler(corpus, 3000, batch_size=5, seed=1)
    made = list(batches(sampler, 2, 12, threads, prefetch))
    assert len(made) == 10
    for step, batch in enumerate(made, 2):
        assert torch.equal(batch.audio, sampler.batch(step).audio)


def test_abandoned_batches_stop_their_threads(clips: Path) -> None:
    import threading

    made = batches(Sampler(Corpus.from_path(clips), 3000, 5, 1), 0, 1000, 2, 4)
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_samples_become_floats_exactly() -> None:
    values = torch.tensor([-32768, -1, 0, 16384, 32767], dtype=torch.int16)
    assert to_float(values).tolist() == [-1.0, -1 / 32768, 0.0, 0.5, 32767 / 32768]


def test_statistics_are_those_of_the_crops_log_mel(clips: Path, librosa_mel: Callable[..., np.ndarray]) -> None:
    config = PretrainConfig(segment_s=0.3, data=DataConfig(statistics_clips=100))
    corpus = Corpus.from_path(clips)
    mean, std = measure_statistics(corpus, LogMel(config.frontend), config)
    sampler = Sampler(corpus, config.segment_samples, 13, config.seed, stream=1)
    f = config.frontend
    values = []
    for row in sampler.batch(0).audio.numpy() / 32768:
        mel = librosa_mel(
            row, sr=f.sample_rate, n_fft=f.n_fft, hop_length=f.hop_length, n_mels=f.n_mels, fmin=f.f_min, fmax=f.f_max
        )
        values.append(np.log(mel + f.eps))
    assert mean == pytest.approx(np.mean(values), abs=1e-3)
    assert std == pytest.approx(np.std(values), abs=1e-3)


def test_statistics_use_at_most_the_wanted_crops_whatever_the_batch(clips: Path) -> None:
    corpus = Corpus.from_path(clips)
    few = PretrainConfig(segment_s=0.3, data=DataConfig(statistics_clips=3))
    all_clips = PretrainConfig(segment_s=0.3)
    assert measure_statistics(corpus, LogMel(), few) != measure_statistics(corpus, LogMel(), all_clips)
    assert measure_statistics(corpus, LogMel(), few) == measure_statistics(corpus, LogMel(), few)
