"""An event task made from a ``labels.csv``: its sounds are mixed into its backgrounds at random times.

An event begins and ends with the active part of its sound, to 20 ms; its times are whole milliseconds. Sounds and
backgrounds stay in their splits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.corpora.labels_csv import read_labels
from benchmarks.tasks.corpora.preparation import PrepareReport
from benchmarks.tasks.metadata import TVT_SPLITS
from benchmarks.tasks.mono_audio import read_audio
from benchmarks.tasks.writer import Clip, Progress, write_task_folder
from hear_delores.errors import DeloresError

__all__ = ["BACKGROUND", "prepare"]

BACKGROUND = "background"
"""The label of the clips that sounds are mixed into."""
SECONDS = 10.0
SHARES = {"train": 0.5, "valid": 0.2}  # of the mixtures; the rest is for testing
SOUNDS = (5, 9)  # so many are drawn for a mixture; those that would overlap are left out
SNR_DB = (0.0, 12.0)
LEVEL = 0.02  # root mean square of the background
SILENT = 1e-4  # root mean square below which a recording is silent: -80 dB of full scale
SHORTEST, LONGEST = 0.12, 2.0  # of a sound, in seconds
APART_MS = 150  # the least gap between two sounds
FRAME_MS, ACTIVE_DB, GAP_FRAMES = 20, 30, 3  # active frames at most GAP_FRAMES apart belong to one part
SEED = 2022


def prepare(
    source: str | Path,
    out: str | Path,
    name: str,
    count: int,
    *,
    audio_dir: str | Path | None = None,
    sample_rate: int = 16000,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Writes ``<out>/<name>-1-full/``, an event task of ``count`` mixtures of 10 s.

    Half of them are for training, a fifth for validation, the rest for testing. For each, five to nine sounds are
    drawn, at random times and signal-to-noise ratios of 0 to 12 dB; one less than 150 ms from another is left out. A
    sound is cut to its first active part (within 30 dB of its loudest 20 ms, gaps of up to 40 ms bridged). It is not
    used if it is then shorter than 0.12 s or longer than 2 s, or silent (below -80 dB of full scale); nor is a
    background whose first 10 s are silent. The same CSV gives the same task, to the bit.

    Args:
        source: a CSV with the columns file,label,split[,group], or the folder that holds it as ``labels.csv``; clips
            with the label "background" are backgrounds.
        out: the folder that the task folder is written into.
        name: of the task.
        audio_dir: where the files are; by default beside the CSV.
        sample_rate: of the mixtures, in Hz.

    Raises:
        DeloresError: a line, a split or a file does not fit, or a split lacks backgrounds or the sounds of a label.
    """
    if count < 10:
        raise DeloresError(f"{name}: expected at least 10 mixtures, so that each split has some, but got {count}")
    table = Path(source) / "labels.csv" if Path(source).is_dir() else Path(source)
    material, skipped = _material(table, Path(audio_dir) if audio_dir is not None else table.parent, sample_rate)
    numbers = {split: round(count * share) for split, share in SHARES.items()}
    numbers["test"] = count - sum(numbers.values())
    task = write_task_folder(
        out,
        {
            "task_name": name,
            "version": "1",
            "mode": "full",
            "embedding_type": "event",
            "prediction_type": "multilabel",
            "split_mode": "trainvaltest",
            "splits": list(TVT_SPLITS),
            "sample_duration": SECONDS,
            "evaluation": ["event_onset_200ms_fms", "segment_1s_er"],
        },
        {split: _mixtures(split, numbers[split], material[split], sample_rate) for split in TVT_SPLITS},
        sample_rate,
        overwrite=overwrite,
        progress=progress,
        total=count,
    )
    return PrepareReport(task, skipped, [])


@dataclass
class _Material:
    """The sounds, by label, and the backgrounds of a split, (n_samples,) each at the task's sample rate."""

    sounds: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    backgrounds: list[np.ndarray] = field(default_factory=list)


def _material(table: Path, folder: Path, sample_rate: int) -> tuple[dict[str, _Material], list[str]]:
    """The sounds and backgrounds of each split, and the files that were left out, with the reason."""
    rows = read_labels(table)
    if folds := sorted({row.split for row in rows} - set(TVT_SPLITS)):
        raise DeloresError(f"{table}: mixtures need the splits train, valid and test, but got {folds[0]}")
    skipped: list[str] = []
    found = {split: _Material() for split in TVT_SPLITS}
    for row in rows:
        audio, _ = read_audio(folder / row.file, sample_rate)
        if row.labels == (BACKGROUND,):
            if rms(audio[: round(SECONDS * sample_rate)]) < SILENT:
                skipped.append(f"{row.file}: its first {SECONDS:.0f} s are silent")
            else:
                found[row.split].backgrounds.append(audio)
            continue
        sound = active_part(audio, sample_rate)
        seconds = len(sound) / sample_rate
        if not len(sound) or rms(sound) < SILENT:
            skipped.append(f"{row.file}: silent")
        elif SHORTEST <= seconds <= LONGEST:
            found[row.split].sounds[row.labels[0]].append(sound)
        else:
            skipped.append(f"{row.file}: its active part takes {seconds:.2f} s")
    labels = {row.labels[0] for row in rows} - {BACKGROUND}
    if not labels:
        raise DeloresError(f"{table}: expected sounds beside the backgrounds, but got none")
    for split, own in found.items():
        if lacking := sorted(labels - set(own.sounds)):
            raise DeloresError(
                f"{table}: {split} has no sound of {lacking[0]!r} with an active part of 0.12 to 2 s that is not silent"
            )
        if not own.backgrounds:
            raise DeloresError(
                f"{table}: {split} has no clip with the label {BACKGROUND!r}, and not silent, to mix sounds into"
            )
    return found, skipped


def active_part(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The first stretch of ``audio`` (n_samples,) within 30 dB of its loudest 20 ms; empty if the audio is silent."""
    size = sample_rate * FRAME_MS // 1000
    frames = audio[: len(audio) // size * size].reshape(-1, size).astype(np.float64)
    level = np.sqrt(np.square(frames).mean(axis=1))
    active = np.flatnonzero(level > level.max(initial=0.0) * 10 ** (-ACTIVE_DB / 20))
    if not len(active):
        return audio[:0]
    gaps = np.flatnonzero(np.diff(active) > GAP_FRAMES)
    last = active[gaps[0]] if len(gaps) else active[-1]
    return audio[active[0] * size : (last + 1) * size]


def _mixtures(split: str, count: int, material: _Material, sample_rate: int) -> Iterator[Clip]:
    draw = np.random.default_rng([SEED, TVT_SPLITS.index(split)])
    for number in range(count):
        audio, events = _mixture(draw, material, sample_rate)
        yield Clip(f"{split}_{number:04d}.wav", events, audio, sample_rate)


def _mixture(
    draw: np.random.Generator, material: _Material, sample_rate: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """10 s of background with sounds, (n_samples,) below full scale, and its events in the order of their starts."""
    background = material.backgrounds[draw.integers(len(material.backgrounds))]
    mixture = np.resize(background, round(SECONDS * sample_rate))
    mixture = mixture * (LEVEL / rms(mixture))
    events: list[dict[str, Any]] = []
    for _ in range(draw.integers(SOUNDS[0], SOUNDS[1] + 1)):
        label = sorted(material.sounds)[draw.integers(len(material.sounds))]
        sound = material.sounds[label][draw.integers(len(material.sounds[label]))]
        length = len(sound) * 1000 // sample_rate
        start = int(draw.integers(round(SECONDS * 1000) - length))
        gain = LEVEL * 10 ** (draw.uniform(*SNR_DB) / 20) / rms(sound)
        if all(event["end"] + APART_MS <= start or start + length + APART_MS <= event["start"] for event in events):
            mixture[start * sample_rate // 1000 :][: len(sound)] += gain * sound
            events.append({"label": label, "start": float(start), "end": float(start + length)})
    mixture = mixture * min(1.0, 0.9 / float(np.abs(mixture).max()))
    return mixture, sorted(events, key=lambda event: event["start"])


def rms(audio: np.ndarray) -> float:
    """The root mean square of the samples."""
    return float(np.sqrt(np.square(audio, dtype=np.float64).mean()))
