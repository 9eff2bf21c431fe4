"""Rooms: the sound, and the echoes of walls as noise that decays, duller than what they answer to."""

from __future__ import annotations

from torch import Tensor

from pretrain.data.synthesis.parameters import Knobs
from pretrain.data.synthesis.signals import Stage, decay, norm

__all__ = ["room"]

LONGEST_S = 0.5  # of the echoes that are computed


def room(sound: Tensor, knobs: Knobs, stage: Stage) -> Tensor:
    """(B, n): the sound with echoes that begin after the way to the nearest wall and fade by 60 dB in 0.1 to 1.5 s."""
    samples = min(round(LONGEST_S * stage.sample_rate), stage.n_samples)
    delay, t60 = knobs.log(0.002, 0.03), knobs.log(0.1, 1.5)
    envelope = stage.drawn(decay(stage.slow - delay, t60))[:, :samples]
    walls = 1 / (1 + (stage.f / knobs.log(800, 8000)) ** 2)
    echoes = stage.spectrum(stage.noise(knobs.many(1))[:, :samples] * envelope) * walls
    strength = knobs.log(0.1, 2.0) * (stage.f.shape[1] ** 0.5 / norm(echoes).clamp(min=1e-3))
    return stage.signal(stage.spectrum(sound) * (1 + strength * echoes))
