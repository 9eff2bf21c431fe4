"""Encoders that are written for X-ARES, as HEAR models: ``xares:MODULE:CLASS``.

X-ARES (https://github.com/jimbozhang/xares) wants a class with ``sampling_rate``, ``output_dim``, ``hop_size_in_ms``
and ``forward(audio (n_sounds, n_samples)) -> (n_sounds, n_frames, output_dim)``.
"""

from __future__ import annotations

import math
from fractions import Fraction
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.encoders.frames import SPARE_FRAMES, FrameEncoder, get_scene_embeddings, get_timestamp_embeddings
from benchmarks.encoders.geometry import Geometry
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["XaresFrames", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

#: Seconds of audio that are assumed to be enough for every encoder.
ENOUGH_S = 2.0


class XaresFrames(FrameEncoder):
    """An X-ARES encoder. Its frame ``i`` is taken to see the hop from ``i * hop_size_in_ms`` on."""

    def __init__(self, encoder: Any, options: dict[str, Any]) -> None:
        rate, size = (_whole(encoder, name) for name in ("sampling_rate", "output_dim"))
        hop_ms = getattr(encoder, "hop_size_in_ms", None)
        if isinstance(hop_ms, bool) or not isinstance(hop_ms, (int, float)) or not 0.001 <= hop_ms < math.inf:
            raise DeloresError(f"expected its hop_size_in_ms to be a positive number, got {hop_ms!r}")
        stride = Fraction(hop_ms).limit_denominator(1000) * rate / 1000
        shortest = _shortest(encoder, rate)
        super().__init__(Geometry(stride, stride, padded=True), rate, size, shortest=shortest, **options)
        self.encoder = encoder
        with torch.no_grad():
            found = self.hidden(torch.zeros(1, round(ENOUGH_S * rate)))
        expected = float(ENOUGH_S * rate / stride)
        shape = tuple(found.shape) if isinstance(found, Tensor) else ()
        if len(shape) != 3 or shape[2] != size or abs(shape[1] - expected) > SPARE_FRAMES:
            raise DeloresError(
                f"{type(encoder).__name__} returns {shape or type(found).__name__} for {ENOUGH_S:g} s of audio; "
                f"expected about (1, {expected:.0f}, {size}), from its hop_size_in_ms {hop_ms:g} and output_dim"
            )

    def hidden(self, audio: Tensor) -> Tensor:
        return self.encoder(audio)  # type: ignore[no-any-return]


def load_model(
    module: ModuleType | None = None,
    name: str = "",
    weights: str = "",
    pool: str = "mean",
    chunk_s: float | None = None,
    overlap_s: float | None = None,
    **options: Any,
) -> FrameEncoder:
    """An encoder written for X-ARES as a HEAR model.

    Args:
        module, name: the module and the name of the class in it.
        weights: the first argument of the class; "" leaves it out.
        pool, chunk_s, overlap_s: as in :func:`benchmarks.encoders.hub.load_model`.
        options: further arguments of the class.

    Raises:
        DeloresError: there is no such class, its attributes or its frames are not as X-ARES wants them, or an option is
            out of range.
    """
    cls = getattr(module, name, None)
    if module is None or not callable(cls):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)] if module else []
        where = getattr(module, "__file__", None) or "the module"
        raise DeloresError(f"{where} has no class {name!r}. {did_you_mean(name, classes)}")
    encoder = cls(*([weights] if weights else []), **options)
    if isinstance(encoder, torch.nn.Module):
        encoder.eval()
    return XaresFrames(encoder, {"pool": pool, "chunk_s": chunk_s, "overlap_s": overlap_s}).eval()


def _whole(encoder: Any, name: str) -> int:
    value = getattr(encoder, name, None)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise DeloresError(f"expected its {name} to be a whole positive number, got {value!r}")
    return value


def _shortest(encoder: Any, rate: int) -> int:
    """The least number of samples that give a frame; with fewer, the encoder gives none or fails."""

    def works(n_samples: int) -> bool:
        try:
            with torch.no_grad():
                return encoder(torch.zeros(1, n_samples)).shape[1] > 0  # type: ignore[no-any-return]
        except Exception:  # its own, whatever it raises
            return False

    low, high = 0, round(ENOUGH_S * rate)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
