"""What each sound is: a vector of numbers in [0, 1), a pure function of the seed and of the sound's number.

Some of its numbers say what kind of sound it is and stay as they are; the others say how it sounds, and are moved when
a neighbour is wanted: by ``delta`` times a normal deviate each, as in "Audio Doppelgängers" (Cherep and Singh, ICLR
2025, arXiv 2406.05923). Where the paper clips what leaves [0, 1], it is reflected here: neighbours are then as evenly
spread as their centres, and do not gather at the ends.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["KINDS", "LAYERS", "SCENE", "WIDTH", "Knobs", "Sounds", "draw", "reflect"]

LAYERS = 2  # sounds that one clip is mixed of, at most
KINDS = 8  # numbers that stay: what is mixed
WIDTH = 64  # numbers of one layer
SCENE = 16  # numbers of the mixture: levels and the room
MOVED = LAYERS * WIDTH + SCENE
WORDS = KINDS + 3 * MOVED  # the centre, and two deviates for every number that moves
PER_COUNT = 4  # words that Philox gives for each value of its counter
assert WORDS % PER_COUNT == 0


class Sounds(NamedTuple):
    """A batch of parameter vectors.

    Attributes:
        kinds: (B, 8) float32 in [0, 1], what is mixed.
        layers: (B, 2, 64) float32 in [0, 1], how either sound of the mixture sounds.
        scene: (B, 16) float32 in [0, 1], levels and the room.
    """

    kinds: Tensor
    layers: Tensor
    scene: Tensor

    def rows(self, rows: slice) -> Sounds:
        """The parameters of some of the sounds."""
        return Sounds(*(part[rows] for part in self))


def draw(key: tuple[int, ...], first: int, count: int, delta: float = 0.0) -> tuple[Sounds, Sounds]:
    """The sounds ``first`` .. ``first + count - 1`` of a stream, each moved to two of its neighbours.

    Args:
        key: names the stream; another key is another stream.
        delta: the deviation of what is moved, of numbers that lie in [0, 1]. With 0, both are the centre itself.

    Returns:
        Two batches of ``count`` sounds on the CPU.
    """
    bits = np.random.Philox(np.random.SeedSequence(key), counter=first * (WORDS // PER_COUNT))
    words = bits.random_raw(count * WORDS).reshape(count, WORDS)
    uniform = torch.from_numpy((words >> np.uint64(11)).astype(np.float64) * 2.0**-53)
    kinds, centre, *deviates = uniform.split([KINDS, MOVED, MOVED, MOVED], dim=1)
    if not delta:
        same = _sounds(kinds, centre)
        return same, same
    normal = (torch.special.ndtri(deviate.clamp(min=2.0**-54)) for deviate in deviates)
    first_one, second_one = (_sounds(kinds, reflect(centre + delta * deviate)) for deviate in normal)
    return first_one, second_one


def _sounds(kinds: Tensor, moved: Tensor) -> Sounds:
    layers, scene = moved.split([LAYERS * WIDTH, SCENE], dim=1)
    return Sounds(kinds.float(), layers.reshape(-1, LAYERS, WIDTH).float(), scene.float())


def reflect(x: Tensor) -> Tensor:
    """``x`` folded into [0, 1] at its ends, as by mirrors: what was uniform stays uniform."""
    folded = torch.remainder(x, 2.0)
    return torch.minimum(folded, 2.0 - folded)


class Knobs:
    """Hands out the numbers of a parameter vector one after another, each mapped to the range of what it stands for.

    Args:
        values: (B, P) float32 in [0, 1].
    """

    def __init__(self, values: Tensor) -> None:
        self._values, self._next = values, 0
        self.device = values.device

    def many(self, count: int) -> Tensor:
        """(B, count), the numbers themselves."""
        taken = self._values[:, self._next : self._next + count]
        if taken.shape[1] < count:
            raise IndexError(f"a sound has {self._values.shape[1]} parameters, and {count} more are asked for")
        self._next += count
        return taken

    def linear(self, low: float, high: float, power: float = 1.0) -> Tensor:
        """(B, 1), from ``low`` to ``high``; with a ``power`` above 1, values near ``low`` are more frequent."""
        u = self.many(1)
        return low + (high - low) * (u if power == 1 else u**power)

    def log(self, low: float, high: float) -> Tensor:
        """(B, 1), log-uniform from ``low`` to ``high``."""
        return torch.exp(math.log(low) + math.log(high / low) * self.many(1))
