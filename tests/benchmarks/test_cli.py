"""Every command on a toy corpus, and what it says to bad input: one line, exit code 1, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.results.record import load_records

Delores = Callable[..., "object"]
LOGMEL = "log-mel"
FAST = ("--grid", "faster", "--grid-points", "1")


@pytest.fixture
def tasks(delores: Delores, corpus: Path, tmp_path: Path) -> Path:
    out = tmp_path / "tasks"
    ran = delores("prepare", "tones", "--source", corpus / "labels.csv", "--out", out)
    assert ran.code == 0, ran.err
    assert "24 clips, 2 classes, 3 splits" in ran.out
    return out


def refused(ran: object, *words: str) -> None:
    """One line on standard error that holds the words; exit code 1."""
    lines = ran.err.strip().splitlines()
    assert ran.code == 1, (ran.code, ran.out, ran.err)
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], lines[0]


def test_the_chain_step_by_step(delores: Delores, tasks: Path, checkpoint: Path, tmp_path: Path) -> None:
    embeddings, results = tmp_path / "embeddings", tmp_path / "results"
    ran = delores("embed", "hear_delores", "-m", checkpoint, "--tasks-dir", tasks, "--embeddings-dir", embeddings)
    assert ran.code == 0, ran.err
    [folder] = embeddings.glob("*/tones-*")
    assert (folder / ".done.embeddings").exists()

    ran = delores("score", folder, "-p", "linear", "-p", "hear", *FAST, "--results", results, "--json")
    assert ran.code == 0, ran.err
    shown = json.loads(ran.out)
    assert [item["protocol"]["name"] for item in shown] == ["linear", "hear"]
    assert 0.5 <= shown[0]["scores"]["top1_acc"] <= 1.0

    ran = delores("tables", results, "--format", "md,csv", "--out", tmp_path / "tables")
    assert ran.code == 0, ran.err
    assert "### Protocol: linear" in (tmp_path / "tables" / "tables.md").read_text()
    assert (tmp_path / "tables" / "results.csv").read_text().startswith("model,")


def test_run_does_it_all_and_a_second_run_does_nothing_again(
    delores: Delores, tasks: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = [
        "run",
        f"small=hear_delores@{checkpoint}",
        LOGMEL,
        "--tasks-dir",
        tasks,
        "--out",
        tmp_path / "run",
    ]
    ran = delores(*words, *FAST)
    assert ran.code == 0, ran.err
    first = load_records([tmp_path / "run" / "results"])
    assert [record.model.label for record in first] == ["log-mel", "small"]
    again = delores(*words, *FAST)
    assert again.code == 0
    second = load_records([tmp_path / "run" / "results"])
    assert [r.created for r in second] == [r.created for r in first]
    assert [r.seconds for r in second] == [r.seconds for r in first]
    assert "log-mel" in (tmp_path / "run" / "tables.md").read_text()


def test_run_goes_on_after_a_failure_lists_it_and_exits_1(delores: Delores, tasks: Path, tmp_path: Path) -> None:
    ran = delores("run", "no_such_module", LOGMEL, "--tasks-dir", tasks, "--out", tmp_path / "run", *FAST)
    assert ran.code == 1
    assert "failed: no_such_module" in ran.err
    assert ran.err.strip().splitlines()[-1].startswith("error: 1 of the jobs failed")
    [record] = load_records([tmp_path / "run" / "results"])
    assert record.model.label == "log-mel"


def test_tasks_lists_the_demo_suite(delores: Delores, tmp_path: Path) -> None:
    ran = delores("tasks", "--suite", "demo", "--tasks-dir", tmp_path, "--json")
    listed = json.loads(ran.out)
    assert {item["name"] for item in listed} == {"demo_timbre", "demo_pitch", "demo_mixture", "demo_events"}
    assert not any(item["ready"] for item in listed)
    assert "demo_timbre" in delores("tasks", "--suite", "demo").out
    refused(delores("tasks", "--suite", "dem"), "demo")
    words = ["run", LOGMEL, "--tasks-dir", tmp_path, "--task", "x", "--out", tmp_path / "out"]
    refused(delores(*words, "--suite", "dem"), "Did you mean 'demo'")


def test_validate_passes_and_fails_by_exit_code(delores: Delores, checkpoint: Path, tmp_path: Path) -> None:
    report, junit = tmp_path / "v.json", tmp_path / "v.xml"
    ran = delores("validate", "hear_delores", "-m", checkpoint, "--fast", "--json", report, "--junit", junit)
    assert ran.code == 0, ran.out
    assert json.loads(report.read_text())["passed"] is True
    assert 'failures="0"' in junit.read_text()
    ran = delores("validate", "json", "--json", report)
    assert ran.code == 1
    assert "load_model" in ran.out
    assert json.loads(report.read_text())["passed"] is False


def test_doctor_finds_this_machine_fit(delores: Delores) -> None:
    ran = delores("doctor", "--json")
    assert ran.code == 0, ran.out
    found = {item["name"]: item["state"] for item in json.loads(ran.out)}
    assert found["torch"] == found["shipped weights"] == found["audio: WAV"] == "ok"


def test_help_needs_no_torch_and_wrong_usage_is_exit_2() -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "benchmarks", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert "demo" in ran.stdout
    assert "torch" not in {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    wrong = subprocess.run([sys.executable, "-m", "benchmarks", "tablse"], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2


# --- bad input


def test_missing_folders(delores: Delores, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    refused(delores("run", LOGMEL, "--tasks-dir", gone, "--out", tmp_path / "run"), str(gone))
    refused(delores("score", gone), str(gone))
    refused(delores("tables", gone), str(gone))
    refused(delores("prepare", "x", "--source", gone, "--out", tmp_path / "tasks"), str(gone))
    refused(delores("pretrain", "--preset", "demo-s", "--data", gone, "--out", tmp_path / "o"), str(gone))
    assert list(tmp_path.iterdir()) == []


def test_a_csv_under_the_name_of_a_known_task_is_refused(delores: Delores, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\n")
    ran = delores("prepare", "mridangam_stroke", "--source", table, "--out", tmp_path / "tasks")
    refused(ran, "for a task from a CSV, choose another name")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_a_wrong_task_name_gets_a_suggestion(delores: Delores, tasks: Path, tmp_path: Path) -> None:
    ran = delores("embed", LOGMEL, "--tasks-dir", tasks, "--task", "tone-1-full", "--embeddings-dir", tmp_path / "e")
    refused(ran, "Did you mean 'tones-1-full'")
    assert not (tmp_path / "e").exists()


def test_an_empty_manifest(delores: Delores, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file\n")
    refused(
        delores("pretrain", "--preset", "demo-s", "--data", tmp_path / "m.csv", "--out", tmp_path / "o"),
        "m.csv",
    )
    assert not (tmp_path / "o" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("fault", ["corrupt", "empty", "nan", "zero-length"])
def test_bad_audio_is_named_and_can_be_skipped(delores: Delores, corpus: Path, tmp_path: Path, fault: str) -> None:
    for file in corpus.iterdir():
        os.symlink(file, tmp_path / file.name)
    bad = tmp_path / "clip05.wav"
    bad.unlink()
    if fault == "corrupt":
        bad.write_bytes(b"RIFF but not really a wave file")
    elif fault == "empty":
        bad.write_bytes(b"")
    else:
        samples = np.full(8000, np.nan, np.float32) if fault == "nan" else np.zeros(0, np.float32)
        soundfile.write(bad, samples, 16000, subtype="FLOAT")
    words = ("prepare", "tones", "--source", tmp_path / "labels.csv", "--out", tmp_path / "tasks")
    refused(delores(*words), "clip05.wav")
    assert not list((tmp_path / "tasks").glob("tones*"))
    ran = delores(*words, "--skip-bad")
    assert ran.code == 0, ran.err
    assert "23 clips" in ran.out
    assert "left out: " in ran.out
    assert "clip05.wav" in ran.out


def test_a_task_folder_without_a_split_or_with_an_unknown_label(delores: Delores, tasks: Path, tmp_path: Path) -> None:
    words = ("embed", LOGMEL, "--tasks-dir", tasks, "--embeddings-dir", tmp_path / "e")
    [folder] = tasks.glob("tones-*")
    labels = json.loads((folder / "valid.json").read_text())
    (folder / "valid.json").rename(folder / "hidden")
    refused(delores(*words), "valid.json")
    (folder / "valid.json").write_text(json.dumps({**labels, next(iter(labels)): ["middle"]}))
    refused(delores(*words), "middle")
    assert not (tmp_path / "e").exists()


MODEL = """
import torch
class M(torch.nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 4, 4
def load_model(p=""):
    return M()
def get_scene_embeddings(audio, model):
    return torch.zeros(len(audio), {size})
def get_timestamp_embeddings(audio, model):
    return torch.zeros(len(audio), 1, 4), torch.zeros(len(audio), 1)
"""


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (MODEL.format(size=4).replace("load_model", "loading"), "load_model"),
        (MODEL.format(size=5), "(8, 5)|5"),
        (
            MODEL.format(size=4).replace("torch.zeros(len(audio), 4)", "torch.full((len(audio), 4), float('nan'))"),
            "NaN",
        ),
    ],
)
def test_faulty_models_are_refused_by_embed(
    delores: Delores, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, word: str
) -> None:
    name = f"faulty_model_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = delores("embed", name, "--tasks-dir", tasks, "--embeddings-dir", tmp_path / "e")
    refused(ran, word.split("|")[-1])
    assert not list((tmp_path / "e").glob("*/*/.done.embeddings"))


def test_bad_checkpoints_are_refused(delores: Delores, tasks: Path, checkpoint: Path, tmp_path: Path) -> None:
    import pickle

    words = ("embed", "hear_delores", "--tasks-dir", tasks, "--embeddings-dir", tmp_path / "e", "-m")
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:-1000])
    refused(delores(*words, tmp_path / "cut.safetensors"), "cut.safetensors")

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "code-ran"),)

    (tmp_path / "code.pth").write_bytes(pickle.dumps(Code()))
    refused(delores(*words, tmp_path / "code.pth"), "code.pth")
    assert not (tmp_path / "code-ran").exists()

    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint)
    save_file(tensors, tmp_path / "other.safetensors")
    refused(delores(*words, tmp_path / "other.safetensors"), "other.safetensors")
    assert not (tmp_path / "e").exists()


def test_a_damaged_record_is_named_and_skipped_only_when_asked(delores: Delores, tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert delores("run", LOGMEL, "--tasks-dir", tasks, "--out", out, "-p", "linear").code == 0
    damaged = out / "results" / "x" / "record.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    refused(delores("tables", out / "results"), str(damaged))
    ran = delores("tables", out / "results", "--skip-damaged")
    assert ran.code == 0
    assert "log-mel" in ran.out
    assert str(damaged) in ran.err.replace("\n", "")
