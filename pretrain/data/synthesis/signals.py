"""What the generators are made of: oscillators, envelopes, decays, filters. Everything is in closed form.

There is no recursion over samples and no running sum: each sample is a function of its time alone, so that a batch is
one expression on any device, and a sum that a GPU adds up in another order cannot change a phase. What changes slowly
is computed every 16 samples, and drawn out in straight lines.

Times are seconds, frequencies Hz; a signal is (B, n) float32, a parameter of it (B, 1). A clip is a circle for filters
and echoes: what rings on at its end is heard at its beginning, as if something had sounded before.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

__all__ = [
    "DECADES",
    "Stage",
    "adsr",
    "beats",
    "burst",
    "control",
    "decay",
    "glide_phase",
    "harmonics",
    "norm",
    "odd_harmonics",
    "of_beat",
    "resonance",
    "ring",
    "sine",
    "vibrato_phase",
]

TAU = 2 * math.pi
DECADES = math.log(1000.0)  # 60 dB of amplitude
ALIAS = 0.01  # of its fundamental, an oscillator's harmonics at the Nyquist frequency
NOISE_SAMPLES = 1 << 18
SLOW = 16  # samples, 1 ms at 16 kHz
STEP = 128  # samples, of a decay that is made of two tables


class Stage:
    """Where a batch of sounds is made: its clip length, rate, device, and the noise that all of them share.

    Attributes:
        t: (1, n), the times of the samples.
        slow: (1, m), every 16th of these times, and as many beyond the end as :meth:`drawn` needs.
        length: of the Fourier transforms, n or a little more.
        f: (1, length // 2 + 1), their frequencies.
        nyquist: half the rate.
    """

    def __init__(self, n_samples: int, sample_rate: int, device: torch.device | str = "cpu") -> None:
        self.n_samples, self.sample_rate, self.device = n_samples, sample_rate, torch.device(device)
        self.nyquist, self.duration = sample_rate / 2, n_samples / sample_rate
        self.t = (torch.arange(n_samples, device=device, dtype=torch.float32) / sample_rate)[None]
        points = 2 + (n_samples - 1) // SLOW
        self.slow = (torch.arange(points, device=device, dtype=torch.float32) * (SLOW / sample_rate))[None]
        self._ramp = torch.arange(SLOW, device=device, dtype=torch.float32) / SLOW
        self.length = next_fast_len(n_samples, real=True)
        bins = torch.arange(self.length // 2 + 1, device=device, dtype=torch.float32)
        self.f = (bins * (sample_rate / self.length))[None]
        table = torch.randn(NOISE_SAMPLES, generator=torch.Generator().manual_seed(0))
        copies = 2 + (n_samples - 1) // NOISE_SAMPLES  # the table goes on with its beginning
        self._windows = table.repeat(copies)[: NOISE_SAMPLES + n_samples].to(self.device).unfold(0, n_samples, 1)

    def drawn(self, slow: Tensor) -> Tensor:
        """(B, n) in straight lines through values (B, m) at the times ``slow``."""
        start, rise = slow[:, :-1, None], slow.diff(dim=1)[..., None]
        return torch.addcmul(start, rise, self._ramp).flatten(1)[:, : self.n_samples]

    def noise(self, place: Tensor) -> Tensor:
        """(B, n) white noise of variance 1 from the place (B, 1), a number in [0, 1], of a table of 2^18 samples."""
        return self._windows.index_select(0, (place[:, 0] * (NOISE_SAMPLES - 1)).long())

    def spectrum(self, signal: Tensor) -> Tensor:
        """The Fourier transform of a signal (B, n) or of a response that is not longer."""
        return torch.fft.rfft(signal, self.length)

    def signal(self, spectrum: Tensor) -> Tensor:
        """(B, n), back from the Fourier transform."""
        return torch.fft.irfft(spectrum, self.length)[:, : self.n_samples]


def sine(cycles: Tensor) -> Tensor:
    """sin of a phase in cycles, exact for thousands of them."""
    return torch.sin(_angle(cycles))


def glide_phase(t: Tensor, start: Tensor, end: Tensor, time: Tensor) -> Tensor:
    """Cycles of an oscillator whose frequency goes from ``start`` to ``end`` as end + (start - end) exp(-t / time)."""
    return end * t + (start - end) * time * (1 - torch.exp(-t / time))


def vibrato_phase(t: Tensor, rate: Tensor, deviation: Tensor, phase: Tensor) -> Tensor:
    """Cycles that a deviation of the frequency by ``deviation`` Hz * sin(2 pi (rate t + phase)) adds up to."""
    return deviation / (TAU * rate) * (torch.cos(TAU * phase) - torch.cos(TAU * (rate * t + phase)))


def harmonics(cycles: Tensor, brightness: Tensor, pitch: Tensor, nyquist: float) -> Tensor:
    """All harmonics, the k-th with amplitude a^(k - 1): between a sine and a buzz, of mean square 1/2.

    sum_k a^(k-1) sin(k x) = sin x / (1 - 2 a cos x + a^2), a discrete summation formula (Moorer 1976, "The Synthesis of
    Complex Audio Spectra by Means of Discrete Summation Formulas"). ``a`` is ``brightness``, in [0, 1], of the largest
    with which the harmonic at the Nyquist frequency has 1 % of the fundamental's amplitude: next to nothing is folded
    back.
    """
    a = _ratio(brightness, pitch, nyquist)
    x = _angle(cycles)
    below = torch.cos(x).mul_(-2 * a).add_(1 + a * a)
    return torch.sin(x).mul_((1 - a * a).sqrt()).div_(below)


def odd_harmonics(cycles: Tensor, brightness: Tensor, pitch: Tensor, nyquist: float) -> Tensor:
    """The first, third, fifth ... harmonic with amplitudes 1, a, a^2, ...: between a sine and a hollow buzz."""
    a = _ratio(brightness, 2 * pitch, nyquist)
    x = _angle(cycles)
    sines = torch.sin(x)
    below = (sines * sines).mul_(4 * a).add_((1 - a) ** 2)  # 1 - 2 a cos 2 x + a^2
    return sines.mul_((1 + a) * (1 - a * a).sqrt()).div_(below)


def _angle(cycles: Tensor) -> Tensor:
    return (cycles - cycles.round()).mul_(TAU)


def _ratio(brightness: Tensor, pitch: Tensor, nyquist: float) -> Tensor:
    return brightness * torch.exp(math.log(ALIAS) * pitch / nyquist)


def adsr(t: Tensor, attack: Tensor, decay_time: Tensor, sustain: Tensor, hold: Tensor, release: Tensor) -> Tensor:
    """A linear rise over ``attack``, an exponential fall to ``sustain``, and one to 0 from ``hold`` on; 0 before t = 0.

    Both falls are exponentials of the given time constants.
    """
    fall = sustain + (1 - sustain) * torch.exp(-(t - attack).clamp(min=0) / decay_time)
    return (t / attack).clamp(0, 1) * fall * torch.exp(-(t - hold).clamp(min=0) / release)


def decay(t: Tensor, t60: Tensor) -> Tensor:
    """1 at t = 0, 60 dB less after ``t60``; 0 before."""
    return torch.exp(-DECADES * t.clamp(min=0) / t60) * (t >= 0)


def burst(t: Tensor, attack: Tensor, t60: Tensor) -> Tensor:
    """A linear rise over ``attack`` and an exponential decay after it; 0 before t = 0."""
    return (t / attack).clamp(0, 1) * torch.exp(-DECADES * (t - attack).clamp(min=0) / t60)


def beats(t: Tensor, period: Tensor) -> tuple[Tensor, Tensor]:
    """The time since the last beat, and that beat's number, of beats ``period`` apart; number 0 is at t = 0."""
    number = torch.floor(t / period)
    return t - number * period, number


def of_beat(number: Tensor, values: Tensor) -> Tensor:
    """The value of each beat, out of (B, k) values in turn, beat k having the first one again; 0 before beat 0."""
    turn = number - values.shape[1] * torch.floor(number / values.shape[1])
    return values.gather(1, turn.long()) * (number >= 0)


def control(points: Tensor, size: int) -> Tensor:
    """(B, size) in straight lines through the points (B, k), which lie evenly from the first value to the last."""
    return F.interpolate(points[:, None], size=size, mode="linear", align_corners=True)[:, 0]


def resonance(f: Tensor, centre: Tensor, quality: Tensor, low: Tensor, band: Tensor, high: Tensor) -> Tensor:
    """The response at ``f`` of an analogue filter of order 2 that mixes its low-pass, band-pass and high-pass outputs.

    (low + band j w / Q - high w^2) / (1 + j w / Q - w^2) with w = f / centre, complex (B, n_bins). As a product with a
    spectrum it is the filter without a recursion.
    """
    w = f / centre
    square, damped = w * w, w / quality
    real = 1 - square
    scale = 1 / torch.addcmul(real * real, damped, damped)
    above, beside = (low - high * square) * scale, band * damped * scale
    # a quotient of complex numbers, written out: torch's own takes several times as long
    return torch.complex(above * real + beside * damped, beside * real - above * damped)


def norm(values: Tensor) -> Tensor:
    """(B, 1) the root of the sum of squared magnitudes of a signal, or of a spectrum."""
    parts = torch.view_as_real(values).flatten(1) if values.is_complex() else values
    found: Tensor = torch.linalg.vector_norm(parts, dim=1, keepdim=True)
    return found


def ring(frequencies: Tensor, t60: Tensor, amplitudes: Tensor, n_samples: int, sample_rate: int) -> Tensor:
    """(B, n) the sum of damped sinusoids, amplitude * exp(-6.9 t / t60) * sin(2 pi f t): what a struck body does.

    Each is a power z^n of a complex number, and z^(128 i + j) = (z^128)^i z^j: all samples of all modes are one matrix
    product of two small tables.

    Args:
        frequencies, t60, amplitudes: (B, n_modes). Modes above the Nyquist frequency are left out.
    """
    blocks = -(-n_samples // STEP)
    rate = -DECADES / t60 / sample_rate  # per sample, natural logarithm
    turn = frequencies / sample_rate  # cycles per sample
    weights = amplitudes * (turn < 0.5)
    near = torch.arange(STEP, device=turn.device, dtype=torch.float32)
    far = STEP * torch.arange(blocks, device=turn.device, dtype=torch.float32)
    near_size = weights[..., None] * torch.exp(rate[..., None] * near)  # (B, modes, 128)
    far_size = torch.exp(rate[..., None] * far)  # (B, modes, blocks)
    near_phase, far_phase = (TAU * (x - x.round()) for x in (turn[..., None] * near, turn[..., None] * far))
    # sin(a + b) = sin a cos b + cos a sin b
    left = torch.cat([far_size * torch.sin(far_phase), far_size * torch.cos(far_phase)], 1).mT
    right = torch.cat([near_size * torch.cos(near_phase), near_size * torch.sin(near_phase)], 1)
    return torch.bmm(left, right).flatten(1)[:, :n_samples]
