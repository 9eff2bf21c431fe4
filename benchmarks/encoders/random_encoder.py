"""A HEAR model: the DeLoRes encoder before any training.

A random convolutional encoder with maximum + mean pooling is strong on many tasks, and a learnt one has to beat it;
the paper compares with it, too (arXiv 2203.13628, table 6).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

import hear_delores
from hear_delores import get_scene_embeddings, get_timestamp_embeddings
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.model import HearModel
from hear_delores.pooling import plain_part
from hear_delores.settings import require_integer

__all__ = ["get_scene_embeddings", "get_timestamp_embeddings", "load_model"]


def load_model(
    model_file_path: str = "",
    seed: int = 0,
    embedding_size: int | None = None,
    scene: str | Sequence[str] | None = None,
    timestamp: str | Sequence[str] | None = None,
    precision: str = "float32",
) -> HearModel:
    """A randomly initialised encoder of the shape of a checkpoint, with that checkpoint's front-end.

    Args:
        model_file_path: a checkpoint, or the name of shipped weights; "" is the default weights. Its shape, front-end,
            normalisation, scene and timestamp parts are taken, but not its weights. A decorrelated part of the scene
            is replaced by the plain part, for its map is learnt.
        seed: of the random initialisation; torch's global random state stays as it is.
        embedding_size: another width than the checkpoint's.
        scene, timestamp: other parts of the embeddings than the checkpoint's, as in ``hear_delores.load_model``.
        precision: "float32" or "bfloat16", as in ``hear_delores.load_model``.

    Raises:
        DeloresError: a seed or a size is out of range, or ``hear_delores.load_model`` refuses another argument.
    """
    require_integer("random_encoder", "seed", seed, 0)
    like = hear_delores.load_model(model_file_path, scene, timestamp)
    config = like.encoder.config
    if embedding_size is not None:
        config = EncoderConfig(**{**config.to_dict(), "embedding_size": embedding_size})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = AudioNTT(config)
    return HearModel(
        encoder,
        like.frontend.config,
        mean=like.mean,
        std=like.std,
        scene=[plain_part(part) for part in like.scene],
        info={"method": "random initialisation", "config": {"seed": seed}},
        timestamp=like.timestamp,
        precision=precision,
    )
