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
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from benchmarks.tasks.corpora.preparation import PrepareReport, write_recordings
from benchmarks.tasks.corpora.recordings import Recording, crossing_groups
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.metadata import TVT_SPLITS
from benchmarks.tasks.names import clip_name
from benchmarks.tasks.writer import Progress
from hear_delores.errors import DeloresError
from hear_delores.files import file_hash
from pretrain.data.audio import file_length
from pretrain.inputs.csv_table import LOOKALIKES, read_table

__all__ = ["LabelRow", "prepare"]

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
    folders = [Path(audio_dir)] if audio_dir is not None else [table.parent, table.parent / "audio"]
    if not folders[0].is_dir():
        raise DeloresError(f"{folders[0]}: no such folder of audio")
    paths = {row.file: _place(row.file, folders) for row in rows}
    _check_files(table, rows, paths)
    notes += _same_content(rows, paths)
    metadata: dict[str, Any] = {
        "task_name": name,
        "version": version,
        "mode": mode,
        "sample_duration": sample_duration_s,
        **_kind(rows, multilabel, metrics),
    }
    if sample_duration_s == "mean":
        metadata["sample_duration"] = _mean_duration(folders[0], paths.values())
        metadata["sample_duration_rule"] = "mean of the clips"
    if crossing := crossing_groups(rows):
        metadata["groups_crossing_splits"] = len(crossing)
        notes.append(f"{len(crossing)} group(s) cross splits: test clips are not from unseen groups")
    names = _target_names(rows)
    report = write_recordings(
        out,
        metadata,
        [Recording(paths[row.file], names[row.file], "", row.split, labels=row.labels) for row in rows],
        sample_rate,
        names={path: file for file, path in paths.items()},
        skip_bad=skip_bad,
        overwrite=overwrite,
        progress=progress,
    )
    return replace(report, warnings=report.warnings + notes + _unseen_labels(report.task))


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
    named: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for line, value in values:
        if value in TVT_SPLITS:
            named[value] = value
        elif match := _FOLD.fullmatch(value):
            numbers[value] = int(match[1])
        else:
            raise DeloresError(
                f"{table}: line {line}: unknown split {value[:60]!r}; expected train, valid, test, or folds as fold00 "
                "or 0"
            )
    if numbers and named:
        one = next(split for split in TVT_SPLITS if split in named)
        raise DeloresError(
            f"{table}: splits and folds are mixed: {one!r} and {next(iter(numbers))!r}; use one of the two"
        )
    if numbers:
        folds = sorted(set(numbers.values()))
        if len(folds) < 3:
            raise DeloresError(f"{table}: at least 3 folds are needed (train, valid, test); got {len(folds)}")
        return {value: f"fold{folds.index(number):02d}" for value, number in numbers.items()}
    if missing := [split for split in TVT_SPLITS if split not in named]:
        raise DeloresError(f"{table}: no clip is in the split {missing[0]!r}; train, valid and test are needed")
    return named


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
    first: dict[str, LabelRow] = {}
    for row in rows:
        if (other := first.setdefault(row.file, row)) is not row:
            raise DeloresError(f"{table}: {row.file} is listed twice, in lines {other.line} and {row.line}")


def _check_groups(table: Path, rows: list[LabelRow]) -> None:
    for group in crossing_groups(rows):
        first, *others = (row for row in rows if row.group == group)
        other = next(row for row in others if row.split != first.split)
        raise DeloresError(
            f"{table}: the group {group!r} crosses splits: line {first.line} is in {first.split}, "
            f"line {other.line} in {other.split}; correct the CSV, or allow it with shared_groups"
        )


def _kind(rows: list[LabelRow], multilabel: bool, metrics: tuple[str, ...] | None) -> dict[str, Any]:
    """What the metadata say of labels and splits."""
    found = {row.split for row in rows}
    in_folds = not found <= set(TVT_SPLITS)
    return {
        "embedding_type": "scene",
        "prediction_type": "multilabel" if multilabel else "multiclass",
        "split_mode": "presplit_kfold" if in_folds else "trainvaltest",
        "nfolds": len(found) if in_folds else None,
        "evaluation": list(metrics or (MULTILABEL_METRICS if multilabel else MULTICLASS_METRICS)),
        "splits": sorted(found) if in_folds else list(TVT_SPLITS),
    }


def _target_names(rows: list[LabelRow]) -> dict[str, str]:
    """A plain, unique ``.wav`` name for every file; the old ending is kept where two would meet."""
    flat = {row.file: "__".join(Path(row.file).parts).lstrip("/_.") or "clip" for row in rows}
    stems = Counter(str(Path(name).with_suffix("")).casefold() for name in flat.values())
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for file, name in flat.items():
        stem = str(Path(name).with_suffix(""))
        names[file] = clip_name(f"{stem if stems[stem.casefold()] == 1 else name}.wav")
        if (other := taken.setdefault(names[file].casefold(), file)) != file:
            raise DeloresError(f"the files {other} and {file} would both become {names[file]}; rename one")
    return names


def _place(file: str, folders: list[Path]) -> Path:
    places = [folder / file for folder in folders]
    files = (path for path in places if os.path.isfile(path))
    others = (path for path in places if os.path.lexists(path))  # for whoever reads the audio to say what it is
    return next(files, None) or next(others, places[0])


def _present(rows: list[LabelRow], paths: Mapping[str, Path]) -> Iterator[tuple[LabelRow, os.stat_result]]:
    """The lines whose files are there; a missing one is for whoever reads the audio to say."""
    for row in rows:
        with contextlib.suppress(OSError, ValueError):
            yield row, os.stat(paths[row.file])


def _check_files(table: Path, rows: list[LabelRow], paths: Mapping[str, Path]) -> None:
    """Raises where two names lead to one file: ``a/../x.wav``, a symbolic or a hard link."""
    first: dict[tuple[int, int], LabelRow] = {}
    for row, status in _present(rows, paths):
        other = first.setdefault((status.st_dev, status.st_ino), row)
        if other is not row and status.st_ino:  # 0 on a file system that does not number its files
            raise DeloresError(
                f"{table}: line {row.line}: {row.file} is the same file as {other.file} in line {other.line}; "
                "remove one"
            )


def _same_content(rows: list[LabelRow], paths: Mapping[str, Path]) -> list[str]:
    """A note where different files of two splits hold the same bytes: a test clip that was trained on."""
    by_size: dict[int, list[LabelRow]] = defaultdict(list)
    for row, status in _present(rows, paths):
        if stat.S_ISREG(status.st_mode):
            by_size[status.st_size].append(row)
    same: list[tuple[LabelRow, LabelRow]] = []
    for candidates in by_size.values():
        if len({row.split for row in candidates}) < 2:
            continue
        first: dict[str, LabelRow] = {}
        for row in candidates:
            with contextlib.suppress(OSError):
                other = first.setdefault(file_hash(paths[row.file]), row)
                if other.split != row.split:
                    same.append((other, row))
    return [
        f"{len(same)} clip(s) have the same audio as a clip of another split, such as {other.file} ({other.split}) "
        f"and {one.file} ({one.split})"
        for one, other in same[:1]
    ]


def _mean_duration(folder: Path, paths: Collection[Path]) -> float:
    """Seconds, by the files' headers; a file that cannot be read is left to whoever reads it to say."""
    durations = []
    for path in paths:
        with contextlib.suppress(DeloresError):
            frames, rate = file_length(path)
            durations.append(frames / rate)
    if not durations:
        raise DeloresError(f"{folder}: none of the {len(paths)} listed files can be read as audio")
    return round(fmean(durations), 4)


def _unseen_labels(task: TaskFolder) -> list[str]:
    counts = {split: task.label_counts(split) for split in task.splits}
    return [
        f"the label {label!r} has no clip in {split}"
        for label in task.vocabulary
        for split, count in counts.items()
        if not count[label]
    ]
