"""Any HEAR model behind one adapter: named, loaded, hashed, called with numpy and its answers checked."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch

from hear_delores.errors import DeloresError
from hear_delores.files import file_hash

__all__ = ["LoadedModel", "ModelSpec", "load_model", "slug"]

FUNCTIONS = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")
_SPEC = re.compile(
    r"(?:(?P<label>[^=@?]*)=)?(?P<module>[^=@?]+)(?:@(?P<path>.*?))?(?:\?(?P<options>[^?]*))?", re.DOTALL
)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


class OutOfMemory(DeloresError):
    """The model had too little memory for a batch: a smaller one may do."""


class NotFinite(DeloresError):
    """The model returned NaN or infinity for the sounds ``rows`` of a batch."""

    def __init__(self, message: str, rows: list[int]) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True)
class ModelSpec:
    """Which model: ``[LABEL=]MODULE[@PATH][?key=value&...]``.

    Attributes:
        module: an importable module with the three HEAR functions.
        path: what its ``load_model`` is given; "" calls it without a path.
        options: further arguments of ``load_model``.
        label: how tables call it, and safe as a folder name; by default the module's name, with the
            path's stem after it.
    """

    module: str
    path: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        if not _MODULE.fullmatch(self.module):
            raise DeloresError(f"{self.module!r} is not the name of a Python module, such as hear_delores")
        object.__setattr__(self, "options", dict(self.options))  # a copy: the caller's may change
        for key in self.options:
            if not key.isidentifier():
                raise DeloresError(f"the model option {key!r} of {self.module} is not the name of an argument")
        if not self.label:
            stem = f"-{slug(Path(self.path).stem)}" if self.path else ""
            object.__setattr__(self, "label", f"{self.module}{stem}")
        if not _LABEL.fullmatch(self.label):
            raise DeloresError(
                f"the model label {self.label!r} names folders: use letters, digits, '.', '_', '+' and '-', "
                "and begin with a letter or digit"
            )

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """The spec that a command line argument states.

        Option values are read as whole numbers, numbers, true, false or none where they look so; "%3F"
        and the like stand for characters that would separate.

        >>> spec = ModelSpec.parse("mine=my_model@weights/best.pt?layer=3&norm=true")
        >>> spec.label, spec.module, spec.path, dict(spec.options)
        ('mine', 'my_model', 'weights/best.pt', {'layer': 3, 'norm': True})
        >>> ModelSpec.parse("my_model@weights/best.pt").label
        'my_model-best'
        """
        match = _SPEC.fullmatch(text)
        if match is None or match["label"] == "":
            raise DeloresError(f"cannot read the model {text!r}; expected [LABEL=]MODULE[@PATH][?key=value&...]")
        options: dict[str, Any] = {}
        for part in (match["options"] or "").split("&") if match["options"] else []:
            key, equals, value = part.partition("=")
            if not equals:
                raise DeloresError(f"cannot read the option {part!r} of the model {text!r}; expected key=value")
            if key in options:
                raise DeloresError(f"the option {key!r} of the model {text!r} is given twice")
            options[key] = _value(unquote(value))
        return cls(match["module"].strip(), match["path"] or "", options, (match["label"] or "").strip())

    def __hash__(self) -> int:
        return hash((self.module, self.path, self.label, tuple(sorted(map(repr, self.options.items())))))

    def __str__(self) -> str:
        options = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.module}{f'@{self.path}' if self.path else ''}{f'?{options}' if options else ''}"


@dataclass
class LoadedModel:
    """A model that is ready to embed. Made by :func:`load_model`.

    Attributes:
        weights_hash: 64 hexadecimal digits that differ whenever the weights (or, as far as it can be
            known, anything else that ``load_model`` read) differ.
        kind: ``torch`` or ``tensorflow``.
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

    @property
    def folder_name(self) -> str:
        """``<label>[-option=value...]-<first 8 digits of weights_hash>``: two checkpoints never share it."""
        options = "".join(f"-{slug(key)}={slug(str(value))}" for key, value in sorted(self.spec.options.items()))
        return f"{self.spec.label}{options}-{self.weights_hash[:8]}"

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
            raise self._fault(f"{name} failed on audio {audio.shape}: {_one_line(error)}") from error

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
        raise DeloresError(f"model {spec.label}: the module {spec.module} has no function {', '.join(missing)}")
    try:
        model = module.load_model(*([spec.path] if spec.path else []), **spec.options)
    except Exception as error:  # foreign code may raise anything; the cause stays attached
        raise DeloresError(f"model {spec.label}: load_model failed: {_one_line(error)}") from error
    sizes = {
        name: _whole(spec, model, name) for name in ("sample_rate", "scene_embedding_size", "timestamp_embedding_size")
    }
    tensorflow = sys.modules.get("tensorflow")  # a TensorFlow model has imported it
    if isinstance(model, torch.nn.Module):
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            model = model.to(chosen).eval()
        except (RuntimeError, AssertionError) as error:
            raise DeloresError(f"model {spec.label}: cannot use the device {chosen!r}: {_one_line(error)}") from None
        weights, count = _torch_hash(spec, model, sizes), sum(p.numel() for p in model.parameters())
        return LoadedModel(spec, module, model, "torch", chosen, weights_hash=weights, n_parameters=count, **sizes)
    if tensorflow is not None and isinstance(model, tensorflow.Module):
        weights, count = _tensorflow_hash(spec, model, sizes)
        return LoadedModel(spec, module, model, "tensorflow", "auto", weights_hash=weights, n_parameters=count, **sizes)
    raise DeloresError(
        f"model {spec.label}: load_model returned {type(model).__name__}; expected a torch.nn.Module or a tf.Module"
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


def slug(text: str) -> str:
    """``text`` with everything that is not safe in a folder name replaced by "-".

    >>> slug("a b/c=1.5")
    'a-b-c-1.5'
    """
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-") or "none"


def _value(text: str) -> Any:
    names = {"true": True, "false": False, "none": None}
    if text.lower() in names:
        return names[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _import(spec: ModelSpec) -> ModuleType:
    try:
        return importlib.import_module(spec.module)
    except ModuleNotFoundError as error:
        # Either the module itself (or a package it lies in) is missing, or something that it needs.
        if error.name and f"{spec.module}.".startswith(f"{error.name}."):
            hint = f"no module named {error.name!r}; install it or check the name"
            raise DeloresError(f"model {spec.label}: {hint}") from None
        hint = f"importing {spec.module} needs {error.name!r}; install it"
        raise DeloresError(f"model {spec.label}: {hint}") from error
    except Exception as error:  # a foreign module may raise anything while it is imported
        hint = f"importing {spec.module} failed: {_one_line(error)}"
        raise DeloresError(f"model {spec.label}: {hint}") from error


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


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, DeloresError) else f"{type(error).__name__}: {text}"


def _is_out_of_memory(error: Exception) -> bool:
    """Torch has a type of its own for accelerators alone; TensorFlow's is not importable here."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if type(error).__name__ == "ResourceExhaustedError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
