"""Recordings of a corpus, or of a ``labels.csv`` -> a HEAR task folder, and the report of what was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tasks.corpora.recordings import Recording
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.writer import KEPT, Clip, Progress, write_task_folder
from hear_delores.errors import DeloresError, shown

__all__ = ["PrepareReport", "write_recordings"]


@dataclass(frozen=True)
class PrepareReport:
    """What was prepared.

    Attributes:
        task: the task folder, opened.
        skipped: "file: reason" of every file that was left out.
        warnings: what is allowed but may surprise, one line each.
        missing: files that a corpus's lists name and that are not there.
        subset: "80 of 105,829 recordings" when a corpus was not whole; None when it was.
    """

    task: TaskFolder
    skipped: list[str]
    warnings: list[str]
    missing: list[str] = field(default_factory=list)
    subset: str | None = None

    @property
    def path(self) -> Path:
        """The task folder."""
        return self.task.path

    @property
    def clips_by_split(self) -> dict[str, int]:
        """Number of clips of each split."""
        return {split: len(self.task.raw_labels(split)) for split in self.task.splits}

    @property
    def clips_by_label(self) -> dict[str, int]:
        """Number of clips of each label, in the order of the vocabulary."""
        counts = [self.task.label_counts(split) for split in self.task.splits]
        return {label: sum(count[label] for count in counts) for label in self.task.vocabulary}

    @property
    def clips(self) -> int:
        """Number of clips written."""
        return self.task.n_clips

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.task.vocabulary)

    @property
    def splits(self) -> int:
        """Number of splits or folds."""
        return len(self.task.splits)


def write_recordings(
    out: str | Path,
    metadata: Mapping[str, Any],
    recordings: Sequence[Recording],
    sample_rate: int,
    *,
    names: Mapping[Path, str] | None = None,
    skip_bad: bool,
    overwrite: bool,
    progress: Progress | None,
) -> PrepareReport:
    """Writes the recordings, in their order, into the task folder of ``metadata``, which has the ``splits``.

    Args:
        names: what ``skipped`` calls a file; by default its path.
        skip_bad: leave out audio that cannot be read, and list it, instead of stopping.

    Raises:
        DeloresError: as of :func:`benchmarks.tasks.writer.write_task_folder`.
    """
    clips: dict[str, list[Clip]] = {split: [] for split in metadata["splits"]}
    for item in recordings:
        clips[item.split].append(Clip(item.file, item.items, item.path, slice_s=item.slice_s))
    skipped: list[str] = []
    kept: list[str] = []

    def note_bad(_: str, clip: Clip, error: DeloresError) -> None:
        assert isinstance(clip.audio, Path)
        name = clip.audio if names is None else names[clip.audio]
        skipped.append(f"{shown(name)}: {str(error).removeprefix(f'{shown(clip.audio)}: ')}")

    task = write_task_folder(
        out,
        metadata,
        clips,
        sample_rate,
        overwrite=overwrite,
        on_bad=note_bad if skip_bad else None,
        on_kept=lambda: kept.append(KEPT),
        progress=progress,
        total=len(recordings),
    )
    return PrepareReport(task, skipped, warnings=kept)
