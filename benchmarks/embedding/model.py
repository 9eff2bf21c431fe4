"""Any HEAR model behind one adapter: named, loaded, hashed, called with numpy and its answers checked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.embedding.foreign_code import contained, lacks_cuda, one_line
from benchmarks.embedding.isolation import names_of_its_own
from benchmarks.embedding.resolve import FUNCTIONS, find_module
from benchmarks.embedding.sketch import observe
from benchmarks.embedding.source import source_of
from benchmarks.embedding.spec import ModelSpec, plain_options, slug
from benchmarks.embedding.weights_hash import hash_objects, hash_tensorflow, hash_torch, tensors_within
from benchmarks.results.format import ModelInfo
from benchmarks.results.identity import Behaviour
from hear_delores.errors import DeloresError

__all__ = ["LoadedModel", "ModelSpec", "load_model", "slug"]


class OutOfMemory(DeloresError):
    """The model had too little memory for a batch; a smaller batch may fit."""


class NotFinite(DeloresError):
    """The model returned NaN or infinity for the sounds ``rows`` of a batch."""

    def __init__(self, message: str, rows: list[int]) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass
class LoadedModel:
    """A model that is ready to embed. Made by :func:`load_model`.

    Attributes:
        weights_hash: 64 hexadecimal digits that differ whenever the weights (or, as far as it can be
            known, anything else that ``load_model`` read) differ.
        kind: ``torch``, ``tensorflow``, or ``object`` for any other, which is given torch's tensors.
        source_hash: of the module's source files as they were imported; "" where it has none.
        revision: the commit of a model of the Hub; "" of others.
        notes: what was found out by calling it, and what is unusual, one line each.
    """

    spec: ModelSpec
    module: ModuleType
    model: Any
    kind: str
    device: str
    sample_rate: int
    scene_embedding_size: int
    timestamp_embedding_size: int
    weights_hash: str
    n_parameters: int
    source_hash: str = ""
    revision: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def folder_name(self) -> str:
        """``<label>[-option=value...]-<first 8 digits of weights_hash>``: two checkpoints never share it."""
        return f"{self.spec.label_with_options}-{self.weights_hash[:8]}"

    @cached_property
    def behaviour(self) -> Behaviour:
        """What the model returns for the probe sounds, computed once."""
        return observe(self)

    @property
    def n_trainable(self) -> int | None:
        """How many of a torch model's parameters are not frozen; None for other models."""
        if not isinstance(self.model, torch.nn.Module):
            return None
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def info(self) -> ModelInfo:
        """The model as embeddings and records describe it."""
        return ModelInfo(
            label=self.spec.label,
            module=self.spec.name,
            file=Path(self.spec.path).name,
            weights_hash=self.weights_hash,
            options=plain_options(self.spec.options),
            sample_rate=self.sample_rate,
            sizes={"scene": self.scene_embedding_size, "timestamp": self.timestamp_embedding_size},
            n_parameters=self.n_parameters,
            n_trainable=self.n_trainable,
            behaviour=self.behaviour,
            source_hash=self.source_hash,
            revision=self.revision,
        )

    def function(self, name: str) -> Callable[..., Any]:
        """``get_scene_embeddings(audio, model)`` or its sister: the module's, or the model's own method."""
        return _function(self.module, self.model, name)

    def scene(self, audio: np.ndarray) -> np.ndarray:
        """Scene embeddings of ``audio``: (n_sounds, scene_embedding_size) float32.

        Args:
            audio: (n_sounds, n_samples) float32 in [-1, 1], at :attr:`sample_rate`.

        Raises:
            DeloresError: the model fails, or returns another size or anything that is not finite.
        """
        embeddings = self._array("get_scene_embeddings", self._call("get_scene_embeddings", audio))
        self._check_shape("get_scene_embeddings", embeddings, (len(audio), self.scene_embedding_size))
        return embeddings

    def timestamps(self, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Timestamp embeddings (n_sounds, n_frames, size) float32, and (n_sounds, n_frames) float32 in ms.

        Args:
            audio: (n_sounds, n_samples) float32 in [-1, 1], at :attr:`sample_rate`.

        Raises:
            DeloresError: the model fails, returns another size, anything not finite, or timestamps that
                are not increasing, regular, in milliseconds and within the audio.
        """
        name = "get_timestamp_embeddings"
        answer = self._call(name, audio)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise self._fault(f"{name} returned {type(answer).__name__}; expected (embeddings, timestamps)")
        embeddings, times = self._array(name, answer[0]), self._array(name, answer[1])
        if embeddings.ndim != 3 or times.shape != embeddings.shape[:2] or embeddings.shape[1] == 0:
            raise self._fault(
                f"{name} returned embeddings {embeddings.shape} with timestamps {times.shape}; expected "
                f"({len(audio)}, n, {self.timestamp_embedding_size}) with ({len(audio)}, n), n > 0"
            )
        self._check_shape(name, embeddings, (len(audio), embeddings.shape[1], self.timestamp_embedding_size))
        fault = timestamp_fault(times, 1000.0 * audio.shape[1] / self.sample_rate)
        if fault:
            raise self._fault(f"{name}: {fault}")
        return embeddings, times

    def _call(self, name: str, audio: np.ndarray) -> Any:
        if audio.ndim != 2:
            raise self._fault(
                f"expected mono audio (n_sounds, n_samples), got {audio.shape}; of several channels, pass their mean"
            )
        try:
            with contained():
                if self.kind == "tensorflow":
                    tensor = sys.modules["tensorflow"].convert_to_tensor(audio)
                    return self.function(name)(tensor, self.model)
                with torch.no_grad():
                    return self.function(name)(torch.from_numpy(audio).to(self.device), self.model)
        except Exception as error:  # foreign code may raise anything; the cause stays attached
            if _is_out_of_memory(error):
                seconds = audio.size / self.sample_rate
                hint = f"{name} ran out of memory on {seconds:.1f} s of audio; use fewer batch seconds"
                raise OutOfMemory(str(self._fault(hint))) from None
            raise self._fault(f"{name} failed on audio {audio.shape}: {one_line(error)}") from error

    def _array(self, name: str, value: Any) -> np.ndarray:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        elif hasattr(value, "numpy"):
            array = np.asarray(value.numpy())
        elif hasattr(value, "__array__"):  # numpy's, JAX's
            array = np.asarray(value)
        else:
            raise self._fault(f"{name} returned {type(value).__name__}; expected a tensor")
        if array.dtype.kind != "f":
            raise self._fault(f"{name} returned {array.dtype}; expected float32")
        array = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(array).all():
            faulty = ~np.isfinite(array)
            message = f"{name} returned {int(faulty.sum())} values that are NaN or infinite"
            raise NotFinite(str(self._fault(message)), np.unique(np.nonzero(faulty)[0]).tolist())
        return array

    def _check_shape(self, name: str, array: np.ndarray, expected: tuple[int, ...]) -> None:
        if array.shape != expected:
            attribute = name.removeprefix("get_").removesuffix("_embeddings") + "_embedding_size"
            raise self._fault(f"{name} returned {array.shape}; expected {expected} ({attribute} is {expected[-1]})")

    def _fault(self, message: str) -> DeloresError:
        return DeloresError(f"model {self.spec.label}: {message}")


def load_model(spec: ModelSpec | str, device: str = "auto") -> LoadedModel:
    """The model that ``spec`` states, in eval mode, on ``device`` ("auto": a GPU where there is one).

    Raises:
        DeloresError: no such module, a HEAR function is missing, loading fails, or its sample rate or sizes are not
            whole positive numbers.
    """
    spec = ModelSpec.parse(spec) if isinstance(spec, str) else spec
    with names_of_its_own(spec):
        try:
            found = find_module(spec)
        except DeloresError as error:
            raise DeloresError(f"model {spec.label}: {error}") from error
        if not callable(getattr(found.module, "load_model", None)):
            raise _lacks(spec, found.module, ["load_model"])
        try:
            with contained():
                model = found.load()
        except Exception as error:  # foreign code may raise anything; the cause stays attached
            reason = lacks_cuda(error) or one_line(error)
            raise DeloresError(f"model {spec.label}: load_model failed: {reason}") from error
        try:
            with contained():  # attributes and methods of a foreign model
                return _adapted(spec, found.module, model, device)
        except DeloresError:
            raise
        except Exception as error:
            raise DeloresError(f"model {spec.label}: it cannot be used: {one_line(error)}") from error


def _lacks(spec: ModelSpec, module: ModuleType, missing: list[str]) -> DeloresError:
    name = spec.name if spec.file is not None else module.__name__
    return DeloresError(
        f"model {spec.label}: the module {name} has no function {', '.join(missing)}; a HEAR model needs it"
    )


def _function(module: ModuleType, model: Any, name: str) -> Callable[..., Any]:
    own = getattr(module, name, None)
    return own if callable(own) else lambda audio, model: getattr(model, name)(audio)


def _adapted(spec: ModelSpec, module: ModuleType, model: Any, device: str) -> LoadedModel:
    missing = [name for name in FUNCTIONS[1:] if not callable(getattr(module, name, getattr(model, name, None)))]
    if missing:
        raise _lacks(spec, module, missing)
    rate = _whole(spec, model, "sample_rate")
    kind = _kind(model)
    chosen = _placed(spec, model, kind, device)
    found = LoadedModel(spec, module, model, kind, chosen, rate, 0, 0, "", 0)
    sizes, notes = _sizes(found)
    hashed = {"torch": hash_torch, "tensorflow": hash_tensorflow}.get(kind, hash_objects)
    weights, count = hashed(spec, model, {"sample_rate": rate, **sizes})
    found.scene_embedding_size, found.timestamp_embedding_size = sizes.values()
    found.weights_hash, found.n_parameters, found.source_hash = weights, count, source_of(module)
    if spec.adapter:
        found.revision, found.notes = getattr(model, "revision", ""), (*notes, *getattr(model, "notes", ()))
    else:
        found.notes = tuple(notes)
    return found


def _kind(model: Any) -> str:
    tensorflow = sys.modules.get("tensorflow")  # a TensorFlow model has imported it
    if isinstance(model, torch.nn.Module):
        return "torch"
    return "tensorflow" if tensorflow is not None and isinstance(model, tensorflow.Module) else "object"


def _placed(spec: ModelSpec, model: Any, kind: str, device: str) -> str:
    """The device of the model, which is moved there and set to eval mode if it is torch's."""
    if kind == "tensorflow":
        return "auto"
    if kind == "object":  # where it has put itself: it is not known how it is moved
        for part in (model, *vars(model).values()) if hasattr(model, "__dict__") else ():
            if isinstance(part, torch.nn.Module):
                part.eval()
        devices = [tensor.device for _, tensor in tensors_within(model) if isinstance(tensor, torch.Tensor)]
        return str(devices[0]) if devices else "cpu"
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        model.to(chosen).eval()
    except (RuntimeError, AssertionError) as error:
        raise DeloresError(f"model {spec.label}: cannot use the device {chosen!r}: {one_line(error)}") from None
    return chosen


def _sizes(model: LoadedModel) -> tuple[dict[str, int], list[str]]:
    """The sizes of the embeddings, and a line for each that the model does not state and that calling it has shown."""
    sizes, notes = {}, []
    for kind in ("scene", "timestamp"):
        name, function = f"{kind}_embedding_size", f"get_{kind}_embeddings"
        if getattr(model.model, name, None) is not None:
            sizes[name] = _whole(model.spec, model.model, name)
            continue
        answer = model._call(function, 0.1 * np.ones((2, model.sample_rate), np.float32))
        array = model._array(function, answer[0] if isinstance(answer, (tuple, list)) else answer)
        sizes[name] = array.shape[-1]
        notes.append(f"model {model.spec.label} states no {name}: {function} returns {array.shape[-1]} dimensions")
    return sizes, notes


def timestamp_fault(times: np.ndarray, duration_ms: float) -> str:
    """What is wrong with timestamps (n_sounds, n_frames) for audio of ``duration_ms``; "" if nothing.

    The rules of hear-validator 2021.0.6 (regular within 1 ms, not past the end), and those it lacks:
    increasing, not negative, in milliseconds.
    """
    hops = np.diff(times.astype(np.float64), axis=1)
    first, last = float(times.min()), float(times.max())
    if hops.size and hops.min() <= 0:
        return "timestamps must increase, but one is not after the one before it"
    if first < 0:
        return f"timestamps begin at {first:g} ms; they must not be negative"
    # A model that covers under a hundredth of its audio in many frames counts in seconds.
    if hops.shape[1] >= 1 and last <= duration_ms / 100:
        return f"the last timestamp is {last:g} for {duration_ms:g} ms of audio: they must be in ms"
    if last > duration_ms * (1 + 1e-6) + 1e-3:  # float32 times of long audio are rounded
        return f"the last timestamp, {last:g} ms, is past the end of the audio, {duration_ms:g} ms"
    if hops.size and float(np.abs(hops - hops.mean()).max()) > 1.0:
        return f"timestamps must be regular within 1 ms, but hops vary from {hops.min():g} to {hops.max():g} ms"
    return ""


def _whole(spec: ModelSpec, model: Any, name: str) -> int:
    value = getattr(model, name, None)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value <= 0:
        raise DeloresError(f"model {spec.label}: its {name} must be a whole positive number, got {value!r}")
    return int(value)


def _is_out_of_memory(error: Exception) -> bool:
    """Torch has a type of its own for accelerators alone; TensorFlow's is not importable here."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if type(error).__name__ == "ResourceExhaustedError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
