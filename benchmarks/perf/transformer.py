"""A transformer as a HEAR model, with random weights: what ``benchmarks.perf.gpu`` embeds beside our encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

PATCH = 320  # samples: 20 ms, as wav2vec 2.0


class Transformer(nn.Module):
    """A linear map of 20 ms patches, then an encoder of ``layers`` layers of ``width``; 12 of 768 are BERT's base."""

    sample_rate = 16000

    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.scene_embedding_size = self.timestamp_embedding_size = width
        self.patches = nn.Linear(PATCH, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)

    def forward(self, audio: Tensor) -> Tensor:
        """Frames (n_sounds, n_frames, width) of audio (n_sounds, n_samples)."""
        padded = nn.functional.pad(audio, (0, -audio.shape[1] % PATCH))
        frames: Tensor = self.encoder(self.patches(padded.unflatten(1, (-1, PATCH))))
        return frames


def load_model(path: str = "", layers: int = 12, width: int = 768, heads: int = 12) -> Transformer:
    """The model, drawn from one seed whatever the random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Transformer(layers, width, heads).eval()


def get_scene_embeddings(audio: Tensor, model: Transformer) -> Tensor:
    """The mean over frames, (n_sounds, width)."""
    return model(audio).mean(dim=1)


def get_timestamp_embeddings(audio: Tensor, model: Transformer) -> tuple[Tensor, Tensor]:
    """Frames, and the middle of each in milliseconds, (n_sounds, n_frames)."""
    frames = model(audio)
    middles = 1000 * PATCH / model.sample_rate * (torch.arange(frames.shape[1], device=audio.device) + 0.5)
    return frames, middles.clamp(max=1000 * audio.shape[1] / model.sample_rate).repeat(len(audio), 1)
