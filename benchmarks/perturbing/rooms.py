"""Rooms: a clip as a microphone in the room records it, by the image-source method of pyroomacoustics."""

from __future__ import annotations

import functools
import threading

import numpy as np

from benchmarks.perturbing.noise import generator_of
from hear_delores.errors import DeloresError

__all__ = ["EXAMPLE", "canonical", "response", "reverberate"]

EXAMPLE = "SECONDS, the reverberation time RT60 from 0.1 to 2 s, such as 0.3,0.8"
#: The number of rooms for each reverberation time; a clip's name and the seed choose one of them.
N_ROOMS = 4
#: Mean sides in m of a room with RT60 = 0.3 s; they grow with the square root of RT60, and none is below LOWEST_M.
SIDES, LOWEST_M = (5.0, 4.0, 2.6), 2.3
#: The absorption is corrected until the measured RT60 is this close (relative): Sabine's formula is up to a fifth off.
TOLERANCE, ATTEMPTS = 0.02, 8
_LOCK = threading.Lock()


def canonical(text: str) -> str:
    """A reverberation time in its one spelling. Raises ValueError for anything else.

    >>> canonical("0.30")
    '0.3'
    """
    value = float(text)
    if not 0.1 <= value <= 2:
        raise ValueError("out of range")
    return f"{value:g}"


def reverberate(samples: np.ndarray, rate: int, value: str, clip: str, seed: int) -> np.ndarray:
    """The clip in a room, with the clip's own power, and without the delay of the direct sound; the tail is cut off."""
    import torch
    from torchaudio.functional import fftconvolve

    number = int(generator_of(seed, "reverb", clip).integers(N_ROOMS))
    with _LOCK:  # several threads read clips and need the same few rooms: each is computed once
        taps = response(float(value), rate, seed, number)
    clean = torch.from_numpy(np.asarray(samples, dtype=np.float64))
    heard = fftconvolve(clean, torch.from_numpy(taps))[: len(samples)].numpy()
    power = float((heard**2).sum())
    return heard * np.sqrt(float((clean**2).sum()) / power) if power > 0 else samples


@functools.lru_cache(maxsize=64)
def response(rt60: float, rate: int, seed: int, number: int) -> np.ndarray:
    """The impulse response of a room, (n,) float64 at ``rate`` Hz, from the arrival of the direct sound on.

    The room is a box whose walls all absorb alike. Their absorption is corrected until the reverberation time that is
    measured in the response (Schroeder's integration from -5 to -35 dB) is ``rt60`` seconds to 2 %; of 8 attempts
    the closest is taken.

    Raises:
        DeloresError: no walls absorb enough for so short a time.
    """
    import pyroomacoustics

    random = generator_of(seed, "room", str(number))
    growth = np.sqrt(rt60 / 0.3) * random.uniform(0.85, 1.15, size=3)
    sides = np.maximum(np.array(SIDES) * growth, LOWEST_M)
    places = sides * random.uniform((0.2, 0.2, 0.4), (0.8, 0.8, 0.7), size=(2, 3))
    asked, best = rt60, (np.inf, np.zeros(1))
    for _ in range(ATTEMPTS):
        try:
            absorption, order = pyroomacoustics.inverse_sabine(asked, sides)
        except ValueError:  # no walls absorb so much
            raise DeloresError(
                f"reverb:{rt60:g}: no room has this reverberation time at {rate} Hz; ask for a longer one"
            ) from None
        room = pyroomacoustics.ShoeBox(
            sides, fs=rate, materials=pyroomacoustics.Material(absorption), max_order=order, air_absorption=False
        )
        room.add_source(places[0])
        room.add_microphone(places[1])
        room.compute_rir()
        taps = np.asarray(room.rir[0][0], dtype=np.float64)
        direct = round(float(np.linalg.norm(places[0] - places[1])) / room.c * rate)
        start = max(int(np.argmax(np.abs(taps[: direct + 100]))) - 1, 0)  # the fractional delay rings before it
        taps = taps[start:]
        measured = float(pyroomacoustics.experimental.measure_rt60(taps, fs=rate, decay_db=30))
        best = min(best, (abs(measured / rt60 - 1), taps), key=lambda found: found[0])
        if best[0] < TOLERANCE:
            break
        asked *= rt60 / measured
    return best[1]
