"""Whether the embeddings on disk are those that the model would give now. If not, the reason is stated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.embedding.layout import INFO_FILE
from benchmarks.embedding.model import LoadedModel
from benchmarks.encoders.catalogue import current_name
from benchmarks.results.identity import behaviour_change, read_behaviour
from hear_delores.documents import read_json

__all__ = ["DONE_FILE", "Stored", "key_of", "stored_embeddings"]

DONE_FILE = ".done.embeddings"  # heareval's mark of a complete folder

#: What each part of the key is called where embeddings of another are made again.
WHAT_CHANGED = {
    "format_version": "their format is of another version of this project",
    "module": "they are of another module",
    "options": "they are of other options",
    "weights_hash": "they are of other weights",
    "sample_rate": "they are of another sample rate",
    "task": "they are of another task",
    "revision": "the task has changed",
    "perturbation": "they are of another perturbation",
}


@dataclass(frozen=True)
class Stored:
    """Embeddings on disk.

    Attributes:
        usable: whether they are what would be made.
        seconds: that they took.
        skipped: the clips that were left out.
        notes: lines that say why they are made again, or kept although something changed.
    """

    usable: bool = False
    seconds: float = 0.0
    skipped: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def key_of(info: dict[str, Any]) -> dict[str, Any]:
    """What embeddings depend on besides behaviour, of their ``embedding-info.json``."""
    model, task = info["model"], info["task"]
    return {
        "format_version": info["format_version"],
        "module": current_name(model["module"]),
        **{name: model[name] for name in ("options", "weights_hash", "sample_rate")},
        "task": task["name"],
        "revision": task["revision"],
        **({"perturbation": info["perturbation"]} if "perturbation" in info else {}),
    }


def stored_embeddings(
    target: Path, key: dict[str, Any], model: LoadedModel, skip_bad: bool, force: bool = False
) -> Stored:
    """What is in the folder ``target``, and whether it fits ``key`` and the behaviour of ``model``.

    Args:
        key: as of :func:`key_of`.
        skip_bad: whether embeddings without some of the clips will do.
        force: made again whatever they are.
    """
    label = model.spec.label
    steady = model.behaviour.deterministic
    notes = [] if steady else [f"warning: model {label} answers the same sounds differently each time: always embedded"]
    info_file = target / INFO_FILE
    if not (target / DONE_FILE).exists() or not info_file.exists():
        return Stored(notes=notes)
    if force:
        return Stored(notes=[*notes, "embedded again: asked for"])
    try:
        info = read_json(info_file, nan=True)
        found, described = key_of(info), info["model"]
        skipped, seconds = info["skipped"], float(info["seconds"])
        before, source = read_behaviour(described.get("behaviour")), described.get("source_hash") or ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Stored(notes=[*notes, f"embedded again: {INFO_FILE} was damaged"])
    reason = ""
    if changed := [what for name, what in WHAT_CHANGED.items() if found.get(name) != key.get(name)]:
        reason = changed[0]
    elif skipped and not skip_bad:
        reason = "clips had been left out"
    elif before is None:
        reason = "made before the behaviour of models was recorded"
    elif steady and before.deterministic:
        change = behaviour_change(before, model.behaviour)
        reason = f"the model {change}" if change else ""
    elif steady:
        reason = "the model was not deterministic before"
    if reason or not steady:
        return Stored(notes=[*notes, f"embedded again: {reason}"] if reason else notes)
    if source and model.source_hash and source != model.source_hash:
        notes.append(
            f"the source of {model.spec.name} has changed, but it answers the probe sounds as before: embeddings "
            "are kept (--force embeds again)"
        )
    return Stored(True, seconds, skipped, notes)
