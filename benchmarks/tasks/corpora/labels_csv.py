"""A folder of audio and a ``labels.csv`` -> a HEAR task folder.

Columns: ``file``, ``label``, optionally ``group`` (a speaker or source: it may not cross splits), and
``split`` or ``fold`` (two names for one column). Its values are train/valid/test, or folds as ``fold00``,
``fold01``, ... or integers. Files are relative to the CSV file, or to the folder ``audio`` beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.metadata import TVT_SPLITS
from benchmarks.tasks.names import clip_name
from benchmarks.tasks.writer import KEPT, Clip, Progress, write_task_folder
from hear_delores.errors import DeloresError, shown
from hear_delores.files import file_hash
from pretrain.data.audio import file_length
from pretrain.inputs.csv_table import LOOKALIKES, read_table

__all__ = ["LabelRow", "PrepareReport", "prepare", "read_labels"]

_FOLD = re.compile(r"(?:fold[ _-]?)?([0-9]{1,9})", re.IGNORECASE)
MULTICLASS_METRICS = ("top1_acc", "mAP", "d_prime", "aucroc")
MULTILABEL_METRICS = ("mAP", "d_prime", "aucroc")


@dataclass(frozen=True)
class LabelRow:
    """One line of a ``labels.csv``; ``split`` is already a HEAR split's name."""

    line: int
    file: str
    labels: tuple[str, ...]
    group: str
    split: str


@dataclass(frozen=True)
class PrepareReport:
    """What :func:`prepare` made.

    Attributes:
        task: the task folder, opened.
        clips_by_split: number of clips of each split.
        clips_by_label: number of clips of each label, in the order of the vocabulary.
        skipped: "file: reason" of every file that was left out.
        warnings: what is allowed but may surprise, one line each.
    """

    task: TaskFolder
    clips_by_split: dict[str, int]
    clips_by_label: dict[str, int]
    skipped: list[str]
    warnings: list[str]

    @property
    def path(self) -> Path:
        """The task folder."""
        return self.task.path

    @property
    def clips(self) -> int:
        """Number of clips written."""
        return sum(self.clips_by_split.values())

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.clips_by_label)

    @property
    def splits(self) -> int:
        """Number of splits or folds."""
        return len(self.clips_by_split)


def prepare(
    source: str | Path,
    out: str | Path,
    name: str,
    *,
    audio_dir: str | Path | None = None,
    sample_rate: int = 16000,
    version: str = "1",
    mode: str = "full",
    multilabel: bool = False,
    sample_duration_s: float | Literal["mean"] | None = None,
    metrics: tuple[str, ...] | None = None,
    shared_groups: bool = False,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Writes ``<out>/<name>-<version>-<mode>/`` from a ``labels.csv`` (or the folder that holds one).

    Args:
        source: the CSV, or the folder that holds it as ``labels.csv``.
        out: the folder that the task folder is written into.
        name: of the task: letters, digits, "_" and ".".
        audio_dir: where the files are; by default beside the CSV, or in ``audio`` beside it.
        sample_rate: of the audio that is written, in Hz.
        multilabel: a ``label`` holds any number of labels separated by ";" (none when it is empty).
        sample_duration_s: length to cut or zero-pad every clip to; None keeps each clip's own; ``mean`` is the mean of
            all clips, the input length of the DeLoRes papers' evaluation.
        metrics: names, the primary one first; by default accuracy, or mAP for multilabel.
        shared_groups: accept groups that cross splits, as some corpora's own splits do (a speaker in
            training and test). Scores then say less; the task's metadata and a warning state it.
        skip_bad: leave out missing and unusable audio files, and list them, instead of stopping.

    Raises:
        DeloresError: naming the line or file at fault; nothing is left behind.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
        raise DeloresError(f"the task name {name!r} must be made of letters, digits, '_' and '.'")
    table = Path(source) / "labels.csv" if Path(source).is_dir() else Path(source)
    rows, notes = _read(table, multilabel, shared_groups)
    splits = _split_order({row.split for row in rows})
    folders = [Path(audio_dir)] if audio_dir is not None else [table.parent, table.parent / "audio"]
    if not folders[0].is_dir():
        raise DeloresError(f"{folders[0]}: no such folder of audio")
    _check_files(table, rows, folders)
    notes += _same_content(rows, folders)
    is_folds = splits[0] not in TVT_SPLITS
    metadata: dict[str, Any] = {
        "task_name": name,
        "version": version,
        "embedding_type": "scene",
        "prediction_type": "multilabel" if multilabel else "multiclass",
        "split_mode": "presplit_kfold" if is_folds else "trainvaltest",
        "nfolds": len(splits) if is_folds else None,
        "sample_duration": sample_duration_s,
        "evaluation": list(metrics or (MULTILABEL_METRICS if multilabel else MULTICLASS_METRICS)),
        "mode": mode,
        "splits": splits,
    }
    if sample_duration_s == "mean":
        metadata |= {"sample_duration": _mean_duration(rows, folders), "sample_duration_rule": "mean of the clips"}
    crossing = _crossing_groups(rows)
    if crossing:
        metadata["groups_crossing_splits"] = len(crossing)
    skipped: list[str] = []
    kept: list[str] = []
    names = _target_names(rows)
    by_clip = {names[row.file]: row.file for row in rows}

    def note_bad(split: str, clip: Clip, error: DeloresError) -> None:
        skipped.append(_skip_line(by_clip[clip.file], error))

    task = write_task_folder(
        out,
        metadata,
        {split: _clips(rows, split, names, folders) for split in splits},
        sample_rate,
        overwrite=overwrite,
        on_bad=note_bad if skip_bad else None,
        on_kept=lambda: kept.append(KEPT),
        progress=progress,
        total=len(rows),
    )
    report = _report(task, skipped, len(crossing), notes)
    return replace(report, warnings=kept + report.warnings)


def read_labels(table: str | Path, *, multilabel: bool = False, shared_groups: bool = False) -> list[LabelRow]:
    """The checked lines of a ``labels.csv``, in their order.

    Raises:
        DeloresError: a missing column, an unknown split, a file that is listed twice, a group that crosses
            splits, an empty field.
    """
    return _read(Path(table), multilabel, shared_groups)[0]


def _read(path: Path, multilabel: bool, shared_groups: bool) -> tuple[list[LabelRow], list[str]]:
    """The checked lines, and notes on columns that are not used."""
    table = read_table(
        path,
        ("file", "label"),
        ("group", "split", "fold"),
        lookalikes=LOOKALIKES,
        advice="expected a CSV with the columns file,label[,group],split",
    )
    try:
        column = _split_column(path, table.columns)
        if not table.rows:
            raise DeloresError(f"{path}: expected at least one clip, but none is listed")
        kinds = _split_values(path, [(line, row[column]) for line, row in table.rows])
        rows = [_row(path, line, row, kinds[row[column]], multilabel) for line, row in table.rows]
        _check_unique(path, rows)
        if not shared_groups:
            _check_groups(path, rows)
    except DeloresError as error:
        if not table.notes:
            raise
        raise DeloresError(f"{error}. Note: {table.notes[0]}") from None
    # Of split and fold, the one that is missing need not be there.
    return rows, [table.note(name, like) for name, like in table.unused if like not in ("split", "fold")]


def _split_column(table: Path, columns: tuple[str, ...]) -> str:
    split_columns = [column for column in ("split", "fold") if column in columns]
    if len(split_columns) != 1:
        found = "both are there" if split_columns else f"the columns are {','.join(columns)}"
        raise DeloresError(f"{table}: expected one column, 'split' or 'fold'; {found}")
    return split_columns[0]


def _split_values(table: Path, values: list[tuple[int, str]]) -> dict[str, str]:
    """Each value of the split column -> the name of a HEAR split; folds are numbered from fold00."""
    numbers: dict[str, int] = {}
    for line, value in values:
        if value in TVT_SPLITS:
            continue
        match = _FOLD.fullmatch(value)
        if match is None:
            raise DeloresError(
                f"{table}: line {line}: unknown split {value[:60]!r}; expected train, valid, test, or folds as fold00 "
                "or 0"
            )
        numbers[value] = int(match[1])
    named = [split for split in TVT_SPLITS if any(value == split for _, value in values)]
    if numbers and named:
        raise DeloresError(
            f"{table}: splits and folds are mixed: {named[0]!r} and {next(iter(numbers))!r}; use one of the two"
        )
    if named and len(named) < 3:
        missing = next(split for split in TVT_SPLITS if split not in named)
        raise DeloresError(f"{table}: no clip is in the split {missing!r}; train, valid and test are needed")
    if numbers and len(set(numbers.values())) < 3:
        raise DeloresError(
            f"{table}: at least 3 folds are needed (train, valid, test); got {len(set(numbers.values()))}"
        )
    ranks = {number: rank for rank, number in enumerate(sorted(set(numbers.values())))}
    return {
        **{split: split for split in named},
        **{value: f"fold{ranks[n]:02d}" for value, n in numbers.items()},
    }


def _row(table: Path, line: int, row: dict[str, str], split: str, multilabel: bool) -> LabelRow:
    if not row["file"]:
        raise DeloresError(f"{table}: line {line}: the file is empty")
    if multilabel:
        labels = tuple(dict.fromkeys(part.strip() for part in row["label"].split(";") if part.strip()))
    elif not row["label"]:
        raise DeloresError(f"{table}: line {line}: the label of {row['file']} is empty")
    elif ";" in row["label"]:
        raise DeloresError(
            f"{table}: line {line}: the label {row['label']!r} holds ';': for several labels per clip choose "
            f"multilabel, otherwise rename the label"
        )
    else:
        labels = (row["label"],)
    return LabelRow(line, row["file"], labels, row.get("group", ""), split)


def _check_unique(table: Path, rows: list[LabelRow]) -> None:
    first: dict[str, int] = {}
    for row in rows:
        if row.file in first:
            raise DeloresError(f"{table}: {row.file} is listed twice, in lines {first[row.file]} and {row.line}")
        first[row.file] = row.line


def _check_groups(table: Path, rows: list[LabelRow]) -> None:
    for group, (first, other) in _crossing_groups(rows).items():
        raise DeloresError(
            f"{table}: the group {group!r} crosses splits: line {first.line} is in {first.split}, "
            f"line {other.line} in {other.split}; correct the CSV, or allow it with shared_groups"
        )


def _crossing_groups(rows: list[LabelRow]) -> dict[str, tuple[LabelRow, LabelRow]]:
    """Each group that stands in more than one split, with a line of two of them."""
    first: dict[str, LabelRow] = {}
    crossing: dict[str, tuple[LabelRow, LabelRow]] = {}
    for row in rows:
        known = first.setdefault(row.group, row)
        if row.group and known.split != row.split:
            crossing.setdefault(row.group, (known, row))
    return crossing


def _split_order(splits: set[str]) -> list[str]:
    return list(TVT_SPLITS) if splits == set(TVT_SPLITS) else sorted(splits)


def _target_names(rows: list[LabelRow]) -> dict[str, str]:
    """A plain, unique ``.wav`` name for every file; the old ending is kept where two would meet."""
    flat = {row.file: "__".join(Path(row.file).parts).lstrip("/_.") or "clip" for row in rows}
    stems = Counter(str(Path(name).with_suffix("")).casefold() for name in flat.values())
    names = {}
    for file, name in flat.items():
        stem = str(Path(name).with_suffix(""))
        names[file] = clip_name(f"{stem if stems[stem.casefold()] == 1 else name}.wav")
    taken: dict[str, str] = {}
    for file, name in names.items():
        if name.casefold() in taken:
            raise DeloresError(f"the files {taken[name.casefold()]} and {file} would both become {name}; rename one")
        taken[name.casefold()] = file
    return names


def _clips(rows: list[LabelRow], split: str, names: dict[str, str], folders: list[Path]) -> list[Clip]:
    return [Clip(names[row.file], row.labels, _place(row, folders)) for row in rows if row.split == split]


def _place(row: LabelRow, folders: list[Path]) -> Path:
    places = [folder / row.file for folder in folders]
    files = (path for path in places if os.path.isfile(path))
    others = (path for path in places if os.path.lexists(path))  # for whoever reads the audio to say what it is
    return next(files, None) or next(others, places[0])


def _check_files(table: Path, rows: list[LabelRow], folders: list[Path]) -> None:
    """Raises where two names lead to one file: ``a/../x.wav``, a symbolic or a hard link."""
    first: dict[tuple[int, int], LabelRow] = {}
    for row in rows:
        try:
            status = os.stat(_place(row, folders))
        except (OSError, ValueError):  # missing: for whoever reads the audio to say
            continue
        if not status.st_ino:  # a file system that does not number its files
            continue
        other = first.setdefault((status.st_dev, status.st_ino), row)
        if other is not row:
            raise DeloresError(
                f"{table}: line {row.line}: {row.file} is the same file as {other.file} in line {other.line}; "
                "remove one"
            )


def _same_content(rows: list[LabelRow], folders: list[Path]) -> list[str]:
    """A note where different files of two splits hold the same bytes: a test clip that was trained on."""
    by_size: dict[int, list[LabelRow]] = defaultdict(list)
    for row in rows:
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(_place(row, folders))
            if stat.S_ISREG(status.st_mode):
                by_size[status.st_size].append(row)
    same: list[tuple[LabelRow, LabelRow]] = []
    for candidates in by_size.values():
        if len({row.split for row in candidates}) < 2:
            continue
        first: dict[str, LabelRow] = {}
        for row in candidates:
            with contextlib.suppress(OSError):
                other = first.setdefault(file_hash(_place(row, folders)), row)
                if other.split != row.split:
                    same.append((other, row))
    if not same:
        return []
    one, other = same[0]
    return [
        f"{len(same)} clip(s) have the same audio as a clip of another split, such as {other.file} ({other.split}) "
        f"and {one.file} ({one.split})"
    ]


def _mean_duration(rows: list[LabelRow], folders: list[Path]) -> float:
    """Seconds, by the files' headers; a file that cannot be read is left to whoever reads it to say."""
    durations = []
    for row in rows:
        with contextlib.suppress(DeloresError):
            frames, rate = file_length(_place(row, folders))
            durations.append(frames / rate)
    if not durations:
        raise DeloresError(f"{folders[0]}: none of the {len(rows)} listed files can be read as audio")
    return round(fmean(durations), 4)


def _skip_line(file: str, error: DeloresError) -> str:
    return f"{shown(file)}: {str(error).rpartition(f'{shown(Path(file).name)}: ')[2]}"


def _report(task: TaskFolder, skipped: list[str], crossing: int, notes: list[str]) -> PrepareReport:
    by_split: dict[str, Counter[str]] = defaultdict(Counter)
    for split in task.splits:
        for labels in task.labels(split).values():
            by_split[split].update(labels)
    total: Counter[str] = sum(by_split.values(), Counter())
    warnings = notes + [
        f"the label {label!r} has no clip in {split}"
        for label in task.vocabulary
        for split in task.splits
        if not by_split[split][label]
    ]
    if crossing:
        warnings.insert(len(notes), f"{crossing} group(s) cross splits: test clips are not from unseen groups")
    return PrepareReport(
        task=task,
        clips_by_split={split: len(task.labels(split)) for split in task.splits},
        clips_by_label={label: total[label] for label in task.vocabulary},
        skipped=skipped,
        warnings=warnings,
    )
