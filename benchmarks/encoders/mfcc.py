"""A HEAR model without training: mel-frequency cepstral coefficients, by torchaudio.

A timestamp embedding is the mean and the standard deviation of the coefficients and of their slopes (deltas) over
21 frames (210 ms), every 40 ms; a scene embedding is the same over the whole sound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hear_delores.errors import DeloresError
from hear_delores.settings import require_integer

__all__ = ["Mfcc", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

RATES = (16000, 22050, 32000, 44100, 48000)
#: Frames on each side of a timestamp, and frames between two timestamps; a frame is 10 ms.
CONTEXT, STRIDE = 10, 4
#: Frames that are computed at a time, and frames on each side of them that their windows and deltas reach into.
BLOCK, MARGIN = 6000, 8


class Mfcc(nn.Module):
    """MFCCs and their slopes, for any length of audio, computed in blocks.

    The window is 25 ms, and 40 mel bands reach to half the sample rate. The logarithm is torchaudio's ``log_mels``, of
    the power + 1e-6, and not decibels with a floor below the clip's maximum: so a sound has the same features in any
    clip.
    """

    def __init__(self, coefficients: int, rate: int) -> None:
        super().__init__()
        from torchaudio.transforms import MFCC

        self.hop, self.sample_rate = rate // 100, rate
        window = rate // 40
        n_fft = 1 << (window - 1).bit_length()
        mel = {"n_fft": n_fft, "win_length": window, "hop_length": self.hop, "n_mels": 40, "pad_mode": "constant"}
        self.mfcc = MFCC(sample_rate=rate, n_mfcc=coefficients, log_mels=True, melkwargs=mel)
        self.scene_embedding_size = self.timestamp_embedding_size = 4 * coefficients

    def frames(self, audio: Tensor) -> Tensor:
        """Coefficients, then slopes, of frames centred on samples 0, hop, 2 hop ...: (n_sounds, 2 n, n_frames)."""
        from torchaudio.functional import compute_deltas

        n_frames = 1 + audio.shape[1] // self.hop
        blocks = []
        for start in range(0, n_frames, BLOCK):
            stop = min(start + BLOCK, n_frames)
            first = max(0, start - MARGIN)
            own = self.mfcc(audio[:, first * self.hop : (stop + MARGIN) * self.hop])
            own = own[:, :, : n_frames - first]
            blocks.append(torch.cat([own, compute_deltas(own)], dim=1)[:, :, start - first : stop - first])
        return torch.cat(blocks, dim=2)


def load_model(model_file_path: str = "", coefficients: int = 20, rate: int = 16000) -> Mfcc:
    """MFCC features. They have no weights: a path is refused.

    Args:
        coefficients: the number of coefficients, 1 to 40; the first is the level.
        rate: of the audio that the model takes, in Hz; one of HEAR's rates.

    Raises:
        DeloresError: an option is out of range.
    """
    if model_file_path:
        raise DeloresError(f"mfcc has no weights, but a path was given: {model_file_path}; leave it out")
    require_integer("mfcc", "coefficients", coefficients, 1, 40)
    if rate not in RATES:
        raise DeloresError(f"expected rate to be one of {', '.join(map(str, RATES))}; got {rate!r}")
    return Mfcc(coefficients, rate).eval()


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: Mfcc) -> Tensor:
    """Mean and standard deviation over time of coefficients and slopes.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at the model's rate.

    Returns:
        (n_sounds, 4 * coefficients) float32.
    """
    frames = model.frames(audio)
    return torch.cat([frames.mean(dim=2), frames.std(dim=2, correction=0)], dim=1)


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: Mfcc) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of coefficients and slopes over 210 ms around every 40 ms.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at the model's rate.

    Returns:
        embeddings (n_sounds, n_timestamps, 4 * coefficients) and timestamps (n_sounds, n_timestamps) in ms, float32.
    """
    frames = model.frames(audio)
    embeddings = local_statistics(frames, CONTEXT, STRIDE)
    samples = torch.arange(embeddings.shape[1], dtype=torch.float64) * (STRIDE * model.hop)
    times = (samples * (1000 / model.sample_rate)).float().to(audio.device)
    return embeddings, times.expand(len(audio), -1).contiguous()


def local_statistics(frames: Tensor, context: int, stride: int) -> Tensor:
    """Mean and standard deviation over ``context`` frames on each side of every ``stride``-th frame.

    Frames (n, size, n_frames) become (n, n_out, 2 * size); at the ends of the sound, fewer frames are averaged.
    """
    # count_include_pad=False leaves the padding beyond the ends out of the mean.
    window = {"kernel_size": 2 * context + 1, "stride": stride, "padding": context, "count_include_pad": False}
    centre = frames.mean(dim=2, keepdim=True)  # subtracted, for E[x^2] - E[x]^2 of large x loses digits
    mean = F.avg_pool1d(frames - centre, **window)
    variance = F.avg_pool1d((frames - centre) ** 2, **window) - mean**2
    return torch.cat([mean + centre, variance.clamp_min(0).sqrt()], dim=1).transpose(1, 2).contiguous()
