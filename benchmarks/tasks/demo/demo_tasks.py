"""The demo tasks, clip by clip.

What separates training from testing in real corpora is built in: noise, room, microphone and level
differ between splits (or folds), specimens of a class differ, and classes differ in what a time average
does not show (sweeps up and down, regular and irregular beats).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.demo.synthesis import (
    GESTURES,
    INSTRUMENTS,
    RATE,
    Draw,
    Recording,
    decibels,
    gesture,
    note,
    record,
)
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.registry import TaskSpec, find_task, list_tasks
from benchmarks.tasks.writer import Clip, Progress, write_task_folder
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["write_demo_tasks"]

CLOSE = Recording((14, 30), (-1.0, 0.0), (0.02, 0.15), (0.02, 0.3), (-2, 2), (-24, -10))
HALL = Recording((8, 20), (-2.0, -1.0), (0.15, 0.4), (0.2, 0.8), (-4, 0), (-32, -16))
STREET = Recording((6, 18), (-2.0, 0.0), (0.1, 0.5), (0.1, 0.8), (-4, 2), (-36, -14))
RECORDINGS = {"train": CLOSE, "valid": HALL, "test": STREET}

TIMBRE_CLIPS = {"train": 14, "valid": 6, "test": 8}  # of each of 8 instruments
PITCHES = range(52, 68)  # MIDI numbers: from E3 to G4
PITCH_CLIPS = 3  # of each pitch in each fold
#: Each fold has its own instruments and recording: what is learnt has to carry over.
PITCH_FOLDS = {
    "fold00": (("flute", "reed"), CLOSE),
    "fold01": (("string", "organ"), HALL),
    "fold02": (("voice", "pluck"), CLOSE),
    "fold03": (("brass", "bell"), HALL),
}
MIXTURE_CLIPS = {"train": 96, "valid": 32, "test": 48}
EVENT_CLIPS = {"train": 20, "valid": 8, "test": 12}
EVENT_SECONDS = 6.0
EVENT_KINDS = ("beat_fast", "hiss", "steady", "sweep_down", "sweep_up")


def write_demo_tasks(
    out: str | Path,
    names: Sequence[str] | None = None,
    *,
    sample_rate: int = RATE,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes the demo tasks into ``out``, and returns their folders in the order of ``names`` (default: all).

    A task that is there already, whole and at this sample rate, is left as it is. The same audio, to the
    bit at 16 kHz, is made on every machine.

    Raises:
        DeloresError: a name is not a demo task, or ``out`` holds another folder of that name.
    """
    demo = [spec.name for spec in list_tasks("demo")]
    if foreign := [name for name in names or [] if name not in demo]:
        raise DeloresError(f"{foreign[0]!r} is not a generated task. {did_you_mean(foreign[0], demo)}")
    specs = [find_task(name) for name in names or demo]
    total, before = sum(spec.clips for spec in specs), 0
    paths = []
    for spec in specs:
        path = Path(out) / spec.folder_name
        if not _is_written(path, spec, sample_rate):
            report = None if progress is None else _offset(progress, before, total)
            clips = {split: MAKERS[spec.name](split) for split in spec.splits}
            metadata = {**spec.to_metadata(), "description": spec.description, "licence": spec.licence}
            write_task_folder(out, metadata, clips, sample_rate, overwrite=True, progress=report)
        before += spec.clips
        paths.append(path)
    return paths


def _is_written(path: Path, spec: TaskSpec, sample_rate: int) -> bool:
    if not path.exists():
        return False
    task = TaskFolder.open(path)
    expected = spec.to_metadata()
    if {key: task.metadata.get(key) for key in expected} != expected:
        raise DeloresError(f"{path} is not the registry's task {spec.folder_name}; move it away")
    return sample_rate in task.sample_rates


def _offset(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


# --- the clips


def _timbre(split: str) -> Iterator[Clip]:
    for instrument in INSTRUMENTS:
        for index in range(TIMBRE_CLIPS[split]):
            draw = Draw("timbre", split, instrument, index)
            sound = note(instrument, 440.0 * 2.0 ** (draw.uniform(-21, 5) / 12.0), 1.2, draw)
            yield Clip(f"{split}_{instrument}_{index:02d}.wav", [instrument], record(sound, RECORDINGS[split], draw))


def _pitch(fold: str) -> Iterator[Clip]:
    instruments, conditions = PITCH_FOLDS[fold]
    for pitch in PITCHES:
        for index in range(PITCH_CLIPS):
            draw = Draw("pitch", fold, pitch, index)
            cents = draw.uniform(-25, 25)
            frequency = 440.0 * 2.0 ** ((pitch - 69 + cents / 100.0) / 12.0)
            sound = note(instruments[index % len(instruments)], frequency, 1.0, draw)
            yield Clip(f"{fold}_{pitch}_{index:02d}.wav", [str(pitch)], record(sound, conditions, draw))


def _mixture(split: str) -> Iterator[Clip]:
    for index in range(MIXTURE_CLIPS[split]):
        draw = Draw("mixture", split, index)
        kinds = draw.sample(list(GESTURES), draw.integer(1, 3))
        sound = _mix(kinds, 2.0, draw)
        yield Clip(f"{split}_{index:03d}.wav", sorted(kinds), record(sound, RECORDINGS[split], draw))


def _mix(kinds: Sequence[str], seconds: float, draw: Draw) -> np.ndarray:
    """The gestures of ``kinds`` over each other, each with its own level and start."""
    total = round(seconds * RATE)
    sound = np.zeros(total)
    for kind in kinds:
        part = gesture(kind, draw.uniform(0.7, 1.0) * seconds, draw)[:total]
        start = draw.integer(0, total - len(part))
        sound[start : start + len(part)] += part * decibels(draw.uniform(-9.0, 0.0))
    return sound


def _events(split: str) -> Iterator[Clip]:
    for index in range(EVENT_CLIPS[split]):
        draw = Draw("events", split, index)
        sound = np.zeros(round(EVENT_SECONDS * RATE))
        events: list[dict[str, Any]] = []
        for _ in range(draw.integer(5, 9)):
            kind = EVENT_KINDS[draw.integer(0, len(EVENT_KINDS) - 1)]
            # In whole milliseconds, which are 16 samples: the label is where the sound is, to the sample.
            length = draw.integer(300, 1100)
            start = draw.integer(0, round(EVENT_SECONDS * 1000) - length)
            if _may_stand(kind, start, start + length, events):
                part = gesture(kind, length / 1000.0, draw) * decibels(draw.uniform(-9.0, 0.0))
                sound[start * RATE // 1000 :][: len(part)] += part
                events.append({"label": kind, "start": float(start), "end": float(start + length)})
        events.sort(key=lambda event: (event["start"], event["label"]))
        yield Clip(f"{split}_{index:02d}.wav", events, record(sound, RECORDINGS[split], draw))


def _may_stand(kind: str, start: int, end: int, events: Sequence[dict[str, Any]]) -> bool:
    """At most two events at a time, and 200 ms between two of one kind."""
    overlapping = [event for event in events if event["start"] < end and event["end"] > start]
    near = [e for e in events if e["label"] == kind and e["start"] < end + 200 and e["end"] > start - 200]
    return len(overlapping) < 2 and not near


MAKERS: dict[str, Callable[[str], Iterator[Clip]]] = {
    "demo_events": _events,
    "demo_mixture": _mixture,
    "demo_pitch": _pitch,
    "demo_timbre": _timbre,
}
