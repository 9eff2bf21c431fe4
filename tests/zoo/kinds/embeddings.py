"""Embeddings folders, ours and heareval's: sizes, rows, pickled labels, timestamps, what says who made them."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.zoo.cases import EQUAL, HARMFUL, HARMLESS, OPEN, Case, Change, Expectation, Route
from tests.zoo.kinds.common import byte_cases, json_cases, place_cases, value_cases
from tests.zoo.kinds.task_folders import EVENT_FAULTS, METADATA
from tests.zoo.mutations import VALUES
from tests.zoo.routes import SCORE, SCORE_EVENTS, SCORE_FOLDS, SCORE_LINEAR

__all__ = ["cases"]

SCENES, EVENTS, FOLDS = "in/embeddings/toy-1-full", "in/event_embeddings/sounds-1-full", "in/folds/kfold-1-full"
DAMAGE = ("truncate", "flip head", "insert bytes", "delete bytes", "swap blocks", "twice", "random bytes", "web page", "gzip",
          "git lfs pointer", "trailing bytes", "one byte less")  # fmt: skip


def _rows(value: Any) -> Change:
    """Sets one element, or (a function) all of them."""

    def change(work: Path, rng: random.Random) -> None:
        path = work / SCENES / "test.embeddings.npy"
        rows = np.fromfile(path, dtype=np.float32)
        if callable(value):
            rows = value(rows)
        else:
            rows[rng.randrange(len(rows))] = value
        rows.astype(np.float32).tofile(path)

    return change


ROWS: dict[str, tuple[Any, Expectation]] = {
    "one NaN": (float("nan"), HARMFUL),
    "one infinity": (float("inf"), HARMFUL),
    "one minus infinity": (float("-inf"), HARMFUL),
    "all NaN": (lambda rows: rows * np.nan, HARMFUL),
    "one value of 1e38": (1e38, OPEN),
    "a denormal": (1e-42, OPEN),
    "all zero": (lambda rows: rows * 0, OPEN),
    "all 1e38": (lambda rows: np.full_like(rows, 1e38), OPEN),
    "a row more": (lambda rows: np.append(rows, rows[:6]), HARMFUL),
    "half of them": (lambda rows: rows[: len(rows) // 2], HARMFUL),
    "none": (lambda rows: rows[:0], HARMFUL),
}


def _as_npy(work: Path, rng: random.Random) -> None:
    path = work / SCENES / "test.embeddings.npy"
    np.save(path, np.fromfile(path, dtype=np.float32).reshape(-1, 6))


def _as_float64(work: Path, rng: random.Random) -> None:
    path = work / SCENES / "test.embeddings.npy"
    np.fromfile(path, dtype=np.float32).astype(np.float64).tofile(path)


class _Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch out/precious/owned",)


def _pickled(make: Callable[[list[Any]], Any], **options: Any) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        path = work / SCENES / "test.target-labels.pkl"
        path.write_bytes(pickle.dumps(make(pickle.loads(path.read_bytes())), **options))

    return change


def _raw(data: bytes) -> Change:
    return lambda work, rng: (work / SCENES / "test.target-labels.pkl").write_bytes(data) and None


PICKLES: dict[str, tuple[Change, Expectation]] = {
    "protocol 0": (_pickled(lambda rows: rows, protocol=0), HARMLESS),
    "protocol 2": (_pickled(lambda rows: rows, protocol=2), HARMLESS),
    "protocol 5": (_pickled(lambda rows: rows, protocol=5), HARMLESS),
    "code that runs": (_pickled(lambda rows: [_Evil(), *rows[1:]]), HARMFUL),
    "a numpy array": (_pickled(lambda rows: np.array(rows)), HARMFUL),
    "tuples": (_pickled(lambda rows: [tuple(row) for row in rows]), EQUAL),
    "texts instead of lists": (_pickled(lambda rows: [row[0] for row in rows]), HARMFUL),
    "a row less": (_pickled(lambda rows: rows[1:]), HARMFUL),
    "a row without a label": (_pickled(lambda rows: [[], *rows[1:]]), HARMFUL),
    "a row of two labels": (_pickled(lambda rows: [["a", "b"], *rows[1:]]), HARMFUL),
    "an unknown label": (_pickled(lambda rows: [["z"], *rows[1:]]), HARMFUL),
    "a label that is null": (_pickled(lambda rows: [[None], *rows[1:]]), HARMFUL),
    "a label that is NaN": (_pickled(lambda rows: [[float("nan")], *rows[1:]]), HARMFUL),
    "other labels than the split's": (_pickled(lambda rows: [["b" if r[0] == "a" else "a"] for r in rows]), HARMFUL),
    "a dict": (_pickled(lambda rows: dict(enumerate(rows))), HARMFUL),
    "a list inside itself": (_pickled(lambda rows: (lambda x: x.append(x) or x)([*rows[1:]])), HARMFUL),
    "a pickle without an end": (_raw(b"\x80\x04]"), HARMFUL),
    "a memo index of 2^60": (_raw(b"\x80\x04]r\xff\xff\xff\x7f."), HARMFUL),
    "a bytes length of 2^62": (_raw(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x3f"), HARMFUL),
    "a text length of 2^31": (_raw(b"\x80\x04X\xff\xff\xff\x7fabc."), HARMFUL),
    "a number of 10,000 digits": (_raw(b"I" + b"1" * 10000 + b"\n."), HARMFUL),
    "100,000 lists deep": (_raw(b"\x80\x04" + b"]" * 100000 + b"a" * 99999 + b"."), HARMFUL),
}


def _info(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "format_version": 1, "seconds": 1.0, "skipped": [], "device": "cpu", "versions": {},
        "model": {"module": "m", "label": "m", "options": {}, "file": "m.pt", "weights_hash": "ab" * 32, "sample_rate": 16000,
                  "n_parameters": 1, "sizes": {"scene": 6, "timestamp": 6}, **value},
        "task": {"name": "toy-1-full", "revision": "0" * 64, "audio_sample_rate": 16000},
    }  # fmt: skip


def _with_info(model: dict[str, Any] | None = None, /, **top: Any) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        (work / SCENES / "embedding-info.json").write_text(json.dumps({**_info(model or {}), **top}))

    return change


_NAMES = ("../../precious", "/tmp/zoo-precious", "a/b", "..", "a\0b", "", "x" * 500, "a\nb", " ")


def _infos() -> list[Case]:
    found = [Case("embeddings", "score: an embedding-info.json", SCORE, HARMLESS, _with_info())]
    for key in ("label", "weights_hash", "module"):
        found += [
            Case("embeddings", f"score: {key} {name!r}"[:80], SCORE, OPEN, _with_info({key: name})) for name in _NAMES
        ]
        found += [
            Case("embeddings", f"score: {key} is {what}", SCORE, OPEN, _with_info({key: VALUES[what]}))
            for what in ("null", "zero", "empty list", "object", "nan")
        ]
    for key in ("options", "sizes", "sample_rate", "n_parameters", "file"):
        found += [
            Case("embeddings", f"score: {key} is {what}", SCORE, OPEN, _with_info({key: VALUES[what]}))
            for what in ("text", "nan", "nested list", "huge")
        ]
    for key in ("model", "task", "skipped", "versions", "seconds", "format_version"):
        found += [
            Case("embeddings", f"score: embedding-info {key} is {what}", SCORE, OPEN, _with_info(**{key: VALUES[what]}))
            for what in ("null", "text", "nested list", "zero")
        ]
    return found


def _separable(work: Path, rng: random.Random) -> None:
    for split in ("train", "valid", "test"):
        labels = pickle.loads((work / SCENES / f"{split}.target-labels.pkl").read_bytes())
        rows = np.zeros((len(labels), 6), dtype=np.float32)
        rows[range(len(labels)), ["abc".index(row[0]) for row in labels]] = 1
        rows.tofile(work / SCENES / f"{split}.embeddings.npy")


def _size(new: Any) -> tuple[tuple[Any, ...], Any, Expectation]:
    return (0,), new, HARMFUL


def _stamps(make: Callable[[list[Any]], Any]) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        path = work / EVENTS / "test.filename-timestamps.json"
        path.write_text(json.dumps(make(json.loads(path.read_text()))))

    return change


STAMPS: dict[str, tuple[Callable[[list[Any]], Any], Expectation]] = {
    "a row less": (lambda rows: rows[1:], HARMFUL),
    "a NaN": (lambda rows: [[rows[0][0], float("nan")], *rows[1:]], HARMFUL),
    "an infinity": (lambda rows: [[rows[0][0], float("inf")], *rows[1:]], HARMFUL),
    "a null": (lambda rows: [[rows[0][0], None], *rows[1:]], HARMFUL),
    "a text": (lambda rows: [[rows[0][0], "x"], *rows[1:]], HARMFUL),
    "a negative time": (lambda rows: [[rows[0][0], -100.0], *rows[1:]], HARMFUL),
    "a time of 1e15": (lambda rows: [*rows[:-1], [rows[-1][0], 1e15]], HARMFUL),
    "times that do not increase": (lambda rows: [rows[1], rows[0], *rows[2:]], HARMFUL),
    "one time for all": (lambda rows: [[file, 0.0] for file, _ in rows], HARMFUL),
    "a file of no split": (lambda rows: [["nowhere.wav", time] for _, time in rows], HARMFUL),
    "a pair of three": (lambda rows: [[*rows[0], 1], *rows[1:]], HARMFUL),
    "an object": (lambda rows: {"rows": rows}, HARMFUL),
    "paths before the names": (lambda rows: [[f"/some/where/{file}", time] for file, time in rows], HARMLESS),
}

PARAMS: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *((("evaluation_params", "event_postprocessing_grid", key), value, HARMFUL)
      for key in ("median_filter_ms", "min_duration")
      for value in ([-250], [float("nan")], [float("inf")], ["x"], [], None, [None], [1e300], [[250]])),
    *((("evaluation_params", "event_postprocessing_grid"), value, HARMFUL) for value in ("x", [], 5)),
]  # fmt: skip


def _folder(route: Route, folder: str, name: str) -> list[Case]:
    found: list[Case] = []
    for file in (
        f"{name}.embeddings.npy",
        f"{name}.target-labels.pkl",
        f"{name}.embedding-dimensions.json",
        f"{name}.json",
    ):
        hows = DAMAGE if not file.endswith(".json") else None
        expect = OPEN
        found += byte_cases("embeddings", route, f"{folder}/{file}", **({"hows": hows} if hows else {}), expect=expect)
        found += place_cases("embeddings", route, f"{folder}/{file}")
    return found


def cases() -> list[Case]:
    """All of this kind."""
    found = [
        Case("embeddings", f"score: rows: {name}", SCORE, expect, _rows(value))
        for name, (value, expect) in ROWS.items()
    ]
    found += [Case("embeddings", f"score: labels: {name}", SCORE, expect, do) for name, (do, expect) in PICKLES.items()]
    found += [
        Case("embeddings", "score: rows as a real .npy", SCORE, HARMFUL, _as_npy),
        Case("embeddings", "score: rows as float64", SCORE, HARMFUL, _as_float64),
        Case("embeddings", "score: classes that are apart", SCORE, OPEN, _separable),
        Case("embeddings", "score linear: classes that are apart", SCORE_LINEAR, OPEN, _separable),
    ]
    sizes = [_size(value) for value in (0, -12, 13, 11, 10**12, 12.0, "12", None, True, [12], float("nan"), ...)]
    found += json_cases("embeddings", SCORE, f"{SCENES}/test.embedding-dimensions.json", sizes)
    metadata = [entry for entry in METADATA if entry[0] not in (("comment",),)]
    found += json_cases("embeddings", SCORE, f"{SCENES}/task_metadata.json", metadata)
    found += json_cases("embeddings", SCORE_EVENTS, f"{EVENTS}/train.json", EVENT_FAULTS)
    found += json_cases("embeddings", SCORE_EVENTS, f"{EVENTS}/task_metadata.json", PARAMS)
    found += [
        Case("embeddings", f"score events: stamps: {name}", SCORE_EVENTS, e, _stamps(do))
        for name, (do, e) in STAMPS.items()
    ]
    found += _infos() + _folder(SCORE, SCENES, "test") + _folder(SCORE_FOLDS, FOLDS, "fold03")
    found += byte_cases("embeddings", SCORE, f"{SCENES}/task_metadata.json")
    found += value_cases("embeddings", SCORE_LINEAR, f"{SCENES}/task_metadata.json", 15)
    return found
