"""DeLoRes audio embeddings behind the HEAR common API (https://hearbenchmark.com/hear-api.html).

>>> import hear_delores, torch
>>> model = hear_delores.load_model()
>>> hear_delores.get_scene_embeddings(torch.zeros(1, 16000), model).shape
torch.Size([1, 1792])
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as type checkers read it; importing typing takes longer than all the rest here
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

    from torch import Tensor

    from hear_delores.checkpoint import load_checkpoint, save_checkpoint, weights_hash
    from hear_delores.encoder import AudioNTT, EncoderConfig
    from hear_delores.errors import DeloresError
    from hear_delores.frontend import FrontendConfig, LogMel
    from hear_delores.model import HearModel

__all__ = [
    "AudioNTT",
    "DeloresError",
    "EncoderConfig",
    "FrontendConfig",
    "HearModel",
    "LogMel",
    "__version__",
    "get_scene_embeddings",
    "get_timestamp_embeddings",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
    "weights_hash",
]

__version__ = "0.1.0"

# Names are looked up when they are first used. Everybody who has this package installed imports it with each run of
# pytest, for its plugin, and the command line imports it for an error's class: neither has seconds for torch.
_HOMES = {
    "AudioNTT": "encoder",
    "DeloresError": "errors",
    "EncoderConfig": "encoder",
    "FrontendConfig": "frontend",
    "HearModel": "model",
    "LogMel": "frontend",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "weights_hash": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value  # found without this function from now on
        return value
    if name in _HOMES.values():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOMES.values()})


def load_model(
    model_file_path: str | os.PathLike[str] = "",
    scene: str | Sequence[str] | None = None,
    timestamp: str | Sequence[str] | None = None,
    precision: str = "float32",
) -> HearModel:
    """The model in a checkpoint, on the CPU and in eval mode.

    Args:
        model_file_path: a checkpoint of ours, a foreign one that ``foreign`` reads, the name of weights
            that this package ships, or ``hf:ORG/NAME[@REVISION]``, a repository that ``delores push`` made on the
            Hugging Face Hub (see ``hub``); "" is the shipped default.
        scene: what the scene embedding is made of: names out of ``pooling.SCENE_PARTS``, as a list or one string
            with commas. "pooled" is the papers' maximum + mean over time; None is what the checkpoint says.
        timestamp: likewise of timestamp embeddings, out of ``pooling.TIMESTAMP_PARTS``; "frames" is the papers'.
        precision: "bfloat16" makes embeddings in less time on processors that have instructions for it, and rounds
            them: see ``HearModel``. It is no part of the checkpoint.

    Raises:
        DeloresError: there is no such file, name or repository, it is no checkpoint that can be used, or there is no
            such part or precision.
    """
    from hear_delores.checkpoint import load_checkpoint
    from hear_delores.shipped import find_weights

    model = load_checkpoint(find_weights(model_file_path))
    model.set_parts(scene, timestamp)
    model.set_precision(precision)
    return model


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One embedding per clip, (n_sounds, model.scene_embedding_size) float32.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1], at ``model.sample_rate``.
        model: from ``load_model``.

    Raises:
        DeloresError: the audio or the model is not as described.
    """
    return _checked(model).scene_embeddings(audio)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Embeddings over time and where they are centred.

    Args:
        audio: (n_sounds, n_samples) float32 in [-1, 1], at ``model.sample_rate``.
        model: from ``load_model``.

    Returns:
        embeddings: (n_sounds, n_timestamps, model.timestamp_embedding_size) float32;
        timestamps: (n_sounds, n_timestamps) float32, milliseconds.

    Raises:
        DeloresError: the audio or the model is not as described.
    """
    return _checked(model).timestamp_embeddings(audio)


def _checked(model: Any) -> HearModel:
    from hear_delores.errors import DeloresError
    from hear_delores.model import HearModel

    if not isinstance(model, HearModel):
        raise DeloresError(
            f"Expected a model from hear_delores.load_model, but got {type(model).__name__}: "
            "pass what load_model returned."
        )
    return model
