"""``<split>.json`` of a task folder and of an embeddings folder: the labels or events of each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.metrics.events import check_event, check_label
from benchmarks.tasks.metadata import TaskMetadata
from benchmarks.tasks.vocabulary import VOCABULARY_FILE
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import check_name

__all__ = ["check_files_once", "read_split"]


def read_split(path: Path, info: TaskMetadata, vocabulary: Sequence[str], advice: str = "") -> dict[str, list[Any]]:
    """{file: labels}, or {file: events} in milliseconds; labels as they are in the file, numbers perhaps.

    Args:
        path: the ``<split>.json``.
        advice: what to do about a file that is missing or damaged.

    Raises:
        DeloresError: naming the file and the clip: no plain file name, a label that is not in the vocabulary, a
            multiclass clip that has not exactly one, an event that is none (see :func:`check_event`).
    """
    if not path.exists():
        hint = f"; {advice}" if advice else ""
        raise DeloresError(f"{path.parent}: split {path.stem!r} is missing: no {path.name}{hint}")
    content: dict[str, list[Any]] = read_json(path, advice=advice)
    if not content:
        raise DeloresError(f"{path}: expected a non-empty object of file -> labels")
    known = set(vocabulary)
    for file, labels in content.items():
        try:
            check_name(file, "a clip", hidden=True)
            _check_labels(labels, info, known)
        except DeloresError as error:
            raise DeloresError(f"{path}: {_short(file)}: {error}") from None
    return content


def check_files_once(folder: Path, labels: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises DeloresError for a file in two splits of an event task, {split: {file: ...}}.

    Events are scored by file name over several splits at once: one name in two splits would be one clip.
    """
    seen: dict[str, str] = {}
    for split, files in labels.items():
        for file in files:
            if (other := seen.setdefault(file, split)) != split:
                raise DeloresError(f"{folder}: the file {file} is in the splits {other} and {split}; rename one")


def _check_labels(labels: Any, info: TaskMetadata, known: set[str]) -> None:
    if not isinstance(labels, list):
        raise DeloresError(f"expected a list, got {type(labels).__name__}")
    is_event = info.embedding_type == "event"
    for item in labels:
        check_event(item) if is_event else check_label(item)
    if not is_event and info.prediction_type == "multiclass" and len(labels) != 1:
        raise DeloresError(f"a multiclass clip has one label, this one has {len(labels)}")
    for item in labels:
        text = str(item["label"] if is_event else item)
        if text not in known:
            raise DeloresError(f"the label {_short(text)!r} is not in {VOCABULARY_FILE}. {_near(text, known)}")


def _near(label: str, known: set[str]) -> str:
    # A vocabulary can have hundreds of labels: only the suggestion, or a few of them.
    return did_you_mean(label[:100], known if len(known) <= 12 else sorted(known)[:12])


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
