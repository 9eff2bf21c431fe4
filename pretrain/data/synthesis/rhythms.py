"""What beats: patterns of a drum whose pitch drops and of bursts of noise, from slow steps to rattling."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.synthesis.filters import band_pass
from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import Stage, beats, burst, glide_phase, of_beat, sine

__all__ = ["rhythm"]

BEATS = 8  # of the pattern, which is then repeated


def rhythm(knobs: Knobs, stage: Stage) -> Tensor:
    """(B, n): a drum and a rattle, each with its own accents on one grid of beats."""
    period = knobs.log(0.03, 0.7)
    begin = stage.t - knobs.linear(-0.3, 0.3) * stage.duration
    since, beat = beats(begin, period)
    low = knobs.log(35, 600)
    cycles = glide_phase(since, low * knobs.log(1, 6), low, knobs.log(0.005, 0.08))
    drum = sine(cycles) * of_beat(beat, _accents(knobs)) * burst(since, knobs.log(5e-4, 5e-3), knobs.log(0.02, 0.7))
    since, beat = beats(begin - knobs.linear(0, 1, 3) * period, period)
    rattle = (
        stage.noise(knobs.many(1))
        * of_beat(beat, _accents(knobs))
        * burst(since, knobs.log(5e-4, 0.02), knobs.log(0.01, 0.4))
    )
    rattle = stage.signal(stage.spectrum(rattle) * band_pass(knobs, stage, 300, 7500))
    balance = knobs.linear(0, 1)
    return (1 - balance) * drum + balance * 2 * rattle


def _accents(knobs: Knobs) -> Tensor:
    """(B, 8) of the beats: about a third of them are silent, the first one is not."""
    accents = ((knobs.many(BEATS) - 0.35) / 0.65).clamp(min=0)
    return torch.cat([accents[:, :1] + 0.2, accents[:, 1:]], 1)
