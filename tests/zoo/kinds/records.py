"""Result records that do not agree with themselves, and everything that reads them."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.zoo.cases import EQUAL, HARMFUL, HARMLESS, OPEN, Case, Change, Expectation
from tests.zoo.kinds.common import IN_PLACE, byte_cases, json_cases, place_cases, value_cases
from tests.zoo.routes import COMPARE, FIRST, REPORT, TABLES

__all__ = ["cases"]

FOLDER = f"in/records/{FIRST}/toy-1-full/knn-seed42"
KFOLD = f"in/records/{FIRST}/kfold-1-full/knn-seed42"
RECORD, PREDICTIONS = f"{FOLDER}/record.json", f"{FOLDER}/predictions.npz"

#: Of record.json; every one of them contradicts the rest, or is no record.
CHANGED: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *((("scores", "top1_acc"), value, HARMFUL)
      for value in (0.999, 1.5, -0.1, 99.0, float("nan"), float("inf"), None, "0.5", True, ..., [0.5])),
    *((("scores", "mAP"), value, HARMFUL) for value in (0.999, 2.0, -1, float("nan"))),
    *((("scores", "aucroc"), value, HARMFUL) for value in (0.999999, 7, float("-inf"))),
    *((("scores",), value, HARMFUL) for value in ({}, None, [], ..., {"top1_acc": 0.5})),
    (("scores", "made_up"), 0.5, HARMFUL),
    *((("folds", 0, "scores", "top1_acc"), value, HARMFUL) for value in (0.999, 1.5, float("nan"), None, ...)),
    *((("folds",), value, HARMFUL) for value in ([], None, ..., {}, [{}])),
    (("folds", 0, "test_split"), "valid", HARMFUL),
    (("folds", 0, "n_test_rows"), 5000, HARMFUL),
    (("folds", 0, "n_test_rows"), -1, HARMFUL),
    (("task", "primary_metric"), "mAP", HARMFUL),
    (("task", "primary_metric"), "nonsense", HARMFUL),
    (("task", "metrics"), [], HARMFUL),
    (("task", "metrics"), ["top1_acc"], HARMFUL),
    (("task", "maximise"), False, HARMFUL),
    (("task", "n_clips"), -5, HARMFUL),
    (("task", "name"), "../../precious", HARMFUL),
    (("task", "name"), "", HARMFUL),
    (("task", "embedding_type"), "event", HARMFUL),
    (("task", "embedding_type"), "scenes", HARMFUL),
    (("model", "label"), "", HARMFUL),
    (("model", "label"), "../../precious", OPEN),
    (("model", "label"), "<script>alert(1)</script>", OPEN),
    (("model", "label"), "a|b", OPEN),
    (("model", "label"), "x" * 5000, OPEN),
    (("model", "label"), None, HARMFUL),
    (("model", "weights_hash"), 7, HARMFUL),
    (("model", "sizes"), {"scene": -1}, OPEN),
    (("protocol", "name"), "made_up", OPEN),
    (("protocol",), None, HARMFUL),
    (("seed",), "42", OPEN),
    (("seed",), 1.5, HARMFUL),
    (("seed",), 10**30, OPEN),
    (("format_version",), 2, HARMFUL),
    (("format_version",), "1", HARMFUL),
    (("format_version",), True, HARMFUL),
    (("format_version",), 1.0, EQUAL),
    (("format_version",), ..., HARMFUL),
    (("scores_std",), {"top1_acc": -0.5}, HARMFUL),
    (("created",), "yesterday", OPEN),
    (("created",), None, HARMFUL),
    (("seconds",), {"score": float("nan")}, OPEN),
    (("peak_memory_bytes",), -1, OPEN),
    (("zoo",), 1, HARMFUL),
]  # fmt: skip

OF_FOLDS: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    (("folds", 2, "scores", "top1_acc"), 1.0, HARMFUL),
    (("folds", 2), ..., HARMFUL),
    (("folds", 2, "test_split"), "fold01", HARMFUL),
    (("scores_std", "top1_acc"), 0.9, HARMFUL),
    (("scores_std", "top1_acc"), float("nan"), HARMFUL),
    (("scores", "top1_acc"), 0.99, HARMFUL),
]


def _arrays(change: Callable[[dict[str, np.ndarray]], None]) -> Change:
    def changed(work: Path, rng: random.Random) -> None:
        path = work / PREDICTIONS
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        change(arrays)
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        path.write_bytes(stream.getvalue())

    return changed


def _pop(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda arrays: arrays.pop(name) is None or None


def _put(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray]], None]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = make(arrays[name])

    return change


def _bomb(work: Path, rng: random.Random) -> None:
    """An array whose header promises 4 TB, and one that unpacks to 2 GB of zeros."""
    path = work / PREDICTIONS
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1), }"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test/prediction.npy", header.ljust(127) + b"\n" + bytes(64))


def _swell(work: Path, rng: random.Random) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{"test/prediction": np.zeros((1 << 29, 1), dtype=np.uint8)})
    (work / PREDICTIONS).write_bytes(stream.getvalue())


#: Of predictions.npz, which the record's scores come from.
ARRAYS: dict[str, tuple[Change, Expectation]] = {
    # Not in reverse: by chance that has the same scores in all four metrics.
    "predictions of another model": (_arrays(_put("test/prediction", lambda a: np.roll(a, 2, axis=0))), HARMFUL),
    "targets moved by one": (_arrays(_put("test/target", lambda a: np.roll(a, 1, axis=0))), HARMFUL),
    "a row less": (_arrays(_put("test/prediction", lambda a: a[1:])), HARMFUL),
    "a class less": (_arrays(_put("test/prediction", lambda a: a[:, 1:])), HARMFUL),
    "all NaN": (_arrays(_put("test/prediction", lambda a: a * np.nan)), HARMFUL),
    "targets of 2": (_arrays(_put("test/target", lambda a: a * 2)), HARMFUL),
    "objects": (_arrays(_put("test/files", lambda a: a.astype(object))), HARMFUL),
    "complex numbers": (_arrays(_put("test/prediction", lambda a: a.astype(complex))), HARMFUL),
    "integers": (_arrays(_put("test/prediction", lambda a: a.astype(int))), HARMFUL),
    "one dimension more": (_arrays(_put("test/prediction", lambda a: a[..., None])), HARMFUL),
    "no predictions": (_arrays(_pop("test/prediction")), HARMFUL),
    "no targets": (_arrays(_pop("test/target")), HARMFUL),
    "no files": (_arrays(_pop("test/files")), HARMFUL),
    "a file twice": (_arrays(_put("test/files", lambda a: np.full_like(a, a[0]))), HARMFUL),
    "an array too many": (_arrays(lambda arrays: arrays.update({"test/zoo": np.zeros(3)})), HARMFUL),
    "a split too many": (_arrays(lambda arrays: arrays.update({f"x/{k[5:]}": v for k, v in arrays.items()})), HARMFUL),
    "a name that leads out": (_arrays(lambda arrays: arrays.update({"../../precious/x": np.zeros(3)})), HARMFUL),
    "nothing": (_arrays(lambda arrays: arrays.clear()), HARMFUL),
    "an array of 4 TB": (_bomb, HARMFUL),
    "an array of 512 MB of zeros": (_swell, HARMFUL),
}


def _folders(do: Callable[[Path], object]) -> Change:
    return lambda work, rng: do(work / "in/records") and None


def _copied(change: Callable[[dict[str, Any]], None]) -> Change:
    """The record once more, in another folder, with some of it changed."""

    def changed(work: Path, rng: random.Random) -> None:
        target = (work / FOLDER).with_name("copy")
        shutil.copytree(work / FOLDER, target)
        record = json.loads((target / "record.json").read_text())
        change(record)
        (target / "record.json").write_text(json.dumps(record))

    return changed


def _options(record: dict[str, Any]) -> None:
    record["model"]["options"] = {"pool": "max"}


def _weights(record: dict[str, Any]) -> None:
    record["model"]["weights_hash"] = "cd" * 32


def _revision(record: dict[str, Any]) -> None:
    record["task"]["revision"] = "cd" * 32


def _seed(record: dict[str, Any]) -> None:
    record["seed"] = 43


FOLDERS: dict[str, tuple[Change, Expectation]] = {
    "a record twice": (_copied(lambda record: None), HARMFUL),
    "a record twice, made at another time": (_copied(lambda record: record.update(created="2020-01-01")), HARMFUL),
    # Another model, with a row of its own.
    "one label, other options": (_copied(_options), OPEN),
    "one label, other weights": (_copied(_weights), OPEN),
    "one model, another revision of the task": (_copied(_revision), HARMFUL),
    "another seed": (_copied(_seed), OPEN),
    "an unfinished folder": (_folders(lambda root: (root / "x" / "y" / "z").mkdir(parents=True)), HARMLESS),
    "other files beside": (_folders(lambda root: (root / "notes.txt").write_text("hello")), HARMLESS),
    "a folder called record.json": (_folders(lambda root: (root / "x" / "record.json").mkdir(parents=True)), OPEN),
    "a link in a circle": (_folders(lambda root: (root / "loop").symlink_to(root)), OPEN),
}


def cases() -> list[Case]:
    """All of this kind."""
    found = json_cases("record", TABLES, RECORD, CHANGED) + json_cases(
        "record", TABLES, f"{KFOLD}/record.json", OF_FOLDS
    )
    for number, route in enumerate((REPORT, COMPARE)):
        found += json_cases("record", route, RECORD, CHANGED[number::4]) + json_cases(
            "record", route, f"{KFOLD}/record.json", OF_FOLDS
        )
        found += [Case("record", f"{route.name}: {name}", route, e, do) for name, (do, e) in ARRAYS.items()]
        found += value_cases("record", route, RECORD, 15)
    found += [
        Case("record", f"{r.name}: {n}", r, e, do) for r in (TABLES, REPORT, COMPARE) for n, (do, e) in FOLDERS.items()
    ]
    # Of a record that is missing, the folder is an unfinished one; the other task is compared.
    there = [what for what in IN_PLACE if what != "missing"]
    found += place_cases("record", COMPARE, RECORD, ["missing"], OPEN)
    found += [
        Case("record", f"tables: {name} are named", TABLES, OPEN, FOLDERS[name][0], mention=mention)
        for name, mention in (("one label, other options", "pool=max"), ("one label, other weights", "cdcdcdcd"))
    ]
    found += byte_cases("record", TABLES, RECORD) + place_cases("record", COMPARE, RECORD, there)
    found += place_cases(
        "record", TABLES, RECORD, ("empty", "fifo", "dangling link", "link to itself", "endless device")
    )
    hows = (
        "truncate",
        "flip bits",
        "insert bytes",
        "delete bytes",
        "twice",
        "random bytes",
        "web page",
        "gzip",
        "zero a range",
    )
    found += byte_cases("record", COMPARE, PREDICTIONS, hows) + byte_cases("record", REPORT, PREDICTIONS, hows)
    found += place_cases("record", COMPARE, PREDICTIONS) + value_cases("record", TABLES, RECORD, 25)
    return found
