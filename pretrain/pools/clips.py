"""Silence around a sound, which is cut off, and clips that are near duplicates, which are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIMENSIONS", "fingerprint", "near_duplicates", "trimmed"]

SILENCE_DB = -60.0  # of full scale: the root mean square of a frame below it is silence
FRAME_S = 0.02
MARGIN = 2  # so many frames before and after the sound stay

WINDOW, HOP = 1024, 512  # of a fingerprint's frames, in samples
BANDS, THIRDS = 32, 3
DIMENSIONS = BANDS * THIRDS
LOWEST_HZ = 50.0
FLOOR_DB = -60  # relative to the loudest band; lower values are clipped to it
CLOSE_DB = 1.0  # the largest root mean square difference of the fingerprints of two near clips
CLOSE_LENGTH = 0.05  # the largest difference of the logarithms of their lengths
BLOCK = 1024  # clips that are compared with the earlier ones at once


def trimmed(samples: NDArray[np.int16], rate: int, margin: int = MARGIN) -> NDArray[np.int16]:
    """The samples from the first to the last frame of 20 ms above -60 dB of full scale, int16; (0,) if there is none.

    Args:
        samples: (n,) int16.
        rate: in Hz.
        margin: so many more frames stay at each end.
    """
    size = max(1, round(FRAME_S * rate))
    padded = np.zeros(-(-len(samples) // size) * size, dtype=np.float32)
    padded[: len(samples)] = samples
    power = np.square(padded.reshape(-1, size) / 32768.0).mean(axis=1)
    loud = np.flatnonzero(power > 10 ** (SILENCE_DB / 10))
    if not len(loud):
        return samples[:0]
    return samples[max(0, loud[0] - margin) * size : (loud[-1] + 1 + margin) * size]


def fingerprint(samples: NDArray[np.int16], rate: int) -> NDArray[np.int8]:
    """(96,) int8: the power in 32 bands of each third of the sound, in dB relative to the loudest of them, rounded.

    The bands are equally wide in the logarithm of frequency, from 50 Hz to half the rate. The fingerprint does not
    depend on the sound's level.

    Args:
        samples: (n,) int16.
        rate: in Hz.
    """
    count = max(THIRDS, -(-len(samples) // HOP))
    padded = np.zeros((count - 1) * HOP + WINDOW, dtype=np.float32)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))  # (count, WINDOW / 2 + 1)
    edges = np.geomspace(LOWEST_HZ, rate / 2, BANDS + 1) / rate * WINDOW
    firsts = np.maximum.accumulate(np.floor(edges[:-1]).astype(int))
    stops = np.maximum(np.ceil(edges[1:]).astype(int), firsts + 1)
    total = np.concatenate([np.zeros((count, 1)), power.cumsum(axis=1, dtype=np.float64)], axis=1)
    bands = (total[:, stops] - total[:, firsts]) / (stops - firsts)
    thirds = np.stack([part.mean(axis=0) for part in np.array_split(bands, THIRDS)])
    level = 10 * np.log10(np.maximum(thirds, 1e-9))
    return np.rint(np.clip(level - level.max(), FLOOR_DB, 0)).astype(np.int8).reshape(-1)


def near_duplicates(
    prints: NDArray[np.int8], lengths: NDArray[np.int64], known: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(n,) bool: which clips are near duplicates of an earlier clip that is none itself.

    Two clips are near duplicates if their fingerprints differ by at most 1 dB, root mean square, and their lengths by
    at most 5 %.

    Args:
        prints: (n, 96) int8, as of :func:`fingerprint`.
        lengths: (n,) in samples.
        known: (n,) bool, clips that others are compared with; they are never duplicates themselves.
    """
    values = prints.astype(np.float32)
    squares = np.square(values).sum(axis=1)
    logs = np.log(np.maximum(lengths, 1)).astype(np.float32)
    near = np.zeros(len(values), dtype=bool)
    for first in range(0, len(values), BLOCK):
        stop = min(first + BLOCK, len(values))
        distance = squares[first:stop, None] + squares[None, :stop] - 2 * values[first:stop] @ values[:stop].T
        close = distance <= DIMENSIONS * CLOSE_DB**2 + 0.5  # sums of whole numbers: exact below 2^24
        close &= np.abs(logs[first:stop, None] - logs[None, :stop]) <= CLOSE_LENGTH
        for row in range(first, stop):
            before = np.flatnonzero(close[row - first, :row])
            near[row] = not known[row] and bool((~near[before]).any())
    return near
