"""Checkpoints: encoder weights as safetensors, everything else as JSON in the file's header.

A file holds the encoder's tensors ("encoder.*"), the maps of decorrelated parts ("decorrelation.<part>.scale",
".centre" and ".matrix"), if it has any, and one metadata entry, "hear_delores", with the JSON of:
format_version, method, encoder {...}, frontend {...}, normalization {mean, std}, scene [...], timestamp [...] (left
out when it is ["frames"]), config {...}, data {...}, step, metrics {...}. Nothing is ever unpickled from it.

Everything that decides the embeddings is in the header, so nothing of it is ever filled up with a default: a header
that lacks an entry, or holds null for it, is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hear_delores.decorrelation import Decorrelation, check_decorrelation
from hear_delores.documents import parse_json
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.file_kinds import begins_as_safetensors, explain_no_checkpoint
from hear_delores.files import atomic_path
from hear_delores.foreign import read_foreign, recognise, some, without_wrapper
from hear_delores.frontend import FrontendConfig
from hear_delores.model import HearModel
from hear_delores.pooling import SCENE_PARTS, part_width
from hear_delores.settings import shown

__all__ = ["CHECKPOINT_FORMAT", "INFO", "load_checkpoint", "read_header", "save_checkpoint", "weights_hash"]

CHECKPOINT_FORMAT = 1
METADATA_KEY = "hear_delores"
INFO: dict[str, Any] = {"method": "", "config": {}, "data": {}, "step": 0, "metrics": {}}
"""What ``HearModel.info`` carries into a checkpoint, with the values that stand for "not known"."""
_KINDS: dict[str, tuple[type, str]] = {
    "encoder": (dict, "an object of settings"),
    "frontend": (dict, "an object of settings"),
    "normalization": (dict, "an object with mean and std"),
    "scene": (list, "a list of parts"),
    "timestamp": (list, "a list of parts"),
    "method": (str, "text"),
    "config": (dict, "an object"),
    "data": (dict, "an object"),
    "step": (int, "a whole number from 0"),
    "metrics": (dict, "an object"),
}
_OPTIONAL = frozenset({"timestamp"})  # absent at its default, as in files from before there was a choice
DEFAULT_TIMESTAMP = ("frames",)
ENCODER, DECORRELATION, COUNTER = "encoder.", "decorrelation.", "num_batches_tracked"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def save_checkpoint(path: str | os.PathLike[str], model: HearModel, *, dtype: torch.dtype = torch.float32) -> None:
    """Writes ``model`` to ``path``: the whole file, or on any failure nothing.

    Args:
        path: of the file; its folder is made when absent.
        model: what to write; ``model.info`` may hold method, config, data, step and metrics, as JSON values.
        dtype: float32, float16 or bfloat16, for tensors of two and more dimensions. Biases and BatchNorm's
            vectors stay float32: they weigh nothing, and running variances do not fit into float16.

    Raises:
        DeloresError: another dtype, unknown or unserialisable info, weights that are not finite (in
            ``dtype``), or a place that cannot be written.
    """
    if dtype not in DTYPES:
        raise DeloresError(f"Expected `dtype` to be one of {DTYPES}, but got {dtype}.")
    header = json.dumps(_header(model), sort_keys=True)
    tensors = _state(model)
    tensors = {name: value.to(dtype) if value.ndim > 1 else value for name, value in tensors.items()}
    _check_finite(tensors, f"Cannot save {path}")
    with atomic_path(path, "the checkpoint ") as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: header})


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    frontend: FrontendConfig | None = None,
    mean: float | None = None,
    std: float | None = None,
) -> HearModel:
    """The model in a checkpoint, float32 on the CPU in eval mode; torch's random state is not touched.

    Args:
        path: a file of ``save_checkpoint``, or a foreign one that ``foreign.read_foreign`` knows.
        frontend, mean, std: for foreign checkpoints only, which do not hold them; they may as well stand in a
            file ``<path>.json`` beside the checkpoint: {"mean": ..., "std": ..., "frontend": {...}}.

    Raises:
        DeloresError: the file is absent, truncated, not a checkpoint, of another architecture, holds code,
            lacks a tensor or has one too many, or holds values that are not finite.
    """
    path = Path(path)
    stored = _look(path)
    if stored is None or (METADATA_KEY not in stored.metadata and recognise(dict.fromkeys(stored.names)) is not None):
        return _assemble(path, *read_foreign(path, frontend, mean, std))
    if frontend is not None or mean is not None or std is not None:
        raise DeloresError(f"{path} holds its own front-end and statistics: leave `frontend`, `mean` and `std` out.")
    header = _read_header(path, stored)
    with _opened(path) as stream:  # copies, not views of the file
        tensors = without_wrapper({name: stream.get_tensor(name).clone() for name in stored.names})
    encoder_config = EncoderConfig.from_dict(header["encoder"])
    state = {name.removeprefix(ENCODER): value for name, value in tensors.items() if name.startswith(ENCODER)}
    maps = {name: value for name, value in tensors.items() if name.startswith(DECORRELATION)}
    if len(state) + len(maps) != len(tensors):
        extra = sorted(name for name in tensors if not name.startswith((ENCODER, DECORRELATION)))
        raise DeloresError(
            f"{path}: expected encoder tensors only, but got {some(extra)}: it is of another architecture."
        )
    return _assemble(path, encoder_config, without_wrapper(state), header, _read_maps(path, encoder_config, maps))


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON header of a checkpoint of ours, without its tensors.

    Raises:
        DeloresError: the file is absent, truncated, or no checkpoint of ours.
    """
    path = Path(path)
    stored = _look(path)
    if stored is None:
        raise DeloresError(f"Expected a hear_delores checkpoint at {path}, but it is no safetensors file.")
    return _read_header(path, stored)


def _read_header(path: Path, stored: _Stored) -> dict[str, Any]:
    """The checked header of a safetensors file of ours.

    Raises:
        DeloresError: naming ``path``: another program's, no JSON, another format version, or an entry missing, unknown
            or unfit.
    """
    if METADATA_KEY not in stored.metadata:
        raise DeloresError(
            f"Expected a hear_delores checkpoint at {path}, but its header has no {METADATA_KEY!r} entry: it was made "
            f"by another program. It holds {len(stored.names)} tensors: {some(stored.names, 3)}."
        )
    where = f"The header of {path}"
    header: dict[str, Any] = parse_json(stored.metadata[METADATA_KEY], where, nan=True, advice="copy the file again")
    version = header.get("format_version")
    if version != CHECKPOINT_FORMAT or isinstance(version, bool):
        raise DeloresError(
            f"Expected checkpoint format {CHECKPOINT_FORMAT} in {path}, but got {shown(version)}: "
            "update hear-delores, or use the version that wrote it."
        )
    missing = sorted(_KINDS.keys() - _OPTIONAL - header.keys())
    if missing:
        raise DeloresError(f"{where} lacks {', '.join(missing)}: the file is damaged, copy it again.")
    try:
        _check_header(header)
    except DeloresError as error:
        raise DeloresError(f"{path}: {error}") from None
    return header


def _check_header(header: Mapping[str, Any]) -> None:
    """Raises DeloresError for an entry of ``header`` that is unknown, null or of another kind, and for settings
    of the encoder or the front-end that are unknown, missing or out of range."""
    for name, value in header.items():
        if name == "format_version":
            continue
        if name not in _KINDS:
            raise DeloresError(f"The header has no entry {shown(name)}. {did_you_mean(name, _KINDS)}")
        kind, words = _KINDS[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DeloresError(f"expected {name} to be {words}, but got {shown(value)}.")
    if header["step"] < 0:
        raise DeloresError(f"expected step to be {_KINDS['step'][1]}, but got {shown(header['step'])}.")
    normalization = header["normalization"]
    if normalization.keys() != {"mean", "std"}:
        raise DeloresError(f"expected a normalization with mean and std, but got {shown(normalization)}.")
    EncoderConfig.from_dict(header["encoder"], complete=True)
    FrontendConfig.from_dict(header["frontend"], complete=True)


class _Stored(NamedTuple):
    """The metadata of a safetensors file and the names of its tensors, sorted."""

    metadata: dict[str, str]
    names: list[str]


def _look(path: Path) -> _Stored | None:
    """What a safetensors file says it holds; None for a file of another kind.

    Raises:
        DeloresError: it is absent, damaged, or is no checkpoint of any kind, but something that is known.
    """
    if not path.is_file():
        there = "it is no regular file" if path.exists() else "there is no such file"
        raise DeloresError(
            f"Expected a checkpoint at {path}, but {'it is a folder' if path.is_dir() else there}: check the path."
        )
    try:
        reason = explain_no_checkpoint(path)
        is_safetensors = begins_as_safetensors(path)
    except OSError as error:
        raise DeloresError(f"Cannot read the checkpoint {path}: {error.strerror}.") from None
    if reason is not None:
        raise DeloresError(f"Expected a checkpoint at {path}, but {reason}.")
    if not is_safetensors:
        return None
    with _opened(path) as stream:
        found = _Stored(stream.metadata() or {}, sorted(stream.keys()))
    with open(path, "rb") as file:  # refuses a tensor that is named twice: safetensors takes the last of them
        length = int.from_bytes(file.read(8), "little")
        parse_json(file.read(length), f"The header of {path}", advice="copy the file again")
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(str(path), framework="pt") as stream:
            yield stream
    except (SafetensorError, OSError) as error:
        raise DeloresError(
            f"Cannot read the checkpoint {path}: {error}. It is damaged or truncated: copy it again."
        ) from None


def weights_hash(model: HearModel) -> str:
    """SHA-256 of everything that determines the embeddings, as 64 hexadecimal digits.

    Over the float32 tensors of the encoder and of decorrelated parts (sorted by name, the encoder's first; name,
    dtype, shape and little-endian bytes) and the encoder's, the front-end's, the normalisation's and the scene's
    settings; a precision other than float32 counts, too.
    """
    digest = hashlib.sha256()
    for name, value in sorted(_state(model).items(), key=lambda item: (not item[0].startswith(ENCODER), item[0])):
        digest.update(f"{name.removeprefix(ENCODER)} float32 {tuple(value.shape)}\n".encode())
        digest.update(np.ascontiguousarray(value.numpy(), dtype="<f4").tobytes())
    digest.update(json.dumps(_settings(model), sort_keys=True).encode())
    if model.precision != "float32":
        digest.update(f"precision {model.precision}".encode())
    return digest.hexdigest()


def _settings(model: HearModel) -> dict[str, Any]:
    # Absent at its default, so that files and hashes from before it are the same.
    timestamp = {} if model.timestamp == DEFAULT_TIMESTAMP else {"timestamp": list(model.timestamp)}
    return {
        "encoder": model.encoder.config.to_dict(),
        "frontend": model.frontend.config.to_dict(),
        "normalization": {"mean": model.mean, "std": model.std},
        "scene": list(model.scene),
        **timestamp,
    }


def _header(model: HearModel) -> dict[str, Any]:
    for key in model.info:
        if key not in INFO:
            raise DeloresError(f"A checkpoint has no place for info {key!r}. {did_you_mean(key, INFO)}")
    header = {"format_version": CHECKPOINT_FORMAT, **_settings(model), **INFO, **model.info}
    try:
        plain = json.loads(json.dumps(header))
    except (TypeError, ValueError, RecursionError) as error:
        raise DeloresError(f"Expected the model's info to be plain JSON values, but got: {error}.") from None
    _check_header(plain)
    return header


def _state(model: HearModel) -> dict[str, Tensor]:
    """Every tensor that determines the embeddings under its name in a file, float32, contiguous, on the CPU.

    BatchNorm's batch counters are left out: with a fixed momentum nothing reads them.
    """
    state = model.encoder.state_dict(prefix=ENCODER) | model.decorrelation.state_dict(prefix=DECORRELATION)
    kept = {name: value for name, value in state.items() if not name.endswith(COUNTER)}
    return {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in kept.items()}


def _read_maps(path: Path, config: EncoderConfig, tensors: Mapping[str, Tensor]) -> dict[str, Decorrelation]:
    """The maps of decorrelated parts, by the part's plain name."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, which = name.removeprefix(DECORRELATION).partition(".")
        if part not in SCENE_PARTS or which not in ("scale", "centre", "matrix"):
            raise DeloresError(f"{path}: did not expect {name}: it is of another version, or damaged.")
        grouped.setdefault(part, {})[which] = value
    _check_finite(tensors, f"Cannot use {path}")
    try:
        return {part: check_decorrelation(part, own, part_width(part, config)) for part, own in grouped.items()}
    except DeloresError as error:
        raise DeloresError(f"{path}: {error}: it is of another version, or damaged.") from None


def _assemble(
    path: Path,
    config: EncoderConfig,
    state: Mapping[str, Tensor],
    header: Mapping[str, Any],
    decorrelation: Mapping[str, Decorrelation] | None = None,
) -> HearModel:
    """The model of checked tensors and settings. Built on the meta device: no random weights are drawn."""
    with torch.device("meta"):
        encoder = AudioNTT(config)
    counters = [name for name in encoder.state_dict() if name.endswith(COUNTER)]
    expected = {name: value.shape for name, value in encoder.state_dict().items() if name not in counters}
    _check_tensors(path, expected, state)
    full: dict[str, Tensor] = {name: value.to(torch.float32).contiguous() for name, value in state.items()}
    full.update({name: torch.zeros((), dtype=torch.int64, device="cpu") for name in counters})
    encoder.load_state_dict(full, strict=True, assign=True)
    normalization = header["normalization"]
    try:
        model = HearModel(
            encoder,
            FrontendConfig.from_dict(header["frontend"]),
            normalization["mean"],
            normalization["std"],
            header["scene"],
            {key: header[key] for key in INFO},
            timestamp=header.get("timestamp", DEFAULT_TIMESTAMP),
            decorrelation=decorrelation,
        )
    except DeloresError as error:
        raise DeloresError(f"{path}: {error}") from None
    return model.eval()


def _check_tensors(path: Path, expected: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> None:
    hint = "it is of another architecture, or damaged"
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing:
        raise DeloresError(f"{path}: expected {len(expected)} encoder tensors, but {some(missing)} is missing: {hint}.")
    if extra:
        raise DeloresError(f"{path}: expected {len(expected)} encoder tensors, but got {some(extra)} besides: {hint}.")
    for name, shape in expected.items():
        value = state[name]
        if value.shape != shape or value.dtype not in (*DTYPES, torch.float64):
            raise DeloresError(
                f"{path}: expected {name} to be floating point of shape {tuple(shape)}, "
                f"but got {value.dtype} of shape {tuple(value.shape)}: {hint}."
            )
    _check_finite(state, f"Cannot use {path}")
    for name, value in state.items():
        if name.endswith("running_var") and bool((value < 0).any()):
            raise DeloresError(f"Cannot use {path}: expected variances of 0 or more, but {name} holds a negative one.")


def _check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise DeloresError(f"{what}: expected finite weights, but {name} holds NaN or infinity.")
