"""A HEAR model made of an encoder that turns audio into frames: chunks, layers, pooling and timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.encoders.geometry import Geometry, chunks
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import require_number

__all__ = ["POOLS", "FrameEncoder", "Layers", "get_scene_embeddings", "get_timestamp_embeddings", "pooled"]

#: How frames become a scene embedding -> how many times as large as a frame it is.
POOLS = {"mean": 1, "max": 1, "mean+std": 2, "stats": 4}
#: Seconds of audio in one pass, and seconds that neighbouring passes share.
CHUNK_S, OVERLAP_S = 20.0, 2.0
#: Frames that may be missing at the end of a sound, where an encoder rounds down.
SPARE_FRAMES = 2
#: The HEAR API advises a timestamp every 50 ms or more often.
COARSE_MS = 50.0


def pooled(frames: Tensor, pool: str) -> Tensor:
    """One vector for each sound out of its frames: (n_sounds, POOLS[pool] * size).

    ``stats`` are mean, standard deviation, minimum and maximum over time, in this order. The deviation divides by the
    number of frames, so that it is 0 for one frame.

    Args:
        frames: (n_sounds, n_frames, size).
        pool: a key of :data:`POOLS`.
    """
    if pool == "max":
        return frames.amax(dim=1)
    mean = frames.mean(dim=1)
    if pool == "mean":
        return mean
    parts = [mean, frames.std(dim=1, correction=0)]
    return torch.cat([*parts, frames.amin(dim=1), frames.amax(dim=1)] if pool == "stats" else parts, dim=1)


class Layers:
    """The choice of the hidden states that are the frames: ``layer`` is a number, "mean" or "all".

    0 is the input of the first layer, and ``n_layers`` (also -1) is the encoder's output, its final normalisation
    included. "mean" is the mean of all these, "all" concatenates them.

    Raises:
        DeloresError: there is no such layer.
    """

    def __init__(self, layer: int | str, n_layers: int) -> None:
        if layer not in ("mean", "all") and (
            isinstance(layer, (bool, str)) or not isinstance(layer, int) or not -n_layers - 1 <= layer <= n_layers
        ):
            raise DeloresError(f"expected layer to be -1, 0 to {n_layers}, mean or all; got {layer!r}")
        self.layer, self.n_layers = layer, n_layers

    @property
    def parts(self) -> int:
        """The number of hidden states in a frame: a frame is so many times as large as one of them."""
        return self.n_layers + 1 if self.layer == "all" else 1

    def choose(self, states: Sequence[Tensor], output: Tensor | None) -> Tensor:
        """The frames, (n_sounds, n_frames, parts * size).

        Args:
            states: all hidden states, (n_sounds, n_frames, size) each.
            output: the encoder's output, which replaces the last of them if it has the same shape.
        """
        if output is not None and output.shape == states[-1].shape:
            states = [*states[:-1], output]
        if self.layer == "mean":
            return torch.stack(list(states)).mean(dim=0)
        if self.layer == "all":
            return torch.cat(list(states), dim=-1)
        return states[int(self.layer)]


class FrameEncoder(nn.Module):
    """A HEAR model of frames. A subclass calls the encoder of another library in :meth:`hidden`.

    Args:
        geometry: where the frames lie.
        sample_rate: in Hz.
        size: of a frame.
        pool: how frames become a scene embedding, a key of :data:`POOLS`.
        shortest: shorter audio is padded with zeros at its end, to so many samples.
        chunk_s, overlap_s: seconds of audio in one pass, and seconds that neighbouring passes share. Default: 20 s, or
            ``longest_s``; and 2 s, but at most a quarter of a pass.
        longest_s: the longest pass in seconds that the encoder takes; None is an hour.

    Raises:
        DeloresError: an option is out of range, or unknown.
    """

    def __init__(
        self,
        geometry: Geometry,
        sample_rate: int,
        size: int,
        pool: str = "mean",
        *,
        shortest: int = 1,
        chunk_s: float | None = None,
        overlap_s: float | None = None,
        longest_s: float | None = None,
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise DeloresError(f"no pooling is called {pool!r}. {did_you_mean(str(pool), POOLS)}")
        most = 3600.0 if longest_s is None else longest_s
        if chunk_s is None:
            chunk_s = CHUNK_S if longest_s is None else longest_s
        least = max(shortest, int(geometry.field) + geometry.stride.numerator) / sample_rate
        require_number("the model", "chunk_s", chunk_s, min(least, most), maximum=most)
        overlap_s = min(OVERLAP_S, chunk_s / 4) if overlap_s is None else overlap_s
        require_number("the model", "overlap_s", overlap_s, 0.0, maximum=chunk_s / 2)
        self.geometry, self.pool, self.shortest = geometry, pool, shortest
        self.chunk, self.overlap = round(chunk_s * sample_rate), round(overlap_s * sample_rate)
        self.sample_rate, self.timestamp_embedding_size = sample_rate, size
        self.scene_embedding_size = POOLS[pool] * size
        self.revision = ""
        self.notes: tuple[str, ...] = ()
        hop_ms = float(geometry.stride) * 1000 / sample_rate
        if hop_ms > COARSE_MS:
            self.notes = (f"its frames are {hop_ms:.4g} ms apart; for events, HEAR advises {COARSE_MS:g} ms or less",)

    def prepare(self, audio: Tensor) -> Tensor:
        """Whole sounds (n_sounds, n_samples) as the encoder takes them, before they are cut; here unchanged."""
        return audio

    def hidden(self, audio: Tensor) -> Tensor:
        """The frames of one pass: (n_sounds, n_frames or more, size) for audio (n_sounds, n_samples)."""
        raise NotImplementedError

    def frames(self, audio: Tensor) -> Tensor:
        """The frames of audio of any length, (n_sounds, n_frames, size) float32."""
        _check_mono(audio)
        audio = self.prepare(audio)
        if audio.shape[1] < self.shortest:
            audio = nn.functional.pad(audio, (0, self.shortest - audio.shape[1]))
        found = []
        for chunk in chunks(self.geometry, audio.shape[1], self.chunk, self.overlap):
            frames = self.hidden(audio[:, chunk.start : chunk.stop])
            if frames.shape[1] < chunk.drop + chunk.keep - SPARE_FRAMES:
                raise DeloresError(
                    f"{chunk.stop - chunk.start} samples have {frames.shape[1]} frames; expected "
                    f"{chunk.drop + chunk.keep}, {float(self.geometry.stride):g} samples apart"
                )
            found.append(frames[:, chunk.drop : chunk.drop + chunk.keep].float())
        return torch.cat(found, dim=1)

    def times(self, n_samples: int, n_frames: int) -> Tensor:
        """Milliseconds of the centres of frames, (n_frames,) float32; none is past the end of the audio."""
        first, stride = float(self.geometry.centre(0)), float(self.geometry.stride)
        centres = first + stride * torch.arange(n_frames, dtype=torch.float64)
        return (centres.clamp(0, n_samples) * 1000 / self.sample_rate).float()

    def scene(self, audio: Tensor) -> Tensor:
        """Scene embeddings, (n_sounds, scene_embedding_size) float32."""
        return pooled(self.frames(audio), self.pool)

    def timestamps(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Timestamp embeddings (n_sounds, n_frames, size) and their times (n_sounds, n_frames) in ms, float32."""
        frames = self.frames(audio)
        times = self.times(audio.shape[1], frames.shape[1]).to(audio.device)
        return frames, times.expand(len(audio), -1).contiguous()


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: Any) -> Tensor:
    """Scene embeddings of a :class:`FrameEncoder`.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1], at the model's rate.

    Returns:
        (n_sounds, scene_embedding_size) float32.
    """
    return model.scene(audio)  # type: ignore[no-any-return]


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: Any) -> tuple[Tensor, Tensor]:
    """Timestamp embeddings of a :class:`FrameEncoder`.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1], at the model's rate.

    Returns:
        embeddings (n_sounds, n_frames, size) float32 and timestamps (n_sounds, n_frames) float32 in milliseconds:
        the middle of what each frame sees.
    """
    return model.timestamps(audio)  # type: ignore[no-any-return]


def _check_mono(audio: Tensor) -> None:
    if audio.ndim != 2:
        raise DeloresError(
            f"expected mono audio (n_sounds, n_samples), got {tuple(audio.shape)}; of several channels, pass their mean"
        )
