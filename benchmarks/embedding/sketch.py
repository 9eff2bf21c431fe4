"""A model's behaviour: what its functions answer to fixed probe sounds, as a few hundred numbers.

The probe sounds are of several lengths and levels, from a hundredth of a second to ten, from silence to full scale,
alone and in batches: what a model does only to short, long, loud or many sounds shows in one of them. Of each answer a
small sketch is kept, so that a model whose code was edited is told from one that answers as before, whatever the number
of threads, the device or the batch.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.results.identity import Behaviour, Sketch, same_sketches
from hear_delores.errors import DeloresError

if TYPE_CHECKING:
    from benchmarks.embedding.model import LoadedModel

__all__ = ["observe", "probe_sounds", "sketch"]

#: Of the sounds and the sketch. Behaviours of two versions cannot be compared.
VERSION = 2
#: How long the probe sounds are, and which of SOUNDS each length has: those are one batch.
LENGTHS_S = {
    0.01: ("loud",),
    0.1: ("noise", "quiet", "tones", "loud", "clicks", "swell", "phrase", "tones"),
    0.2: ("silence",),  # by itself: a model that divides by it fails for its whole batch
    0.5: ("clicks", "tones", "square"),
    1.0: ("noise", "swell", "loud"),
    2.3: ("phrase",),
    10.5: ("long",),
}
#: The length whose sounds are played again at the end: a model that answers otherwise then is not deterministic.
REPEATED_S = 0.5
#: Numbers that an answer is added up into. A dimension that changes by a part in 10,000 of the whole shows.
BUCKETS = 8
#: Significant digits that are kept.
DIGITS = 7


def observe(model: LoadedModel) -> Behaviour:
    """What ``model`` answers to the probe sounds. Takes some seconds of audio, and leaves the random states alone."""
    with _undisturbed():
        answers = {length: _answers(model, length) for length in LENGTHS_S}
        again = _answers(model, REPEATED_S)
    scene = [each for first, _ in answers.values() for each in first]
    timestamps = [each for _, second in answers.values() for each in second]
    steady = all(same_sketches(*pair) for pair in zip(answers[REPEATED_S], again, strict=True))
    return Behaviour(version=VERSION, deterministic=steady, scene=scene, timestamps=timestamps)


def probe_sounds(seconds: float, sample_rate: int) -> np.ndarray:
    """The probe sounds of one length: (n_sounds, n_samples) float32 in [-1, 1]."""
    time = np.arange(max(1, round(seconds * sample_rate))) / sample_rate
    return np.stack([SOUNDS[name](time) for name in LENGTHS_S[seconds]]).astype(np.float32)


def sketch(values: np.ndarray) -> Sketch:
    """``values`` as their norm and BUCKETS sums, each of the values that fall into it with signs of their own."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    bucket, sign = _places(flat.size)
    sums = np.bincount(bucket, weights=sign * flat, minlength=BUCKETS)
    return [float(f"{value:.{DIGITS - 1}e}") for value in (np.linalg.norm(flat), *sums)]


def _answers(model: LoadedModel, seconds: float) -> tuple[list[Sketch | None], list[Sketch | None]]:
    """The sketches of scene and of timestamp embeddings of the sounds of a length; None where the model fails."""
    audio = probe_sounds(seconds, model.sample_rate)
    scene: list[Sketch | None] = [None] * len(audio)
    timestamps = list(scene)
    with contextlib.suppress(DeloresError):
        scene = [sketch(row) for row in model.scene(audio.copy())]
    with contextlib.suppress(DeloresError):
        embeddings, times = model.timestamps(audio.copy())
        timestamps = [
            [*sketch(rows), float(len(own)), *sketch(own)[:2]] for rows, own in zip(embeddings, times, strict=True)
        ]
    return scene, timestamps


@functools.lru_cache(maxsize=64)
def _places(size: int) -> tuple[np.ndarray, np.ndarray]:
    # RandomState: its stream is fixed for good, that of Generator may change with numpy's version.
    drawn = np.random.RandomState(size % 2**32).randint(0, 2 * BUCKETS, size)
    return drawn // 2, 1.0 - 2.0 * (drawn % 2)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Random states are put back, and float32 products are float32: TF32 is another model to the last digits."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (models draw from it)
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


# --- the sounds


def _noise(time: np.ndarray) -> np.ndarray:
    return 0.3 * np.random.RandomState(1).uniform(-1, 1, len(time))


def _quiet(time: np.ndarray) -> np.ndarray:
    return 1e-4 * np.random.RandomState(2).uniform(-1, 1, len(time))


def _tones(time: np.ndarray) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 2750 * time + 1)


def _clicks(time: np.ndarray) -> np.ndarray:
    return 0.8 * (np.arange(len(time)) % max(1, len(time) // 7) == 5)


def _swell(time: np.ndarray) -> np.ndarray:
    return (time / time[-1]) ** 2 * _tones(time) if len(time) > 1 else _tones(time)


def _phrase(time: np.ndarray) -> np.ndarray:
    """A rising tone, silence, and a burst of noise near the end."""
    place = np.arange(len(time)) / len(time)
    rising = 0.4 * np.sin(2 * np.pi * (200 * time + 500 * time**2))
    return np.where(place < 0.4, rising, np.where(place > 0.8, 2 * _noise(time), 0.0))


def _loud(time: np.ndarray) -> np.ndarray:
    """Noise of which the peak is full scale."""
    noise = np.random.RandomState(3).uniform(-1, 1, len(time))
    return noise / np.abs(noise).max()


def _square(time: np.ndarray) -> np.ndarray:
    """Clipped: every sample is at full scale."""
    return np.where(np.sin(2 * np.pi * 310 * time) >= 0, 1.0, -1.0)


def _long(time: np.ndarray) -> np.ndarray:
    """A phrase, then a loud end."""
    return np.where(time > time[-1] - 0.5, _loud(time), _phrase(time))


SOUNDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noise": _noise,
    "quiet": _quiet,
    "tones": _tones,
    "clicks": _clicks,
    "swell": _swell,
    "phrase": _phrase,
    "loud": _loud,
    "square": _square,
    "silence": np.zeros_like,
    "long": _long,
}
