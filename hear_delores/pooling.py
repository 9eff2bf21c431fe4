"""Statistics over time, accumulated piece by piece: what a scene embedding is made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hear_delores.encoder import EncoderConfig
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["SCENE_PARTS", "RunningStatistics", "check_scene", "scene_size", "scene_source"]

STATISTICS = ("mean", "max", "std")
SOURCES = ("frames", "layer1", "layer2", "layer3")
SCENE_PARTS = ("pooled", *(f"{source}_{statistic}" for source in SOURCES for statistic in STATISTICS))
"""Names of the parts of a scene embedding. "pooled" is the papers': maximum + mean of the frames."""


def check_scene(scene: Sequence[str]) -> tuple[str, ...]:
    """``scene`` as a tuple of known part names; a string of them is split at its commas.

    Raises:
        DeloresError: it is empty, or names an unknown part.
    """
    if isinstance(scene, str) and scene:
        scene = [part.strip() for part in scene.split(",")]
    if isinstance(scene, str) or not isinstance(scene, Sequence) or not scene:
        raise DeloresError(f"Expected `scene` to be a list of part names such as ['pooled'], but got {scene!r}.")
    for part in scene:
        if part not in SCENE_PARTS:
            raise DeloresError(f"Unknown scene part {part!r}. {did_you_mean(str(part), SCENE_PARTS)}")
    return tuple(scene)


def scene_source(part: str) -> str:
    """What a part is computed from: "frames", "layer1", "layer2" or "layer3"."""
    return "frames" if part == "pooled" else part.partition("_")[0]


def scene_size(scene: Sequence[str], config: EncoderConfig) -> int:
    """The number of dimensions of the scene embedding made of these parts."""
    sizes = dict(zip(SOURCES, (config.embedding_size, *config.layer_sizes), strict=True))
    return sum(sizes[scene_source(part)] for part in scene)


class RunningStatistics:
    """Maximum, mean and standard deviation over time of (B, T, D) values that arrive in pieces.

    Pieces are merged by the pairwise update of Chan, Golub and LeVeque (1979), so that nothing is lost to
    cancellation in float32, however many pieces there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._max: Tensor | None = None
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None  # sum of squared deviations from the mean

    def update(self, values: Tensor) -> None:
        """Adds a piece: (B, T, D), T >= 1, of any floating dtype (accumulated in float32)."""
        values = values.float()
        count = values.shape[1]
        mean = values.mean(1)
        squares = (values - mean[:, None]).square().sum(1)
        maximum = values.amax(1)
        if self._max is None or self._mean is None or self._squares is None:
            self.count, self._max, self._mean, self._squares = count, maximum, mean, squares
            return
        total = self.count + count
        delta = mean - self._mean
        self._max = torch.maximum(self._max, maximum)
        self._mean = self._mean + delta * (count / total)
        self._squares = self._squares + squares + delta.square() * (self.count * (count / total))
        self.count = total

    def part(self, name: str) -> Tensor:
        """The (B, D) float32 statistic of a scene part; the standard deviation divides by the count."""
        if self._max is None or self._mean is None or self._squares is None:
            raise DeloresError("Expected at least one frame before the statistics are read, but got none.")
        if name == "pooled":
            return self._max + self._mean
        statistic = name.rpartition("_")[2]
        if statistic == "std":
            variance = self._squares / self.count
            # The root has no gradient at 0: a constant value gets none.
            return torch.where(variance == 0, 1.0, variance).sqrt() * (variance != 0)
        return self._max if statistic == "max" else self._mean
