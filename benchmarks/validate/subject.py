"""The module under test: how the validator calls a HEAR module, torch or TensorFlow, without judging it."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from benchmarks.embedding.foreign_code import contained
from benchmarks.embedding.resolve import HearModule, find_module
from benchmarks.embedding.spec import ModelSpec
from benchmarks.validate.check import NotJudged
from benchmarks.validate.process_state import random_states, settings

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
class Loading:
    """The settings and random states on both sides of one call of ``load_model``, and the mode after it."""

    settings: tuple[dict[str, Any], dict[str, Any]]
    random: tuple[dict[str, Any], dict[str, Any]]
    training: bool


@dataclass
class Subject:
    """A HEAR model, with the weights that it is loaded with and the device that it is put on.

    Attributes:
        module_name: the model, ``MODEL[@WEIGHTS][?option=value&...]``.
        model_path: its weights, where they are given beside it.
        fast: sounds of more than some seconds are left out.
        kind: "torch", "tensorflow", or "object" for any other, which is given torch's tensors.
        answers: the size and dtype of what each function returns, by "scene" and "timestamp", as its check found it.
        lost: why a function cannot be used any more, by the same names.
        times: timestamps that were returned for noise, by its seconds.
        failed: the checks that have failed so far.
    """

    module_name: str
    model_path: str = ""
    device: str | None = None
    found: HearModule | None = None
    model: Any = None
    kind: str = ""
    loading: Any = None  # :class:`Loading`
    fast: bool = False
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    times: dict[float, np.ndarray] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @property
    def module(self) -> Any:
        """The module; None before it is imported."""
        return self.found.module if self.found else None

    def find(self) -> HearModule:
        """The module, imported when it is first asked for, with what its ``load_model`` is given."""
        if self.found is None:
            self.found = find_module(ModelSpec.parse(self.module_name, self.model_path or None))
        return self.found

    def load(self) -> None:
        """Imports the module and loads the model, with the path only when one was given."""
        loader = self.find().load
        before = settings(), random_states()
        with contained():
            self.model = loader()
        self.kind = kind_of(self.model)
        if self.kind == "tensorflow" and self.device:
            with self._placed(), contained():  # as hear-validator does: only now is it known to be TensorFlow's
                self.model = loader()
        after = settings(), random_states()
        self.loading = Loading((before[0], after[0]), (before[1], after[1]), self.training)
        if self.kind == "torch":
            self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            with contained():
                self.model.to(self.device)

    def again(self) -> Subject:
        """The same module with its model loaded once more."""
        other = replace(self, model=None, kind="", loading=None)
        other.load()
        return other

    @property
    def rate(self) -> int:
        """The model's sample rate in Hz."""
        return int(self.model.sample_rate)

    def _placed(self) -> contextlib.AbstractContextManager[Any]:
        if self.kind == "tensorflow" and self.device:
            return sys.modules["tensorflow"].device(self.device)  # type: ignore[no-any-return]
        return contextlib.nullcontext()

    @property
    def training(self) -> bool:
        """Whether a torch model that has anything to train is in training mode."""
        return self.kind == "torch" and self.model.training and any(True for _ in self.model.parameters())

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all parameters, buffers and variables, by name."""
        if self.kind == "object":
            raise NotJudged("the model is not a torch.nn.Module or tf.Module, so its tensors are not known")
        if self.kind == "torch":
            parts = [*self.model.named_parameters(), *self.model.named_buffers()]
            return {name: as_array(value).copy() for name, value in parts}
        return {f"{i}: {v.name}": np.array(v.numpy()) for i, v in enumerate(self.model.variables)}

    def noise(self, n_sounds: int, n_samples: int, seed: int = 0) -> np.ndarray:
        """White noise in [-1, 1]: (n_sounds, n_samples) float32, the same for the same seed."""
        return np.random.default_rng(seed).uniform(-1, 1, (n_sounds, n_samples)).astype(np.float32)

    def tensor(self, audio: np.ndarray) -> Any:
        """A copy of ``audio`` as the model's framework wants it, on the model's device."""
        if self.kind == "tensorflow":
            return sys.modules["tensorflow"].convert_to_tensor(audio)
        return torch.tensor(audio, dtype=torch.float32, device=self.device)

    def scene(self, audio: np.ndarray) -> Embeddings:
        """Scene embeddings of ``audio`` (n_sounds, n_samples) float32."""
        function = self.function("scene")
        with self._placed(), contained():
            return unwrap(function(self.tensor(audio), self.model))

    def timestamps(self, audio: np.ndarray) -> tuple[Embeddings, Embeddings]:
        """Timestamp embeddings and their timestamps for ``audio`` (n_sounds, n_samples) float32."""
        function = self.function("timestamp")
        with self._placed(), contained():
            embeddings, times = function(self.tensor(audio), self.model)
            return unwrap(embeddings), unwrap(times)

    def function(self, kind: str) -> Any:
        """``get_<kind>_embeddings(audio, model)``: the module's, or the model's own method.

        Raises:
            NotJudged: it is lost.
        """
        name = f"get_{kind}_embeddings"
        if kind in self.lost:
            raise NotJudged(f"{name} cannot be used: {self.lost[kind]}")
        own = getattr(self.module, name, None)
        return own if callable(own) else lambda audio, model: getattr(model, name)(audio)

    def lose(self, kind: str, reason: str) -> None:
        """Takes a function out of all later checks; those that need no more than the other one are still made."""
        self.answers.pop(kind, None)
        self.lost.setdefault(kind, reason)

    def values(self, audio: np.ndarray) -> dict[str, np.ndarray]:
        """The values of all embeddings that can be had, by "scene" and "timestamp".

        Raises:
            NotJudged: there are none.
        """
        if not self.answers:
            raise NotJudged("; ".join(dict.fromkeys(self.lost.values())))
        calls = {"scene": self.scene, "timestamp": lambda audio: self.timestamps(audio)[0]}
        return {kind: calls[kind](audio).values for kind in calls if kind in self.answers}


def kind_of(model: Any) -> str:
    """ "torch", "tensorflow", or "object" for a model of neither framework."""
    if isinstance(model, torch.nn.Module):
        return "torch"
    tensorflow = sys.modules.get("tensorflow")  # a TensorFlow model has imported it already
    if tensorflow is not None and isinstance(model, tensorflow.Module):
        return "tensorflow"
    return "object"


def as_array(value: torch.Tensor) -> np.ndarray:
    """A torch tensor as numpy, in its own dtype where numpy has it."""
    value = value.detach().cpu()
    return (value.float() if value.dtype is torch.bfloat16 else value).numpy()  # type: ignore[no-any-return]


def unwrap(value: Any) -> Embeddings:
    """A returned tensor as numpy, with its dtype, device and whether it still carries gradients."""
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return Embeddings(as_array(value), dtype, value.device.type, value.requires_grad)
    if hasattr(value, "numpy"):
        array = np.asarray(value.numpy())
        return Embeddings(array, str(array.dtype), str(getattr(value, "device", "")), False)
    if hasattr(value, "__array__"):  # numpy's and JAX's, from a model that is no module of a framework
        array = np.asarray(value)
        return Embeddings(array, str(array.dtype), "", False)
    raise TypeError(f"returned {type(value).__name__}; expected a tensor of the model's framework")
