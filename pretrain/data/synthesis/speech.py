"""What speaks: a buzz and breath through formants that move between two vowels, in syllables, with hisses between."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.synthesis.filters import band_pass
from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import (
    DECADES,
    Stage,
    beats,
    glide_phase,
    harmonics,
    norm,
    of_beat,
    ring,
    sine,
    vibrato_phase,
)

__all__ = ["speech"]

FORMANTS = ((250, 850), (750, 2500), (2200, 3200), (3200, 4200), (4200, 5200))  # Hz, of an average vocal tract
SYLLABLES = 6  # different ones in turn
RESPONSE_S = 0.08  # formants of 50 Hz and more have faded by 60 dB after 44 ms


def speech(knobs: Knobs, stage: Stage) -> Tensor:
    """(B, n): syllables of a voice, of a vocal tract between a large man's and a baby's."""
    tract = knobs.log(0.8, 1.5)
    rate, late = knobs.log(1.5, 9), knobs.many(1)
    t, syllable = beats(stage.slow + late / rate, 1 / rate)
    opening = 0.5 - 0.5 * torch.cos(2 * torch.pi * rate * t)
    source = _buzz(knobs, stage) + knobs.linear(0, 0.5, 2) * stage.noise(knobs.many(1))
    spectrum = stage.spectrum(source * stage.drawn(opening * of_beat(syllable, knobs.many(SYLLABLES))))
    way = 0.5 + 0.5 * sine(stage.slow * (0.5 * rate) + knobs.many(1))
    _, pause = beats(stage.slow + (late + 0.5) / rate, 1 / rate)
    hissing = of_beat(pause, knobs.many(SYLLABLES)) ** 2 * knobs.linear(0, 1, 2)
    hiss = stage.noise(knobs.many(1)) * stage.drawn((1 - opening) * hissing)
    hissed = stage.spectrum(hiss) * band_pass(knobs, stage, 1500, 7500)
    first, second = (stage.signal(spectrum * _vowel(knobs, tract, stage) + hissed) for _ in range(2))
    return torch.lerp(first, second, stage.drawn(way))


def _buzz(knobs: Knobs, stage: Stage) -> Tensor:
    """The glottis: a pitch that falls or rises through the clip, and trembles."""
    pitch = knobs.log(75, 500)
    start = pitch * knobs.log(0.75, 1.33)
    cycles = glide_phase(stage.slow, start, pitch, knobs.log(0.1, 1.0))
    cycles = cycles + vibrato_phase(stage.slow, knobs.log(2, 8), pitch * knobs.linear(0, 0.08, 2), knobs.many(1))
    return harmonics(stage.drawn(cycles), knobs.linear(0.75, 1), 1.4 * pitch, stage.nyquist)


def _vowel(knobs: Knobs, tract: Tensor, stage: Stage) -> Tensor:
    """The response of a vocal tract: five formants, which decay as their bandwidths say."""
    centres = torch.cat([knobs.linear(low, high) for low, high in FORMANTS], 1) * tract
    bandwidths = torch.cat([knobs.log(50, 180) for _ in FORMANTS], 1)
    gains = 10 ** (-knobs.linear(0.1, 0.6) * torch.arange(len(FORMANTS), device=centres.device))
    t60 = DECADES / (torch.pi * bandwidths)  # a resonance of bandwidth b decays as exp(-pi b t)
    samples = min(round(RESPONSE_S * stage.sample_rate), stage.n_samples)
    ringing = ring(centres, t60, gains, samples, stage.sample_rate)
    return stage.spectrum(ringing / norm(ringing).clamp(min=1e-3))
