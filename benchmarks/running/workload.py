"""How much work a task is: clips, seconds, labels and folds, from its folder or, where that is missing, its YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.running.processes import CLIP_SECONDS
from benchmarks.tasks.find import find_task_folders
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.listing import look_up
from benchmarks.tasks.metadata import METADATA_FILE, data_splits
from benchmarks.tasks.registry import TaskSpec, find_task, is_task, list_tasks
from hear_delores.errors import DeloresError
from pretrain.data.audio import file_length

__all__ = ["Workload", "find_work", "of_folder", "of_spec"]

#: Clips whose length is looked up where a task does not cut its clips.
ASKED = 50
#: Of the clips, where a task that is not there does not say: HEAR's tasks have about these shares.
SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Workload:
    """What embedding and scoring a task depends on, as far as time, memory and disk go.

    Attributes:
        clips: by split.
        clip_s: the mean length of a clip in seconds.
        rate: of the audio that is read, in Hz.
        audio: some of its files; empty where the task is not there.
        path: the task folder; None where the task is not there.
    """

    name: str
    folder_name: str
    metadata: dict[str, Any]
    clips: dict[str, int]
    clip_s: float
    labels: int
    rate: int
    audio: tuple[Path, ...] = ()
    path: Path | None = None

    @property
    def n_clips(self) -> int:
        """Of all splits."""
        return sum(self.clips.values())

    @property
    def audio_s(self) -> float:
        """Seconds of audio of all splits."""
        return self.n_clips * self.clip_s

    @property
    def is_event(self) -> bool:
        """Whether frames are embedded, not clips."""
        return bool(self.metadata["embedding_type"] == "event")

    def folds(self) -> Iterator[tuple[int, int, int]]:
        """Training, validation and test clips of every round of training and testing."""
        for names in data_splits(self.metadata["split_mode"], list(self.clips)):
            train, valid, test = (sum(self.clips[split] for split in names[role]) for role in SHARES)
            yield train, valid, test


def find_work(tasks_dir: Path, names: Sequence[str], suite: str | None, rate: int) -> list[Workload]:
    """The work of the tasks that were asked for, for a model of ``rate`` Hz; tasks that are not there among them.

    Raises:
        DeloresError: a name is neither a task folder nor a task of the registry, or there is no such suite.
    """
    if suite is None and not names:
        return [of_folder(task, rate) for task in find_task_folders(tasks_dir)]
    there = {path.parent.name for path in tasks_dir.glob(f"*/{METADATA_FILE}")}
    found = []
    specs = [find_task(name) for name in names if is_task(name)] if names else list_tasks(suite)
    for listed in look_up(specs, there):
        if listed.folders:
            found += [of_folder(TaskFolder.open(tasks_dir / name), rate) for name in listed.folders]
        else:
            found.append(of_spec(listed.spec, rate))
    own = [name for name in names if not is_task(name)]
    return found + [of_folder(task, rate) for task in (find_task_folders(tasks_dir, own) if own else [])]


def of_folder(task: TaskFolder, rate: int) -> Workload:
    """The work of a task that is there, for a model of ``rate`` Hz."""
    read = task.nearest_rate(rate)
    files = [task.audio_file(split, file, read) for split in task.splits for file in task.raw_labels(split)]
    some = files[:: max(1, len(files) // ASKED)]
    clips = {split: len(task.raw_labels(split)) for split in task.splits}
    seconds = task.info.sample_duration or _mean_length(some)
    return Workload(
        task.name, task.folder_name, task.metadata, clips, seconds, len(task.vocabulary), read, tuple(some), task.path
    )


def of_spec(spec: TaskSpec, rate: int) -> Workload:
    """The work of a task that is not there: the clips and seconds of its YAML."""
    known = spec.counts if set(spec.counts) == set(spec.splits) else {}
    even = 1 / len(spec.splits)
    clips = {split: known.get(split, round(spec.clips * SHARES.get(split, even))) for split in spec.splits}
    seconds = spec.sample_duration_s or (spec.paper.mean_duration_s if spec.paper else None) or CLIP_SECONDS
    held = spec.archive.sample_rate if spec.archive else rate
    return Workload(spec.name, spec.folder_name, spec.to_metadata(), clips, seconds, spec.classes, held)


def _mean_length(files: list[Path]) -> float:
    lengths = []
    for file in files:
        try:
            frames, rate = file_length(file)
        except DeloresError:  # for whoever reads the audio to say
            continue
        lengths.append(frames / rate)
    return sum(lengths) / len(lengths) if lengths else CLIP_SECONDS
