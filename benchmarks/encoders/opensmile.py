"""A HEAR model of the features of openSMILE (audEERING), through its Python package ``opensmile``.

A scene embedding is the functionals of the feature set over the whole sound. A timestamp embedding is the mean and the
standard deviation of its low-level descriptors over the 21 frames (210 ms) around each timestamp, every 40 ms.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.encoders.mfcc import local_statistics
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["SETS", "OpenSmile", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

SETS = ("ComParE_2016", "eGeMAPSv02")
SAMPLE_RATE = 16000
#: Descriptors on each side of a timestamp, and descriptors between two timestamps.
CONTEXT, STRIDE = 10, 4
#: openSMILE's windows of spectrum and energy are 20 ms, every 10 ms from the beginning of the audio.
HOP_MS, FIRST_MS = 10.0, 10.0
#: Shorter sounds are padded with zeros to this many samples: they may be too short for the window of the pitch, 60 ms.
SHORTEST = SAMPLE_RATE // 10


class OpenSmile(nn.Module):
    """Functionals and low-level descriptors of one feature set."""

    def __init__(self, feature_set: str) -> None:
        super().__init__()
        import opensmile

        def extractor(level: Any) -> Any:
            return opensmile.Smile(feature_set=getattr(opensmile.FeatureSet, feature_set), feature_level=level)

        self.functionals = extractor(opensmile.FeatureLevel.Functionals)
        self.descriptors = extractor(opensmile.FeatureLevel.LowLevelDescriptors)
        self.sample_rate = SAMPLE_RATE
        self.scene_embedding_size = self.functionals.num_features
        self.timestamp_embedding_size = 2 * self.descriptors.num_features

    def extract(self, extractor: Any, audio: Tensor) -> Tensor:
        """The rows of an extractor for each sound: (n_sounds, n_rows, n_features) float32."""
        sounds = F.pad(audio, (0, max(0, SHORTEST - audio.shape[1]))).cpu().numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = [extractor.process_signal(sound, SAMPLE_RATE).to_numpy(np.float32) for sound in sounds]
        return torch.from_numpy(np.stack(rows)).to(audio.device)


def load_model(model_file_path: str = "", set: str = SETS[0]) -> OpenSmile:
    """openSMILE's features. They have no weights: a path is refused.

    Args:
        set: ComParE_2016 (6,373 functionals of 65 descriptors) or eGeMAPSv02 (88 of 25).

    Raises:
        DeloresError: the package opensmile is not installed, or there is no such set.
    """
    if model_file_path:
        raise DeloresError(f"opensmile has no weights, but a path was given: {model_file_path}; leave it out")
    if set not in SETS:
        raise DeloresError(f"no feature set is called {set!r}. {did_you_mean(str(set), SETS)}")
    try:
        return OpenSmile(set).eval()
    except ModuleNotFoundError as error:
        raise DeloresError(
            f"openSMILE's features need the package {error.name!r}: pip install 'hear-delores[opensmile]'"
        ) from None


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: OpenSmile) -> Tensor:
    """The functionals of each sound.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at 16 kHz.

    Returns:
        (n_sounds, scene_embedding_size) float32.
    """
    return model.extract(model.functionals, audio)[:, 0]


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: OpenSmile) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the descriptors over 210 ms around every 40 ms.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1] at 16 kHz.

    Returns:
        embeddings (n_sounds, n_timestamps, timestamp_embedding_size) and timestamps (n_sounds, n_timestamps) in ms,
        float32.
    """
    frames = model.extract(model.descriptors, audio).transpose(1, 2)
    embeddings = local_statistics(frames, CONTEXT, STRIDE)
    times = FIRST_MS + STRIDE * HOP_MS * torch.arange(embeddings.shape[1], dtype=torch.float64)
    times = times.clamp(max=1000 * audio.shape[1] / SAMPLE_RATE).float().to(audio.device)
    # Timestamps in the zeros that were added to a short sound are left out.
    kept = max(1, int((times[1:] > times[:-1]).sum()) + 1)
    return embeddings[:, :kept].contiguous(), times[:kept].expand(len(audio), -1).contiguous()
