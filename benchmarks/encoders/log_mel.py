"""A HEAR model without training: statistics of the log-mel spectrogram.

The scene embedding is the mean and the standard deviation over time of the 64 log-mel bands of
``hear_delores.frontend``; a timestamp embedding is the same over the 21 frames (210 ms) around each timestamp, every
40 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.encoders.mfcc import local_statistics
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig, LogMel

__all__ = ["LogMelStatistics", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

#: Mel frames on each side of a timestamp, and mel frames between two timestamps.
CONTEXT, STRIDE = 10, 4
#: Mel frames that are computed at a time, to bound memory on long audio.
BLOCK = 6000


class LogMelStatistics(nn.Module):
    """Log-mel frames of any length of audio, computed in blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.frontend_config = FrontendConfig()
        self.logmel = LogMel(self.frontend_config)
        self.sample_rate = self.frontend_config.sample_rate
        self.scene_embedding_size = self.timestamp_embedding_size = 2 * self.frontend_config.n_mels

    def frames(self, audio: Tensor) -> Tensor:
        """Log-mel frames, centred on samples 0, hop, 2 hop ...: (n_sounds, n_mels, n_frames) float32."""
        hop = self.frontend_config.hop_length
        margin = -(-self.frontend_config.n_fft // hop)
        n_frames = 1 + audio.shape[1] // hop
        blocks = []
        for start in range(0, n_frames, BLOCK):
            stop = min(start + BLOCK, n_frames)
            first = max(0, start - margin)
            part = self.logmel(audio[:, first * hop : (stop + margin) * hop])
            blocks.append(part[:, :, start - first : stop - first])
        return torch.cat(blocks, dim=2)


def load_model(model_file_path: str = "") -> LogMelStatistics:
    """The log-mel baseline. It has no weights: a path is refused."""
    if model_file_path:
        raise DeloresError(
            f"the log-mel baseline has no weights, but a path was given: {model_file_path}; leave it out"
        )
    return LogMelStatistics().eval()


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: LogMelStatistics) -> Tensor:
    """Mean and standard deviation over time of each band.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at 16 kHz.
        model: what :func:`load_model` returned.

    Returns:
        (n_sounds, 128) float32.
    """
    frames = model.frames(audio)
    return torch.cat([frames.mean(dim=2), frames.std(dim=2, correction=0)], dim=1)


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: LogMelStatistics) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each band over 210 ms around every 40 ms.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at 16 kHz.
        model: what :func:`load_model` returned.

    Returns:
        embeddings (n_sounds, n_timestamps, 128) and timestamps (n_sounds, n_timestamps) in milliseconds, float32.
    """
    frames = model.frames(audio)
    embeddings = local_statistics(frames, CONTEXT, STRIDE)
    samples = torch.arange(embeddings.shape[1], dtype=torch.float64) * (STRIDE * model.frontend_config.hop_length)
    times = (samples * (1000 / model.sample_rate)).float().to(audio.device)
    return embeddings, times.expand(len(audio), -1).contiguous()
