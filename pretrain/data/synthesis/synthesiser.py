"""Parameter vectors -> clips: the family of generators, mixtures of two of them, rooms, levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pretrain.config import SOUND_FAMILIES
from pretrain.data.synthesis.calls import call
from pretrain.data.synthesis.impacts import impact
from pretrain.data.synthesis.parameters import KINDS, LAYERS, Knobs, Sounds
from pretrain.data.synthesis.rhythms import rhythm
from pretrain.data.synthesis.rooms import room
from pretrain.data.synthesis.signals import Stage, norm
from pretrain.data.synthesis.speech import speech
from pretrain.data.synthesis.textures import texture
from pretrain.data.synthesis.voices import voice

__all__ = ["GENERATORS", "LOUDEST", "Synthesiser"]

GENERATORS: dict[str, Callable[[Knobs, Stage], Tensor]] = {
    "voice": voice,
    "impact": impact,
    "texture": texture,
    "speech": speech,
    "rhythm": rhythm,
    "call": call,
}
assert tuple(GENERATORS) == SOUND_FAMILIES
MIXED, ROOMS = 0.25, 0.25  # shares of the clips that hold two sounds, and of those that are in a room
LOUDEST = 0.9  # of full scale, the largest peak of a clip
CACHED_SOUNDS = 16  # whose signals, of a second, stay in a processor's cache


class Synthesiser:
    """Makes clips of parameter vectors, all of one length, on one device.

    Args:
        n_samples: of a clip.
        families: names out of :data:`GENERATORS`, each as frequent as its place in the list is wide.
    """

    def __init__(
        self,
        n_samples: int,
        sample_rate: int = 16000,
        families: Sequence[str] = SOUND_FAMILIES,
        device: torch.device | str = "cpu",
    ) -> None:
        self.stage = Stage(n_samples, sample_rate, device)
        self.generators = [GENERATORS[name] for name in families]

    @torch.no_grad()
    def __call__(self, sounds: Sounds) -> Tensor:
        """(B, n_samples) float32 within [-0.9, 0.9], on the device. A clip is a function of its own vector alone,
        to the rounding of float32; made in the same batch, bit for bit."""
        kinds, device = Kinds(sounds.kinds, len(self.generators)), self.stage.device
        layers, scene = sounds.layers.to(device), Knobs(sounds.scene.to(device))
        values = torch.cat([layers[:, 0], layers[kinds.mixed, 1]])
        families = torch.cat([kinds.families[:, 0], kinds.families[kinds.mixed, 1]])
        played = self._play(values, families)
        clips, second = played[: len(layers)], played[len(layers) :]
        quieter = scene.log(0.06, 1)
        clips[kinds.mixed] += quieter[kinds.mixed] * second
        in_room = scene.many(6)
        for rows in self._groups(kinds.in_rooms):
            clips[rows] = room(clips[rows], Knobs(in_room[rows]), self.stage)
        return self._finished(clips, scene)

    def _play(self, values: Tensor, families: Tensor) -> Tensor:
        """Each sound by the generator of its family, at a root mean square of 1; silence stays silent."""
        sounds = values.new_empty(len(values), self.stage.n_samples)
        for number, generator in enumerate(self.generators):
            for rows in self._groups(torch.nonzero(families == number)[:, 0]):
                sound = generator(Knobs(values[rows]), self.stage)
                sounds[rows] = sound * (self.stage.n_samples**0.5 / norm(sound).clamp(min=1e-4))
        return sounds

    def _groups(self, rows: Tensor) -> Sequence[Tensor]:
        """The rows that are worked on at a time: all on a GPU, few enough for the cache of a processor."""
        return rows.split(CACHED_SOUNDS if self.stage.device.type == "cpu" else max(len(rows), 1)) if len(rows) else ()

    def _finished(self, clips: Tensor, scene: Knobs) -> Tensor:
        """Each clip at its level, over the noise of a recording."""
        level, floor = scene.log(0.02, 1), scene.log(1e-5, 5e-3)
        place = scene.many(1)
        for rows in self._groups(torch.arange(len(clips))):
            clip = clips[rows] * (level[rows] / peak(clips[rows]).clamp(min=1e-6))
            clip.addcmul_(floor[rows], self.stage.noise(place[rows]))
            clips[rows] = clip * (LOUDEST / peak(clip).clamp(min=1.0))
        return clips


def peak(sounds: Tensor) -> Tensor:
    """(B, 1) largest magnitude of each."""
    return sounds.abs().amax(1, keepdim=True)


class Kinds:
    """What the numbers that stay mean: on the CPU, for they choose what is computed.

    Attributes:
        families: (B, 2) int64, the generator of either layer.
        mixed, in_rooms: (k,) int64, the clips that have a second layer, and those in a room.
    """

    def __init__(self, kinds: Tensor, generators: int) -> None:
        if kinds.shape[1] != KINDS:
            raise ValueError(f"expected (B, {KINDS}) kinds, got {tuple(kinds.shape)}")
        self.families = (kinds[:, :LAYERS] * generators).long().clamp(max=generators - 1)
        self.mixed = torch.nonzero(kinds[:, LAYERS] < MIXED)[:, 0]
        self.in_rooms = torch.nonzero(kinds[:, LAYERS + 1] < ROOMS)[:, 0]
