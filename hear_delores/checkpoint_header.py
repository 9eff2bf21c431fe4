"""The JSON header of a checkpoint of ours: which entries it must have, and of which kind.

Everything that decides the embeddings is in it, so nothing of it is ever filled up with a default: a header that
lacks an entry, or holds null for it, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hear_delores import settings
from hear_delores.documents import parse_json
from hear_delores.encoder import EncoderConfig
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.frontend import FrontendConfig

__all__ = ["CHECKPOINT_FORMAT", "INFO", "METADATA_KEY", "check_header", "parse_header"]

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


def parse_header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The checked header in the metadata of a safetensors file of ours.

    Raises:
        DeloresError: naming ``path``: no JSON, another format version, or an entry missing, unknown or unfit.
    """
    where = f"The header of {path}"
    header: dict[str, Any] = parse_json(metadata[METADATA_KEY], where, nan=True, advice="copy the file again")
    version = header.get("format_version")
    if version != CHECKPOINT_FORMAT or isinstance(version, bool):
        raise DeloresError(
            f"Expected checkpoint format {CHECKPOINT_FORMAT} in {path}, but got {settings.shown(version)}: "
            "update hear-delores, or use the version that wrote it."
        )
    missing = sorted(_KINDS.keys() - _OPTIONAL - header.keys())
    if missing:
        raise DeloresError(f"The header of {path} lacks {', '.join(missing)}: the file is damaged, copy it again.")
    try:
        check_header(header)
    except DeloresError as error:
        raise DeloresError(f"{path}: {error}") from None
    return header


def check_header(header: Mapping[str, Any]) -> None:
    """Raises DeloresError for an entry of ``header`` that is unknown, null or of another kind, and for settings
    of the encoder or the front-end that are unknown, missing or out of range."""
    for name, value in header.items():
        if name == "format_version":
            continue
        if name not in _KINDS:
            raise DeloresError(f"The header has no entry {settings.shown(name)}. {did_you_mean(name, _KINDS)}")
        kind, words = _KINDS[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DeloresError(f"expected {name} to be {words}, but got {settings.shown(value)}.")
    if header["step"] < 0:
        raise DeloresError(f"expected step to be {_KINDS['step'][1]}, but got {settings.shown(header['step'])}.")
    normalization = header["normalization"]
    if normalization.keys() != {"mean", "std"}:
        raise DeloresError(f"expected a normalization with mean and std, but got {settings.shown(normalization)}.")
    EncoderConfig.from_dict(header["encoder"], complete=True)
    FrontendConfig.from_dict(header["frontend"], complete=True)
