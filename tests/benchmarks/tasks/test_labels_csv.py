"""A labels.csv -> a task folder: what it may look like, and every fault by line or file."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.tasks.corpora.labels_csv import LabelRow, _read, prepare
from benchmarks.tasks.folder import TaskFolder
from hear_delores.errors import DeloresError

ROWS = [("a.wav", "x", "train"), ("b.wav", "y", "train"), ("c.wav", "x", "valid"), ("d.wav", "y", "test")]


def read_labels(table: Path, *, shared_groups: bool = False) -> list[LabelRow]:
    """The checked lines of a ``labels.csv``, in their order."""
    return _read(table, False, shared_groups)[0]


def make(folder: Path, rows: list[tuple[str, ...]], columns: str = "file,label,split", audio: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [columns, *(",".join(row) for row in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for index, row in enumerate(rows):
        path = folder / audio / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(np.arange(4410) * (index + 1) / 30), 44100, "PCM_16")
    return folder


def assert_nothing_left(out: Path) -> None:
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize("audio", ["", "audio"])
def test_a_folder_becomes_a_task(tmp_path: Path, audio: str) -> None:
    source = make(tmp_path / "source", ROWS, audio=audio)
    report = prepare(source, tmp_path / "out", "bark")
    assert report.path == tmp_path / "out" / "bark-1-full"
    assert (report.clips, report.classes, report.splits, report.skipped) == (4, 2, 3, [])
    assert report.clips_by_split == {"train": 2, "valid": 1, "test": 1}
    assert report.clips_by_label == {"x": 2, "y": 2}
    assert "the label 'y' has no clip in valid" in report.warnings
    task = TaskFolder.open(report.path)
    assert task.metadata["sample_duration"] == 0.1
    assert task.data_splits() == [{"train": ["train"], "valid": ["valid"], "test": ["test"]}]
    samples, rate = soundfile.read(task.audio_file("test", "d.wav", 16000))
    assert (rate, len(samples)) == (16000, 1600)


def test_audio_may_lie_elsewhere(tmp_path: Path) -> None:
    source = make(tmp_path / "source", ROWS)
    table = tmp_path / "table.csv"
    (source / "labels.csv").rename(table)
    assert prepare(table, tmp_path / "out", "bark", audio_dir=source).clips == 4
    with pytest.raises(DeloresError, match="no such folder of audio"):
        prepare(table, tmp_path / "out2", "bark", audio_dir=tmp_path / "nowhere")


@pytest.mark.parametrize("values", [("fold00", "fold01", "fold02"), ("1", "2", "10"), ("Fold 1", "fold3", "fold-7")])
@pytest.mark.parametrize("column", ["split", "fold"])
def test_folds_by_name_or_number(tmp_path: Path, values: tuple[str, ...], column: str) -> None:
    rows = [(f"{i}.wav", "xy"[i % 2], values[i % 3]) for i in range(6)]
    source = make(tmp_path / "source", rows, columns=f"file,label,{column}")
    task = prepare(source, tmp_path / "out", "bark").task
    assert task.splits == ["fold00", "fold01", "fold02"]
    assert task.info.split_mode == "presplit_kfold"
    assert [list(task.labels(split)) for split in task.splits] == [
        ["0.wav", "3.wav"],
        ["1.wav", "4.wav"],
        ["2.wav", "5.wav"],
    ]


def test_several_labels_a_clip_when_asked(tmp_path: Path) -> None:
    rows = [
        ("a.wav", "x; y", "train"),
        ("b.wav", "", "train"),
        ("c.wav", "y;y", "valid"),
        ("d.wav", "z", "test"),
    ]
    source = make(tmp_path / "source", rows)
    task = prepare(source, tmp_path / "out", "bark", multilabel=True).task
    assert task.labels("train") == {"a.wav": ["x", "y"], "b.wav": []}
    assert task.labels("valid") == {"c.wav": ["y"]}
    assert (task.prediction_type, task.info.evaluation[0]) == ("multilabel", "mAP")
    with pytest.raises(DeloresError, match=r"line 2: the label 'x; y' holds ';': for several labels .* multilabel"):
        prepare(source, tmp_path / "single", "bark")


def test_names_stay_unique_and_plain(tmp_path: Path) -> None:
    rows = [
        ("p/a.wav", "x", "train"),
        ("q/a.wav", "x", "train"),
        ("c.wav", "x", "valid"),
        ("c.flac", "y", "test"),
    ]
    source = make(tmp_path / "source", rows)
    task = prepare(source, tmp_path / "out", "bark").task
    assert list(task.labels("train")) == ["p__a.wav", "q__a.wav"]
    assert list(task.labels("valid")) == ["c.wav.wav"]
    assert list(task.labels("test")) == ["c.flac.wav"]


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ("file,split", [("a.wav", "train")], "column 'label' is missing"),
        ("flie,label,split", ROWS, "column 'file' is missing; rename 'flie' to it"),
        ("file,label", [("a.wav", "x")], "expected one column, 'split' or 'fold'"),
        ("file,label,split,fold", [("a.wav", "x", "train", "1")], "both are there"),
        ("file,label,split", [], "expected at least one clip, but none is listed"),
        ("file,label,split", [*ROWS, ("a.wav", "y", "train")], "a.wav is listed twice, in lines 2 and 6"),
        ("file,label,split", [*ROWS, ("e.wav", "y", "dev")], "line 6: unknown split 'dev'"),
        ("file,label,fold", [*ROWS, ("e.wav", "y", "1" * 5001)], "line 6: unknown split '111"),
        ("file,label,split", [*ROWS, ("e.wav", "y", "fold01")], "splits and folds are mixed"),
        ("file,label,split", ROWS[:3], "no clip is in the split 'test'"),
        ("file,label,split", [("a.wav", "x", "0"), ("b.wav", "x", "1")], "at least 3 folds"),
        ("file,label,split", [*ROWS, ("e.wav", "", "test")], "line 6: the label of e.wav is empty"),
        ("file,label,split", [*ROWS, ("", "x", "test")], "line 6: the file is empty"),
        (
            "file,label,group,split",
            [("a.wav", "x", "g1", "train"), ("b.wav", "x", "g2", "valid"), ("c.wav", "x", "g1", "test")],
            "the group 'g1' crosses splits: line 2 is in train, line 4 in test",
        ),
    ],
)
def test_faults_of_the_table_are_named(tmp_path: Path, columns: str, rows: list[tuple[str, ...]], message: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    lines = [columns, *(",".join(row) for row in rows)]
    (source / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DeloresError, match=message) as caught:
        prepare(source, tmp_path / "out", "bark")
    assert "\n" not in str(caught.value)
    assert_nothing_left(tmp_path / "out")


def test_a_table_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DeloresError, match="no such file"):
        prepare(tmp_path, tmp_path / "out", "bark")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(DeloresError, match=r"UTF-16 .* save it as UTF-8"):
        prepare(tmp_path, tmp_path / "out", "bark")
    with pytest.raises(DeloresError, match="task name 'a/b'"):
        prepare(tmp_path, tmp_path / "out", "a/b")


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_corrupt(path: Path) -> None:
    path.write_bytes(b"RIFF and then nothing that makes sense" * 20)


def spoil_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def spoil_nan(path: Path) -> None:
    soundfile.write(path, np.array([0.0, np.nan, 0.1]), 16000, "FLOAT", format="WAV")


def spoil_zero_length(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16000, "PCM_16")


SPOILERS = {
    spoil_missing: "no such file",
    spoil_empty: "is empty",
    spoil_corrupt: "cannot be read as audio",
    spoil_cut: "cut short",
    spoil_nan: "NaN or infinity",
    spoil_zero_length: "holds no samples",
}


@pytest.mark.parametrize("spoil", SPOILERS)
def test_bad_audio_is_named_or_left_out_and_listed(tmp_path: Path, spoil: object) -> None:
    source = make(tmp_path / "source", [*ROWS, ("e.wav", "x", "test")])
    spoil(source / "d.wav")  # type: ignore[operator]
    with pytest.raises(DeloresError, match=SPOILERS[spoil]) as caught:  # type: ignore[index]
        prepare(source, tmp_path / "out", "bark")
    assert str(source / "d.wav") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_nothing_left(tmp_path / "out")
    report = prepare(source, tmp_path / "out", "bark", skip_bad=True)
    assert report.clips_by_split == {"train": 2, "valid": 1, "test": 1}
    assert len(report.skipped) == 1
    assert report.skipped[0].startswith("d.wav: ")
    assert SPOILERS[spoil] in report.skipped[0]  # type: ignore[index]
    assert report.task.metadata["skipped_files"] == [{"split": "test", "file": "d.wav"}]


def test_a_split_without_any_usable_clip_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    source = make(tmp_path / "source", ROWS)
    spoil_empty(source / "d.wav")
    with pytest.raises(DeloresError, match="no clip is left in split 'test'"):
        prepare(source, tmp_path / "out", "bark", skip_bad=True)
    assert_nothing_left(tmp_path / "out")


def test_groups_cross_splits_only_when_allowed_by_name(tmp_path: Path) -> None:
    rows = [("a.wav", "x", "g1", "train"), ("b.wav", "x", "g2", "valid"), ("c.wav", "x", "g1", "test")]
    source = make(tmp_path / "source", rows, columns="file,label,group,split")
    with pytest.raises(DeloresError, match="'g1' crosses splits"):
        prepare(source, tmp_path / "out", "bark")
    report = prepare(source, tmp_path / "out", "bark", shared_groups=True)
    assert report.warnings[0].startswith("1 group(s) cross splits")
    assert report.task.metadata["groups_crossing_splits"] == 1


def test_every_shared_table_is_read_and_a_small_part_of_it_prepared(shared_data: Path, tmp_path: Path) -> None:
    tables = sorted((shared_data / "tasks").glob("*/labels*.csv"))
    assert tables
    for table in tables:
        with open(table, encoding="utf-8", newline="") as stream:
            raw = list(csv.DictReader(stream))
        # The author's split of the digits shares its speakers (its README says so): refused, unless allowed.
        shares = table.name == "labels_official.csv"
        if shares:
            with pytest.raises(DeloresError, match="crosses splits"):
                read_labels(table)
        rows = read_labels(table, shared_groups=shares)
        assert [(row.file, row.labels[0]) for row in rows] == [(line["file"], line["label"]) for line in raw]
        assert [row.split for row in rows] == [line["split"] for line in raw]
        # Two clips of each split, with the real audio (the whole corpora would take minutes).
        seen: Counter[str] = Counter()
        lines = [",".join(raw[0])]
        for line in raw:
            seen[line["split"]] += 1
            if seen[line["split"]] <= 2:
                lines.append(",".join(line.values()))
        small = tmp_path / f"{table.parent.name}_{table.stem}.csv"
        small.write_text("\n".join(lines) + "\n", encoding="utf-8")
        report = prepare(small, tmp_path / "out", small.stem, audio_dir=table.parent / "audio", shared_groups=shares)
        assert report.splits == len(seen)
        assert set(report.clips_by_split.values()) == {2}


def test_clips_may_be_cut_to_their_mean_length(tmp_path: Path) -> None:
    source = make(tmp_path / "source", ROWS)
    soundfile.write(source / "a.wav", np.full(44100, 0.1), 44100)  # 1 s among three of 0.1 s
    report = prepare(source, tmp_path / "out", "bark", sample_duration_s="mean")
    assert report.task.metadata["sample_duration"] == 0.325
    assert report.task.metadata["sample_duration_rule"] == "mean of the clips"
    for split, file in (("train", "a.wav"), ("test", "d.wav")):
        assert soundfile.info(report.task.audio_file(split, file, 16000)).frames == 5200
    for name, _, _ in ROWS:
        (source / name).write_bytes(b"no audio")
    with pytest.raises(DeloresError, match="none of the 4 listed files can be read"):
        prepare(source, tmp_path / "out2", "bark", sample_duration_s="mean")


@pytest.mark.parametrize("way", ["a/../a.wav", "./a.wav", "symlink", "hard link"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_one_file_by_two_names_is_refused(tmp_path: Path, way: str, split: str) -> None:
    source = make(tmp_path / "source", ROWS)
    (source / "a").mkdir()
    name = "other.wav" if "link" in way else way
    if way == "symlink":
        (source / name).symlink_to("a.wav")
    elif way == "hard link":
        os.link(source / "a.wav", source / name)
    with open(source / "labels.csv", "a") as stream:
        stream.write(f"{name},x,{split}\n")
    with pytest.raises(DeloresError, match=f"line 6: {name} is the same file as a.wav in line 2; remove one"):
        prepare(source, tmp_path / "out", "bark")
    assert_nothing_left(tmp_path / "out")


def test_one_sound_in_two_splits_is_noted(tmp_path: Path) -> None:
    source = make(tmp_path / "source", ROWS)
    assert not any("same audio" in line for line in prepare(source, tmp_path / "out", "bark").warnings)
    (source / "d.wav").write_bytes((source / "a.wav").read_bytes())
    warnings = prepare(source, tmp_path / "out2", "bark").warnings
    wanted = "1 clip(s) have the same audio as a clip of another split, such as d.wav (test) and a.wav (train)"
    assert [line for line in warnings if "same audio" in line] == [wanted]


def test_a_column_that_looks_like_the_group_is_named(tmp_path: Path) -> None:
    source = make(tmp_path / "source", [(*row, f"s{i}") for i, row in enumerate(ROWS)], "file,label,split,speaker")
    warnings = prepare(source, tmp_path / "out", "bark").warnings
    assert [line.split("labels.csv: ")[1] for line in warnings if "not used" in line] == [
        "the column 'speaker' is not used; if it is the group, call it 'group'"
    ]


def test_columns_in_any_case_and_with_blanks(tmp_path: Path) -> None:
    source = make(tmp_path / "source", ROWS)
    text = (source / "labels.csv").read_text().replace("file,label,split", "\ufeffFile, Label ,SPLIT")
    (source / "labels.csv").write_text(text, encoding="utf-8")
    assert [row.labels for row in read_labels(source / "labels.csv")] == [("x",), ("y",), ("x",), ("y",)]


def test_a_label_with_a_comma_is_named_with_its_line(tmp_path: Path) -> None:
    source = make(tmp_path / "source", ROWS)
    (source / "labels.csv").write_text("file,split,label\na.wav,train,Bark, dog\nb.wav,train,Bark, fox\n")
    with pytest.raises(DeloresError, match="line 2: expected 3 fields as in the header, got 4; quote a field"):
        prepare(source, tmp_path / "out", "bark")


def test_labels_of_one_number_have_one_order(tmp_path: Path) -> None:
    rows = [(f"{split}{i}.wav", label, split) for i, label in enumerate(("01", "1", "001", "2"))
            for split in ("train", "valid", "test")]  # fmt: skip
    make(tmp_path / "source", rows)
    program = "import sys; from benchmarks.tasks.corpora.labels_csv import prepare\n"
    program += "print(prepare(sys.argv[1], sys.argv[2], 'bark').task.vocabulary)"
    orders = set()
    for seed in ("1", "2", "3"):
        out = tmp_path / f"out{seed}"
        ran = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "source"), str(out)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        orders.add(ran.stdout.strip())
    assert orders == {"['1', '01', '001', '2']"}


def test_an_error_names_the_column_that_looks_like_a_known_one(tmp_path: Path) -> None:
    source = make(tmp_path / "source", [("a.wav", "x", "s1", "train"), ("b.wav", "y", "s1", "test")])
    for header, message in {
        "file,label,speaker,split": "no clip is in the split 'valid'.*Note: .*'speaker' is not used",
        "file,label,group,subset": "expected one column, 'split' or 'fold'.*Note: .*'subset' is not used",
    }.items():
        (source / "labels.csv").write_text(f"{header}\na.wav,x,s1,train\nb.wav,y,s2,test\n")
        with pytest.raises(DeloresError, match=message):
            prepare(source, tmp_path / "out", "bark")


def test_another_column_of_splits_beside_the_one_that_is_used_is_no_note(tmp_path: Path) -> None:
    source = make(tmp_path / "source", [(*row, str(i)) for i, row in enumerate(ROWS)], "file,label,split,folds")
    assert not any("not used" in line for line in prepare(source, tmp_path / "out", "bark").warnings)
