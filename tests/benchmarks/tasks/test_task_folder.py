"""Task folders as the official tools write them: what is read, and which faults are named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from benchmarks.tasks.find import find_task_folders
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.metadata import data_splits
from hear_delores.errors import DeloresError
from hear_delores.files import file_hash
from pretrain.data.corpus import Corpus

EVENTS = {
    "train": {"a.wav": [{"label": "NA", "start": 0.0, "end": 100.0}]},
    "valid": {"b.wav": []},
    "test": {"c.wav": [{"label": 7, "start": 20, "end": 20}]},
}
EVENT = {"embedding_type": "event", "prediction_type": "multilabel", "evaluation": ["segment_1s_er"]}


def test_the_official_folder_opens(shared_data: Path) -> None:
    folder = shared_data / "hear" / "spoken_digit-1.0.9-small"
    if not folder.is_dir():
        pytest.skip("the official spoken_digit folder is not here")
    task = TaskFolder.open(folder)
    assert task.name == "spoken_digit"
    assert task.folder_name == folder.name
    assert task.vocabulary == [str(digit) for digit in range(10)]
    assert task.splits == [f"fold{index:02d}" for index in range(5)]
    assert task.sample_rates == [44100]
    assert task.n_clips == 100
    labels = task.labels("fold00")
    assert labels["tfds_id_spoken-digit-train-tfrecord-00000-of-00001-102.wav"] == ["8"]
    assert task.audio_file("fold00", next(iter(labels)), 44100).is_file()
    assert len(task.data_splits()) == 5
    assert len(task.revision) == 64


def test_labels_are_strings_and_not_missing_values(make_task: Callable[..., Path], scene_labels: Any) -> None:
    task = TaskFolder.open(make_task(scene_labels))
    assert task.vocabulary == ["NA", "None", "7"]
    assert task.labels("train") == {"a.wav": ["NA"], "b.wav": ["7"]}
    assert task.raw_labels("train") == {"a.wav": ["NA"], "b.wav": [7]}
    assert task.metadata["download_urls"][0]["split"] == "train"
    with pytest.raises(DeloresError, match="Did you mean 'train'"):
        task.labels("trian")


def test_events_are_milliseconds_with_string_labels(make_task: Callable[..., Path]) -> None:
    task = TaskFolder.open(make_task(EVENTS, **EVENT))
    assert task.labels("test") == {"c.wav": [{"label": "7", "start": 20, "end": 20}]}
    assert task.labels("valid") == {"b.wav": []}


def test_the_nearest_higher_rate_is_read(make_task: Callable[..., Path], scene_labels: Any) -> None:
    task = TaskFolder.open(make_task(scene_labels, rates=(48000, 16000, 44100)))
    assert task.sample_rates == [16000, 44100, 48000]
    assert [task.nearest_rate(rate) for rate in (8000, 16000, 22050, 44100, 96000)] == [
        16000, 16000, 44100, 44100, 48000
    ]  # fmt: skip


def test_rounds_of_folds_are_those_of_heareval() -> None:
    # test = i, valid = i + 1 (cyclic), train = the rest, over the folds sorted by name
    folds = ["fold10", "fold00", "fold02", "fold01"]
    got = data_splits("new_split_kfold", folds)
    ordered = ["fold00", "fold01", "fold02", "fold10"]
    for i, split in enumerate(got):
        assert split["test"] == [ordered[i]]
        assert split["valid"] == [ordered[(i + 1) % 4]]
        assert split["train"] == [fold for fold in ordered if fold not in (split["test"][0], split["valid"][0])]
    assert data_splits("trainvaltest", ["test", "train", "valid"]) == [
        {"train": ["train"], "valid": ["valid"], "test": ["test"]}
    ]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def metadata(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "task_metadata.json", lambda content: content.update(values))


def labels(split: str, file: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / f"{split}.json", lambda content: content.update({file: value}))


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8") and None  # type: ignore[func-returns-value]


SCENE_FAULTS = {
    "no metadata": (lambda folder: (folder / "task_metadata.json").unlink(), "no such file; is this a HEAR task"),
    "metadata no JSON": (write("task_metadata.json", "{"), "task_metadata.json: not JSON"),
    "metadata no object": (write("task_metadata.json", "[]"), "expected an object"),
    "metadata key": (
        lambda f: edit(f / "task_metadata.json", lambda c: c.pop("splits")),
        "'splits' is missing",
    ),
    "metric": (metadata(evaluation=["top1_ac"]), "unknown metric 'top1_ac'. Did you mean 'top1_acc'"),
    "event metric": (metadata(evaluation=["event_onset_200ms_fms"]), "is for event tasks, but this is a scene task"),
    "embedding type": (metadata(embedding_type="clip"), "embedding_type"),
    "split mode": (metadata(split_mode="leave_one_out"), "split_mode"),
    "split not listed": (metadata(splits=["train", "test"]), "missing: valid"),
    "extra split": (metadata(splits=["train", "valid", "test", "dev"]), "extra splits are never used: dev"),
    "stray split": (write("fold00.json", "{}"), "fold00.json is an extra split"),
    "split file": (lambda folder: (folder / "valid.json").unlink(), "split 'valid' is missing"),
    "split empty": (write("valid.json", "{}"), "non-empty"),
    "split no JSON": (write("valid.json", "nope"), "valid.json: not JSON"),
    "label": (
        labels("test", "d.wav", ["Non"]),
        "test.json: d.wav: the label 'Non' is not in .*Did you mean 'None'",
    ),
    "two labels": (labels("test", "d.wav", ["NA", "7"]), "one label, this one has 2"),
    "no list": (labels("test", "d.wav", "NA"), "expected a list"),
    "path": (labels("test", "../d.wav", ["NA"]), "plain name"),
    "audio file": (lambda folder: (folder / "16000/valid/c.wav").unlink(), "16000/valid/c.wav"),
    "audio folder": (lambda folder: shutil.rmtree(folder / "16000/valid"), "no folder 16000/valid"),
    "no audio": (lambda folder: shutil.rmtree(folder / "16000"), "no audio"),
    **{
        f"audio folder {name[:9]}": (
            lambda folder, name=name: shutil.copytree(folder / "16000", folder / name),  # type: ignore[misc]
            f"the audio folder '{name[:9]}.* is no sample rate; expected 1000 to 768000",
        )
        for name in ("0", "016000", "999", "1000000", "1" * 250)
    },
    "no vocabulary": (
        lambda folder: (folder / "labelvocabulary.csv").unlink(),
        "labelvocabulary.csv: no such file",
    ),
    "vocabulary columns": (
        write("labelvocabulary.csv", "id,label\n0,NA\n"),
        "the column .idx. is missing",
    ),
    "vocabulary gap": (write("labelvocabulary.csv", "idx,label\n0,NA\n2,None\n"), "indices 0 .. n-1"),
    "vocabulary twice": (write("labelvocabulary.csv", "idx,label\n0,NA\n1,NA\n"), "duplicate label 'NA'"),
    "folds": (metadata(split_mode="presplit_kfold", nfolds=5), "'nfolds' is 5, but 'splits' lists 3"),
}


@pytest.mark.parametrize("fault", SCENE_FAULTS)
def test_faults_are_named_in_one_line(make_task: Callable[..., Path], scene_labels: Any, fault: str) -> None:
    folder = make_task(scene_labels)
    TaskFolder.open(folder)
    spoil, message = SCENE_FAULTS[fault]
    spoil(folder)
    with pytest.raises(DeloresError, match=message) as caught:
        TaskFolder.open(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([{"label": "NA", "start": 100, "end": 50}], "ends .50 ms. before it starts .100 ms."),
        ([{"label": "NA", "start": -1, "end": 50}], "before the clip"),
        ([{"label": "NA", "start": 0}], "label, start and end"),
        ([{"label": "NA", "start": 0, "end": "1"}], "milliseconds, got '1'"),
        ([{"label": "NA", "start": 0, "end": True}], "milliseconds, got True"),
        ([{"label": "NA", "start": 0, "end": "5"}], "milliseconds, got '5'"),
        ([{"label": "NA", "start": 0, "end": None}], "milliseconds, got None"),
        ([{"label": None, "start": 0, "end": 5}], "expected a label as a string or number, got None"),
        ([{"label": "NA", "start": 0, "end": 1e9}], "ends at 1e.09 ms, later than a day"),
        ([{"label": "NA", "start": 0, "end": 1e15}], "later than a day"),
        ([{"label": "NA", "start": 0, "end": 60_000}], "lasts from 0 to 60000 ms, but its clip ends at"),
        ([{"label": "dog", "start": 0, "end": 1}], "'dog' is not in"),
        (["NA"], "expected events"),
    ],
)
def test_event_faults_are_named(make_task: Callable[..., Path], events: Any, message: str) -> None:
    folder = make_task({**EVENTS, "test": {"c.wav": events}}, **EVENT)
    with pytest.raises(DeloresError, match=message) as caught:
        TaskFolder.open(folder)
    assert "test.json: c.wav" in str(caught.value)


def test_event_times_in_seconds_are_noticed(make_task: Callable[..., Path]) -> None:
    in_seconds = {
        "train": {"a.wav": [{"label": "NA", "start": 0.0, "end": 0.1}, {"label": "7", "start": 0.2, "end": 0.4}]},
        "valid": {"b.wav": []},
        "test": {"c.wav": [{"label": "7", "start": 0.02, "end": 0.03}]},
    }
    folder = make_task(in_seconds, **EVENT)
    with pytest.raises(DeloresError, match=r"ends later than 0\.4 ms, in audio of 0\.5 s: its times look like seconds"):
        TaskFolder.open(folder)
    in_ms = {**in_seconds, "test": {"c.wav": [{"label": "7", "start": 20, "end": 30}]}}
    for fine in (in_ms, {split: {f"{split}.wav": []} for split in in_seconds}):  # one long event tells; none is none
        shutil.rmtree(folder)
        TaskFolder.open(make_task(fine, **EVENT))


def test_one_event_file_in_two_splits_is_refused(make_task: Callable[..., Path]) -> None:
    folder = make_task({**EVENTS, "test": {"a.wav": []}}, **EVENT)
    with pytest.raises(DeloresError, match=r"a\.wav is in the splits train and test"):
        TaskFolder.open(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeloresError, match="no such task folder"):
        TaskFolder.open(tmp_path / "nowhere")


def test_the_revision_follows_content_and_not_place(make_task: Callable[..., Path], scene_labels: Any) -> None:
    folder = make_task(scene_labels)
    original = TaskFolder.open(folder).revision
    copy = folder.with_name("elsewhere")
    shutil.copytree(folder, copy)
    assert TaskFolder.open(copy).revision == original

    changes: list[Callable[[Path], None]] = [
        labels("test", "d.wav", ["None"]),
        metadata(note="x"),
        write("labelvocabulary.csv", "idx,label\n0,None\n1,NA\n2,7\n"),
        lambda path: soundfile.write(path / "16000/test/d.wav", [0.5] * 8000, 16000, "PCM_16"),  # of the same size
    ]
    seen = {original}
    for change in changes:
        shutil.rmtree(copy)
        shutil.copytree(folder, copy)
        change(copy)
        seen.add(TaskFolder.open(copy).revision)
    assert len(seen) == 1 + len(changes)


def test_the_revision_of_a_small_task_is_what_it_always_was(make_task: Callable[..., Path], scene_labels: Any) -> None:
    folder = make_task(scene_labels, rates=(8000, 16000))
    digest = hashlib.sha256()
    for name in ("task_metadata.json", "labelvocabulary.csv", "train.json", "valid.json", "test.json"):
        digest.update(f"{name}\0{file_hash(folder / name)}\n".encode())
    for rate in (8000, 16000):
        for file in ("train/a.wav", "train/b.wav", "valid/c.wav", "test/d.wav"):
            digest.update(f"{rate}/{file}\0{file_hash(folder / str(rate) / file)}\n".encode())
    assert TaskFolder.open(folder).revision == digest.hexdigest()


def test_other_audio_of_the_same_size_changes_the_revision_of_a_large_task(
    make_task: Callable[..., Path], scene_labels: Any
) -> None:
    folder = make_task(scene_labels)
    clip = folder / "16000/train/a.wav"
    os.truncate(clip, (256 << 20) + 1)  # sparse: it takes no room
    revisions = {TaskFolder.open(folder).revision}
    status = clip.stat()
    with open(clip, "rb+") as stream:
        stream.seek(200 << 20)
        stream.write(b"other")
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
    revisions.add(TaskFolder.open(folder).revision)
    assert len(revisions) == 2


@pytest.mark.parametrize("kind", ["dangling", "fifo", "folder"])
def test_a_clip_that_is_no_file_is_part_of_the_revision(
    make_task: Callable[..., Path], scene_labels: Any, kind: str
) -> None:
    folder = make_task(scene_labels)
    original = TaskFolder.open(folder).revision
    clip = folder / "16000/train/a.wav"
    clip.unlink()
    {"dangling": lambda: clip.symlink_to("nowhere"), "fifo": lambda: os.mkfifo(clip), "folder": clip.mkdir}[kind]()
    assert TaskFolder.open(folder).revision != original


# --- several in one place


def test_two_folders_of_one_task_are_refused_unless_one_is_named(
    make_task: Callable[..., Path], scene_labels: Any
) -> None:
    folder = make_task(scene_labels)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    with pytest.raises(DeloresError, match=rf"are both the task {folder.name} by their task_metadata.json; remove one"):
        find_task_folders(folder.parent)
    assert [task.path for task in find_task_folders(folder.parent, ["copy"])] == [copy]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_metadata_that_are_no_file_are_named_not_passed_over(
    make_task: Callable[..., Path], scene_labels: Any, kind: str
) -> None:
    folder = make_task(scene_labels)
    shutil.copytree(folder, folder.with_name("other"))
    path = folder.with_name("other") / "task_metadata.json"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere.json")
    else:
        os.mkfifo(path)
    with pytest.raises(DeloresError, match=r"other/task_metadata.json"):
        find_task_folders(folder.parent)
    with pytest.raises(DeloresError, match=r"other/task_metadata.json"):
        Corpus.from_path(path.parent)


def test_pre_training_reads_the_audio_folders_of_a_task_as_scoring_does(
    make_task: Callable[..., Path], scene_labels: Any
) -> None:
    folder = make_task(scene_labels)
    shutil.copytree(folder / "16000", folder / "\u0661\u0666000")  # digits, and no rate
    assert TaskFolder.open(folder).sample_rates == [16000]
    assert len(Corpus.from_path(folder)) == len(TaskFolder.open(folder).labels("train"))
    (folder / "16000").rename(folder / "0")
    with pytest.raises(DeloresError, match="the audio folder '0' is no sample rate"):
        Corpus.from_path(folder)
