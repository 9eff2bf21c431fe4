"""Struck things: bursts of contact, once or again and again, that set the modes of a body ringing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import Stage, beats, burst, norm, of_beat, ring

__all__ = ["impact"]

MODES = 20
HITS = 4  # different strengths in turn


def impact(knobs: Knobs, stage: Stage) -> Tensor:
    """(B, n): a body from string to plate, of wood to metal, struck by something soft or hard."""
    frequencies = _modes(knobs)
    t60 = knobs.log(0.03, 2.5) / (1 + knobs.linear(0, 4, 2) * frequencies / 1000)
    body = stage.spectrum(ring(frequencies, t60, _strengths(knobs), stage.n_samples, stage.sample_rate))
    body = body * (stage.f.shape[1] ** 0.5 / norm(body).clamp(min=1e-3))
    period = knobs.log(0.06, 3.0) * stage.duration
    t, hit = beats(stage.t - knobs.linear(0, 0.3, 2) * stage.duration, period)
    contact = of_beat(hit, knobs.many(HITS)) * burst(t, knobs.log(1e-4, 4e-3), knobs.log(2e-3, 0.06))
    rough = knobs.linear(0, 1)
    struck = contact * (1 - rough + rough * stage.noise(knobs.many(1)))
    spectrum = stage.spectrum(struck)
    return stage.signal(spectrum * (body + knobs.linear(0, 0.5, 2)))


def _modes(knobs: Knobs) -> Tensor:
    """(B, 20) Hz: f k^p, from the even spacing of strings (p = 1) to that of bars (p = 2), out of tune by some."""
    number = torch.arange(1, MODES + 1, device=knobs.device, dtype=torch.float32)
    ratio = number ** knobs.linear(0.7, 2.1)
    astray = 1 + knobs.linear(0, 0.4, 2) * (knobs.many(MODES) - 0.5)
    return knobs.log(50, 2500) * ratio * astray


def _strengths(knobs: Knobs) -> Tensor:
    """(B, 20) of the modes, by where the body is struck and how hard what strikes it is."""
    number = torch.arange(1, MODES + 1, device=knobs.device, dtype=torch.float32)
    struck_at = torch.sin(math.pi * number * knobs.linear(0.03, 0.5))
    return struck_at * number ** -knobs.linear(0, 1.6)
