"""What is kept of a sound: no silence around it, and no clip that is nearly another one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIMENSIONS", "fingerprint", "near_duplicates", "trimmed"]

SILENCE_DB = -60.0  # of full scale: the root mean square of a frame below it is silence
FRAME_S = 0.02
MARGIN = 2  # frames of silence that stay on either side

WINDOW, HOP = 1024, 512  # samples of a fingerprint's frame, and between two
BANDS, THIRDS = 32, 3
DIMENSIONS = BANDS * THIRDS
LOWEST_HZ = 50.0
FLOOR_DB = -60  # of the loudest band: what lies below is the same silence
CLOSE_DB = 1.0  # root mean square difference of two fingerprints
CLOSE_LENGTH = 0.05  # relative difference of two lengths
BLOCK = 1024


def trimmed(samples: NDArray[np.int16], rate: int, margin: int = MARGIN) -> NDArray[np.int16]:
    """The samples (n,) from the first to the last frame of 20 ms above -60 dB of full scale; (0,) if there is none.

    Args:
        rate: in Hz.
        margin: frames that stay around them.
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
    """(96,) int8: the power in 32 bands of each third of the sound, in dB below the loudest of them, rounded.

    Bands are equally wide in the logarithm of frequency from 50 Hz on. The level of the sound does not count.
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
    """(n,) which of the clips are nearly one before them that stays.

    Two are near where the fingerprints differ by at most 1 dB, root mean square, and the lengths by at most 5 %.

    Args:
        prints: (n, 96) of :func:`fingerprint`.
        lengths: (n,) in samples.
        known: (n,) clips that are compared with, and stay whatever they are.
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
