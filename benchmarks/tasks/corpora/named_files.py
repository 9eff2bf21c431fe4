"""Corpora whose files say their label by their name: Mridangam Stroke, Beijing Opera Percussion and LibriCount.

All in HEAR's own folds, drawn anew by the benchmark's rule (``hear_draw``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tasks.corpora.hear_draw import new_folds
from benchmarks.tasks.corpora.recordings import Reading, Recording, audio_below, find_folder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]


@dataclass(frozen=True)
class _Layout:
    """Where the audio lies, and how its names are built (hear-preprocess 2021.1.1's modules of these tasks)."""

    folder: str
    name: re.Pattern[str]
    example: str


LAYOUTS = {
    "mridangam": _Layout(
        "mridangam_stroke_1.5",
        re.compile(
            r"(?:.*(?:__|-))?(?P<stroke>bheem|cha|dheem|dhin|num|tham|tha|ta|thi|thom)-(?P<tonic>csh|dsh|b|c|d|e)-[^-]+\.wav"
        ),
        "224030__akshaylaya__bheem-b-001.wav",
    ),
    "beijing_opera": _Layout(
        "beijing_opera_percussion_instrument_1.0",
        re.compile(r"(?:.*__)?(?:[^-]*-)*?(?P<instrument>[^-]+)-[^-]+\.wav"),
        "xyz__bangu-001.wav",
    ),
    "libricount": _Layout("test", re.compile(r"(?P<speakers>\d+)_.+\.wav"), "3_a1b2c3.wav"),
}


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings of the corpus ``options.corpus``; the label is the part ``options.label`` of their names."""
    assert spec.corpus is not None
    assert spec.nfolds is not None
    layout, part = LAYOUTS[spec.corpus.options["corpus"]], spec.corpus.options["label"]
    folder = find_folder(source, lambda path: path.name == layout.folder, f"the folder {layout.folder}")
    recordings = []
    for path in audio_below(folder):
        found = layout.name.fullmatch(f"{path.stem}{path.suffix.lower()}")
        if found is None:
            raise DeloresError(f"{path}: expected a name such as {layout.example}; is this the corpus?")
        recordings.append(Recording(path, f"{path.stem}.wav", found[part]))
    if not recordings:
        raise DeloresError(f"{folder}: expected audio such as {layout.example}; found none")
    return Reading(new_folds(recordings, spec.nfolds))
