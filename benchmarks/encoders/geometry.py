"""Where the frames of an encoder lie in the audio, and how long audio is cut into chunks on the grid of frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from hear_delores.errors import DeloresError

__all__ = ["Chunk", "Geometry", "chunks", "convolutions", "measured"]


@dataclass(frozen=True)
class Geometry:
    """Which samples the frames see: frame ``i`` sees ``field`` samples from ``first + i * stride`` on.

    Attributes:
        stride: the hop between frames, in samples.
        field: the receptive field of a frame, in samples.
        first: the first sample that frame 0 sees; it is negative where an encoder pads.
        padded: whether there is a frame for every centre within the audio (the encoder pads); otherwise a frame needs
            all of its samples.
    """

    stride: Fraction
    field: Fraction
    first: Fraction = Fraction(0)
    padded: bool = False

    def centre(self, frame: int) -> Fraction:
        """The sample in the middle of what a frame sees, counted from 0."""
        return self.first + (self.field - 1) / 2 + frame * self.stride

    def count(self, n_samples: int) -> int:
        """The number of frames of audio of ``n_samples``; at least 1."""
        if self.padded:
            return max(1, -((self.centre(0) - n_samples) // self.stride))
        return max(1, (n_samples - self.field) // self.stride + 1)


def convolutions(kernels: Sequence[int], strides: Sequence[int]) -> Geometry:
    """The geometry of the frames of successive convolutions without padding.

    >>> wav2vec2 = convolutions((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    >>> int(wav2vec2.field), int(wav2vec2.stride), wav2vec2.count(16000)
    (400, 320, 49)
    """
    field, stride = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        field, stride = field + (kernel - 1) * stride, stride * step
    return Geometry(Fraction(stride), Fraction(field))


def measured(count: Callable[[int], int], longest: int, frames: int = 32) -> Geometry:
    """The geometry of the frames of an encoder, found from their number for audio of several lengths.

    Args:
        count: number of samples -> number of frames, 0 where the audio is too short.
        longest: a number of samples that is certainly enough for ``frames`` frames.

    Raises:
        DeloresError: the number does not grow with the audio.
    """
    if count(longest) <= frames or count(longest) == count(longest // 2):
        raise DeloresError("the number of its frames does not grow with the audio, so that they cannot be placed")

    def shortest(wanted: int, low: int = 0, high: int = longest) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if count(middle) >= wanted else (middle, high)
        return high

    one = shortest(1)
    first = count(one)
    stride = Fraction(shortest(first + frames) - shortest(first + 1), frames - 1)
    return Geometry(stride, Fraction(one) - (first - 1) * stride)


@dataclass(frozen=True)
class Chunk:
    """Samples ``start`` to ``stop`` of the audio; of their frames, ``keep`` are kept after the first ``drop``."""

    start: int
    stop: int
    drop: int
    keep: int


def chunks(geometry: Geometry, n_samples: int, length: int, overlap: int) -> list[Chunk]:
    """The chunks of audio of ``n_samples``: together they keep each frame of the whole once, in order.

    Each chunk begins on the grid of frames, and neighbours share ``overlap`` samples or a little more. Of two frames at
    the same place, the one further inside its chunk is kept. The last chunk is as long as the others, to within the
    grid, and overlaps more.

    Args:
        length: of a chunk, in samples.
        overlap: of neighbouring chunks, in samples.
    """
    if n_samples <= length:
        return [Chunk(0, n_samples, 0, geometry.count(n_samples))]
    grid, per_grid = geometry.stride.numerator, geometry.stride.denominator
    # No frame may be lost between two chunks, however small the overlap is.
    reach = math.floor(geometry.count(length) * geometry.stride)
    step = max(grid, min(length - overlap, reach) // grid * grid)
    last = -((length - n_samples) // grid) * grid
    starts = [*range(0, last, step), last]
    ends = [min(start + length, n_samples) for start in starts]
    firsts = [start // grid * per_grid for start in starts]  # the numbers of the chunks' first frames in the whole
    afters = [first + geometry.count(end - start) for first, start, end in zip(firsts, starts, ends, strict=True)]
    total = geometry.count(n_samples)
    # Of the frames that two chunks share, the first half is kept from the earlier chunk.
    borders = [0, *((first + after + 1) // 2 for first, after in zip(firsts[1:], afters, strict=False)), total]
    return [
        Chunk(start, end, border - first, after - border)
        for start, end, first, border, after in zip(starts, ends, firsts, borders, borders[1:], strict=False)
    ]
