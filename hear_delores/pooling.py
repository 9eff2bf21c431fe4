"""The parts of embeddings: statistics over time, accumulated piece by piece, and outputs at or around a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hear_delores.encoder import EncoderConfig
from hear_delores.errors import DeloresError, did_you_mean

__all__ = [
    "DECORRELATED",
    "SCENE_PARTS",
    "TIMESTAMP_PARTS",
    "RunningStatistics",
    "check_scene",
    "check_timestamp",
    "part_width",
    "plain_part",
    "scene_size",
    "scene_source",
    "timestamp_size",
    "timestamp_window",
    "window_statistic",
]

STATISTICS = ("mean", "max", "std", "thirds")
THIRDS = 3
SOURCES = ("frames", "layer1", "layer2", "layer3")
SCENE_PARTS = ("pooled", *(f"{source}_{statistic}" for source in SOURCES for statistic in STATISTICS))
"""Names of the parts of a scene embedding. "pooled" is the papers': maximum + mean of the frames. "thirds" are the
means over the first, the second and the last third of the clip. The suffix "_decorrelated" names the part after the
map that the checkpoint holds for it, see ``decorrelation``."""
DECORRELATED = "_decorrelated"

TIMESTAMP_PARTS = ("frames", "layer3")
"""Names of the parts of a timestamp embedding, all of which have the same timestamps. "frames" is the papers'. The
suffixes "_mean_5" and "_std_5" name the mean and the standard deviation over the 5 timestamps around a time; any odd
number from 3 to ``WIDEST`` may stand there."""
WIDEST = 101  # timestamps: 4 s at the papers' hop
WINDOW = re.compile(rf"({'|'.join(TIMESTAMP_PARTS)})_(mean|std)_([1-9][0-9]{{0,5}})", re.ASCII)


def check_scene(scene: Sequence[str]) -> tuple[str, ...]:
    """``scene`` as a tuple of known part names; a string is split at its commas.

    Raises:
        DeloresError: it is empty, or names an unknown part.
    """
    return _check("scene", scene, (*SCENE_PARTS, *(part + DECORRELATED for part in SCENE_PARTS)))


def check_timestamp(timestamp: Sequence[str]) -> tuple[str, ...]:
    """``timestamp`` as a tuple of known part names; a string is split at its commas.

    Raises:
        DeloresError: it is empty, names an unknown part, or a window is not an odd number from 3 to ``WIDEST``.
    """
    examples = [f"{part}_{statistic}_5" for part in TIMESTAMP_PARTS for statistic in ("mean", "std")]
    chosen = _check("timestamp", timestamp, (*TIMESTAMP_PARTS, *examples), WINDOW)
    for part in chosen:
        _, _, width = timestamp_window(part)
        if WINDOW.fullmatch(part) and not (width % 2 and 3 <= width <= WIDEST):
            raise DeloresError(
                f"Expected the window of timestamp part {part!r} to be an odd number from 3 to {WIDEST}, "
                f"but got {width}."
            )
    return chosen


def timestamp_window(part: str) -> tuple[str, str, int]:
    """The source, the statistic and the window in timestamps of a part; a part without a window is a mean over 1."""
    match = WINDOW.fullmatch(part)
    return (match[1], match[2], int(match[3])) if match else (part, "mean", 1)


def _check(
    name: str, parts: Sequence[str], known: Sequence[str], more: re.Pattern[str] | None = None
) -> tuple[str, ...]:
    if isinstance(parts, str) and parts:
        parts = [part.strip() for part in parts.split(",")]
    if isinstance(parts, str) or not isinstance(parts, Sequence) or not parts:
        raise DeloresError(f"Expected `{name}` to be a list of part names such as [{known[0]!r}], but got {parts!r}.")
    for part in parts:
        if part not in known and not (more and isinstance(part, str) and more.fullmatch(part)):
            raise DeloresError(f"Unknown {name} part {part!r}. {did_you_mean(str(part), known)}")
    return tuple(parts)


def plain_part(part: str) -> str:
    """The name of a scene part without its "_decorrelated"."""
    return part.removesuffix(DECORRELATED)


def scene_source(part: str) -> str:
    """The source that a part is computed from: "frames", "layer1", "layer2" or "layer3"."""
    plain = plain_part(part)
    return "frames" if plain == "pooled" else plain.partition("_")[0]


def part_width(part: str, config: EncoderConfig) -> int:
    """The number of dimensions of a part's source; a part of "thirds" has three times as many."""
    return _sizes(config)[scene_source(part)]


def scene_size(scene: Sequence[str], config: EncoderConfig, mapped: Mapping[str, int]) -> int:
    """The number of dimensions of a scene embedding of these parts.

    ``mapped``: the plain name of a decorrelated part -> its number of dimensions (of "thirds": of each third).
    """
    return sum(
        (mapped[plain_part(part)] if part.endswith(DECORRELATED) else part_width(part, config))
        * (THIRDS if _statistic(part) == "thirds" else 1)
        for part in scene
    )


def timestamp_size(timestamp: Sequence[str], config: EncoderConfig) -> int:
    """The number of dimensions of timestamp embeddings of these parts."""
    sizes = _sizes(config)
    return sum(sizes[timestamp_window(part)[0]] for part in timestamp)


def _sizes(config: EncoderConfig) -> dict[str, int]:
    return dict(zip(SOURCES, (config.embedding_size, *config.layer_sizes), strict=True))


def _statistic(part: str) -> str:
    plain = plain_part(part)
    return "pooled" if plain == "pooled" else plain.rpartition("_")[2]


def window_statistic(values: Tensor, statistic: str, width: int) -> Tensor:
    """The mean or the standard deviation ("std") over the ``width`` frames around each frame, fewer at the ends.

    The deviation divides by the count. It takes two passes, and adds the frames of a window one after another: so where
    a piece of a clip holds the whole window, the result is that of the whole clip, to the bit.

    Args:
        values: (B, T, D) floating point, T >= 1.
        width: odd.

    Returns:
        (B, T, D) of the same dtype.
    """
    if width == 1:
        return values
    total = values.shape[1]
    around = (0, 0, width // 2, width // 2)
    inside = F.pad(values.new_ones(1, total, 1), around)
    padded = F.pad(values, around)
    count = sum(inside[:, shift : shift + total] for shift in range(width))
    mean = sum(padded[:, shift : shift + total] for shift in range(width)) / count
    if statistic == "mean":
        return mean
    squares = torch.zeros_like(values)
    for shift in range(width):
        squares = squares + inside[:, shift : shift + total] * (padded[:, shift : shift + total] - mean).square()
    return (squares / count).sqrt()


class RunningStatistics:
    """Statistics over time of (B, T, D) values that arrive in pieces: maximum, mean, deviation, means of thirds.

    Pieces are merged by the pairwise update of Chan, Golub and LeVeque (1979), which avoids cancellation in float32,
    however many pieces there are.

    Args:
        parts: the scene parts that will be read; deviations and thirds are computed only if one of them needs them.
        total: the number of frames of all pieces together. The thirds are [0, total / 3), and so on, each at least one
            frame.
    """

    def __init__(self, parts: Sequence[str], total: int) -> None:
        self.count = 0
        self._max: Tensor | None = None
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None  # sum of squared deviations from the mean
        self._thirds: list[Tensor] = []  # (B, D) means, to which each piece adds its sum / size of the third
        starts = [third * total // THIRDS for third in range(THIRDS)]
        self._bounds = [(a, max(a + 1, (k + 1) * total // THIRDS)) for k, a in enumerate(starts)]
        self._wanted = {_statistic(part) for part in parts}

    def update(self, values: Tensor) -> None:
        """Adds a piece: (B, T, D), T >= 1, of any floating dtype; float32 accumulates it."""
        values = values.float()
        count = values.shape[1]
        if "thirds" in self._wanted:
            self._add_thirds(values)
        mean = values.mean(1)
        squares = (values - mean[:, None]).square().sum(1) if "std" in self._wanted else torch.zeros_like(mean)
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

    def _add_thirds(self, values: Tensor) -> None:
        shares = []
        for start, stop in self._bounds:
            inside = values[:, max(0, start - self.count) : max(0, stop - self.count)]
            shares.append(inside.sum(1) / (stop - start))
        self._thirds = [a + b for a, b in zip(self._thirds, shares, strict=True)] if self._thirds else shares

    def part(self, name: str) -> Tensor:
        """The statistic of a scene part, without its map: (B, D) float32; of thirds (B, 3 D).

        The standard deviation divides by the count.

        Raises:
            DeloresError: no piece was added.
        """
        if self._max is None or self._mean is None or self._squares is None:
            raise DeloresError("Expected at least one frame before the statistics are read, but got none.")
        statistic = _statistic(name)
        if statistic == "pooled":
            return self._max + self._mean
        if statistic == "thirds":
            return torch.cat(self._thirds, dim=1)
        if statistic == "std":
            variance = self._squares / self.count
            # The gradient of the root is infinite at 0: a dimension that is constant over time gets the gradient 0.
            return torch.where(variance == 0, 1.0, variance).sqrt() * (variance != 0)
        return self._max if statistic == "max" else self._mean
