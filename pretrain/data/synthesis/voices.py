"""A synthesiser's voice: two oscillators with vibrato, glide and frequency modulation, noise, envelopes, a filter."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.synthesis.filters import low_pass
from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import (
    Stage,
    adsr,
    glide_phase,
    harmonics,
    odd_harmonics,
    sine,
    vibrato_phase,
)

__all__ = ["voice"]


def voice(knobs: Knobs, stage: Stage) -> Tensor:
    """(B, n): two oscillators and noise, each with an envelope, through a resonant low-pass that opens and closes."""
    t = stage.slow - knobs.linear(0, 0.3, 2) * stage.duration
    pitch = knobs.log(50, 1600)
    cycles = _cycles(knobs, stage, t, pitch)
    interval, balance = knobs.log(0.5, 2.0), knobs.linear(0, 1)
    first = harmonics(cycles, knobs.linear(0, 1), 1.2 * pitch, stage.nyquist)
    second = odd_harmonics(cycles * interval, knobs.linear(0, 1), 1.2 * pitch * interval, stage.nyquist)
    loudness = _envelope(knobs, t, stage) * _tremolo(knobs, t)
    hiss = stage.noise(knobs.many(1)) * stage.drawn(_envelope(knobs, t, stage) * knobs.linear(0, 0.7, 3))
    tone = torch.lerp(first, second, balance).mul_(stage.drawn(loudness))
    opened = tone.add_(hiss)
    closed = stage.signal(stage.spectrum(opened) * low_pass(knobs, stage))
    return torch.lerp(closed, opened, stage.drawn(_envelope(knobs, t, stage) * knobs.linear(0, 1)))


def _cycles(knobs: Knobs, stage: Stage, t: Tensor, pitch: Tensor) -> Tensor:
    """The phase of an oscillator of a pitch that glides in, trembles, and is modulated by a third oscillator."""
    start = pitch * (1 + knobs.linear(-0.4, 0.6) * knobs.linear(0, 1, 2))
    cycles = glide_phase(t.clamp(min=0), start, pitch, knobs.log(0.02, 0.6))
    cycles = cycles + vibrato_phase(t, knobs.log(2, 9), pitch * knobs.linear(0, 0.06, 2), knobs.many(1))
    modulator = sine(stage.t * (pitch * knobs.log(0.5, 6)))
    return stage.drawn(cycles) + knobs.linear(0, 0.6, 4) * modulator


def _envelope(knobs: Knobs, t: Tensor, stage: Stage) -> Tensor:
    attack, fall, release = knobs.log(0.003, 0.3), knobs.log(0.04, 1.0), knobs.log(0.02, 0.4)
    return adsr(t, attack, fall, knobs.linear(0, 1), knobs.linear(0.15, 1.2) * stage.duration, release)


def _tremolo(knobs: Knobs, t: Tensor) -> Tensor:
    depth = knobs.linear(0, 1, 2)
    return 1 - depth * (0.5 + 0.5 * sine(t * knobs.log(2, 25) + knobs.many(1)))
