"""Timestamp embeddings of scene tasks: ragged on disk beside the scene embeddings, resumed, checked, run on demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.embedding.embed import embed_task
from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.embedding.model import LoadedModel, ModelSpec, load_model
from benchmarks.reading.report.projection import find_embeddings
from benchmarks.running.run import run
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.mono_audio import read_audio
from hear_delores.errors import DeloresError

BATCH = 0.4  # seconds: several batches


def test_frames_are_those_of_each_clip_alone_and_scene_embeddings_stay(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    model, task = load_model(f"x={make_module()}"), TaskFolder.open(scene_task)
    scenes = embed_task(model, task, tmp_path / "e", batch_seconds=BATCH)
    before = {path.name: path.read_bytes() for path in scenes.path.iterdir() if path.is_file()}
    frames = embed_task(model, task, tmp_path / "e", batch_seconds=BATCH, needs="timestamps")
    assert frames.path == scenes.path.with_name(f"{scenes.path.name}.timestamps")
    assert {path.name: path.read_bytes() for path in scenes.path.iterdir() if path.is_file()} == before
    one, other = EmbeddingsTask.open(scenes.path), EmbeddingsTask.open(frames.path)
    assert (one.has_frames, other.has_frames) == (False, True)
    assert one.truth_hash == other.truth_hash
    assert one.content_hash != other.content_hash
    assert one.folder_name == other.folder_name
    lengths = set()
    for name, split in other.splits.items():
        assert isinstance(split.embeddings, np.memmap)
        assert split.files == one.splits[name].files
        np.testing.assert_array_equal(split.targets, one.splits[name].targets)
        parts = np.split(split.embeddings, np.cumsum(split.frame_counts)[:-1])
        for file, part in zip(split.files, parts, strict=True):
            audio = read_audio(scene_task / "16000" / name / file, 16000)[0]
            [expected], _ = model.timestamps(audio[np.newaxis])
            np.testing.assert_allclose(part, expected, rtol=1e-6, atol=1e-7)  # of another batch
            lengths.add(len(part))
    assert len(lengths) > 3
    assert embed_task(model, task, tmp_path / "e", needs="timestamps").cached
    assert [folder.path for folder in find_embeddings(tmp_path / "e")] == [scenes.path]  # maps show clips


def test_an_interrupted_run_ends_in_the_same_bytes(
    make_module: Callable[..., str],
    load_probed: Callable[[str], LoadedModel],
    scene_task: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, task = load_probed(f"x={make_module()}"), TaskFolder.open(scene_task)
    whole = embed_task(model, task, tmp_path / "whole", batch_seconds=BATCH, needs="timestamps")
    calls = len(model.module.CALLS)
    model.module.CALLS.clear()
    monkeypatch.setenv("FAKE_FAILS_AT", str(calls - 1))
    with pytest.raises(KeyboardInterrupt):
        embed_task(model, task, tmp_path / "cut", batch_seconds=BATCH, needs="timestamps")
    model.module.CALLS.clear()
    monkeypatch.delenv("FAKE_FAILS_AT")
    again = embed_task(model, task, tmp_path / "cut", batch_seconds=BATCH, needs="timestamps")
    assert 0 < len(model.module.CALLS) < calls
    names = sorted(path.name for path in whole.path.iterdir() if path.is_file())
    assert sorted(path.name for path in again.path.iterdir() if path.is_file()) == names
    for name in set(names) - {"embedding-info.json"}:  # it holds the seconds that it took
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_event_tasks_have_no_other_rows_and_damage_is_named(
    make_module: Callable[..., str], event_task: Path, tmp_path: Path
) -> None:
    model, task = load_model(f"x={make_module()}"), TaskFolder.open(event_task)
    done = embed_task(model, task, tmp_path / "e", needs="timestamps")
    assert done.path.name == task.folder_name
    assert not EmbeddingsTask.open(done.path).has_frames
    with pytest.raises(DeloresError, match=r"expected scene or timestamps, got 'frames'\."):
        embed_task(model, task, tmp_path / "e", needs="frames")


@pytest.mark.parametrize("counts", [[1, 2], ["1"], [0]])
def test_numbers_of_frames_that_do_not_fit_are_refused(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path, counts: list[object]
) -> None:
    model = load_model(f"x={make_module()}")
    done = embed_task(model, TaskFolder.open(scene_task), tmp_path / "e", needs="timestamps")
    (done.path / "train.frames.json").write_text(json.dumps(counts), encoding="utf-8")
    with pytest.raises(DeloresError, match=r"train\.frames\.json: expected the numbers of frames of clips, \d+ in all"):
        EmbeddingsTask.open(done.path)


def test_a_run_makes_what_its_protocols_need(make_module: Callable[..., str], scene_task: Path, tmp_path: Path) -> None:
    options = {name: {"max_epochs": 2} for name in ("linear", "attentive", "prototype")}

    def scored(module: str, out: str) -> tuple[list[str], list[str]]:
        found = run(
            [ModelSpec.parse(f"x={module}")], [TaskFolder.open(scene_task)], tmp_path / out,
            protocols=("attentive", "linear", "prototype"), options=options, device="cpu",
        )  # fmt: skip
        return [record.protocol.name for record in found.records], [str(failure) for failure in found.failures]

    assert scored(make_module(), "runs") == (["attentive", "linear", "prototype"], [])
    folders = sorted(path.name for path in (tmp_path / "runs" / "embeddings").glob("*/*-full*"))
    assert folders == ["fake-1-full", "fake-1-full.timestamps"]
    broken = make_module(("padded =", "raise ValueError('no frames'); padded ="))
    names, failures = scored(broken, "broken")
    assert names == ["linear"]  # what a protocol cannot have keeps no other from running
    assert len(failures) == 1
    assert "no frames" in failures[0]
