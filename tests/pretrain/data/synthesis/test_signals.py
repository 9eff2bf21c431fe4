"""Oscillators, envelopes, decays and filters: frequencies, times and responses, against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import cumulative_trapezoid
from scipy.signal import freqs
from torch import Tensor

from pretrain.data.synthesis.signals import (
    ALIAS,
    NOISE_SAMPLES,
    SLOW,
    Stage,
    adsr,
    beats,
    burst,
    decay,
    glide_phase,
    harmonics,
    norm,
    odd_harmonics,
    of_beat,
    resonance,
    ring,
    sine,
    vibrato_phase,
)

RATE = 16000
SECOND = Stage(RATE, RATE)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def amplitudes(signal: Tensor) -> np.ndarray:
    """Of the sines in a signal of one second, by their frequency in Hz."""
    spectrum: np.ndarray = np.abs(np.fft.rfft(signal.numpy().astype(np.float64), axis=1)) / (signal.shape[1] / 2)
    return spectrum


def test_a_sine_voice_has_its_frequency_and_nothing_else() -> None:
    found = amplitudes(sine(SECOND.t * column(37.0, 440.0, 7000.0)))
    for row, pitch in enumerate((37, 440, 7000)):
        assert found[row, pitch] == pytest.approx(1, abs=1e-3)
        assert np.delete(found[row], pitch).max() < 1e-3


@pytest.mark.parametrize(("oscillator", "step"), [(harmonics, 1), (odd_harmonics, 2)])
@pytest.mark.parametrize("brightness", [0.0, 0.5, 1.0])
def test_harmonics_fall_geometrically_to_one_per_cent_at_the_nyquist_frequency(
    oscillator: type, step: int, brightness: float
) -> None:
    pitch = 200
    a = brightness * ALIAS ** (step * pitch / 8000)
    found = amplitudes(oscillator(SECOND.t * pitch, column(brightness), column(pitch), 8000.0))[0]  # type: ignore[call-arg]
    numbers = np.arange(1, 30, step)
    expected = np.sqrt(1 - a * a) * a ** ((numbers - 1) // step)
    np.testing.assert_allclose(found[numbers * pitch], expected, atol=0.02)  # 1 % is folded back, a^40 and beyond
    between = np.setdiff1d(np.arange(8001), pitch * np.arange(41))
    assert found[between].max() < 1e-3


def test_a_glide_and_a_vibrato_are_the_integral_of_their_frequency() -> None:
    t = np.arange(RATE) / RATE
    start, end, time, rate, deviation, phase = 900.0, 300.0, 0.1, 6.0, 20.0, 0.3
    frequency = end + (start - end) * np.exp(-t / time) + deviation * np.sin(2 * np.pi * (rate * t + phase))
    expected = cumulative_trapezoid(frequency, t, initial=0)
    glide = glide_phase(SECOND.t, column(start), column(end), column(time))
    vibrato = vibrato_phase(SECOND.t, column(rate), column(deviation), column(phase))
    np.testing.assert_allclose((glide + vibrato)[0], expected, atol=2e-3)  # cycles, of 360


def test_an_envelope_keeps_its_times() -> None:
    attack, fall, sustain, hold, release, begin = 0.1, 0.05, 0.25, 0.6, 0.08, 0.2
    parameters = (column(value) for value in (attack, fall, sustain, hold, release))
    found = adsr(SECOND.t - begin, *parameters)[0]

    def at(time: float) -> float:
        return float(found[round((begin + time) * RATE)])

    assert float(found[: round(begin * RATE)].abs().max()) == 0
    assert at(attack / 2) == pytest.approx(0.5, abs=1e-3)
    assert at(attack) == pytest.approx(1, abs=1e-3)
    assert at(attack + fall) == pytest.approx(sustain + (1 - sustain) / np.e, abs=1e-3)
    assert at(hold) == pytest.approx(sustain, abs=1e-3)
    assert at(hold + release) == pytest.approx(sustain / np.e, abs=1e-3)


def test_decays_fall_by_60_db_in_their_time() -> None:
    for found in (decay(SECOND.t - 0.1, column(0.5)), burst(SECOND.t - 0.09, column(0.01), column(0.5))):
        assert float(found[0, 1600]) == pytest.approx(1)
        assert float(found[0, 1600 + 8000]) == pytest.approx(1e-3, rel=1e-3)
        assert float(found[0, 100]) == 0


def test_a_ringing_body_is_the_sum_of_its_modes_and_decays_in_its_time() -> None:
    rng = np.random.default_rng(0)
    frequencies, t60, weights = rng.uniform(40, 7900, (2, 9)), rng.uniform(0.05, 2, (2, 9)), rng.normal(size=(2, 9))
    frequencies[0, 3] = 8200  # above the Nyquist frequency: left out
    t = np.arange(15000) / RATE
    modes = np.exp(-np.log(1000) * t / t60[..., None]) * np.sin(2 * np.pi * frequencies[..., None] * t)
    audible = weights * (frequencies < 8000)
    expected = np.einsum("bm,bmt->bt", audible, modes)
    tensors = (torch.from_numpy(values).float() for values in (frequencies, t60, weights))
    np.testing.assert_allclose(ring(*tensors, 15000, RATE), expected, atol=5e-3)  # phases of 7,000 cycles in float32

    (alone,) = ring(column(500.0), column(0.4), column(1.0), RATE, RATE).double().numpy()
    left = np.cumsum(alone[::-1] ** 2)[::-1]  # Schroeder's integral: the decay of the energy
    fallen = 10 * np.log10(left / left[0])
    slope = (fallen[4000] - fallen[800]) / (3200 / RATE)  # dB per second
    assert -60 / slope == pytest.approx(0.4, rel=0.01)


@pytest.mark.parametrize("mix", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.4, 0.2)])
def test_a_filter_has_the_response_of_scipys(mix: tuple[float, float, float]) -> None:
    centre, quality = 1200.0, 5.0
    found = resonance(SECOND.f, column(centre), column(quality), *(column(part) for part in mix))[0]
    low, band, high = mix
    omega = 2 * np.pi * centre
    _, expected = freqs(
        [high / omega**2, band / (omega * quality), low],
        [1 / omega**2, 1 / (omega * quality), 1],
        2 * np.pi * SECOND.f[0].double().numpy(),
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_filtering_multiplies_the_spectrum_and_keeps_the_beginning_quiet() -> None:
    """A click through a low-pass: its response is the filter's, and (nearly) nothing sounds before it."""
    click = torch.zeros(1, RATE)
    click[0, 8000] = 1
    response = resonance(SECOND.f, column(800.0), column(2.0), column(1.0), column(0.0), column(0.0))
    found = SECOND.signal(SECOND.spectrum(click) * response)
    assert float(found[0, :7900].abs().max()) < 1e-3 * float(found.abs().max())
    magnitude = np.abs(np.fft.rfft(found[0].double().numpy()))
    np.testing.assert_allclose(magnitude, response[0].abs().numpy(), atol=1e-4)


def test_beats_are_counted_and_valued_in_turn() -> None:
    t = torch.tensor([[-0.3, -0.1, 0.0, 0.1, 0.25, 0.6, 1.0]])
    since, number = beats(t, column(0.25))
    torch.testing.assert_close(since, torch.tensor([[0.2, 0.15, 0.0, 0.1, 0.0, 0.1, 0.0]]))
    assert number.tolist() == [[-2, -1, 0, 0, 1, 2, 4]]
    assert of_beat(number, torch.tensor([[5.0, 6.0, 7.0]])).tolist() == [[0, 0, 5, 5, 6, 7, 6]]


@pytest.mark.parametrize("n_samples", [1, 15, 16, 17, 4800])
def test_what_is_slow_is_drawn_in_straight_lines(n_samples: int) -> None:
    stage = Stage(n_samples, RATE)
    np.testing.assert_allclose(stage.slow[0], SLOW / RATE * np.arange(stage.slow.shape[1]), rtol=1e-6)
    values = torch.rand(2, stage.slow.shape[1])
    for row, found in zip(values, stage.drawn(values), strict=True):
        expected = np.interp(np.arange(n_samples), SLOW * np.arange(len(row)), row.numpy())
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_noise_is_white_and_goes_on_at_the_end_of_its_table() -> None:
    stage = Stage(4000, RATE)
    first, near, last = stage.noise(column(0.0, 100 / (NOISE_SAMPLES - 1), 1.0))
    assert torch.equal(first[100:], near[:-100])
    assert torch.equal(last[1:], first[:-1])
    assert float(first.std()) == pytest.approx(1, abs=0.05)
    power = torch.fft.rfft(first).abs().square()[1:-1].unfold(0, 666, 666).mean(1) / 4000
    assert power.tolist() == pytest.approx([1, 1, 1], abs=0.2)


def test_the_norm_of_a_spectrum_is_that_of_its_magnitudes() -> None:
    values = torch.randn(3, 50, dtype=torch.complex64)
    torch.testing.assert_close(norm(values)[:, 0], values.abs().square().sum(1).sqrt())
