"""Any HEAR model behind one adapter: named, loaded, hashed, called with numpy and its answers checked."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.embedding.foreign_code import contained, one_line
from benchmarks.embedding.sketch import observe
from benchmarks.embedding.source import source_of
from benchmarks.embedding.spec import ModelSpec, plain_options, slug
from benchmarks.results.identity import Behaviour
from benchmarks.results.record import ModelInfo
from hear_delores.errors import DeloresError
from hear_delores.files import file_hash

__all__ = ["LoadedModel", "ModelSpec", "load_model", "slug"]

FUNCTIONS = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")


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
        kind: ``torch`` or ``tensorflow``.
        source_hash: of the module's source files as they were imported; "" where it has none.
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
    source_hash: str = field(default="")

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
            module=self.spec.module,
            file=Path(self.spec.path).name,
            weights_hash=self.weights_hash,
            options=plain_options(self.spec.options),
            sample_rate=self.sample_rate,
            sizes={"scene": self.scene_embedding_size, "timestamp": self.timestamp_embedding_size},
            n_parameters=self.n_parameters,
            n_trainable=self.n_trainable,
            behaviour=self.behaviour,
            source_hash=self.source_hash,
        )

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
        try:
            with contained():
                if self.kind == "tensorflow":
                    tensor = sys.modules["tensorflow"].convert_to_tensor(audio)
                    return getattr(self.module, name)(tensor, self.model)
                with torch.no_grad():
                    return getattr(self.module, name)(torch.from_numpy(audio).to(self.device), self.model)
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
        DeloresError: no such module, a HEAR function is missing, it is no torch or TensorFlow model, or
            its sample rate or sizes are not whole positive numbers.
    """
    spec = ModelSpec.parse(spec) if isinstance(spec, str) else spec
    module = _import(spec)
    missing = [name for name in FUNCTIONS if not callable(getattr(module, name, None))]
    if missing:
        raise DeloresError(
            f"model {spec.label}: the module {spec.module} has no function {', '.join(missing)}; a HEAR model needs it"
        )
    try:
        with contained():
            model = module.load_model(*([spec.path] if spec.path else []), **spec.options)
    except Exception as error:  # foreign code may raise anything; the cause stays attached
        raise DeloresError(f"model {spec.label}: load_model failed: {one_line(error)}") from error
    try:
        with contained():  # attributes and methods of a foreign model
            return _adapted(spec, module, model, device)
    except DeloresError:
        raise
    except Exception as error:
        raise DeloresError(f"model {spec.label}: it cannot be used: {one_line(error)}") from error


def _adapted(spec: ModelSpec, module: ModuleType, model: Any, device: str) -> LoadedModel:
    sizes = {
        name: _whole(spec, model, name) for name in ("sample_rate", "scene_embedding_size", "timestamp_embedding_size")
    }
    source = source_of(module)
    tensorflow = sys.modules.get("tensorflow")  # a TensorFlow model has imported it
    if isinstance(model, torch.nn.Module):
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            model = model.to(chosen).eval()
        except (RuntimeError, AssertionError) as error:
            raise DeloresError(f"model {spec.label}: cannot use the device {chosen!r}: {one_line(error)}") from None
        kind, weights, count = "torch", _torch_hash(spec, model, sizes), sum(p.numel() for p in model.parameters())
    elif tensorflow is not None and isinstance(model, tensorflow.Module):
        kind, chosen = "tensorflow", "auto"
        weights, count = _tensorflow_hash(spec, model, sizes)
    else:
        raise DeloresError(
            f"model {spec.label}: load_model returned {type(model).__name__}; expected a torch.nn.Module or a tf.Module"
        )
    return LoadedModel(
        spec, module, model, kind, chosen, weights_hash=weights, n_parameters=count, source_hash=source, **sizes
    )


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


def _import(spec: ModelSpec) -> ModuleType:
    try:
        with contained():
            module = importlib.import_module(spec.module)
    except ModuleNotFoundError as error:
        # Either the module itself (or a package it lies in) is missing, or something that it needs.
        if error.name and f"{spec.module}.".startswith(f"{error.name}."):
            hint = f"no module named {error.name!r}; install it or check the name"
            raise DeloresError(f"model {spec.label}: {hint}") from None
        hint = f"importing {spec.module} needs {error.name!r}; install it"
        raise DeloresError(f"model {spec.label}: {hint}") from error
    except Exception as error:  # a foreign module may raise anything while it is imported
        hint = f"importing {spec.module} failed: {one_line(error)}"
        raise DeloresError(f"model {spec.label}: {hint}") from error
    return module


def _whole(spec: ModelSpec, model: Any, name: str) -> int:
    value = getattr(model, name, None)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value <= 0:
        raise DeloresError(f"model {spec.label}: its {name} must be a whole positive number, got {value!r}")
    return int(value)


def _torch_hash(spec: ModelSpec, model: torch.nn.Module, sizes: Mapping[str, int]) -> str:
    from hear_delores.checkpoint import weights_hash
    from hear_delores.model import HearModel

    if isinstance(model, HearModel):  # knows its whole state: also front-end, statistics and pooling
        return weights_hash(model)
    digest = _start_hash(spec, model, sizes)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _tensorflow_hash(spec: ModelSpec, model: Any, sizes: Mapping[str, int]) -> tuple[str, int]:
    digest, count = _start_hash(spec, model, sizes), 0
    for variable in sorted(model.variables, key=lambda item: item.name):
        array = np.ascontiguousarray(variable.numpy())
        count += array.size
        digest.update(f"{variable.name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest(), count


def _start_hash(spec: ModelSpec, model: Any, sizes: Mapping[str, int]) -> Any:
    """What a foreign model is known by besides its tensors: its file may also hold plain attributes."""
    digest = hashlib.sha256(f"{type(model).__module__}.{type(model).__qualname__}\0{dict(sizes)}\0".encode())
    path = Path(spec.path) if spec.path else None
    if path is not None and path.is_file():
        digest.update(file_hash(path).encode())
    elif path is not None and path.is_dir():
        for item in sorted(item for item in path.rglob("*") if item.is_file()):
            digest.update(f"{item.relative_to(path).as_posix()}\0{file_hash(item)}\0".encode())
    return digest


def _is_out_of_memory(error: Exception) -> bool:
    """Torch has a type of its own for accelerators alone; TensorFlow's is not importable here."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if type(error).__name__ == "ResourceExhaustedError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
