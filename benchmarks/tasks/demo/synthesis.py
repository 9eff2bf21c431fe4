"""The sounds of the demo suite: instruments, gestures, noise and rooms from arithmetic alone.

Everything is float64 at 16 kHz, from a random stream that no version of numpy changes, so that audio
rounded to 16 bits is the same on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = ["GESTURES", "INSTRUMENTS", "RATE", "Draw", "Recording", "decibels", "gesture", "note", "record"]

RATE = 16000
NYQUIST = 7800.0
T = TypeVar("T")


class Draw:
    """A stream of random numbers that depends on its key alone.

    The raw bits of PCG64 are guaranteed by numpy; its distributions are not, so they are made here.
    """

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "little"))

    def uniforms(self, count: int) -> np.ndarray:
        """``count`` numbers in [0, 1)."""
        return (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One number in [low, high)."""
        return low + (high - low) * float(self.uniforms(1)[0])

    def integer(self, low: int, high: int) -> int:
        """One whole number of low .. high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def normals(self, count: int) -> np.ndarray:
        """``count`` standard normal numbers (Box and Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniforms((count + 1) // 2)))
        angle = 2.0 * np.pi * self.uniforms((count + 1) // 2)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items, in random order."""
        left = list(items)
        return [left.pop(self.integer(0, len(left) - 1)) for _ in range(count)]


def decibels(level: float) -> float:
    """The amplitude of a level in dB."""
    return 10.0 ** (level / 20.0)


# --- instruments: a pitched note of a given timbre


@dataclass(frozen=True)
class Instrument:
    """A timbre: strength of partial k, how it starts and dies away, how it wavers."""

    strength: Callable[[np.ndarray], np.ndarray]
    attack_s: float
    decay_s: float  # time to fall by 60 dB at the fundamental; 0 sustains
    brightness_decay: float = 0.0  # how much faster high partials die
    vibrato: float = 0.0
    breath: float = 0.0
    formants: tuple[float, ...] = ()
    stretch: float = 0.0  # inharmonicity


INSTRUMENTS: dict[str, Instrument] = {
    "bell": Instrument(lambda k: 1.0 / k**0.7, 0.003, 1.2, 0.35, stretch=0.14),
    "brass": Instrument(lambda k: np.exp(-0.22 * (k - 1)), 0.06, 0.0, vibrato=0.004),
    "flute": Instrument(lambda k: 1.0 / k**2.4, 0.07, 0.0, vibrato=0.008, breath=0.10),
    "organ": Instrument(lambda k: np.isin(k, (1, 2, 4, 8)) * 0.8**k + 0.01, 0.02, 0.0),
    "pluck": Instrument(lambda k: 1.0 / k, 0.003, 0.9, 0.22),
    "reed": Instrument(lambda k: np.where(k % 2 == 1, 1.0, 0.12) / k, 0.04, 0.0, breath=0.02),
    "string": Instrument(lambda k: 1.0 / k, 0.10, 0.0, vibrato=0.007, breath=0.03),
    "voice": Instrument(lambda k: 1.0 / k, 0.05, 0.0, vibrato=0.010, breath=0.03, formants=(650.0, 1100.0, 2500.0)),
}


def note(instrument: str, frequency: float, seconds: float, draw: Draw) -> np.ndarray:
    """A note of ``frequency`` Hz, (n_samples,) float64, RMS 1; each draw is another specimen."""
    timbre = INSTRUMENTS[instrument]
    count = round(seconds * RATE)
    time = np.arange(count) / RATE
    waver = (
        timbre.vibrato * draw.uniform(0.3, 1.5) * np.sin(2 * np.pi * (draw.uniform(4.5, 6.5) * time + draw.uniform()))
    )
    phase = 2 * np.pi * frequency * (time + np.cumsum(waver) / RATE)
    partials = np.arange(1, max(2, min(28, int(NYQUIST / frequency)) + 1))
    tilt = draw.uniform(-0.5, 0.5)  # specimens of one timbre differ in brightness, and timbres overlap
    strengths = timbre.strength(partials) * partials**tilt * np.exp(0.45 * draw.normals(len(partials)))
    if timbre.formants:
        shift = draw.uniform(0.85, 1.18)
        distance = np.stack([(partials * frequency / (formant * shift)) for formant in timbre.formants])
        strengths = strengths * (0.04 + np.exp(-((np.log2(distance) / 0.28) ** 2)).sum(axis=0))
    sound = np.zeros(count)
    for k, strength in zip(partials, strengths, strict=True):
        ratio = k * (1.0 + timbre.stretch * draw.uniform(0.5, 1.0) * (k - 1) / k)
        if ratio * frequency < NYQUIST:
            partial = strength * np.sin(ratio * phase + 2 * np.pi * draw.uniform())
            if timbre.decay_s:
                partial *= np.exp(-6.9 * time * (1.0 + timbre.brightness_decay * (k - 1)) / timbre.decay_s)
            sound += partial
    level = math.sqrt(float(np.mean(sound**2)))
    sound += timbre.breath * draw.uniform(0.4, 1.6) * level * coloured_noise(count, -1.0, draw)
    return _normal(sound * _envelope(count, timbre.attack_s * draw.uniform(0.5, 2.0), draw.uniform(0.03, 0.12)))


# --- gestures: sounds that differ in their course over time


def _sweep(seconds: float, draw: Draw, up: bool) -> np.ndarray:
    low = draw.uniform(250.0, 900.0)
    high = low * draw.uniform(2.0, 4.0)
    start, end = (low, high) if up else (high, low)
    course = np.linspace(0.0, 1.0, round(seconds * RATE))
    phase = 2 * np.pi * np.cumsum(start * (end / start) ** course) / RATE
    return np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)


def _steady(seconds: float, draw: Draw) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * draw.uniform(250.0, 1800.0) * time
    return np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)


def _tremolo(seconds: float, draw: Draw) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return _steady(seconds, draw) * (
        0.55 + 0.45 * np.sin(2 * np.pi * (draw.uniform(7.0, 12.0) * time + draw.uniform()))
    )


def _beat(seconds: float, draw: Draw, rate: float, jitter: float) -> np.ndarray:
    """Knocks at ``rate`` Hz; ``jitter`` in beats moves each of them."""
    count = round(seconds * RATE)
    sound = np.zeros(count)
    knock_length = round(0.06 * RATE)
    decay = np.exp(-np.arange(knock_length) / (draw.uniform(0.008, 0.02) * RATE))
    knock = _band_noise(knock_length, draw.uniform(500.0, 3000.0), 1.0, draw) * decay
    beat = draw.uniform(0.0, 0.9)
    while beat / rate < seconds:
        start = round((beat + jitter * draw.uniform(-1.0, 1.0)) / rate * RATE)
        if 0 <= start < count - knock_length:
            sound[start : start + knock_length] += draw.uniform(0.7, 1.0) * knock
        beat += 1.0
    sound[count // 2] += 1e-3  # never silent, however slow the beat
    return sound


GESTURES: dict[str, Callable[[float, Draw], np.ndarray]] = {
    "beat_fast": lambda seconds, draw: _beat(seconds, draw, draw.uniform(7.0, 10.0), 0.05),
    "beat_slow": lambda seconds, draw: _beat(seconds, draw, draw.uniform(2.5, 4.0), 0.05),
    "crackle": lambda seconds, draw: _beat(seconds, draw, draw.uniform(4.0, 7.0), 0.9),
    "hiss": lambda seconds, draw: _band_noise(round(seconds * RATE), draw.uniform(500.0, 3500.0), 0.8, draw),
    "steady": _steady,
    "sweep_down": lambda seconds, draw: _sweep(seconds, draw, up=False),
    "sweep_up": lambda seconds, draw: _sweep(seconds, draw, up=True),
    "tremolo": _tremolo,
}


def gesture(kind: str, seconds: float, draw: Draw) -> np.ndarray:
    """A gesture, (n_samples,) float64, RMS 1."""
    sound = GESTURES[kind](seconds, draw)
    return _normal(sound * _envelope(len(sound), 0.01, 0.02))


# --- the recording: room, colour, noise and level


@dataclass(frozen=True)
class Recording:
    """How clips are recorded; each pair is the range that a clip's value is drawn from."""

    noise_db: tuple[float, float]  # signal above noise
    noise_slope: tuple[float, float]  # 0 white, -1 pink, -2 brown
    reverb_s: tuple[float, float]  # time to fall by 60 dB
    wet: tuple[float, float]  # energy of the room over the direct sound
    tilt_db: tuple[float, float]  # of the microphone, per octave
    level_db: tuple[float, float]  # RMS re full scale


def record(sound: np.ndarray, conditions: Recording, draw: Draw) -> np.ndarray:
    """``sound`` in a room, through a microphone, with noise, at a level: (n_samples,) float64 in (-1, 1)."""
    count = len(sound)
    room = _room(draw.uniform(*conditions.reverb_s), draw.uniform(*conditions.wet), draw)
    size = _fast_size(count + len(room))
    spectrum = np.fft.rfft(sound, size) * np.fft.rfft(room, size)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / RATE), 60.0) / 1000.0)
    heard = np.fft.irfft(spectrum * 10.0 ** (draw.uniform(*conditions.tilt_db) * octaves / 20.0), size)[:count]
    noise = coloured_noise(count, draw.uniform(*conditions.noise_slope), draw)
    mixed = _normal(heard) + noise * decibels(-draw.uniform(*conditions.noise_db))
    mixed = _normal(mixed) * decibels(draw.uniform(*conditions.level_db))
    return mixed * min(1.0, 0.99 / float(np.abs(mixed).max()))


def coloured_noise(count: int, slope: float, draw: Draw) -> np.ndarray:
    """Noise whose power falls with frequency as f^slope, (count,) float64, RMS 1."""
    size = _fast_size(count)
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 30.0)
    return _normal(np.fft.irfft(np.fft.rfft(draw.normals(size)) * frequencies ** (slope / 2.0), size)[:count])


def _band_noise(count: int, centre: float, octaves: float, draw: Draw) -> np.ndarray:
    size = _fast_size(count)
    distance = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1.0) / centre) / octaves
    return _normal(np.fft.irfft(np.fft.rfft(draw.normals(size)) * np.exp(-0.5 * distance**2), size)[:count])


def _room(reverb_s: float, wet: float, draw: Draw) -> np.ndarray:
    count = max(2, round(reverb_s * RATE))
    tail = draw.normals(count) * np.exp(-6.9 * np.arange(count) / count)
    tail[: min(count - 1, round(0.002 * RATE))] = 0.0
    response = tail * math.sqrt(wet / float(np.sum(tail**2)))
    response[0] = 1.0
    return response


def _envelope(count: int, attack_s: float, release_s: float) -> np.ndarray:
    """A rise over ``attack_s`` and a fall over ``release_s``, straight, within ``count`` samples."""
    samples = np.arange(count)
    rise = (samples + 1) / max(1.0, min(attack_s * RATE, count / 3))
    fall = (count - samples) / max(1.0, min(release_s * RATE, count / 3))
    return np.minimum(1.0, np.minimum(rise, fall))


def _normal(sound: np.ndarray) -> np.ndarray:
    return sound / max(1e-9, math.sqrt(float(np.mean(sound**2))))


def _fast_size(count: int) -> int:
    """The next size of the form 2^a or 3 * 2^a, which the Fourier transform is fast for."""
    power = 1 << (count - 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= count else power
