"""A hash of all that a model has learnt, of whatever framework, and the number of its parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.embedding.resolve import FILE_MODULE
from benchmarks.embedding.spec import ModelSpec
from hear_delores.files import file_hash

__all__ = ["hash_objects", "hash_tensorflow", "hash_torch", "tensors_within"]

#: Classes that have moved: their models are those that they were.
_FORMER_CLASSES = {"benchmarks.encoders.log_mel.LogMelStatistics": "benchmarks.baselines.logmel.LogMelStatistics"}
#: How deep in a plain object tensors are looked for.
DEPTH = 6


def hash_torch(spec: ModelSpec, model: torch.nn.Module, sizes: Mapping[str, int]) -> tuple[str, int]:
    """64 hexadecimal digits of a torch model, and the number of its parameters."""
    from hear_delores.checkpoint import weights_hash
    from hear_delores.model import HearModel

    count = sum(parameter.numel() for parameter in model.parameters())
    if isinstance(model, HearModel):  # knows its whole state: also front-end, statistics and pooling
        return weights_hash(model), count
    digest = _start(spec, model, sizes)
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()], key=lambda item: item[0]):
        _add_tensor(digest, name, tensor)
    return digest.hexdigest(), count


def hash_tensorflow(spec: ModelSpec, model: Any, sizes: Mapping[str, int]) -> tuple[str, int]:
    """64 hexadecimal digits of a TensorFlow model, and the number of its variables' values."""
    digest, count = _start(spec, model, sizes), 0
    for variable in sorted(model.variables, key=lambda item: item.name):
        array = np.ascontiguousarray(variable.numpy())
        count += array.size
        digest.update(f"{variable.name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest(), count


def hash_objects(spec: ModelSpec, model: Any, sizes: Mapping[str, int]) -> tuple[str, int]:
    """64 hexadecimal digits of any other object, from the tensors and arrays that it holds, and their size."""
    digest, count = _start(spec, model, sizes), 0
    for name, value in tensors_within(model):
        if isinstance(value, torch.Tensor):
            count += value.numel()
            _add_tensor(digest, name, value)
        else:
            array = np.asarray(value)
            count += array.size
            digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest(), count


def tensors_within(value: Any, name: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    """(name, torch tensor or array) of all that an object holds in attributes, dictionaries and lists."""
    yield from _within(value, name, depth, set())


def _within(value: Any, name: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, torch.nn.Module):
        yield from ((f"{name}.{key}", tensor) for key, tensor in value.state_dict().items())
    elif hasattr(value, "__array__") and getattr(getattr(value, "dtype", None), "kind", "") in "fiub":
        yield name, value
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _within(value[key], f"{name}[{key}]", depth - 1, seen)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _within(item, f"{name}[{number}]", depth - 1, seen)
    elif not isinstance(value, (str, bytes, int, float, type, type(_within))):
        slots = {key: getattr(value, key) for key in getattr(type(value), "__slots__", ()) if hasattr(value, key)}
        for key, item in sorted({**slots, **getattr(value, "__dict__", {})}.items()):
            yield from _within(item, f"{name}.{key}", depth - 1, seen)


def _add_tensor(digest: Any, name: str, tensor: torch.Tensor) -> None:
    digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _start(spec: ModelSpec, model: Any, sizes: Mapping[str, int]) -> Any:
    """What a foreign model is known by besides its tensors: its file may also hold plain attributes."""
    digest = hashlib.sha256(f"{_class_name(model)}\0{dict(sizes)}\0".encode())
    revision = getattr(model, "revision", None)
    if spec.adapter and isinstance(revision, str):  # the commit, or the configuration, that the adapter has found
        digest.update(f"{revision}\0".encode())
        return digest
    path = Path(spec.path) if spec.path else None
    if path is not None and path.is_file():
        digest.update(file_hash(path).encode())
    elif path is not None and path.is_dir():
        for item in sorted(item for item in path.rglob("*") if item.is_file()):
            digest.update(f"{item.relative_to(path).as_posix()}\0{file_hash(item)}\0".encode())
    return digest


def _class_name(model: Any) -> str:
    """The class, by which name it was known first; that of a file does not depend on where the file lies."""
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    return _FORMER_CLASSES.get(name, FILE_MODULE.sub("", name))
