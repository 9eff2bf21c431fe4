"""The augmentations on a whole batch: DeLoRes' log-mixup-exp with a memory and random resize crop, and an equaliser.

Drawing the random parameters (``sample_*``) is apart from applying them (``apply_*``), so that each can be
tested, and repeated, alone. Those two were introduced by BYOL-A (Niizumi et al. 2021) and are used unchanged. The
equaliser, off unless asked for, is that of FilterAugment (Nam, Kim and Park 2022, arXiv 2110.03282), its linear type.

They act on *normalised* log-mel inputs x' = (x - mean) / std, as the published results did: "silence", the
zeros of the virtual canvas, is then the mean of the pre-training set. ``AugmentConfig.mixup_domain`` can move
the mixing before the normalisation, where exp(x) is a power; the crop stays after it.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import AugmentConfig
from pretrain.distributed.world import ALONE, World

__all__ = [
    "Augmenter",
    "CropParameters",
    "MixupMemory",
    "MixupParameters",
    "apply_mixup",
    "apply_resize_crop",
    "bicubic_weights",
    "sample_crop_parameters",
    "sample_gains",
    "sample_mixup_parameters",
]

LOG_PER_DB = math.log(10) / 10  # of a power
CACHED_CLIPS = 32  # whose views are made together: all that this takes stays in a processor's cache
LARGEST_TABLE = 1 << 18  # outputs of all lengths of crops, 48 bytes each, that are worth keeping
CUBIC_A = -0.75  # the constant of torch.nn.functional.interpolate(mode="bicubic")


class MixupParameters(NamedTuple):
    """Per clip: the share ``alpha`` (B,) float32 of a past input, and its place in the memory, (B,) int64."""

    alpha: Tensor
    place: Tensor


class CropParameters(NamedTuple):
    """Per clip, (B,) int64 each: the crop's first row and column on the canvas, its height and width."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


class MixupMemory(nn.Module):
    """A ring of the last ``size`` inputs, first in, first out. Its buffers belong to the training state."""

    ring: Tensor
    count: Tensor
    pointer: Tensor

    def __init__(self, size: int, n_mels: int, n_frames: int) -> None:
        super().__init__()
        self.register_buffer("ring", torch.zeros(size, n_mels, n_frames))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self._filled: int | None = 0  # as ``count``, which on an accelerator would have to be waited for

    def __len__(self) -> int:
        if self._filled is None:
            self._filled = int(self.count)
        return self._filled

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._filled = None

    def push(self, x: Tensor) -> None:
        """Appends the batch ``x`` (B, n_mels, n_frames); the oldest inputs fall out."""
        size = len(self.ring)
        x = x.detach()[-size:]
        places = (self.pointer + torch.arange(len(x), device=self.ring.device)) % size
        self.ring.index_copy_(0, places, x.to(self.ring))
        self.pointer.copy_((self.pointer + len(x)) % size)
        self.count.copy_((self.count + len(x)).clamp(max=size))
        if self._filled is not None:
            self._filled = min(self._filled + len(x), size)


def sample_mixup_parameters(generator: torch.Generator, batch: int, count: int, ratio: float) -> MixupParameters:
    """Draws alpha = ratio * u, u ~ U(0, 1), and a uniform one of ``count`` >= 1 filled places, per clip."""
    alpha = ratio * torch.rand(batch, generator=generator)
    return MixupParameters(alpha, torch.randint(count, (batch,), generator=generator))


def apply_mixup(x: Tensor, past: Tensor, alpha: Tensor) -> Tensor:
    """log((1 - alpha) exp(x) + alpha exp(past)), per clip, without overflow.

    ``max + log(1 + exp(-|difference|))``, as of torch.logaddexp, whose own loop takes three times as long.

    Args:
        x, past: (B, n_mels, n_frames) float32.
        alpha: (B,) float32 in [0, 1); 0 leaves a clip as it is.
    """
    alpha = alpha.to(x)[:, None, None]
    x, past = x + torch.log1p(-alpha), past + torch.log(alpha)
    largest = torch.maximum(x, past)
    return torch.minimum(x, past, out=x).sub_(largest).exp_().add_(1).log_().add_(largest)


def sample_gains(generator: torch.Generator, batch: int, n_mels: int, config: AugmentConfig) -> Tensor:
    """Draws what is added to the log-mel of each clip: (B, n_mels) float32, natural logarithm of power.

    A level U(-level_db, level_db) of all bands, and an equaliser: gains U(-equaliser_db, equaliser_db) at
    ``equaliser_nodes`` bands that lie evenly from the lowest to the highest, linear in between.
    """
    uniform = 2 * torch.rand(batch, 1 + config.equaliser_nodes, generator=generator) - 1
    nodes = uniform[:, None, 1:] * config.equaliser_db
    curve = F.interpolate(nodes, size=n_mels, mode="linear", align_corners=True)[:, 0]
    return LOG_PER_DB * (uniform[:, :1] * config.level_db + curve)


def sample_crop_parameters(
    generator: torch.Generator, batch: int, n_mels: int, n_frames: int, config: AugmentConfig
) -> CropParameters:
    """Draws a crop per clip: its size first, then a uniform place among those where it fits on the canvas.

    Height int(n_mels * U(crop_freq)), width int(n_frames * U(crop_time)), both at least 1 and at most the
    canvas, which is int(canvas_freq * n_mels) x int(canvas_time * n_frames).
    """
    canvas_height, canvas_width = _canvas(n_mels, n_frames, config)
    height = _uniform_size(generator, batch, n_mels, config.crop_freq, canvas_height)
    width = _uniform_size(generator, batch, n_frames, config.crop_time, canvas_width)
    top = _uniform_place(generator, canvas_height - height)
    left = _uniform_place(generator, canvas_width - width)
    return CropParameters(top, left, height, width)


def _canvas(n_mels: int, n_frames: int, config: AugmentConfig) -> tuple[int, int]:
    return int(config.canvas_freq * n_mels), int(config.canvas_time * n_frames)


def _uniform_size(
    generator: torch.Generator, batch: int, size: int, scale: tuple[float, float], largest: int
) -> Tensor:
    low, high = scale
    factor = low + (high - low) * torch.rand(batch, generator=generator, dtype=torch.float64)
    return (factor * size).long().clamp(1, largest)


def _uniform_place(generator: torch.Generator, room: Tensor) -> Tensor:
    """A uniform integer in 0 .. room, both included, for each clip's ``room`` (B,)."""
    u = torch.rand(len(room), generator=generator, dtype=torch.float64)
    return torch.minimum((u * (room + 1)).long(), room)


def apply_resize_crop(x: Tensor, parameters: CropParameters, config: AugmentConfig) -> Tensor:
    """Each clip's crop of the virtual canvas, resized to the clip's own shape by bicubic interpolation.

    The canvas is zero but for the input in its centre. Interpolation is separable, so each clip takes two
    small matrix products, rows @ x @ columns, where the matrices hold the cubic weights of the pixels that
    lie on the input. Equal to ``interpolate(crop, mode="bicubic", align_corners=True)`` clip by clip.

    Args:
        x: (B, n_mels, n_frames) float32.

    Returns:
        (B, n_mels, n_frames) float32.
    """
    rows, columns = _crop_taps(parameters, x.shape[1], x.shape[2], config, x.device)
    return _resized(x.float(), rows, columns)


def _crop_taps(
    parameters: CropParameters, n_mels: int, n_frames: int, config: AugmentConfig, device: torch.device
) -> tuple[Taps, Taps]:
    """What each row and each column of the resized crops is made of."""
    canvas_height, canvas_width = _canvas(n_mels, n_frames, config)
    top, left, height, width = (p.to(device) for p in parameters)
    rows = _taps(top - (canvas_height - n_mels) // 2, height, n_mels, canvas_height)
    columns = _taps(left - (canvas_width - n_frames) // 2, width, n_frames, canvas_width)
    return rows, columns


def _resized(x: Tensor, rows: Taps, columns: Taps) -> Tensor:
    return torch.bmm(torch.bmm(rows.matrices(), x), columns.matrices(transposed=True))


class Taps(NamedTuple):
    """The four pixels of a line that each output is made of, (B, size, 4) int64, and their weights, float32."""

    pixels: Tensor
    weights: Tensor

    def rows(self, part: slice) -> Taps:
        """Those of some clips."""
        return Taps(self.pixels[part], self.weights[part])

    def matrices(self, *, transposed: bool = False) -> Tensor:
        """(B, size, size) float32: entry (b, o, i), or (b, i, o) transposed, is the weight of pixel i in output o."""
        batch, size, _ = self.pixels.shape
        matrix = self.weights.new_zeros(batch, size, size)
        if transposed:
            return matrix.scatter_add_(1, self.pixels.mT, self.weights.mT)
        return matrix.scatter_add_(2, self.pixels, self.weights)


def bicubic_weights(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Matrices that resize the crop [start, start + length) of a zero-extended line to the line's ``size``.

    Args:
        start: (B,) int64, counted on the line itself: negative starts lie before its first pixel.
        length: (B,) int64, at least 1.

    Returns:
        (B, size, size) float32: entry (b, o, i) is the weight of pixel i of the line in output o.
    """
    return _taps(start, length, size, int(length.max())).matrices()


def _taps(start: Tensor, length: Tensor, size: int, longest: int) -> Taps:
    """The taps of crops [start, start + length) of a line of ``size``, no crop longer than ``longest``."""
    if size * longest <= LARGEST_TABLE:
        pixels, weights = (table[length] for table in _crop_table(size, longest, start.device))
    else:
        pixels, weights = _interpolation(length, size)
    pixels = pixels + start[:, None, None]
    on_line = (pixels >= 0) & (pixels < size)  # what lies beyond the line are the canvas's zeros
    return Taps(pixels.clamp_(0, size - 1), weights * on_line)


@functools.lru_cache(maxsize=8)
def _crop_table(size: int, longest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of crops of 0 .. ``longest`` pixels (0 stands for 1), what a batch looks up in place of computing it."""
    pixels, weights = _interpolation(torch.arange(longest + 1).clamp(min=1), size)
    return pixels.to(device), weights.to(device)


def _interpolation(length: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixels that each output of a resized crop is made of, counted in the crop, and their weights.

    (B, size, 4) int64 and float32, of crops of ``length`` (B,) >= 1 pixels. Beyond the border its last pixel repeats.
    """
    outputs = torch.arange(size, device=length.device, dtype=torch.float64)
    last = length[:, None] - 1
    # align_corners: the first and last output lie on the first and last pixel of the crop
    position = outputs * (last.double() / max(size - 1, 1))
    base = position.floor()
    pixels = base.long()[..., None] + torch.arange(-1, 3, device=length.device)
    return pixels.clamp(min=0).minimum(last[..., None]), _cubic(position - base).float()


def _cubic(t: Tensor) -> Tensor:
    """Keys' cubic convolution weights (..., 4) of the pixels at -1, 0, 1, 2 for a position t in [0, 1)."""
    a = CUBIC_A

    def near(s: Tensor) -> Tensor:  # |s| <= 1
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: Tensor) -> Tensor:  # 1 < |s| < 2
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    return torch.stack([far(t + 1), near(t), near(1 - t), far(2 - t)], dim=-1)


class _Drawn(NamedTuple):
    """The random parameters of a view of a batch; None for what is left out."""

    gains: Tensor | None
    mixup: MixupParameters | None
    crop: tuple[Taps, Taps] | None


class Augmenter(nn.Module):
    """Two random views of a batch of log-mel inputs; its memory is part of the training state.

    Both views of a batch mix with inputs of *earlier* batches, in unaugmented form; the batch enters the
    memory once, after both. The very first batch has no past and is not mixed.

    Each process of ``world`` augments its own rows of the batch, with the parameters that one process would draw
    for them; the memory holds the rows of all, and is the same everywhere.
    """

    def __init__(
        self, config: AugmentConfig, n_mels: int, n_frames: int, mean: float, std: float, world: World = ALONE
    ) -> None:
        super().__init__()
        self.config, self.mean, self.std, self.world = config, mean, std, world
        self.memory = MixupMemory(config.mixup_memory, n_mels, n_frames) if config.mixup else None

    def normalise(self, x: Tensor) -> Tensor:
        """(x - mean) / std with the statistics of the pre-training set."""
        return (x - self.mean).div_(self.std)

    def forward(self, x: Tensor, generator: torch.Generator, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Two views (B, n_mels, n_frames) float32, normalised, of log-mel inputs ``x`` of that shape.

        ``other``: what the second view is made of, if it is not ``x``. The memory keeps ``x``.
        """
        before = self.config.mixup_domain == "log_mel"
        sources = [x, x if other is None else other]
        if not before:
            x = self.normalise(x)
            sources = [x, x if sources[1] is sources[0] else self.normalise(sources[1])]
        views = [self._view(source, generator) for source in sources]
        if self.memory is not None:
            self.memory.push(self.world.gather(x))
        return views[0], views[1]

    def _view(self, x: Tensor, generator: torch.Generator) -> Tensor:
        drawn = self._drawn(x, generator)
        at_once = CACHED_CLIPS if x.device.type == "cpu" else max(1, len(x))
        parts = [slice(first, first + at_once) for first in range(0, len(x), at_once)]
        made = [self._part_of_view(x[part], drawn, part) for part in parts]
        view = made[0] if len(made) == 1 else torch.cat(made) if made else x
        return self._post_norm(view) if self.config.post_norm else view

    def _drawn(self, x: Tensor, generator: torch.Generator) -> _Drawn:
        """The random parameters of a view of this process's rows."""
        config, (_, n_mels, n_frames) = self.config, x.shape
        batch = self.world.size * len(x)
        gains = mixup = crop = None
        if config.level_db or config.equaliser_db:
            gains = self.world.part(sample_gains(generator, batch, n_mels, config)).to(x.device)[:, :, None]
            gains = gains if config.mixup_domain == "log_mel" else gains / self.std
        if self.memory is not None and len(self.memory):
            drawn = sample_mixup_parameters(generator, batch, len(self.memory), config.mixup_ratio)
            mixup = MixupParameters(*(self.world.part(parameter).to(x.device) for parameter in drawn))
        if config.crop:
            drawn_crop = sample_crop_parameters(generator, batch, n_mels, n_frames, config)
            own = CropParameters(*(self.world.part(parameter) for parameter in drawn_crop))
            crop = _crop_taps(own, n_mels, n_frames, config, x.device)
        return _Drawn(gains, mixup, crop)

    def _part_of_view(self, x: Tensor, drawn: _Drawn, part: slice) -> Tensor:
        """The view of some clips, whose rows of the parameters are ``part``: mixed and cropped while in the cache."""
        if drawn.gains is not None:
            x = x + drawn.gains[part]
        if drawn.mixup is not None:
            assert self.memory is not None
            past = self.memory.ring.index_select(0, drawn.mixup.place[part])
            x = apply_mixup(x, past, drawn.mixup.alpha[part])
        if self.config.mixup_domain == "log_mel":
            x = self.normalise(x)
        return x if drawn.crop is None else _resized(x, *(taps.rows(part) for taps in drawn.crop))

    def _post_norm(self, x: Tensor) -> Tensor:
        """A view of the whole batch with mean 0 and standard deviation 1 over all of its values (BYOL-A)."""
        moments = torch.stack([x.mean(), x.square().mean()])
        mean, square = self.world.gather(moments[None]).mean(0)  # of equally many rows per process
        deviation = (square - mean * mean).clamp(min=0).sqrt().clamp(min=1e-3)  # a batch of silence has none
        return (x - mean) / deviation
