"""VoxLingua107's development set, ``dev/<language>/*.wav``: its ten most frequent languages, in HEAR's own folds."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tasks.corpora.hear_draw import new_folds
from benchmarks.tasks.corpora.recordings import Reading, Recording, audio_below, find_folder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

_LANGUAGE = re.compile(r"[a-z]{2,3}")


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings of the most frequent languages (hear-preprocess 2021.1.1, ``vox_lingua_top10.py``)."""
    folder = find_folder(source, lambda path: len(_languages(path)) > 1, "a folder of each language (dev/en, dev/et)")
    audio = {path.name: audio_below(path) for path in _languages(folder)}
    ranked = sorted(audio, key=lambda language: (-len(audio[language]), language))
    kept, left = ranked[: spec.classes], ranked[spec.classes :]
    if left and len(audio[left[0]]) == len(audio[kept[-1]]):
        raise DeloresError(
            f"{folder}: {kept[-1]} and {left[0]} have {len(audio[left[0]])} recordings each, so that the "
            f"{spec.classes} most frequent languages are not determined; is the development set complete?"
        )
    recordings = [Recording(path, f"{path.stem}.wav", language) for language in kept for path in audio[language]]
    return Reading(new_folds(recordings, len(spec.splits)))


def _languages(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and _LANGUAGE.fullmatch(path.name)]
    return sorted(path for path in found if audio_below(path))
