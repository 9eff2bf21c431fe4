"""Corpora whose files say their label by their name: Mridangam Stroke, Beijing Opera Percussion and LibriCount.

All in HEAR's own folds, drawn anew by the benchmark's rule (``hear_draw``).
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tasks.corpora.hear_draw import new_folds
from benchmarks.tasks.corpora.recordings import Reading, Recording, audio_below, find_folder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings in ``options.folder``; the label is the group ``label`` of ``options.name``, a regular expression.

    ``options.example`` is a name that it fits (hear-preprocess 2021.1.1's modules of these tasks).
    """
    name, example = re.compile(spec.options["name"]), spec.options["example"]
    folder = find_folder(
        source, lambda path: path.name == spec.options["folder"], f"the folder {spec.options['folder']}"
    )
    recordings = []
    for path in audio_below(folder):
        found = name.fullmatch(f"{path.stem}{path.suffix.lower()}")
        if found is None:
            raise DeloresError(f"{path}: expected a name such as {example}; is this the corpus?")
        recordings.append(Recording(path, f"{path.stem}.wav", found["label"]))
    if not recordings:
        raise DeloresError(f"{folder}: expected audio such as {example}; found none")
    return Reading(new_folds(recordings, len(spec.splits)))
