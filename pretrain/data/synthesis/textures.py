"""Noises: wind, water, fire, crowds, machines and static, as coloured noise that swells, flutters or crackles."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.synthesis.filters import coloured
from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import Stage, control, norm, sine

__all__ = ["texture"]

POINTS = 10  # of the slow change of loudness
LOG_PER_DB = 0.11512925464970229  # of an amplitude


def texture(knobs: Knobs, stage: Stage) -> Tensor:
    """(B, n): noise, dense or of single grains, in two colours between which it wavers."""
    noise = stage.noise(knobs.many(1))
    grains = torch.where(noise.abs() > knobs.linear(0, 3.6), noise, 0.0) * stage.drawn(_loudness(knobs, stage))
    spectrum = stage.spectrum(grains)
    responses = [coloured(knobs, stage) for _ in range(2)]
    dark, bright = (stage.signal(spectrum * (response * (1 / norm(response)))) for response in responses)
    place = control(knobs.many(POINTS), stage.slow.shape[1])
    return torch.lerp(dark, bright, stage.drawn(knobs.linear(0, 1) * place))


def _loudness(knobs: Knobs, stage: Stage) -> Tensor:
    """Slow swells of up to 40 dB, and a flutter between the rates of waves and of motors, at the slow times."""
    points = control(knobs.many(POINTS), stage.slow.shape[1])
    swell = torch.exp(LOG_PER_DB * knobs.linear(0, 40, 2) * (points - 0.5))
    flutter = sine(stage.slow * knobs.log(1, 80) + knobs.many(1))
    return swell * (1 + knobs.linear(0, 1, 2) * flutter)
