"""What embedding writes: heareval's rows, labels and files, whatever the clips' lengths and rates."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.embedding.embed import embed_task
from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.embedding.layout import INFO_FILE
from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.embedding.split import labels_at_timestamps
from benchmarks.tasks.folder import TaskFolder
from benchmarks.tasks.mono_audio import read_audio
from hear_delores.errors import DeloresError


def heareval_order(task: Path) -> dict[str, list[str]]:
    """The order of clips on disk, transcribed from heareval 2021.1.3's task_embeddings and memmap_embeddings.

    One generator, seeded with 0 before the first split, shuffles the list of each split's files in the
    order of the metadata's splits; it is never seeded again.
    """
    prng = random.Random()
    prng.seed(0)
    order = {}
    for split in json.loads((task / "task_metadata.json").read_text())["splits"]:
        embedding_files = [
            Path("out") / split / f"{file}.embedding.npy" for file in json.loads((task / f"{split}.json").read_text())
        ]
        prng.shuffle(embedding_files)
        order[split] = [path.name.removesuffix(".embedding.npy") for path in embedding_files]
    return order


def brute_force_labels(events: list[dict[str, Any]], times: list[float]) -> list[set[Any]]:
    """The labels of each timestamp, event by event and timestamp by timestamp."""
    return [{e["label"] for e in events if e["start"] <= t < e["end"] + 0.0001} for t in times]


def rows_of(folder: Path, split: str) -> np.ndarray:
    shape = tuple(json.loads((folder / f"{split}.embedding-dimensions.json").read_text()))
    return np.memmap(folder / f"{split}.embeddings.npy", dtype=np.float32, mode="r", shape=shape)


def statistics(audio: np.ndarray) -> np.ndarray:
    wide = audio.astype(np.float64)
    return np.array([wide.mean(), wide.max(), wide.min(), (wide**2).mean(), np.abs(wide).mean()])


@pytest.mark.parametrize("batch_seconds", [0.01, 1.0, 120.0])
def test_scene_rows_are_those_of_heareval(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path, batch_seconds: float
) -> None:
    done = embed_task(
        load_model(make_module()), TaskFolder.open(scene_task), tmp_path / "e", batch_seconds=batch_seconds
    )
    assert (done.cached, done.skipped) == (False, [])
    for split, files in heareval_order(scene_task).items():
        labels = json.loads((scene_task / f"{split}.json").read_text())
        rows = rows_of(done.path, split)
        assert (done.path / f"{split}.embeddings.npy").stat().st_size == 4 * 5 * len(files) == rows.nbytes
        assert pickle.loads((done.path / f"{split}.target-labels.pkl").read_bytes()) == [labels[file] for file in files]
        for row, file in zip(rows, files, strict=True):
            audio, _ = soundfile.read(scene_task / "16000" / split / file)
            assert np.allclose(row, statistics(audio), atol=1e-5), (split, file)


def test_the_folder_holds_exactly_what_heareval_reads_and_our_provenance(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    model, task = load_model(f"mine={make_module()}"), TaskFolder.open(scene_task)
    done = embed_task(model, task, tmp_path / "e")
    assert done.path == tmp_path / "e" / f"mine-{model.weights_hash[:8]}" / "fake-1-full"
    expected = {".done.embeddings", "embedding-info.json", "labelvocabulary.csv", "task_metadata.json"}
    for split in task.splits:
        expected |= {
            f"{split}{end}"
            for end in (".json", ".embeddings.npy", ".embedding-dimensions.json", ".target-labels.pkl", ".files.json")
        }
    assert {path.name for path in done.path.iterdir()} == expected
    assert [path.name for path in done.path.parent.iterdir()] == ["fake-1-full"]
    for name in ("labelvocabulary.csv", "task_metadata.json", "train.json"):
        assert (done.path / name).read_bytes() == (scene_task / name).read_bytes()
    info = json.loads((done.path / INFO_FILE).read_text())
    assert info["model"]["weights_hash"] == model.weights_hash
    assert info["model"]["sizes"] == {"scene": 5, "timestamp": 3}
    assert info["task"] == {"name": "fake-1-full", "revision": task.revision, "audio_sample_rate": 16000}
    assert {"torch", "numpy", "soxr"} <= info["versions"].keys()
    assert str(tmp_path) not in json.dumps(info)


@pytest.mark.parametrize("batch_seconds", [0.5, 120.0])
def test_event_rows_timestamps_and_labels_are_those_of_heareval(
    make_module: Callable[..., str], event_task: Path, tmp_path: Path, batch_seconds: float
) -> None:
    model = load_model(make_module())
    done = embed_task(model, TaskFolder.open(event_task), tmp_path / "e", batch_seconds=batch_seconds)
    for split, files in heareval_order(event_task).items():
        events = json.loads((event_task / f"{split}.json").read_text())
        expected_rows, expected_pairs, expected_labels = [], [], []
        for file in files:
            audio, _ = read_audio(event_task / "16000" / split / file)
            embeddings, times = model.timestamps(audio[np.newaxis])
            expected_rows.append(embeddings[0])
            expected_pairs += [(file, float(time)) for time in times[0]]
            expected_labels += brute_force_labels(events[file], times[0].tolist())
        rows = rows_of(done.path, split)
        assert np.allclose(rows, np.concatenate(expected_rows), atol=1e-6)
        assert (done.path / f"{split}.embeddings.npy").stat().st_size == 4 * 3 * len(expected_pairs)
        pairs = json.loads((done.path / f"{split}.filename-timestamps.json").read_text())
        assert [(Path(slug).name, time) for slug, time in pairs] == expected_pairs
        labels = pickle.loads((done.path / f"{split}.target-labels.pkl").read_bytes())
        assert [set(row) for row in labels] == expected_labels
        assert any(len(row) > 1 for row in labels)
        assert any(not row for row in labels)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", 3]), st.integers(0, 50), st.integers(0, 30)).map(
        lambda event: {"label": event[0], "start": event[1] * 10.0, "end": (event[1] + event[2]) * 10.0}
    ),
    max_size=8,
)


@given(EVENTS, st.floats(0, 40), st.floats(0.5, 60))
def test_labels_of_timestamps_equal_brute_force(events: list[dict[str, Any]], first: float, hop: float) -> None:
    times = [first + index * hop for index in range(12)]
    got = labels_at_timestamps(events, times)
    assert [set(row) for row in got] == brute_force_labels(events, times)
    assert all(len(row) == len(set(row)) for row in got)


def test_both_ends_of_an_event_belong_to_it() -> None:
    event = {"label": "a", "start": 40.0, "end": 80.0}
    got = labels_at_timestamps([event], [39.999, 40.0, 79.9, 80.0, 80.00005, 80.0002])
    assert got == [[], ["a"], ["a"], ["a"], ["a"], []]
    assert labels_at_timestamps([{**event, "end": 40.0}], [0.0, 40.0, 80.0]) == [[], ["a"], []]


def test_clips_of_equal_length_share_calls_and_batches_stay_within_bounds(
    make_module: Callable[..., str], load_probed: Callable[[str], LoadedModel], scene_task: Path, tmp_path: Path
) -> None:
    model = load_probed(make_module())
    embed_task(model, TaskFolder.open(scene_task), tmp_path / "e", batch_seconds=1.0)
    shapes = model.module.CALLS
    assert all(clips * samples <= 16000 or clips == 1 for clips, samples in shapes)
    assert sum(clips for clips, _ in shapes) == 30
    assert max(clips for clips, _ in shapes) > 1
    assert len(shapes) < 30


def test_other_rates_are_resampled_from_the_nearest_higher_one(
    make_module: Callable[..., str], load_probed: Callable[[str], LoadedModel], scene_task: Path, tmp_path: Path
) -> None:
    # 8000 Hz holds silence, 44100 and 48000 Hz different tones: the model of 16 kHz must see 44100's.
    shutil.rmtree(scene_task / "16000")
    task = json.loads((scene_task / "train.json").read_text())
    assert task
    for rate, frequency in ((8000, 0.0), (44100, 1000.0), (48000, 2000.0)):
        for split in ("train", "valid", "test"):
            (scene_task / str(rate) / split).mkdir(parents=True)
            for file in json.loads((scene_task / f"{split}.json").read_text()):
                tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(rate // 2) / rate)
                soundfile.write(scene_task / str(rate) / split / file, tone, rate, "PCM_16")
    crossings = "((audio[:, 1:] > 0) != (audio[:, :-1] > 0)).float().sum(-1)"
    model = load_probed(make_module(("return [audio.mean(-1)", f"return [{crossings}")))
    done = embed_task(model, TaskFolder.open(scene_task), tmp_path / "e")
    assert {shape[1] for shape in model.module.CALLS} == {8000}
    assert np.all(np.abs(rows_of(done.path, "train")[:, 0] - 1000) <= 4)
    assert json.loads((done.path / INFO_FILE).read_text())["task"]["audio_sample_rate"] == 44100


def test_the_official_folder_is_embedded_at_16_khz(
    make_module: Callable[..., str], load_probed: Callable[[str], LoadedModel], shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "hear" / "spoken_digit-1.0.9-small"
    if not folder.is_dir():
        pytest.skip("the official spoken_digit folder is not here")
    model = load_probed(make_module())
    seen: list[tuple[int, int]] = []
    done = embed_task(model, TaskFolder.open(folder), tmp_path / "e", progress=lambda n, total: seen.append((n, total)))
    assert {samples for _, samples in model.module.CALLS} == {16000}  # 1 s clips of 44100 samples
    assert seen[-1] == (100, 100)
    for split, files in heareval_order(folder).items():
        rows = rows_of(done.path, split)
        labels = pickle.loads((done.path / f"{split}.target-labels.pkl").read_bytes())
        truth = json.loads((folder / f"{split}.json").read_text())
        assert labels == [truth[file] for file in files]
        assert all(isinstance(label, int) for [label] in labels)  # as the official file has them
        for row, file in zip(rows, files, strict=True):
            audio, _ = soundfile.read(folder / "44100" / split / file)
            assert np.allclose(row, statistics(audio), atol=0.02), file


def spoil(task: Path, files: dict[str, str]) -> None:
    for name, how in files.items():
        path = task / "16000" / name
        if how == "empty":
            path.write_bytes(b"")
        elif how == "corrupt":
            path.write_bytes(b"noise" * 99)
        elif how == "zero":
            soundfile.write(path, np.zeros(0), 16000, "PCM_16")
        else:
            soundfile.write(path, np.array([0.1, np.nan]), 16000, "FLOAT")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "is empty"),
        ("corrupt", "cannot be read"),
        ("zero", "holds no samples"),
        ("nan", "NaN or infinity"),
    ],
)
def test_bad_audio_is_named_and_nothing_is_left_that_looks_done(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path, how: str, message: str
) -> None:
    spoil(scene_task, {"valid/valid2.wav": how})
    model = load_model(make_module())
    with pytest.raises(DeloresError, match=message) as caught:
        embed_task(model, TaskFolder.open(scene_task), tmp_path / "e")
    assert str(scene_task / "16000/valid/valid2.wav") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "e" / model.folder_name / "fake-1-full").exists()


def test_skipping_lists_bad_clips_and_equals_a_task_without_them(
    make_module: Callable[..., str], event_task: Path, tmp_path: Path
) -> None:
    bad = {
        "train/train3.wav": "empty",
        "train/train5.wav": "nan",
        "test/test1.wav": "corrupt",
        "test/test4.wav": "zero",
    }
    spoil(event_task, bad)
    model = load_model(make_module())
    done = embed_task(model, TaskFolder.open(event_task), tmp_path / "skipping", skip_bad=True)
    assert [line.partition(": ")[0] for line in done.skipped] == list(bad)
    assert "0 bytes" in done.skipped[0]
    assert str(tmp_path) not in "".join(done.skipped)
    info = json.loads((done.path / INFO_FILE).read_text())
    assert [f"{entry['split']}/{entry['file']}" for entry in info["skipped"]] == list(bad)

    without = tmp_path / "without" / event_task.name
    shutil.copytree(event_task, without)
    for split in ("train", "test"):
        labels = json.loads((without / f"{split}.json").read_text())
        kept = {file: value for file, value in labels.items() if f"{split}/{file}" not in bad}
        (without / f"{split}.json").write_text(json.dumps(kept))
    reference = embed_task(model, TaskFolder.open(without), tmp_path / "reference")
    for split in ("train", "valid", "test"):
        for end in (
            "embeddings.npy",
            "embedding-dimensions.json",
            "target-labels.pkl",
            "filename-timestamps.json",
        ):
            name = f"{split}.{end}"
            assert (done.path / name).read_bytes() == (reference.path / name).read_bytes(), name
        assert json.loads((done.path / f"{split}.json").read_text()) == json.loads(
            (without / f"{split}.json").read_text()
        )

    # What was skipped is not silently accepted by a run that does not skip, nor done again by one that does.
    assert embed_task(model, TaskFolder.open(event_task), tmp_path / "skipping", skip_bad=True).cached
    with pytest.raises(DeloresError, match="train"):
        embed_task(model, TaskFolder.open(event_task), tmp_path / "skipping")


def test_a_split_without_usable_audio_is_an_error_even_when_skipping(
    make_module: Callable[..., str], event_task: Path, tmp_path: Path
) -> None:
    spoil(event_task, {f"valid/valid{index}.wav": "empty" for index in range(3)})
    with pytest.raises(DeloresError, match="no clip of split 'valid'"):
        embed_task(load_model(make_module()), TaskFolder.open(event_task), tmp_path / "e", skip_bad=True)


def test_a_fault_of_the_model_names_model_task_and_clip(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    nan_for_long = "return torch.stack(statistics(audio), dim=-1) * (float('nan') if audio.shape[1] == 16000 else 1)"
    change = ("return torch.stack(statistics(audio), dim=-1) * model.scale", nan_for_long)
    model = load_model(f"mine={make_module(change)}")
    with pytest.raises(DeloresError, match=r"model mine: .*NaN.* \(task fake-1-full, train: train\d+\.wav") as caught:
        embed_task(model, TaskFolder.open(scene_task), tmp_path / "e", batch_seconds=0.5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch_seconds", [0.0, -1.0, 1e-9, 1e9, float("nan"), float("inf")])
def test_batch_seconds_must_be_sensible(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path, batch_seconds: float
) -> None:
    with pytest.raises(DeloresError, match=r"`batch_seconds` to be (a finite number >= 0\.01|at most 86400)"):
        embed_task(load_model(make_module()), TaskFolder.open(scene_task), tmp_path, batch_seconds=batch_seconds)


def test_the_one_clip_whose_embedding_is_not_finite_is_named(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    whole = "return torch.stack(statistics(audio), dim=-1) * model.scale"
    loud = float(soundfile.read(scene_task / "16000/train/train4.wav")[0].max())
    nan_for_one = f"peak = audio.amax(-1, keepdim=True); {whole} / (peak != audio.new_tensor({loud!r})).float()"
    model = load_model(f"mine={make_module((whole, nan_for_one))}")
    with pytest.raises(DeloresError, match=r"NaN or infinite \(task fake-1-full, train: train4\.wav\)$"):
        embed_task(model, TaskFolder.open(scene_task), tmp_path / "e", batch_seconds=100.0)


OUT_OF_MEMORY = {
    "torch on a processor": "RuntimeError('[enforce fail] DefaultCPUAllocator: can\\'t allocate memory: you tried')",
    "torch on an accelerator": "torch.OutOfMemoryError('CUDA out of memory')",
    "numpy": "MemoryError()",
    "tensorflow": "type('ResourceExhaustedError', (Exception,), {})('OOM when allocating tensor')",
}


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_batch_too_large_for_the_memory_is_halved(
    make_module: Callable[..., str],
    load_probed: Callable[[str], LoadedModel],
    scene_task: Path,
    tmp_path: Path,
    error: str,
) -> None:
    whole = embed_task(load_probed(make_module()), TaskFolder.open(scene_task), tmp_path / "whole")
    fails = f"if audio.numel() > 16000: raise {OUT_OF_MEMORY[error]}"
    whole_call = "    CALLS.append(tuple(audio.shape))"
    change = (whole_call, f"{whole_call}\n    {fails}")
    model = load_probed(f"mine={make_module(change)}")
    done = embed_task(model, TaskFolder.open(scene_task), tmp_path / "e")
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(rows_of(done.path, split), rows_of(whole.path, split))
    too_large = [clips * samples for clips, samples in model.module.CALLS if clips * samples > 16000]
    assert 1 <= len(too_large) <= 4  # the bound is lowered: not every batch fails first


def test_one_clip_too_large_for_the_memory_is_named(
    make_module: Callable[..., str], scene_task: Path, tmp_path: Path
) -> None:
    whole_call = "    CALLS.append(tuple(audio.shape))"
    change = (whole_call, f"{whole_call}\n    if audio.shape[1] == 16000: raise MemoryError")
    model = load_model(f"mine={make_module(change)}")
    with pytest.raises(DeloresError, match=r"ran out of memory on 1\.0 s of audio; use fewer batch seconds .*\.wav\)$"):
        embed_task(model, TaskFolder.open(scene_task), tmp_path / "e")


def test_the_clip_of_each_row_is_written_and_read_whatever_the_order(make_module, scene_task, tmp_path):
    """Two clips of one label are told apart by the file alone: no order of shuffling says which row is whose."""
    model, task = load_model(f"mine={make_module()}"), TaskFolder.open(scene_task)
    folder = embed_task(model, task, tmp_path / "e").path
    before = EmbeddingsTask.open(folder)
    file = folder / "train.files.json"
    written = json.loads(file.read_text())
    assert written == heareval_order(scene_task)["train"]
    assert list(before.splits["train"].files) == written
    labels = task.labels("train")
    one, two = next((a, b) for a in written for b in written if a < b and labels[a] == labels[b])
    swapped = [{one: two, two: one}.get(name, name) for name in written]
    file.write_text(json.dumps(swapped))
    assert list(EmbeddingsTask.open(folder).splits["train"].files) == swapped
    for damaged in (written[1:], [*written[1:], written[1]], [*written[1:], "other.wav"], [*written[1:], 7]):
        file.write_text(json.dumps(damaged))
        with pytest.raises(DeloresError, match=r"train\.files\.json: .*embed the task again"):
            EmbeddingsTask.open(folder)
    file.unlink()  # embeddings from before it was written, and heareval's
    assert EmbeddingsTask.open(folder).splits["train"].files == before.splits["train"].files
    assert EmbeddingsTask.open(folder).content_hash == before.content_hash
