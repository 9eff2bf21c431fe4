"""The filters that several generators share: a colour given to a signal by its spectrum."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import Stage, resonance

__all__ = ["band_pass", "coloured", "low_pass"]


def low_pass(knobs: Knobs, stage: Stage) -> Tensor:
    """The response (B, n_bins) of a resonant low-pass with some of the band and of what lies above it."""
    cutoff, quality = knobs.log(250, 7500), knobs.log(0.6, 8)
    band, high = knobs.linear(0, 1), knobs.linear(0, 0.3, 3)
    return resonance(stage.f, cutoff, quality, torch.ones_like(high), band, high)


def band_pass(knobs: Knobs, stage: Stage, low: float, high: float) -> Tensor:
    """The response of a band between ``low`` and ``high`` Hz, broad or narrow, of gain 1 in its middle."""
    centre, quality = knobs.log(low, high), knobs.log(0.5, 12)
    none = torch.zeros_like(centre)
    return resonance(stage.f, centre, quality, none, torch.ones_like(centre), none)


def coloured(knobs: Knobs, stage: Stage) -> Tensor:
    """The response to noise that makes it f^(-slope), from rising to brown, with a band that stands out of it."""
    slope = knobs.linear(-0.5, 1.5)
    tilt = torch.exp(-slope * torch.log((stage.f + 50) / 1000))
    return tilt * (1 + knobs.linear(0, 8, 2) * band_pass(knobs, stage, 100, 7000))
