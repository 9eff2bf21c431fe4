"""White and pink noise at a signal-to-noise ratio in dB."""

from __future__ import annotations

import hashlib
import math

import numpy as np

__all__ = ["EXAMPLE", "canonical", "generator_of", "pink", "white"]

EXAMPLE = "DB, the ratio of the clip's power to the noise's in dB, from -100 to 100, such as 20,10,0"
#: Pink noise has no power below this: 0.02 to 20 Hz would have as much as 20 Hz to 20 kHz, and nobody hears it.
LOWEST_HZ = 20.0


def canonical(text: str) -> str:
    """A ratio in dB in its one spelling. Raises ValueError for anything else.

    >>> canonical("20.0"), canonical("-5")
    ('20', '-5')
    """
    value = float(text)
    if not -100 <= value <= 100:
        raise ValueError("out of range")
    return f"{value + 0.0:g}"


def white(samples: np.ndarray, rate: int, value: str, clip: str, seed: int) -> np.ndarray:
    """The clip with Gaussian white noise up to half of its rate, at ``value`` dB over the whole clip."""
    return _with(samples, generator_of(seed, "noise", clip).standard_normal(len(samples)), float(value))


def pink(samples: np.ndarray, rate: int, value: str, clip: str, seed: int) -> np.ndarray:
    """The clip with noise whose power falls by 3 dB an octave from 20 Hz on, at ``value`` dB over the whole clip."""
    n = len(samples)
    spectrum = np.fft.rfft(generator_of(seed, "pink", clip).standard_normal(n))
    frequencies = np.fft.rfftfreq(n, 1 / rate)
    heard = frequencies >= min(LOWEST_HZ, float(frequencies[-1]))
    heard[0] = n == 1
    spectrum *= np.where(heard, 1 / np.sqrt(np.where(frequencies > 0, frequencies, 1.0)), 0.0)
    return _with(samples, np.fft.irfft(spectrum, n), float(value))


def generator_of(seed: int, kind: str, clip: str) -> np.random.Generator:
    """The generator of a clip's random numbers: the same at every level, and whatever other clips are perturbed."""
    digest = hashlib.sha256(f"{seed}\0{kind}\0{clip}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _with(samples: np.ndarray, noise: np.ndarray, ratio_db: float) -> np.ndarray:
    """The clip with the noise added, by torchaudio; silence stays silent, for no noise is ``ratio_db`` below it."""
    import torch
    from torchaudio.functional import add_noise

    clean = torch.from_numpy(np.asarray(samples, dtype=np.float64))
    if not (clean.any() and math.isfinite(float((clean**2).sum())) and noise.any()):
        return samples
    return add_noise(clean, torch.from_numpy(noise), torch.tensor(ratio_db, dtype=torch.float64)).numpy()
