"""Reading embeddings folders: layout, labels as strings, names of rows, and every fault in one line."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.scoring.rows import Rows
from hear_delores.errors import DeloresError


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "model" / "toy", sizes=12)


@pytest.fixture
def events(tmp_path):
    return write_events(tmp_path / "model" / "events", files_per_split=2)


def test_a_scene_task(scene):
    task = EmbeddingsTask.open(scene)
    assert task.folder_name == "toy_scene-v1-full"
    assert (task.embedding_size, task.vocabulary, task.is_event) == (8, ("a", "b", "c"), False)
    split = task.splits["valid"]
    assert isinstance(split.embeddings, np.memmap)
    truth = json.loads((scene / "valid.json").read_text())
    for row, file in enumerate(split.files):  # names of rows follow from the order of shuffling
        assert task.vocabulary[int(split.targets[row].argmax())] == truth[file][0]
    assert split.targets.sum() == 12
    # Clips lie on disk in the order of one Random(0) over all splits, not in the order of the JSON.
    assert list(split.files) != list(truth)


def test_an_event_task(events):
    task = EmbeddingsTask.open(events)
    split = task.splits["test"]
    assert sorted(split.files) == ["test_00.wav", "test_01.wav"]  # the foreign folder is cut off
    assert split.events == json.loads((events / "test.json").read_text())
    assert split.timestamps_ms.tolist()[:3] == [0.0, 50.0, 100.0]
    for row in range(0, len(split.targets), 7):
        time, file = split.timestamps_ms[row], split.files[split.file_index[row]]
        active = {e["label"] for e in split.events[file] if e["start"] <= time < e["end"] + 0.0001}
        assert {task.vocabulary[k] for k in np.nonzero(split.targets[row])[0]} == active


def test_labels_that_look_like_nothing_or_numbers_stay_strings(tmp_path):
    labels = ("1", "NA", "None", "nan", "true")
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", labels=labels))
    assert task.vocabulary == labels
    assert task.splits["train"].targets.sum(axis=0).tolist() == [8.0] * 5


def test_labels_stored_as_numbers_are_compared_as_strings(tmp_path):
    folder = write_scene(tmp_path / "m" / "t", labels=("3", "7"), sizes=4)
    for split in ("train", "valid", "test"):
        path = folder / f"{split}.target-labels.pkl"
        labels = pickle.loads(path.read_bytes())
        path.write_bytes(pickle.dumps([[int(label) for label in row] for row in labels]))
    assert EmbeddingsTask.open(folder).splits["train"].targets.sum(axis=0).tolist() == [2.0, 2.0]


def test_skipped_clips_and_rows_in_an_unknown_order(scene):
    whole = EmbeddingsTask.open(scene).splits["train"]
    gone = whole.files[3]
    keep = np.arange(12) != 3
    rows = np.array(whole.embeddings)[keep]
    rows.tofile(scene / "train.embeddings.npy")
    (scene / "train.embedding-dimensions.json").write_text("[11, 8]")
    labels = pickle.loads((scene / "train.target-labels.pkl").read_bytes())
    (scene / "train.target-labels.pkl").write_bytes(pickle.dumps(labels[:3] + labels[4:]))
    info = {"skipped": [{"split": "train", "file": gone, "reason": "empty"}]}
    (scene / "embedding-info.json").write_text(json.dumps(info))
    split = EmbeddingsTask.open(scene).splits["train"]
    assert split.files == whole.files[:3] + whole.files[4:]
    for form in ([f"train/{gone}"], [["train/" + gone, "empty"]], {"train": [gone]}):
        (scene / "embedding-info.json").write_text(json.dumps({"skipped": form}))
        assert EmbeddingsTask.open(scene).splits["train"].files == split.files
    (scene / "embedding-info.json").unlink()  # now nothing says which clip is missing: no names are made up
    assert EmbeddingsTask.open(scene).splits["train"].files[:2] == ("train[0]", "train[1]")


def test_the_content_hash_sees_everything_a_score_depends_on(scene):
    first = EmbeddingsTask.open(scene).content_hash
    assert EmbeddingsTask.open(scene).content_hash == first
    rows = np.fromfile(scene / "test.embeddings.npy", dtype=np.float32)
    rows[5] += 1e-6
    rows.tofile(scene / "test.embeddings.npy")
    second = EmbeddingsTask.open(scene).content_hash
    metadata = json.loads((scene / "task_metadata.json").read_text())
    (scene / "task_metadata.json").write_text(json.dumps({**metadata, "evaluation": ["mAP"]}))
    assert len({first, second, EmbeddingsTask.open(scene).content_hash}) == 3


def test_the_truth_hash_is_the_task_s_and_not_the_model_s(scene, tmp_path):
    other = EmbeddingsTask.open(write_scene(tmp_path / "other" / "toy", sizes=12, dim=5))
    task = EmbeddingsTask.open(scene)
    assert other.truth_hash == task.truth_hash
    assert other.content_hash != task.content_hash
    labels = json.loads((scene / "test.json").read_text())
    first, other = "test_0000.wav", next(file for file in labels if labels[file] != labels["test_0000.wav"])
    edit_json(scene / "test.json", lambda truth: truth.update({first: labels[other], other: labels[first]}))
    assert EmbeddingsTask.open(scene).truth_hash != task.truth_hash


def test_rows_from_memory_and_from_the_map_are_the_same(tmp_path):
    task = EmbeddingsTask.open(write_scene(tmp_path / "m" / "t", folds=3, sizes=10))
    names = ["fold02", "fold00", "fold01"]
    held, mapped = Rows(task, names), Rows(task, names, in_memory_bytes=0)
    assert len(held) == len(mapped) == 30
    for a, b in [(0, 30), (5, 15), (8, 29), (10, 20), (29, 30)]:
        assert torch.equal(held.embeddings(a, b), mapped.embeddings(a, b))
    chosen = torch.tensor([29, 0, 10, 9, 9, 20])
    assert torch.equal(held.take(chosen), mapped.take(chosen))
    assert torch.equal(held.take(chosen), torch.cat([held.embeddings(int(i), int(i) + 1) for i in chosen]))
    assert list(held.blocks(16)) == [(0, 16), (16, 30)]


# --- faults


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def poison(path, row, dim, value):
    rows = np.fromfile(path, dtype=np.float32)
    rows[row * dim + 2] = value
    rows.tofile(path)


class Code:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("echo run",)


def test_a_nan_embedding_names_the_clip(scene, events):
    name = EmbeddingsTask.open(scene).splits["valid"].files[4]
    poison(scene / "valid.embeddings.npy", 4, 8, np.nan)
    with pytest.raises(DeloresError, match=rf"the embedding of {name} \(split 'valid', row 4\) is NaN or infinite"):
        EmbeddingsTask.open(scene)
    poison(events / "test.embeddings.npy", 170, 6, np.inf)
    name = json.loads((events / "test.filename-timestamps.json").read_text())[170][0].rsplit("/", 1)[1]
    with pytest.raises(DeloresError, match=rf"the embedding of {name} \(split 'test', row 170\)"):
        EmbeddingsTask.open(events)


SCENE_FAULTS = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()] and f.rmdir(), "no such folder of embeddings"),
    "no metadata": (
        lambda f: (f / "task_metadata.json").unlink(),
        r"task_metadata.json: no such file; embed the task again",
    ),
    "bad metadata": (lambda f: (f / "task_metadata.json").write_text("{"), "task_metadata.json: not JSON"),
    "metadata lacks": (
        lambda f: edit_json(f / "task_metadata.json", lambda m: m.pop("evaluation")),
        "the key 'evaluation' is missing",
    ),
    "kind": (
        lambda f: edit_json(f / "task_metadata.json", lambda m: m.update(embedding_type="clip")),
        "embedding_type: Input should be 'scene' or 'event'",
    ),
    "no vocabulary": (lambda f: (f / "labelvocabulary.csv").unlink(), "labelvocabulary.csv: no such file"),
    "vocabulary lacks a label": (
        lambda f: (f / "labelvocabulary.csv").write_text("idx,label\n0,a\n1,b\n"),
        r"train_\d+.wav: the label 'c' is not in labelvocabulary.csv",
    ),
    "vocabulary gap": (
        lambda f: (f / "labelvocabulary.csv").write_text("idx,label\n0,a\n2,b\n"),
        "expected the indices 0 .. n-1",
    ),
    "vocabulary columns": (
        lambda f: (f / "labelvocabulary.csv").write_text("id,name\n0,a\n"),
        "the column 'idx' is missing",
    ),
    "missing split": (
        lambda f: (f / "valid.embedding-dimensions.json").unlink(),
        r"split 'valid' is not embedded \(valid.embedding-dimensions.json is missing\)",
    ),
    "missing rows": (lambda f: (f / "valid.embeddings.npy").unlink(), "split 'valid' is not embedded"),
    "missing truth": (lambda f: (f / "test.json").unlink(), "split 'test' is missing: no test.json"),
    "wrong size": (
        lambda f: (f / "test.embedding-dimensions.json").write_text("[12, 9]"),
        "expected 432 bytes for 12 x 9 float32, got 384",
    ),
    "bad dimensions": (
        lambda f: (f / "test.embedding-dimensions.json").write_text("[12]"),
        r"expected \[rows, dimensions\]",
    ),
    "one split of another size": (
        lambda f: (
            (f / "test.embedding-dimensions.json").write_text("[12, 7]")
            and np.zeros((12, 7), np.float32).tofile(f / "test.embeddings.npy")
        ),
        "expected one embedding size in all splits, got",
    ),
    "rows of labels": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(pickle.dumps([["a"]])),
        "train has 12 embeddings but 1 rows of labels",
    ),
    "two labels": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(pickle.dumps([["a", "b"]] * 12)),
        r"train\[0\] \(split 'train'\) has 2 labels, but a multiclass task needs exactly one",
    ),
    "labels with code": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(pickle.dumps([Code()])),
        "only lists of labels are allowed",
    ),
    "labels cut off": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(b"\x80\x04\x95"),
        "not a list of labels",
    ),
    "labels not lists": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(pickle.dumps({"a": 1})),
        "expected a list with a list of labels",
    ),
    "labels of objects": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(pickle.dumps([[{"label": "a"}]] * 12)),
        r"expected a label as a string or number, got \{'label': 'a'\}",
    ),
    "a label of 10,000 digits": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(pickle.dumps([[10**10_000]] * 12)),
        "a number of more than 18 digits",
    ),
    "half a character": (
        lambda f: (f / "train.target-labels.pkl").write_bytes(pickle.dumps([["\ud800"]] * 12)),
        "holds a lone surrogate",
    ),
    "sizes of truth values": (
        lambda f: (f / "test.embedding-dimensions.json").write_text("[true, 96]"),
        r"expected \[rows, dimensions\]",
    ),
    "sizes past memory": (
        lambda f: (f / "test.embedding-dimensions.json").write_text("[9999999999999999999999, 8]"),
        r"expected \[rows, dimensions\]",
    ),
    "splits a word": (
        lambda f: edit_json(f / "task_metadata.json", lambda m: m.update(splits="train")),
        "splits: Input should be a valid list; got 'train'",
    ),
    "duration a word": (
        lambda f: edit_json(f / "task_metadata.json", lambda m: m.update(sample_duration="1.0")),
        "sample_duration: Input should be a valid number; got '1.0'",
    ),
    "no metric": (
        lambda f: edit_json(f / "task_metadata.json", lambda m: m.update(evaluation=[])),
        "expected at least one metric under 'evaluation'",
    ),
    "events in a scene task": (
        lambda f: edit_json(
            f / "test.json", lambda t: t.update({"test_0000.wav": [{"label": "a", "start": 0, "end": 1}]})
        ),
        "test_0000.wav: expected a label as a string or number",
    ),
    "labels of other clips": (
        lambda f: (f / "test.target-labels.pkl").write_bytes(
            pickle.dumps([["a"]] * len(pickle.loads((f / "test.target-labels.pkl").read_bytes())))
        ),
        r"test.target-labels.pkl has \d+ rows labelled a, but test.json has \d+ such clips",
    ),
    "lists too deep to be shown": (
        lambda f: (f / "test.target-labels.pkl").write_bytes(b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b"."),
        "test.target-labels.pkl",
    ),
    "a label of nothing": (
        lambda f: (f / "embedding-info.json").write_text('{"model": {"label": ""}}'),
        "embedding-info.json: model.label: ",
    ),
    "a model of a list": (
        lambda f: (f / "embedding-info.json").write_text('{"model": ["m"]}'),
        "embedding-info.json: model: Input should be",
    ),
    "a module of a number": (
        lambda f: (f / "embedding-info.json").write_text('{"model": {"module": 3}}'),
        "embedding-info.json: model.module: Input should be a valid string; got 3; embed the task again",
    ),
    "seconds NaN": (
        lambda f: (f / "embedding-info.json").write_text('{"seconds": NaN}'),
        "embedding-info.json: seconds: Input should be",
    ),
}


@pytest.mark.parametrize("fault", SCENE_FAULTS)
def test_faults_of_scene_folders(scene, fault, capfd):
    spoil, message = SCENE_FAULTS[fault]
    spoil(scene)
    with pytest.raises(DeloresError, match=message) as error:
        EmbeddingsTask.open(scene)
    assert "\n" not in str(error.value)
    assert "run" not in capfd.readouterr().out  # the code in the pickle did not run


EVENT_FAULTS = {
    "ends before it starts": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].update(end=-1.0)),
        r"test.json: test_00.wav: the event 'bell' ends \(-1.0 ms\) before it starts",
    ),
    "unknown label": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].update(label="dogg")),
        r"test_00.wav: the label 'dogg' is not in labelvocabulary.csv. Did you mean 'dog'",
    ),
    "no end": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].pop("end")),
        "expected events with label, start and end",
    ),
    "no timestamps": (lambda f: (f / "test.filename-timestamps.json").unlink(), "timestamps.json: no such file"),
    "too few timestamps": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: t.pop()),
        r"expected 322 \[file, timestamp\] pairs, got 321",
    ),
    "timestamp not a number": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: t[3].__setitem__(1, "x")),
        r"expected \[file, timestamp in ms\] in row 3, got .*'x'\]",
    ),
    "timestamp NaN": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: t[3].__setitem__(1, float("nan"))),
        r"timestamps.json: NaN is not JSON",
    ),
    "timestamp past a day": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: t[3].__setitem__(1, 1e15)),
        r"test_0\d.wav: expected a time in its clip in ms, got 1e\+15",
    ),
    "timestamp before its clip": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: t[0].__setitem__(1, -100.0)),
        r"test_0\d.wav: expected a time in its clip in ms, got -100",
    ),
    "timestamps in another order": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: t.insert(1, t.pop(0))),
        r"test_0\d.wav: expected times that increase, got 0 ms after 50 ms in row 1",
    ),
    "one timestamp for all": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: [row.__setitem__(1, 0.0) for row in t]),
        "expected times that increase, got 0 ms after 0 ms in row 1",
    ),
    "timestamp of another clip": (
        lambda f: edit_json(f / "test.filename-timestamps.json", lambda t: t[3].__setitem__(0, "other.wav")),
        r"has rows of 'other.wav', which is not in test.json",
    ),
    "ends past its clip": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].update(end=60_000)),
        r"test_00.wav: the event 'bell' lasts from .* to 60000 ms, but its clip ends at 8000 ms",
    ),
    "ends past a day": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].update(end=1e9)),
        r"test_00.wav: the event 'bell' ends at 1e\+09 ms, later than a day",
    ),
    "end infinite": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].update(end=float("inf"))),
        "test.json: Infinity is not JSON",
    ),
    "end a word": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].update(end="900")),
        r"test_00.wav: an event's start and end are milliseconds, got '900'",
    ),
    "end true": (
        lambda f: edit_json(f / "test.json", lambda t: t["test_00.wav"][0].update(start=0, end=True)),
        r"test_00.wav: an event's start and end are milliseconds, got True",
    ),
    "one file in two splits": (
        lambda f: edit_json(f / "test.json", lambda t: t.update({"train_00.wav": []})),
        "the file train_00.wav is in the splits train and test",
    ),
    "negative filter": (
        lambda f: edit_json(
            f / "task_metadata.json",
            lambda m: m.update(evaluation_params={"event_postprocessing_grid": {"median_filter_ms": [-250]}}),
        ),
        "event_postprocessing_grid: expected median_filter_ms to be a number from 0 to .*, got -250",
    ),
}


@pytest.mark.parametrize("fault", EVENT_FAULTS)
def test_faults_of_event_folders(events, fault):
    spoil, message = EVENT_FAULTS[fault]
    spoil(events)
    with pytest.raises(DeloresError, match=message) as error:
        EmbeddingsTask.open(events)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["task_name", "version", "mode", "splits"])
@pytest.mark.parametrize("name", ["../../precious", "/precious", "..", "a\\b", "a\0b"])
def test_names_that_are_paths_are_refused(scene, key, name):
    file = scene / "task_metadata.json"
    metadata = json.loads(file.read_text())
    metadata[key] = [*metadata["splits"], name] if key == "splits" else name
    file.write_text(json.dumps(metadata))
    with pytest.raises(DeloresError, match=f"{key}: expected a plain name"):
        EmbeddingsTask.open(scene)
