"""Gunshot triangulation: four recordings of 22 shots, cut into 88 clips; each fold is one of seven firearms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.tasks.corpora.hear_draw import new_folds
from benchmarks.tasks.corpora.recordings import Listing, Reading, Recording, find_folder
from benchmarks.tasks.mono_audio import read_audio
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
    corpus = find_folder(source, lambda path: bool(Listing().find(path, "mic1raw.wav")), ", ".join(RECORDINGS))
    listing = Listing()
    paths = {name: path for name in RECORDINGS if (path := listing.find(corpus, name))}
    samples, _ = read_audio(paths["mic1raw.wav"], RATE)
    starts = shot_starts(samples[RECORDINGS["mic1raw.wav"] - RATE :])
    if len(starts) != SHOTS:
        raise DeloresError(
            f"{paths['mic1raw.wav']}: expected {SHOTS} shots of {LOUD} of full scale or more; found {len(starts)}"
        )
    recordings = []
    for name, path in paths.items():
        microphone = name[:4]
        for shot, start in enumerate(starts):
            firearm = f"fid{max(0, shot - 1) // 3 + 1}"
            at = (RECORDINGS[name] - RATE + start) / RATE - BEFORE_S
            file = f"{microphone}_shot{shot}_{firearm}.wav"
            recordings.append(Recording(path, file, microphone, "", firearm, (at, CLIP_S)))
    missing = [name for name in RECORDINGS if name not in paths]
    return Reading(new_folds(recordings, len(spec.splits), key=lambda item: item.group), missing)


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
