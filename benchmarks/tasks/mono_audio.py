"""Audio files as finite mono float32 at a requested rate."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soxr

from pretrain.data.audio import read_channels

__all__ = ["read_audio", "resample"]


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """The audio of a file, mixed to mono, and its sample rate.

    Args:
        path: any format that soundfile reads (WAV, FLAC, Ogg, Opus, MP3 ...).
        sample_rate: Hz to resample to; None keeps the file's own.

    Returns:
        (n_samples,) float32, at least one sample, all finite; and its rate in Hz.

    Raises:
        DeloresError: naming the file, when :func:`pretrain.data.audio.read_channels` cannot read it.
    """
    samples, rate = read_channels(Path(path))
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if sample_rate is not None and sample_rate != rate:
        mono, rate = resample(mono, rate, sample_rate), sample_rate
    return np.ascontiguousarray(mono, dtype=np.float32), rate


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """``audio`` (n_samples,) float32 at ``rate`` Hz, resampled to ``new_rate`` Hz by soxr (quality HQ).

    The length is round(n_samples * new_rate / rate), at least 1, so clips of equal length stay equal.
    """
    if rate == new_rate:
        return audio
    length = max(1, round(len(audio) * new_rate / rate))
    # A clip of a sample or two would come out empty: zeros after it let the filter answer.
    padded = np.pad(audio, (0, max(0, 2 * -(-rate // new_rate) - len(audio))))
    result = soxr.resample(padded, rate, new_rate, quality="HQ")[:length]
    return np.pad(result, (0, length - len(result))).astype(np.float32, copy=False)
