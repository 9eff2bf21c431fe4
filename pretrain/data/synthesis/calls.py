"""What calls: birds, insects, frogs, sirens, alarms and beeps, as repeated sweeps of a nearly pure tone."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import Stage, beats, glide_phase, harmonics, of_beat, sine, vibrato_phase

__all__ = ["call"]

NOTES = 4  # of different loudness and pitch in turn


def call(knobs: Knobs, stage: Stage) -> Tensor:
    """(B, n): notes that sweep from one pitch to another, with a trill, and a pause after each."""
    period = knobs.log(0.03, 1.2)
    begin = stage.t - knobs.linear(-0.3, 0.3) * stage.duration
    since, note = beats(begin, period)
    pitch, sweep = knobs.log(200, 5000), knobs.log(0.4, 2.5)
    pitch = pitch * torch.exp(knobs.linear(0, 0.7, 2) * (of_beat(note, knobs.many(NOTES)) - 0.5))
    cycles = glide_phase(since, pitch * sweep, pitch, period * knobs.log(0.05, 1.0))
    trill = vibrato_phase(since, knobs.log(8, 80), pitch * knobs.linear(0, 0.2, 2), knobs.many(1))
    highest = 1.2 * pitch.amax(1, keepdim=True) * sweep.clamp(min=1)
    tone = harmonics(cycles + trill, knobs.linear(0, 0.8, 2), highest, stage.nyquist)
    share = knobs.linear(0.1, 0.95)  # of the period that sounds
    place = (since / (period * share)).clamp(0, 1)
    arch = torch.sin(torch.pi * place).clamp(min=0)
    steep = knobs.linear(0.3, 3)
    window = (1 + steep) * arch / (1 + steep * arch)  # from a bow to a plateau with edges
    roughness = 1 + knobs.linear(0, 1, 3) * sine(stage.t * knobs.log(20, 150))
    breath = knobs.linear(0, 0.3, 3) * stage.noise(knobs.many(1))
    return (tone * roughness + breath) * window * of_beat(note, knobs.many(NOTES))
