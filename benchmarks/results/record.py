"""The result record, which scoring writes and reading reads: one per model, task and protocol.

A record's folder is ``<results>/<model label>-<hash8>/<task>/<protocol>[-variant]-seed<N>/`` and holds
``record.json`` (written last: a folder without it is unfinished), ``predictions.npz`` and
``test.predicted-scores.json`` in heareval's form.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from pydantic import ValidationError

from benchmarks.results.consistency import check_archive, check_arrays, check_record
from benchmarks.results.format import RECORD_FORMAT, FoldPredictions, ResultRecord
from benchmarks.results.identity import Models, behaviour_change
from benchmarks.results.label import option_suffix, with_options
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path, check_name, remove_leftovers, write_json, writing
from pretrain.locks import folder_lock

__all__ = [
    "clear_unfinished",
    "existing_record",
    "fold_predictions",
    "identical_record",
    "load_predictions",
    "load_record",
    "load_records",
    "predictions_file",
    "record_folder",
    "refuse_repeats",
    "remove_work",
    "save_record",
]

RECORD_FILE = "record.json"
PREDICTIONS_FILE = "predictions.npz"
OFFICIAL_FILE = "test.predicted-scores.json"
WORK_FOLDER = "work"
"""In a record's folder while it is made: the heads that are finished."""
WORK_MARK = "fingerprint"
"""Says which run the heads in a work folder are of; removed last."""


def record_folder(results_dir: str | Path, record: ResultRecord, label: str | None = None) -> Path:
    """The folder of a record under ``results_dir``; ``label`` stands for that of its model and its options."""
    model, protocol = record.model, "-".join(filter(None, (record.protocol.name, record.protocol.variant)))
    label = with_options(model.label, model.options) if label is None else label
    digest = check_name((model.weights_hash or record.embeddings_hash or "none")[:8], "the model's weights_hash")
    task, run = _slug(record.task.folder_name), f"{_slug(protocol)}-seed{record.seed}"
    return Path(results_dir) / f"{_slug(label)}-{digest}" / task / run


def save_record(
    record: ResultRecord,
    results_dir: str | Path,
    predictions: Mapping[str, FoldPredictions] | None = None,
    official: Mapping[str, Any] | None = None,
    perturbed: Mapping[str, Mapping[str, FoldPredictions]] | None = None,
) -> Path:
    """Saves a record, its predictions by test split, and heareval's form of it; returns the folder.

    ``perturbed`` holds the predictions of perturbed test clips, by the name of the perturbation.

    An older record there is replaced; a process killed on the way leaves a folder without ``record.json``.
    """
    folder = record_folder(results_dir, record)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD_FILE).unlink(missing_ok=True)
    if predictions is not None:
        _save_predictions(folder / PREDICTIONS_FILE, predictions)
    for name, own in (perturbed or {}).items():
        _save_predictions(folder / predictions_file(name), own)
    if official is not None:
        write_json(folder / OFFICIAL_FILE, official)
    write_json(folder / RECORD_FILE, record.model_dump(mode="python"))
    record._folder = folder
    return folder


def _save_predictions(file: Path, predictions: Mapping[str, FoldPredictions]) -> None:
    arrays = {}
    for split, fold in predictions.items():
        for name, value in vars(fold).items():
            if value is not None:
                arrays[f"{split}/{name}"] = value
    with atomic_path(file, "the predictions ") as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)


def predictions_file(perturbation: str = "") -> str:
    """The name of the file with the predictions of the test clips, or of the perturbed ones.

    >>> predictions_file(), predictions_file("noise:-5")
    ('predictions.npz', 'predictions.noise_-5.npz')
    """
    return PREDICTIONS_FILE if not perturbation else f"predictions.{_slug(perturbation)}.npz"


def existing_record(results_dir: str | Path, draft: ResultRecord) -> ResultRecord | None:
    """The saved record with the fingerprint of ``draft``, or None if there is none yet.

    One from before options named folders is moved to where it belongs. What it does not say of the model (its
    behaviour, when it is old) is filled in: the same fingerprint means the same embeddings.
    """
    folder = record_folder(results_dir, draft)
    found = identical_record(folder, draft.fingerprint)
    suffix = option_suffix(draft.model.options)
    if found is None and suffix and not folder.exists():
        earlier = record_folder(results_dir, draft, draft.model.label.removesuffix(suffix))
        old = identical_record(earlier, draft.fingerprint)
        if old is not None and old.model.options == draft.model.options:
            folder.parent.mkdir(parents=True, exist_ok=True)
            earlier.rename(folder)
            found = load_record(folder)
    if found is None:
        return None
    clear_unfinished(folder)
    before, now = found.model.behaviour, draft.model.behaviour
    if found.model.label != draft.model.label or (now and (before is None or behaviour_change(before, now))):
        found = found.model_copy(update={"model": draft.model})
        write_json(folder / RECORD_FILE, found.model_dump(mode="python"))
        found._folder = folder
    return found


def clear_unfinished(folder: Path) -> None:
    """Removes what a process has left that was killed after it wrote the record in ``folder``, and before it ended.

    What a living process is doing there, which makes the record again, stays; so does what no run has made.
    """
    if not (folder / WORK_FOLDER).exists() and not any(folder.glob(".*.tmp")):
        return
    with contextlib.suppress(DeloresError), folder_lock(folder, "making this record"):
        remove_leftovers(folder)
        remove_work(folder / WORK_FOLDER)


def remove_work(path: Path) -> None:
    """Deletes the folder of a run's finished heads, and nothing in it that no run has made."""
    if not path.exists():
        return
    with writing(path):
        remove_leftovers(path)
        known = (path / "behaviour.json", path / WORK_MARK)  # the former of fine-tuning
        for file in (*path.glob("*.safetensors"), *path.glob("*.pt"), *known):
            file.unlink(missing_ok=True)
        if not any(path.iterdir()):
            path.rmdir()


def identical_record(folder: Path, fingerprint: str) -> ResultRecord | None:
    """The saved record in ``folder`` if it has that fingerprint, else None."""
    try:
        record = load_record(folder)
    except DeloresError:  # none, or a damaged one: it will be replaced
        return None
    return record if record.fingerprint == fingerprint else None


def load_record(path: str | Path) -> ResultRecord:
    """The record of a folder (or of a ``record.json``).

    Raises DeloresError naming the file when it is missing, damaged, of another format, or contradicts itself.
    """
    file = Path(path)
    file = file / RECORD_FILE if file.is_dir() else file
    if not os.path.lexists(file):
        raise DeloresError(f"{file}: no such result record; make it with 'delores score'")
    # nan: records of older versions hold NaN, which is null today.
    values = read_json(file, nan=True, advice="a damaged result record: delete it and score again")
    found = values.get("format_version")
    if found != RECORD_FORMAT:
        raise DeloresError(f"{file}: expected a result record of format {RECORD_FORMAT}, got {found!r}; score again")
    try:
        record = ResultRecord.model_validate(values)
        check_record(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DeloresError(f"{file}: damaged result record ({where}: {first['msg']}); score again") from None
    except DeloresError as error:
        raise DeloresError(f"{file}: the result record contradicts itself ({error}); score again") from None
    record._folder = file.parent
    return record


@overload
def load_records(paths: Iterable[str | Path], *, skip_damaged: Literal[False] = False) -> list[ResultRecord]: ...


@overload
def load_records(
    paths: Iterable[str | Path], *, skip_damaged: Literal[True]
) -> tuple[list[ResultRecord], list[str]]: ...


def load_records(
    paths: Iterable[str | Path], *, skip_damaged: bool = False
) -> list[ResultRecord] | tuple[list[ResultRecord], list[str]]:
    """All records under some folders, in order of their paths, each file once.

    With ``skip_damaged`` the result is (records, one line for each damaged record).

    Raises DeloresError for a folder that does not exist and, unless ``skip_damaged``, for a damaged record.
    """
    files: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        root = Path(path)
        if not root.exists():
            raise DeloresError(f"{root}: no such folder of results; make one with 'delores score' or 'delores run'")
        found = sorted(_record_files(root)) if root.is_dir() else [root]
        files.update(dict.fromkeys(file.resolve() if file.exists() else file for file in found))
    records, damaged = [], []
    for file in files:
        try:
            records.append(load_record(file))
        except DeloresError as error:
            if not skip_damaged:
                raise
            damaged.append(str(error))
    return (records, damaged) if skip_damaged else records


def _record_files(root: Path) -> Iterator[Path]:
    """The records below ``root``, links that lead nowhere among them, which ``rglob`` passes over without a word."""
    for folder, folders, names in os.walk(root):
        if RECORD_FILE in (*folders, *names):
            yield Path(folder, RECORD_FILE)


def refuse_repeats(records: Iterable[ResultRecord]) -> Models:
    """The models of some records, where no two records are of one model, task, protocol and seed. For every reader.

    Raises DeloresError naming the two otherwise: they are not two seeds, and which of them counts is not known here.
    """
    records = list(records)
    models = Models(record.model for record in records)
    seen: dict[tuple[Any, ...], ResultRecord] = {}
    for record in records:
        key = models.number(record.model), record.task.folder_name, record.protocol.title, record.seed
        first = seen.setdefault(key, record)
        if first is not record:
            run = f"{record.protocol.title}, seed {record.seed}"
            what = f"{models.name(record.model)} on {record.task.folder_name} ({run})"
            places = " and ".join(str(each.folder or "in memory") for each in (first, record))
            raise DeloresError(f"there are two results of {what}: {places}; remove one, or name the folder of one")
    return models


def load_predictions(folder: str | Path, perturbation: str = "") -> dict[str, FoldPredictions]:
    """The test predictions of a record's folder, {test split: FoldPredictions}; of perturbed clips where one is named.

    Raises DeloresError naming the file when it is missing or damaged, or holds what cannot be predictions.
    """
    file = Path(folder) / predictions_file(perturbation)
    if not file.exists():
        raise DeloresError(f"{file}: missing; score again")
    found: dict[str, dict[str, np.ndarray]] = {}
    try:
        check_archive(file)
        with np.load(file, allow_pickle=False) as arrays:
            for key in arrays.files:
                split, _, name = key.rpartition("/")
                found.setdefault(split, {})[name] = arrays[key]
        for split, own in found.items():
            check_arrays(split, own)
        return {split: FoldPredictions(**values) for split, values in found.items()}
    # zipfile, zlib and numpy each have their own way of saying that the file is damaged.
    except Exception as error:
        raise DeloresError(f"{file}: damaged predictions ({error}); score again") from None


def fold_predictions(record: ResultRecord) -> list[FoldPredictions]:
    """The predictions of a record's folds, in their order: as many as were scored, and no others.

    Raises DeloresError naming the record's folder otherwise, or when the record was never saved.
    """
    if record.folder is None:
        raise DeloresError(
            f"the result of {record.model.label} on {record.task.name} is not on disk; load it from a folder"
        )
    predictions = load_predictions(record.folder, record.perturbation)
    rows = {fold.test_split: fold.n_test_rows for fold in record.folds}
    problem = ""
    if missing := [split for split in rows if split not in predictions]:
        problem = f"no predictions of {missing[0]} were saved"
    elif extra := predictions.keys() - rows.keys():
        problem = f"there are predictions of {min(extra)!r}, which is not one of its folds"
    elif other := [split for split in rows if len(predictions[split].prediction) != rows[split]]:
        tested, found = rows[other[0]], len(predictions[other[0]].prediction)
        problem = f"{other[0]!r} was tested on {tested} rows, but has {found} predictions"
    if problem:
        raise DeloresError(f"{record.folder}: {problem}; score again")
    return [predictions[split] for split in rows]


def _slug(text: str) -> str:
    """Safe as one folder name on every system; a leading dot would hide it."""
    return re.sub(r"[^A-Za-z0-9._=+-]+", "_", text).strip(".") or "_"
