"""The module under test: how the validator calls a HEAR module, torch or TensorFlow, without judging it."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch

__all__ = ["Embeddings", "Subject"]

MODEL_URL = "https://hearbenchmark.com/hear-api.html"


@dataclass
class Embeddings:
    """What one call returned, as numpy, with the facts that the conversion would hide."""

    values: np.ndarray
    dtype: str
    device: str
    requires_grad: bool


@dataclass
class Subject:
    """A HEAR module by name, with the weights path it is loaded with and the device it is put on."""

    module_name: str
    model_path: str = ""
    device: str | None = None
    module: ModuleType | None = None
    model: Any = None
    kind: str = ""  # "torch" or "tensorflow", known once the model is loaded
    warnings: list[str] = field(default_factory=list)

    def load(self) -> None:
        """Imports the module and loads the model, with the path only when one was given."""
        if self.module is None:
            self.module = importlib.import_module(self.module_name)
        loader = self.module.load_model
        self.model = loader(self.model_path) if self.model_path else loader()
        self.kind = kind_of(self.model)
        if self.kind == "torch":
            self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self.model.to(self.device)

    def noise(self, n_sounds: int, n_samples: int, seed: int = 0) -> np.ndarray:
        """White noise in [-1, 1]: (n_sounds, n_samples) float32, the same for the same seed."""
        return np.random.default_rng(seed).uniform(-1, 1, (n_sounds, n_samples)).astype(np.float32)

    def tensor(self, audio: np.ndarray) -> Any:
        """``audio`` as the model's framework wants it, on the model's device."""
        if self.kind == "tensorflow":
            return sys.modules["tensorflow"].convert_to_tensor(audio)
        return torch.from_numpy(audio.copy()).to(self.device)

    def scene(self, audio: np.ndarray) -> Embeddings:
        """Scene embeddings of ``audio`` (n_sounds, n_samples) float32."""
        assert self.module is not None
        return unwrap(self.module.get_scene_embeddings(self.tensor(audio), self.model))

    def timestamps(self, audio: np.ndarray) -> tuple[Embeddings, Embeddings]:
        """Timestamp embeddings and their timestamps for ``audio`` (n_sounds, n_samples) float32."""
        assert self.module is not None
        embeddings, times = self.module.get_timestamp_embeddings(self.tensor(audio), self.model)
        return unwrap(embeddings), unwrap(times)


def kind_of(model: Any) -> str:
    """ "torch", "tensorflow", or "" for a model of neither framework."""
    if isinstance(model, torch.nn.Module):
        return "torch"
    tensorflow = sys.modules.get("tensorflow")  # a TensorFlow model has imported it already
    if tensorflow is not None and isinstance(model, tensorflow.Module):
        return "tensorflow"
    return ""


def unwrap(value: Any) -> Embeddings:
    """A returned tensor as numpy, with its dtype, device and whether it still carries gradients."""
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return Embeddings(value.detach().cpu().float().numpy(), dtype, value.device.type, value.requires_grad)
    if hasattr(value, "numpy"):
        array = np.asarray(value.numpy())
        return Embeddings(array, str(array.dtype), str(getattr(value, "device", "")), False)
    raise TypeError(f"returned {type(value).__name__}; expected a tensor of the model's framework")
