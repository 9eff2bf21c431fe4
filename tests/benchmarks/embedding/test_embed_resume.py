"""Embeddings are never stale nor shared; an interrupted run ends in the bytes of an uninterrupted one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.embedding import embed as embed_module
from benchmarks.embedding.embed import embed_task
from benchmarks.embedding.layout import INFO_FILE
from benchmarks.embedding.model import load_model
from benchmarks.tasks.folder import TaskFolder
from hear_delores.errors import DeloresError
from pretrain.locks import folder_lock

ROOT = Path(__file__).resolve().parents[3]
BATCH = 0.4  # seconds: many small batches and windows


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of embeddings; of the provenance all but the seconds that it took."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    info = json.loads(files.pop(INFO_FILE))
    assert info.pop("seconds") > 0
    return {**files, INFO_FILE: json.dumps(info).encode()}


@pytest.mark.parametrize("kind", ["scene", "event"])
def test_killed_and_run_again_equals_uninterrupted(
    make_module: Callable[..., str], request: pytest.FixtureRequest, tmp_path: Path, warm: Any, kind: str
) -> None:
    task = request.getfixturevalue(f"{kind}_task")
    module = make_module()
    script = (
        "import sys\n"
        "from benchmarks.embedding.embed import embed_task\n"
        "from benchmarks.embedding.model import load_model\n"
        "from benchmarks.tasks.folder import TaskFolder\n"
        f"model, task = load_model('x={module}'), TaskFolder.open(sys.argv[1])\n"
        f"embed_task(model, task, sys.argv[2], batch_seconds={BATCH})\n"
    )
    environment = {"PYTHONPATH": str(tmp_path / "modules"), "FAKE_SECONDS": "0.1"}
    process = warm.start(script, task, tmp_path / "killed", env=environment)
    model = load_model(f"x={module}")
    work = tmp_path / "killed" / model.folder_name / f".{task.name}.partial"
    journal = work / ".progress" / "valid.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size):  # train is done, valid begun, test not
        assert process.poll() is None, "embedding ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.finish().returncode == -signal.SIGKILL
    assert not (work.parent / task.name).exists()
    assert not (work / "test.embedding-dimensions.json").exists()

    assert model.behaviour.deterministic  # asked once, before calls are counted
    model.module.CALLS.clear()
    resumed = embed_task(model, TaskFolder.open(task), tmp_path / "killed", batch_seconds=BATCH)
    after_kill = len(model.module.CALLS)
    whole = embed_task(model, TaskFolder.open(task), tmp_path / "whole", batch_seconds=BATCH)
    assert after_kill < len(model.module.CALLS) - after_kill  # the first split was not done again
    assert not resumed.cached
    assert content(resumed.path) == content(whole.path)
    assert [path.name for path in resumed.path.parent.iterdir()] == [task.name]


@pytest.mark.parametrize("kind", ["scene", "event"])
def test_stopped_at_any_call_and_run_again_equals_uninterrupted(
    make_module: Callable[..., str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    task = TaskFolder.open(request.getfixturevalue(f"{kind}_task"))
    model = load_model(f"x={make_module()}")
    calls = model.module.CALLS
    assert model.behaviour.deterministic  # asked once, before calls are counted
    calls.clear()
    whole = content(embed_task(model, task, tmp_path / "whole", batch_seconds=BATCH).path)
    for number in range(1, len(calls) + 1, 3):
        calls.clear()
        monkeypatch.setenv("FAKE_FAILS_AT", str(number))
        out = tmp_path / f"stopped{number}"
        with pytest.raises(KeyboardInterrupt):
            embed_task(model, task, out, batch_seconds=BATCH)
        monkeypatch.delenv("FAKE_FAILS_AT")
        assert content(embed_task(model, task, out, batch_seconds=BATCH).path) == whole


def test_what_was_being_written_when_killed_is_cut_off(
    make_module: Callable[..., str], event_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = TaskFolder.open(event_task), load_model(f"x={make_module()}")
    whole = content(embed_task(model, task, tmp_path / "whole", batch_seconds=BATCH).path)
    work = tmp_path / "torn" / model.folder_name / f".{event_task.name}.partial"
    for damage in ("rows", "journal", "lost", "temporary"):
        model.module.CALLS.clear()
        monkeypatch.setenv("FAKE_FAILS_AT", "5")
        with pytest.raises(KeyboardInterrupt):
            embed_task(model, task, tmp_path / "torn", batch_seconds=BATCH)
        monkeypatch.delenv("FAKE_FAILS_AT")
        rows, journal = work / "train.embeddings.npy", work / ".progress" / "train.jsonl"
        assert journal.stat().st_size > 0
        if damage == "rows":  # half a row beyond what the journal knows
            rows.write_bytes(rows.read_bytes() + b"\x01" * 7)
        elif damage == "journal":  # a line that was being written
            journal.write_bytes(journal.read_bytes() + b'{"clips": [["train')
        elif damage == "temporary":  # files that an atomic write had not yet put in place
            (work / ".train.target-labels.pkl.abc.tmp").write_bytes(b"half")
            (work / ".progress" / ".key.json.abc.tmp").write_bytes(b"half")
        else:  # rows that the journal knows never reached the disk
            os.truncate(rows, 5)
        done = embed_task(model, task, tmp_path / "torn", batch_seconds=BATCH)
        assert content(done.path) == whole, damage
        (done.path / ".done.embeddings").unlink()  # for the next round


def test_a_second_run_is_cached(make_module: Callable[..., str], scene_task: Path, tmp_path: Path) -> None:
    model = load_model(make_module())
    first = embed_task(model, TaskFolder.open(scene_task), tmp_path)
    calls = len(model.module.CALLS)
    second = embed_task(model, TaskFolder.open(scene_task), tmp_path)
    assert (second.cached, second.path, second.seconds) == (True, first.path, first.seconds)
    assert len(model.module.CALLS) == calls


def test_two_checkpoints_never_collide(make_module: Callable[..., str], scene_task: Path, tmp_path: Path) -> None:
    module, task = make_module(), TaskFolder.open(scene_task)
    paths, rows = [], []
    for number in ("1.0", "2.0"):
        weights = tmp_path / number / "checkpoint.txt"  # the same name, label and module
        weights.parent.mkdir()
        weights.write_text(number, encoding="utf-8")
        done = embed_task(load_model(f"{module}@{weights}"), task, tmp_path / "e")
        assert not done.cached
        paths.append(done.path)
        rows.append(np.fromfile(done.path / "test.embeddings.npy", dtype=np.float32))
    assert paths[0] != paths[1]
    assert np.allclose(rows[1], 2 * rows[0], atol=1e-6)

    # The same file with other weights in it.
    weights.write_text("5.0", encoding="utf-8")
    third = embed_task(load_model(f"{module}@{weights}"), task, tmp_path / "e")
    assert not third.cached
    assert third.path not in paths

    # Options that leave the weights as they are: the label of the folder tells them apart.
    folders = [load_model(f"{module}{options}").folder_name for options in ("", "?gain=1.0", "?gain=1")]
    assert len(set(folders)) == 3


def test_a_changed_task_is_embedded_again(make_module: Callable[..., str], scene_task: Path, tmp_path: Path) -> None:
    model = load_model(make_module())
    first = embed_task(model, TaskFolder.open(scene_task), tmp_path / "e")
    before = (first.path / "test.embeddings.npy").read_bytes()

    audio = scene_task / "16000" / "test" / "test0.wav"
    samples, rate = soundfile.read(audio)
    soundfile.write(audio, samples[::-1] * 0.5, rate, "PCM_16")  # of the same size
    second = embed_task(model, TaskFolder.open(scene_task), tmp_path / "e")
    assert not second.cached
    assert second.path == first.path
    assert (second.path / "test.embeddings.npy").read_bytes() != before

    labels = json.loads((scene_task / "test.json").read_text())
    labels["test0.wav"] = ["dog"]
    (scene_task / "test.json").write_text(json.dumps(labels))
    third = embed_task(model, TaskFolder.open(scene_task), tmp_path / "e")
    assert not third.cached
    assert json.loads((third.path / "test.json").read_text()) == labels
    assert embed_task(model, TaskFolder.open(scene_task), tmp_path / "e").cached


@pytest.mark.parametrize("damage", ["format", "mark", "info", "weights"])
def test_a_folder_of_another_format_or_a_damaged_one_is_made_again(
    make_module: Callable[..., str],
    scene_task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    model, task = load_model(make_module()), TaskFolder.open(scene_task)
    done = embed_task(model, task, tmp_path)
    if damage == "format":
        monkeypatch.setattr(embed_module, "EMBEDDINGS_FORMAT", embed_module.EMBEDDINGS_FORMAT + 1)
    elif damage == "mark":
        (done.path / ".done.embeddings").unlink()
    elif damage == "info":
        (done.path / INFO_FILE).write_text("{")
    else:  # the first eight digits of two hashes agree by chance
        model.weights_hash = model.weights_hash[:8] + "0" * 56
    assert not embed_task(model, task, tmp_path).cached
    assert embed_task(model, task, tmp_path).cached


def test_a_run_with_other_batches_does_not_continue_a_begun_one(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task = load_model(make_module()), TaskFolder.open(scene_task)
    assert model.behaviour.deterministic  # asked once, before calls are counted
    model.module.CALLS.clear()
    monkeypatch.setenv("FAKE_FAILS_AT", "6")
    with pytest.raises(KeyboardInterrupt):
        embed_task(model, task, tmp_path, batch_seconds=BATCH)
    monkeypatch.delenv("FAKE_FAILS_AT")
    model.module.CALLS.clear()
    embed_task(model, task, tmp_path, batch_seconds=2 * BATCH)
    assert sum(clips for clips, _ in model.module.CALLS) == 30  # all of them


def test_a_changed_task_does_not_continue_a_begun_one(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(make_module())
    assert model.behaviour.deterministic  # asked once, before calls are counted
    model.module.CALLS.clear()
    monkeypatch.setenv("FAKE_FAILS_AT", "6")
    with pytest.raises(KeyboardInterrupt):
        embed_task(model, TaskFolder.open(scene_task), tmp_path, batch_seconds=BATCH)
    monkeypatch.delenv("FAKE_FAILS_AT")
    soundfile.write(scene_task / "16000/train/train0.wav", np.full(4800, 0.25), 16000, "PCM_16")
    model.module.CALLS.clear()
    embed_task(model, TaskFolder.open(scene_task), tmp_path, batch_seconds=BATCH)
    assert sum(clips for clips, _ in model.module.CALLS) == 30


def test_two_processes_do_not_write_into_one_folder(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    model, task = load_model(make_module()), TaskFolder.open(scene_task)
    held = folder_lock(tmp_path / model.folder_name / scene_task.name, "embedding this", whole=True)
    with held, pytest.raises(DeloresError, match="another process is embedding"):
        embed_task(model, task, tmp_path)
    assert not embed_task(model, task, tmp_path).cached
    assert [path.name for path in (tmp_path / model.folder_name).iterdir()] == [scene_task.name]


def test_who_waits_for_another_process_finds_it_done(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    model, task = load_model(make_module()), TaskFolder.open(scene_task)
    done = embed_task(model, task, tmp_path / "a").path
    target = tmp_path / "b" / model.folder_name / scene_task.name
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with folder_lock(target, "embedding this", whole=True):
            other = pool.submit(embed_task, model, task, tmp_path / "b", wait=True, on_wait=waiting.set)
            assert waiting.wait(60)
            shutil.copytree(done, target)
        assert other.result(60).cached


@pytest.mark.parametrize("content", ["thesis.txt", "audio/precious.wav"])
def test_a_folder_that_no_embedding_has_made_is_never_replaced(
    content: str, make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    model, task = load_model(make_module()), TaskFolder.open(scene_task)
    target = tmp_path / model.folder_name / task.folder_name
    (target / content).parent.mkdir(parents=True)
    (target / content).write_text("mine")
    with pytest.raises(DeloresError, match=r"this folder holds something else .* is not replaced; move it away"):
        embed_task(model, task, tmp_path)
    assert (target / content).read_text() == "mine"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("key", ["task_name", "version", "mode"])
@pytest.mark.parametrize("name", ["../../precious", "/precious", "..", "a/b", "a\\b", "a\0b"])
def test_a_task_that_is_called_like_a_path_is_refused(key: str, name: str, scene_task: Path) -> None:
    file = scene_task / "task_metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: name}))
    with pytest.raises(DeloresError, match="expected a plain name"):
        TaskFolder.open(scene_task)


def test_folders_moved_aside_by_a_killed_replacement_are_settled(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    model, task = load_model(make_module()), TaskFolder.open(scene_task)
    target = embed_task(model, task, tmp_path).path
    target.rename(target.with_name(f".{target.name}.old"))  # killed before the new one took its place
    assert embed_task(model, task, tmp_path).cached
    assert [path.name for path in target.parent.iterdir()] == [target.name]
