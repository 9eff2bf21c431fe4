"""Gunshot triangulation: four recordings of 22 shots, cut into 88 clips; each fold is one of seven firearms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.tasks.audio import read_audio
from benchmarks.tasks.corpora.hear_draw import new_folds
from benchmarks.tasks.corpora.recordings import Listing, Reading, Recording, find_folder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read", "shot_starts"]

RATE = 48000
#: The recordings, and the sample of each that the authors align them by (``create_data.m`` of the corpus).
RECORDINGS = {
    "mic1raw.wav": 15764451,
    "mic2raw16b.wav": 13764742,
    "mic3raw.wav": 9334032,
    "mic4raw.wav": 6794611,
}
SHOTS, LOUD, APART = 22, 0.8, 25000
BEFORE_S, CLIP_S = 0.125, 1.5


def read(source: Path, spec: TaskSpec) -> Reading:
    """The shots as hear-preprocess 2021.1.1 (``gunshot_triangulation.py``) cuts them; the label is the microphone.

    Shots are found in the first recording, and cut from all at the same time after alignment. Four shots are of the
    first firearm, three of each other.
    """
    assert spec.nfolds is not None
    corpus = find_folder(source, lambda path: bool(Listing().find(path, "mic1raw.wav")), ", ".join(RECORDINGS))
    listing = Listing()
    paths = {name: listing.find(corpus, name) for name in RECORDINGS}
    missing = [name for name, path in paths.items() if path is None]
    first = paths["mic1raw.wav"]
    assert first is not None
    samples, _ = read_audio(first, RATE)
    align = RECORDINGS["mic1raw.wav"] - RATE
    starts = shot_starts(samples[align:])
    if len(starts) != SHOTS:
        raise DeloresError(f"{first}: expected {SHOTS} shots of {LOUD} of full scale or more; found {len(starts)}")
    recordings = []
    for number, (name, path) in enumerate(paths.items(), 1):
        for shot, start in enumerate(starts if path is not None else []):
            firearm = max(0, shot - 1) // 3 + 1
            at = (RECORDINGS[name] - RATE + start) / RATE - BEFORE_S
            file = f"mic{number}_shot{shot}_fid{firearm}.wav"
            assert path is not None
            recordings.append(Recording(path, file, f"mic{number}", "", f"fid{firearm}", (at, CLIP_S)))
    return Reading(new_folds(recordings, spec.nfolds, key=lambda item: item.group), missing)


def shot_starts(samples: np.ndarray) -> list[int]:
    """Where the first 22 shots begin in ``samples`` (n,): loud ones, more than ``APART`` samples after the last."""
    loud = np.flatnonzero(np.abs(samples) >= LOUD)
    starts: list[int] = []
    position = 0
    while position < len(loud) and len(starts) < SHOTS:
        starts.append(int(loud[position]))
        # The kit notices the end of a shot one sample after ``APART``, and looks for the next from the one after it.
        position = int(np.searchsorted(loud, starts[-1] + APART + 2))
    return starts
