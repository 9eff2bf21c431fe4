"""Checkpoints: encoder weights as safetensors, everything else as JSON in the file's header.

A file holds the encoder's tensors ("encoder.*"), the maps of decorrelated parts ("decorrelation.<part>.scale",
".centre" and ".matrix"), if it has any, and one metadata entry, "hear_delores", with the JSON of:
format_version, method, encoder {...}, frontend {...}, normalization {mean, std}, scene [...], timestamp [...] (left
out when it is ["frames"]), config {...}, data {...}, step, metrics {...}. Nothing is ever unpickled from it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hear_delores.checkpoint_header import CHECKPOINT_FORMAT, INFO, METADATA_KEY, check_header, parse_header
from hear_delores.decorrelation import Decorrelation, check_decorrelation
from hear_delores.documents import parse_json
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.file_kinds import explain_no_checkpoint
from hear_delores.files import atomic_path
from hear_delores.foreign import read_foreign, recognise, some, without_wrapper
from hear_delores.frontend import FrontendConfig
from hear_delores.model import HearModel
from hear_delores.pooling import SCENE_PARTS, part_width

__all__ = ["CHECKPOINT_FORMAT", "INFO", "load_checkpoint", "read_header", "save_checkpoint", "weights_hash"]

DEFAULT_TIMESTAMP = ("frames",)
ENCODER, DECORRELATION = "encoder.", "decorrelation."
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
    if not _is_safetensors(path) or _is_foreign(path):
        encoder_config, state, settings = read_foreign(path, frontend, mean, std)
        return _assemble(path, encoder_config, state, settings)
    if frontend is not None or mean is not None or std is not None:
        raise DeloresError(f"{path} holds its own front-end and statistics: leave `frontend`, `mean` and `std` out.")
    header, read = _read(path)
    tensors = without_wrapper(read)
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
    if not _is_safetensors(path):
        raise DeloresError(f"Expected a hear_delores checkpoint at {path}, but it is no safetensors file.")
    metadata, names = _open(path)
    if METADATA_KEY not in metadata:
        raise DeloresError(
            f"Expected a hear_delores checkpoint at {path}, but its header has no {METADATA_KEY!r} entry: it was made "
            f"by another program. It holds {len(names)} tensors: {some(names, 3)}."
        )
    return parse_header(path, metadata)


def _is_safetensors(path: Path) -> bool:
    """Whether it begins as a safetensors file: eight bytes of length, then JSON.

    Raises:
        DeloresError: it is absent, cannot be read, or is no checkpoint of any kind, but something that is known.
    """
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        what = "it is no regular file" if path.exists() and not path.is_dir() else what
        raise DeloresError(f"Expected a checkpoint at {path}, but {what}: check the path.")
    try:
        reason = explain_no_checkpoint(path)
        with open(path, "rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise DeloresError(f"Cannot read the checkpoint {path}: {error.strerror}.") from None
    if reason is not None:
        raise DeloresError(f"Expected a checkpoint at {path}, but {reason}.")
    return start[8:9] == b"{"


def _is_foreign(path: Path) -> bool:
    """Whether a safetensors file holds an encoder of another program that is known."""
    metadata, names = _open(path)
    return METADATA_KEY not in metadata and recognise(dict.fromkeys(names)) is not None


def _open(path: Path) -> tuple[dict[str, str], list[str]]:
    """The metadata of a safetensors file and the names of its tensors, sorted."""
    try:
        with safe_open(str(path), framework="pt") as stream:
            found = stream.metadata() or {}, sorted(stream.keys())
    except (SafetensorError, OSError) as error:
        raise DeloresError(
            f"Cannot read the checkpoint {path}: {error}. It is damaged or truncated: copy it again."
        ) from None
    _check_names(path)
    return found


def _check_names(path: Path) -> None:
    """Refuses a tensor that the header names twice: safetensors takes the last of them."""
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        parse_json(stream.read(length), f"The header of {path}", advice="copy the file again")


def weights_hash(model: HearModel) -> str:
    """SHA-256 of everything that determines the embeddings, as 64 hexadecimal digits.

    Over the float32 tensors of the encoder and of decorrelated parts (sorted by name, the encoder's first; name,
    dtype, shape and little-endian bytes) and the encoder's, the front-end's, the normalisation's and the scene's
    settings.
    """
    digest = hashlib.sha256()
    maps = {name: value for name, value in _state(model).items() if name.startswith(DECORRELATION)}
    for name, value in [*sorted(_encoder_state(model.encoder).items()), *sorted(maps.items())]:
        digest.update(f"{name} float32 {tuple(value.shape)}\n".encode())
        digest.update(np.ascontiguousarray(value.numpy(), dtype="<f4").tobytes())
    digest.update(json.dumps(_settings(model), sort_keys=True).encode())
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
        check_header(json.loads(json.dumps(header)))
    except DeloresError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise DeloresError(f"Expected the model's info to be plain JSON values, but got: {error}.") from None
    return header


def _encoder_state(encoder: AudioNTT) -> dict[str, Tensor]:
    """The tensors that determine the encoder's output, float32, contiguous, on the CPU.

    BatchNorm's batch counters are left out: with a fixed momentum nothing reads them.
    """
    state = encoder.state_dict()
    kept = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in kept.items()}


def _state(model: HearModel) -> dict[str, Tensor]:
    """Every tensor of the model under its name in a file, float32, contiguous, on the CPU."""
    encoder = {ENCODER + name: value for name, value in _encoder_state(model.encoder).items()}
    maps = model.decorrelation.state_dict().items()
    return {**encoder, **{DECORRELATION + name: value.detach().to("cpu", torch.float32) for name, value in maps}}


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


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a safetensors file of ours; the tensors are copies, not views of the file."""
    header = read_header(path)
    try:
        with safe_open(str(path), framework="pt") as stream:
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DeloresError(
            f"Cannot read the checkpoint {path}: {error}. It is damaged or truncated: copy it again."
        ) from None
    return header, tensors


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
    counters = [name for name in encoder.state_dict() if name.endswith("num_batches_tracked")]
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
