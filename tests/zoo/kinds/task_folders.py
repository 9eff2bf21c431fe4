"""Task folders: metadata, labels and events by file, what is missing or too much."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from tests.zoo.cases import HARMFUL, HARMLESS, OPEN, Case, Change, Expectation
from tests.zoo.kinds.common import byte_cases, json_cases, place_cases, value_cases
from tests.zoo.mutations import IN_PLACE, VALUES
from tests.zoo.routes import EMBED, EMBED_EVENTS, FINETUNE, PRETRAIN_TASK, RUN

__all__ = ["EVENT_FAULTS", "METADATA", "NAMES", "cases"]

SCENES, EVENTS = "in/task/toy-1-full", "in/events/sounds-1-full"
NAMES = (
    "../../precious", "../precious", "..", ".", "", "/tmp/zoo-precious", "a/b", "a\\b", "a\0b", "a\nb", " ", "CON", "x" * 300,
    ".hidden", "~", "-rf", "a b", "\u202etxt", "precious/../../precious", "%2e%2e%2fprecious", "\ud800",
)  # fmt: skip
"""What no name may be (some are odd but harmless: they are taken or refused, and nothing is written elsewhere)."""
_WRONG_TYPES = (None, 5, True, [], {}, ["x"], {"x": 1}, float("nan"))

#: What no reader of ``task_metadata.json`` may take.
METADATA: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *((("task_name",), value, HARMFUL) for value in (..., *_WRONG_TYPES, "", "../../precious", "..", "a/b", "/tmp/x", "a\0b")),
    *((("version",), value, HARMFUL) for value in (..., None, [], {}, "", "../../precious", "a/../../b")),
    *((("mode",), value, HARMFUL) for value in (..., None, [], "", "../../../precious")),
    *((("embedding_type",), value, HARMFUL) for value in (..., *_WRONG_TYPES, "scenes", "Scene", "event")),
    *((("prediction_type",), value, HARMFUL) for value in (..., None, "regression", [], 3)),
    *((("split_mode",), value, HARMFUL) for value in (..., None, "kfold", {})),
    *((("evaluation",), value, HARMFUL)
      for value in (..., None, [], "top1_acc", ["nonsense"], [None], [["mAP"]], {"mAP": 1}, ["segment_1s_er"])),
    *((("splits",), value, HARMFUL)
      for value in (..., None, [], "train", ["train"], ["train", "valid"], ["train", "valid", "test", "extra"],
                    ["train", "valid", "test", "test"], ["train", "valid", ["test"]], ["train", "valid", None],
                    ["train", "valid", "../test"], ["train", "valid", "/etc/passwd"], {"train": 1})),
    (("split_mode",), "presplit_kfold", OPEN),
    *((("evaluation",), value, OPEN) for value in (["top1_acc", "top1_acc"], ["mAP"])),
    *((("sample_duration",), value, HARMFUL) for value in (0, -1, "x", [], float("nan"), float("inf"))),
    *((("sample_duration",), value, OPEN) for value in (None, 1e300, 10**400, True, "0.5")),
    *((("nfolds",), value, OPEN) for value in (3, "x", -1, 10**30)),
    *((("evaluation_params",), value, HARMFUL) for value in ("x", [1], 3)),
    *((("use_scoring_for_early_stopping",), value, OPEN) for value in ("maybe", None, 7)),
    (("comment",), "hello", HARMLESS),
    (("zoo",), VALUES["deep"], OPEN),
]  # fmt: skip

#: Of one scene clip's labels.
LABELS: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *((("train0.wav",), value, HARMFUL)
      for value in ([], ["a", "b"], "a", None, 1, {"label": "a"}, [["a"]], [None], [{"label": "a"}], ["z"], ["A"], [" a"],
                    ["a\0"], [float("nan")], [True])),
    (("train0.wav",), ["a", "a"], HARMFUL),
    (("train0.wav",), ..., OPEN),
    *(((name,), ["a"], HARMFUL)
      for name in ("nowhere.wav", "../valid/valid0.wav", "", ".", "/etc/passwd", "a/b.wav", "a\0b.wav", "train0.wav/")),
]  # fmt: skip

#: Of the first event of one clip of 1 s; what no reader may take.
EVENT_FAULTS: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *((("train0.wav", 0, "end"), value, HARMFUL)
      for value in (1e9, 1e15, 1e300, 10**400, float("inf"), float("nan"), -5, 50.0, "400", None, [], True, ..., 60000.0)),
    *((("train0.wav", 0, "start"), value, HARMFUL)
      for value in (-1, 5000.0, float("nan"), float("-inf"), "100", None, True, ...)),
    *((("train0.wav", 0, "label"), value, HARMFUL) for value in ("cat", None, ["bell"], 7, ..., "", "Bell")),
    *((("train0.wav", 0), value, HARMFUL) for value in (None, "bell", [], ["bell", 100, 400], 5)),
    *((("train0.wav",), value, HARMFUL) for value in (None, {}, "x", 5, [[]])),
    (("train0.wav",), [], OPEN),
    (("train0.wav", 0, "end"), 400, HARMLESS),
    (("train0.wav", 0, "comment"), "hello", OPEN),
]  # fmt: skip


def _file(do: Any) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        do(work / SCENES)

    return change


def _double_key(folder: Path) -> None:
    path = folder / "task_metadata.json"
    path.write_text(path.read_text().replace("{", '{"split_mode": "new_split_kfold", "mode": "small",', 1))


def _double_clip(folder: Path) -> None:
    path = folder / "train.json"
    path.write_text(path.read_text().replace("{", '{"train0.wav": ["b"],', 1))


def _deep(folder: Path) -> None:
    (folder / "train.json").write_text('{"train0.wav": ' + "[" * 100000 + "]" * 100000 + "}")


def _long_number(folder: Path) -> None:
    path = folder / "task_metadata.json"
    path.write_text(path.read_text().replace('"sample_duration": 0.5', f'"sample_duration": {"1" * 5000}'))


def _rename_rate(folder: Path) -> None:
    (folder / "16000").rename(folder / "0")


def _second_rate(name: str) -> Any:
    return lambda folder: shutil.copytree(folder / "16000", folder / name)


def _wrong_rate(folder: Path) -> None:
    (folder / "16000").rename(folder / "48000")


FOLDERS: dict[str, tuple[Any, Expectation]] = {
    "a key of the metadata twice": (_double_key, HARMFUL),
    "a clip twice in a split": (_double_clip, HARMFUL),
    "labels 100,000 lists deep": (_deep, HARMFUL),
    "a number of 5,000 digits": (_long_number, HARMFUL),
    "a rate of 0 Hz": (_rename_rate, HARMFUL),
    "no audio": (lambda folder: shutil.rmtree(folder / "16000"), HARMFUL),
    "no audio of test": (lambda folder: shutil.rmtree(folder / "16000" / "test"), HARMFUL),
    "audio of another rate than the folder says": (_wrong_rate, OPEN),
    "a second rate that is empty": (lambda folder: (folder / "22050").mkdir(), OPEN),
    "a folder of a rate in Arabic digits": (_second_rate("\u0661\u0666"), OPEN),
    "a folder of a rate of 5,000 digits": (_second_rate("1" * 250), OPEN),
    "a folder of a rate with an underscore": (_second_rate("16_000"), OPEN),
    "a clip that is a folder": (
        lambda folder: ((folder / "16000/train/train1.wav").unlink(), (folder / "16000/train/train1.wav").mkdir()), HARMFUL
    ),
    "an unlisted split": (lambda folder: (folder / "fold00.json").write_text("{}"), HARMFUL),
    "another folder's name": (lambda folder: folder.rename(folder.with_name("renamed")), OPEN),
    "two tasks of one name": (lambda folder: shutil.copytree(folder, folder.with_name("copy")), HARMFUL),
    "an empty task beside it": (lambda folder: folder.with_name("empty").mkdir(), OPEN),
    "a file beside the task": (lambda folder: folder.with_name("README.md").write_text("hello"), HARMLESS),
    "an empty split": (lambda folder: (folder / "test.json").write_text("{}"), HARMFUL),
    "a split that is a list": (lambda folder: (folder / "test.json").write_text("[]"), HARMFUL),
    "a folder of audio that is a link": (
        lambda folder: ((folder / "16000").rename(folder / "real"), (folder / "16000").symlink_to("real")), HARMLESS
    ),
}  # fmt: skip


def _name(key: str, name: str) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        path = work / SCENES / "task_metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: name}))

    return change


def _numbers(work: Path, rng: random.Random) -> None:
    """Labels as numbers, which is what the official tools write for pitches."""
    folder = work / SCENES
    (folder / "labelvocabulary.csv").write_text("idx,label\n0,60\n1,61\n2,62\n")
    for split in ("train", "valid", "test"):
        path = folder / f"{split}.json"
        path.write_text(
            json.dumps({file: [60 + "abc".index(label)] for file, (label,) in json.loads(path.read_text()).items()})
        )


def cases() -> list[Case]:
    """All of this kind."""
    metadata = f"{SCENES}/task_metadata.json"
    found = json_cases("task", EMBED, metadata, METADATA)
    found += [Case("task", f"embed: {key} {name!r}"[:90], EMBED, OPEN, _name(key, name))
              for key in ("task_name", "version", "mode") for name in NAMES]  # fmt: skip
    found += json_cases("task", EMBED, f"{SCENES}/train.json", LABELS)
    found += json_cases("task", EMBED_EVENTS, f"{EVENTS}/train.json", EVENT_FAULTS)
    found += [Case("task", f"embed: {name}", EMBED, expect, _file(do)) for name, (do, expect) in FOLDERS.items()]
    found.append(Case("task", "embed: labels that are numbers", EMBED, OPEN, _numbers))
    for route in (EMBED, PRETRAIN_TASK):
        found += byte_cases("task", route, metadata)
        # Without its metadata a task folder is a folder of audio like any other.
        found += place_cases(
            "task", route, metadata, [what for what in IN_PLACE if route is EMBED or what != "missing"]
        )
    found += byte_cases("task", EMBED, f"{SCENES}/valid.json") + place_cases("task", EMBED, f"{SCENES}/valid.json")
    found += value_cases("task", EMBED, metadata, 30) + value_cases("task", EMBED_EVENTS, f"{EVENTS}/valid.json", 20)
    found += value_cases("task", PRETRAIN_TASK, metadata, 10)
    for route in (RUN, FINETUNE):
        chosen = [entry for number, entry in enumerate(METADATA) if number % 6 == 0]
        found += json_cases("task", route, metadata, chosen)
        found += [
            Case("task", f"{route.name}: task_name {name!r}", route, OPEN, _name("task_name", name))
            for name in NAMES[:5]
        ]
    return found
