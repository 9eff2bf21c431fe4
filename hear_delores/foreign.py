"""Checkpoints of other programs: which encoder tensors they hold, under which names.

Read with ``torch.load(weights_only=True)``: code in a file is refused, never run. The formats hold neither a
front-end nor normalisation statistics, and this project does not know the statistics of other people's data;
they must be passed, or stand in a JSON file beside the checkpoint.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hear_delores.documents import read_json
from hear_delores.encoder import LAYERS, POOL, EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig

__all__ = ["FORMATS", "FRONTENDS", "ForeignFormat", "read_foreign"]

FRONTENDS = {"delores": FrontendConfig(), "byol-a": FrontendConfig(mel_scale="htk", mel_norm=None)}
"""The front-ends of the producers by name, as far as ours can express them: librosa's defaults, torchaudio's.

BYOL-A's torchaudio front-end reflects the audio at its ends, where ours and librosa's put zeros: the first and
last three mel frames differ.
"""


@dataclass(frozen=True)
class ForeignFormat:
    """Where a program puts the encoder in its checkpoints.

    Attributes:
        name: of the producer.
        wrapped: whether the state dict stands under the key "state_dict".
        prefix: of the encoder's tensors.
        numbered: blocks are ``features_1.{0,1}`` .. ``features_3.{0,1}``; else ``features.{0,1,4,5,8,9}``.
        allowed: under ``prefix`` nothing but the encoder may stand, except tensors that begin so (after it).
        frontend: the producer's settings, a name in ``FRONTENDS``.
    """

    name: str
    wrapped: bool
    prefix: str
    numbered: bool
    allowed: tuple[str, ...] = ()
    frontend: str = "delores"

    def module_names(self) -> dict[str, str]:
        """Foreign module name (without prefix) -> ours, for the eight modules that hold tensors."""
        names = {"fc.0": "fc.0", "fc.3": "fc.3"}
        for layer in range(LAYERS):
            for index, ours in enumerate(("conv", "norm")):
                foreign = f"features_{layer + 1}.{index}" if self.numbered else f"features.{4 * layer + index}"
                names[foreign] = f"blocks.{layer}.{ours}"
        return names

    @property
    def mark(self) -> str:
        """A tensor that only this format has."""
        return self.prefix + ("features_1.0.weight" if self.numbered else "features.0.weight")


FORMATS = (
    ForeignFormat("BYOL-A", False, "", False, frontend="byol-a"),
    ForeignFormat("DeLoRes", True, "module.", False),
    ForeignFormat("LAPE DeLoRes-M", True, "encoder_q.encoder.", True),
    ForeignFormat("LAPE DeLoRes-S", True, "encoder.encoder.", True),
    # The head of the older code lies beside the encoder.
    ForeignFormat("older DeLoRes-M", True, "encoder_q.", True, allowed=("fc_2.",)),
    ForeignFormat("older DeLoRes-M", False, "encoder_q.", True, allowed=("fc_2.",)),
)


def read_foreign(
    path: Path, frontend: FrontendConfig | None, mean: float | None, std: float | None
) -> tuple[EncoderConfig, dict[str, Tensor], dict[str, Any]]:
    """Encoder settings, encoder tensors under our names, and a checkpoint header made for them.

    The header's ``config`` says what the file is called, and what of it is ``unused``: part -> number of tensors,
    0 for entries that are no tensors.

    Args:
        path: of the checkpoint.
        frontend: None for the ``frontend`` entry of ``<path>.json``, or the producer's own.
        mean, std: statistics of the producer's log-mel values; None for those of ``<path>.json``.

    Raises:
        DeloresError: the file cannot be read without running code, is of no known format, an encoder tensor
            is absent or superfluous, or the statistics are not given.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise DeloresError(
            f"Expected a state dict in {path}, but got {type(content).__name__}: it is no known checkpoint."
        )
    form, tensors = _recognise(path, content)
    state = _rename(path, form, tensors)
    config = _infer_config(path, state)
    beside = _read_beside(path)
    if mean is None and std is None:
        mean, std = beside.get("mean"), beside.get("std")
    if mean is None or std is None:
        raise DeloresError(
            f"Expected the normalisation statistics of {path}, which a {form.name} checkpoint does not hold: "
            "pass mean= and std= to load_checkpoint (--mean and --std to delores convert), "
            f'or write {{"mean": ..., "std": ...}} to {path}.json.'
        )
    if frontend is None:
        frontend = FrontendConfig.from_dict(beside["frontend"]) if "frontend" in beside else FRONTENDS[form.frontend]
    header = {
        "frontend": frontend.to_dict(),
        "normalization": {"mean": mean, "std": std},
        "scene": ["pooled"],
        "method": form.name,
        "config": {"imported_from": path.name, "unused": _unused(form, content, tensors)},
        "data": {},
        "step": 0,
        "metrics": {},
    }
    return config, state, header


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise DeloresError(
                f"{path} holds objects other than tensors, which could run code: save its state dict alone "
                "(torch.save(model.state_dict(), ...)) with the program that made it."
            ) from None
        raise DeloresError(f"Expected a checkpoint at {path}, but it is damaged or of an unknown format.") from None
    except Exception:  # a damaged file makes torch.load raise nearly anything
        raise DeloresError(
            f"Expected a checkpoint at {path}, but it is damaged, truncated or of an unknown format: copy it again."
        ) from None


def _recognise(path: Path, content: Mapping[str, Any]) -> tuple[ForeignFormat, Mapping[str, Any]]:
    wrapped = isinstance(content.get("state_dict"), Mapping)
    tensors = content["state_dict"] if wrapped else content
    for form in FORMATS:
        if form.wrapped == wrapped and form.mark in tensors:
            return form, tensors
    names = ", ".join(dict.fromkeys(form.name for form in FORMATS))
    found = ", ".join(map(str, list(tensors)[:3])) or "nothing"
    raise DeloresError(
        f"{path}: expected the encoder of one of these: hear_delores, {names}; but found {found}, ...: "
        "it is of another architecture."
    )


def _rename(path: Path, form: ForeignFormat, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The encoder's tensors under our names. One too many is found here, a missing one by the caller."""
    modules = form.module_names()
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not isinstance(name, str) or not name.startswith(form.prefix):
            continue  # key encoder, projectors, queue: other parts of the pre-training
        inner = name.removeprefix(form.prefix)
        module, _, kind = inner.rpartition(".")
        if kind == "num_batches_tracked" or inner.startswith(form.allowed):
            continue
        if module not in modules or not isinstance(value, Tensor):
            raise DeloresError(
                f"{path}: expected a {form.name} encoder, but got {name} besides: it is of another architecture."
            )
        state[f"{modules[module]}.{kind}"] = value
    return state


def _unused(form: ForeignFormat, content: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, int]:
    """What the file holds besides the encoder (and its BatchNorm counters, which nothing reads)."""
    modules, root = form.module_names(), form.prefix.partition(".")[0]
    parts: Counter[str] = Counter()
    for name in tensors:
        inner = name.removeprefix(form.prefix) if name.startswith(form.prefix) else ""
        if inner.rpartition(".")[0] not in modules:
            first, _, rest = name.partition(".")
            parts[f"{first}.{rest.partition('.')[0]}" if rest and first == root else first] += 1
    others = content.keys() - {"state_dict"} if form.wrapped else ()
    return {**parts, **dict.fromkeys(sorted(map(str, others)), 0)}


def _infer_config(path: Path, state: Mapping[str, Tensor]) -> EncoderConfig:
    """The sizes that the tensors' shapes say; dropout is in no state dict and does not matter any more."""
    for name, ndim in (("blocks.0.conv.weight", 4), ("fc.0.weight", 2)):
        if name not in state or state[name].ndim != ndim:
            raise DeloresError(f"{path}: expected the encoder tensor {name} with {ndim} dimensions: it is damaged.")
    channels = max(1, state["blocks.0.conv.weight"].shape[0])
    embedding_size, inputs = state["fc.0.weight"].shape
    return EncoderConfig(n_mels=inputs // channels * POOL, channels=channels, embedding_size=embedding_size)


def _read_beside(path: Path) -> dict[str, Any]:
    """The settings in ``<path>.json``; none when there is no such file."""
    beside = path.with_name(path.name + ".json")
    if not beside.exists():
        return {}
    values: dict[str, Any] = read_json(beside, advice="expected mean, std and perhaps frontend")
    if not values.keys() <= {"mean", "std", "frontend"}:
        raise DeloresError(f"Expected an object with mean, std and perhaps frontend in {beside}: correct the file.")
    return values
