"""Checkpoints of other programs: which encoder tensors they hold, under which names.

Read with ``torch.load(weights_only=True)``: code in a file is refused, never run. The formats hold neither a
front-end nor normalisation statistics, and this project does not know the statistics of other people's data;
they must be passed, or stand in a JSON file beside the checkpoint.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from hear_delores.documents import read_json
from hear_delores.encoder import LAYERS, POOL, EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.file_kinds import begins_as_safetensors
from hear_delores.frontend import FrontendConfig
from hear_delores.settings import shown

__all__ = ["FORMATS", "FRONTENDS", "ForeignFormat", "read_foreign", "recognise", "some", "without_wrapper"]

WRAPPERS = ("module.", "_orig_mod.")
SLACK = 2**20
_DOUBTFUL = "features.0.weight"

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
    *(ForeignFormat("older DeLoRes-M", wrapped, "encoder_q.", True, allowed=("fc_2.",)) for wrapped in (True, False)),
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
    form, tensors = _recognised(path, content)
    state = _rename(path, form, tensors)
    _check_storage(path, state)
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
    if frontend is None and "frontend" in beside:
        try:
            frontend = FrontendConfig.from_dict(beside["frontend"])
        except DeloresError as error:
            raise DeloresError(f"{path}.json: {error}") from None
    frontend = frontend or FRONTENDS[form.frontend]
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
    """What torch.save or safetensors wrote; nothing in the file is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of quantised and sparse tensors, which are refused below
            if begins_as_safetensors(path):
                return load_file(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL ([\w.]+)|Unsupported class (\S+)", str(error)):
            raise DeloresError(
                f"{path} holds objects other than tensors ({found[1] or found[2]}), which could run code: save its "
                "state dict alone (torch.save(model.state_dict(), ...)) with the program that made it."
            ) from None
        raise DeloresError(
            f"Expected a checkpoint at {path}, but it is damaged or of an unknown format: give a file of torch.save "
            "or a .safetensors file."
        ) from None
    except Exception:  # a damaged file makes torch.load raise nearly anything
        raise DeloresError(
            f"Expected a checkpoint at {path}, but it is damaged, truncated or of an unknown format: copy it again."
        ) from None


def recognise(content: Mapping[Any, Any]) -> tuple[ForeignFormat, Mapping[str, Any]] | None:
    """The format of a checkpoint and its tensors, without what DistributedDataParallel put before every name."""
    wrapped = isinstance(content.get("state_dict"), Mapping)
    tensors = content["state_dict"] if wrapped else content
    for candidate in _unwrapped(tensors):
        for form in FORMATS:
            # A bare "module.features..." may be BYOL-A's under DataParallel, or DeLoRes' own: another front-end.
            doubtful = form.mark == _DOUBTFUL and "module." + _DOUBTFUL in tensors
            if form.wrapped == wrapped and form.mark in candidate and not doubtful:
                return form, candidate
    return None


def without_wrapper(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """``tensors`` without the "module." of DistributedDataParallel and the "_orig_mod." of torch.compile.

    They are taken off only where every name has them.
    """
    return list(_unwrapped(tensors))[-1]


def _unwrapped(tensors: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """``tensors`` as they are, and with one wrapper less each time."""
    while True:
        yield tensors
        shared = [prefix for prefix in WRAPPERS if tensors and all(str(name).startswith(prefix) for name in tensors)]
        if not shared:
            return
        tensors = {name.removeprefix(shared[0]): value for name, value in tensors.items()}


def _recognised(path: Path, content: Mapping[str, Any]) -> tuple[ForeignFormat, Mapping[str, Any]]:
    tensors = content["state_dict"] if isinstance(content.get("state_dict"), Mapping) else content
    for name in tensors:
        if not isinstance(name, str):
            raise DeloresError(
                f"{path}: expected tensors by name, but got the key {shown(name)} of type {type(name).__name__}: save "
                "the model's state dict (torch.save(model.state_dict(), ...)) with the program that made it."
            )
    if found := recognise(content):
        return found
    names = ", ".join(dict.fromkeys(form.name for form in FORMATS))
    raise DeloresError(
        f"{path}: expected the encoder of one of these: hear_delores, {names}; but found {_listed(tensors)}: "
        f"{_advice(content, tensors)}."
    )


def _listed(tensors: Mapping[str, Any]) -> str:
    names = [name if len(name) <= 60 else f"{name[:60]}..." for name in list(tensors)[:3]]
    more = len(tensors) - len(names)
    return (", ".join(names) or "nothing") + (f" and {more} more" if more > 0 else "")


def _advice(content: Mapping[str, Any], tensors: Mapping[str, Any]) -> str:
    """What a state dict of no known format may be, and what to do."""
    if {"method", "optimizer", "augmenter"} <= content.keys():
        return "it is the training state of a pre-training run: give the checkpoint.safetensors beside it"
    if any("blocks.0.conv.weight" in name for name in tensors):
        return (
            "these are tensors of hear_delores' own encoder without its front-end and statistics: give the "
            "checkpoint.safetensors that pre-training wrote, or write one with save_checkpoint"
        )
    if "module." + _DOUBTFUL in tensors:
        return (
            "under 'module.' these may be BYOL-A's or DeLoRes' tensors, whose front-ends differ: save BYOL-A's without "
            "'module.' (model.module.state_dict()), DeLoRes' as {'state_dict': ...}"
        )
    if _DOUBTFUL in tensors and "state_dict" in content:
        return "BYOL-A saves these names without a 'state_dict' around them, DeLoRes with 'module.' before them"
    return "it is of another architecture"


def _rename(path: Path, form: ForeignFormat, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The encoder's tensors under our names. One too many is found here, a missing one by the caller."""
    modules = form.module_names()
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not name.startswith(form.prefix):
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


def _check_storage(path: Path, state: dict[str, Tensor]) -> None:
    """Makes every tensor of ``state`` one of its own memory; none may be larger than what the file can hold."""
    for name, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_nested:
            kind = "quantised" if value.is_quantized else "nested" if value.is_nested else "sparse"
            raise DeloresError(
                f"{path}: expected {name} to be a dense tensor, but it is {kind}: save it dense "
                f"({'.dequantize()' if value.is_quantized else '.to_dense()'}) with the program that made it."
            )
        if value.device.type != "cpu":
            raise DeloresError(f"{path}: expected {name} to hold values, but it is on the device {value.device}.")
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > SLACK + 2 * path.stat().st_size:
        raise DeloresError(
            f"{path}: its encoder tensors claim {claimed:,} bytes of a file of {path.stat().st_size:,}: it is damaged."
        )
    for name, value in state.items():  # tied weights of the file are not to be tied in our encoder
        state[name] = value.detach().clone(memory_format=torch.contiguous_format)


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
    try:
        return EncoderConfig(n_mels=inputs // channels * POOL, channels=channels, embedding_size=embedding_size)
    except DeloresError as error:
        raise DeloresError(f"{path}: {error} It is of another architecture, or damaged.") from None


def _read_beside(path: Path) -> dict[str, Any]:
    """The settings in ``<path>.json``; none when there is no such file."""
    beside = path.with_name(path.name + ".json")
    if not beside.exists():
        return {}
    values: dict[str, Any] = read_json(beside, advice="expected mean, std and perhaps frontend")
    if not values.keys() <= {"mean", "std", "frontend"}:
        raise DeloresError(f"Expected an object with mean, std and perhaps frontend in {beside}: correct the file.")
    return values


def some(names: Sequence[str], count: int = 1) -> str:
    """The first ``count`` of some names, and how many more there are."""
    more = len(names) - count
    return ", ".join(names[:count]) + (f" (and {more} more)" if more > 0 else "")
