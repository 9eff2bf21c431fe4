"""A model is known by what it answers: edited code is embedded again with a reason, everything else is kept."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.embedding.embed import EmbedSummary, embed_task
from benchmarks.embedding.layout import INFO_FILE
from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.embedding.sketch import LENGTHS_S, probe_sounds, sketch
from benchmarks.results.identity import Behaviour, behaviour_change, behaviours_agree
from benchmarks.tasks.folder import TaskFolder
from hear_delores.errors import DeloresError

SCENE = "return torch.stack(statistics(audio), dim=-1) * model.scale"
TIMES = "return torch.stack(statistics(frames)[1:4], dim=-1) * model.scale, times.repeat(len(audio), 1)"


@pytest.fixture
def edit(tmp_path: Path) -> Callable[..., None]:
    """Replaces text in a module's source, as its author would, and forgets that it was imported."""

    def edited(name: str, *replacements: tuple[str, str]) -> None:
        file = tmp_path / "modules" / f"{name}.py"
        source = file.read_text()
        for old, new in replacements:
            assert old in source
            source = source.replace(old, new)
        file.write_text(source)
        sys.modules.pop(name, None)
        for cached in file.parent.rglob(f"{name}.*.pyc"):
            cached.unlink()

    return edited


@pytest.fixture
def embed(scene_task: Path, tmp_path: Path) -> Callable[..., EmbedSummary]:
    return lambda module, **more: embed_task(
        load_model(module, "cpu"), TaskFolder.open(scene_task), tmp_path / "e", **more
    )


def rows(done: EmbedSummary) -> np.ndarray:
    return np.fromfile(done.path / "test.embeddings.npy", dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "function"),
    [
        ((SCENE, SCENE.replace("* model.scale", "* 0")), "get_scene_embeddings"),
        (("return [audio.mean(-1), audio.amax(-1)", "return [audio.amax(-1), audio.amax(-1)"), "get_scene_embeddings"),
        ((SCENE, SCENE.replace("dim=-1)", "dim=-1).roll(1, 1)")), "get_scene_embeddings"),
        ((TIMES, TIMES.replace("model.scale,", "model.scale * 1.001,")), "get_timestamp_embeddings"),
        ((TIMES, TIMES.replace("[1:4]", "[2:5]")), "get_timestamp_embeddings"),
        (("* 40.0", "* 39.0"), "get_timestamp_embeddings"),
    ],
)
def test_an_edited_function_is_embedded_again_with_the_reason(
    make_module: Callable[..., str],
    edit: Callable[..., None],
    embed: Callable[..., EmbedSummary],
    change: tuple[str, str],
    function: str,
) -> None:
    module = make_module()
    first = embed(module)
    assert first.notes == []
    edit(module, change)
    second = embed(module)
    assert not second.cached
    assert second.path == first.path
    [note] = second.notes
    assert note.startswith("embedded again: the model answers the probe sounds differently than before (")
    assert function in note
    assert embed(module).cached


@pytest.mark.parametrize(
    "when",
    [
        "audio.abs().max() > 0.99",
        "audio.shape[1] < 1000",
        "audio.shape[1] > 160000",
        "len(audio) > 4",
        "len(audio) == 1",
    ],
)
def test_an_edit_for_some_sounds_alone_is_no_secret(make_module: Callable[..., str], when: str) -> None:
    whole = load_model(make_module(), "cpu").behaviour
    edited = load_model(make_module((SCENE, f"audio = audio * (0.5 if {when} else 1.0)\n    {SCENE}")), "cpu").behaviour
    assert "get_scene_embeddings" in behaviour_change(whole, edited)


def test_an_edit_that_changes_no_answer_keeps_embeddings_and_says_so(
    make_module: Callable[..., str], edit: Callable[..., None], embed: Callable[..., EmbedSummary]
) -> None:
    module = make_module()
    before = rows(embed(module))
    edit(module, (SCENE, f"# the same\n    {SCENE}"))
    kept = embed(module)
    assert kept.cached
    assert kept.notes == [
        f"the source of {module} has changed, but it answers the probe sounds as before: embeddings are kept "
        "(--force embeds again)"
    ]
    forced = embed(module, force=True)
    assert not forced.cached
    assert forced.notes == ["embedded again: asked for"]
    assert np.array_equal(rows(forced), before)
    assert embed(module).notes == []


def test_a_model_that_answers_differently_twice_is_named_and_never_kept(
    make_module: Callable[..., str], embed: Callable[..., EmbedSummary]
) -> None:
    module = make_module((SCENE, f"{SCENE} + 0.01 * torch.randn(len(audio), 5)"))
    first = embed(module)
    before = rows(first)
    second = embed(module)
    warning = f"warning: model {module} answers the same sounds differently each time: always embedded"
    assert (first.notes, second.notes) == ([warning], [warning])
    assert not second.cached
    assert not np.array_equal(before, rows(second))
    assert json.loads((second.path / INFO_FILE).read_text())["model"]["behaviour"]["deterministic"] is False


def test_embeddings_from_before_behaviour_was_recorded_are_made_again_once(
    make_module: Callable[..., str], embed: Callable[..., EmbedSummary]
) -> None:
    module = make_module()
    done = embed(module)
    info = json.loads((done.path / INFO_FILE).read_text())
    del info["model"]["behaviour"], info["model"]["source_hash"]
    (done.path / INFO_FILE).write_text(json.dumps(info))
    again = embed(module)
    assert not again.cached
    assert again.notes == ["embedded again: made before the behaviour of models was recorded"]
    assert embed(module).cached


def test_a_killed_run_of_other_code_is_not_continued(
    make_module: Callable[..., str],
    edit: Callable[..., None],
    embed: Callable[..., EmbedSummary],
    monkeypatch: pytest.MonkeyPatch,
    load_probed: Callable[[str], LoadedModel],
    scene_task: Path,
    tmp_path: Path,
) -> None:
    module = make_module()
    model = load_probed(module)
    monkeypatch.setenv("FAKE_FAILS_AT", "6")
    with pytest.raises(KeyboardInterrupt):
        embed_task(model, TaskFolder.open(scene_task), tmp_path / "e", batch_seconds=0.4)
    monkeypatch.delenv("FAKE_FAILS_AT")
    edit(module, (SCENE, f"{SCENE} * 3"))
    found = rows(embed(module, batch_seconds=0.4))
    whole = embed_task(load_model(module), TaskFolder.open(scene_task), tmp_path / "w", batch_seconds=0.4)
    assert np.array_equal(found, rows(whole))
    train = "train.embeddings.npy"
    assert (tmp_path / "e" / whole.path.parent.name / whole.path.name / train).read_bytes() == (
        whole.path / train
    ).read_bytes()


def test_a_module_that_was_changed_under_this_process_is_refused(
    make_module: Callable[..., str], tmp_path: Path
) -> None:
    module = make_module()
    load_model(module)
    file = tmp_path / "modules" / f"{module}.py"
    file.write_text(file.read_text() + "\n# edited\n")
    with pytest.raises(DeloresError, match=r"was changed after this process had imported it; start Python again"):
        load_model(module)


# --- the sketch


def test_threads_and_batches_are_noise_and_one_dimension_is_not(make_module: Callable[..., str]) -> None:
    def of(spec: str, threads: int) -> Behaviour:
        torch.set_num_threads(threads)
        return load_model(spec, "cpu").behaviour

    try:
        one, two = of("hear_delores", 1), of("hear_delores", 2)
    finally:
        torch.set_num_threads(1)
    assert one.deterministic
    assert behaviours_agree(one, two)

    model = load_model("hear_delores", "cpu")
    alone = load_model("hear_delores", "cpu")
    scene, timestamps = alone.scene, alone.timestamps
    alone.scene = lambda audio: np.concatenate([scene(clip[None]) for clip in audio])  # type: ignore[method-assign]
    alone.timestamps = lambda audio: tuple(  # type: ignore[method-assign]
        np.concatenate(part) for part in zip(*(timestamps(clip[None]) for clip in audio), strict=True)
    )
    assert behaviours_agree(one, alone.behaviour)

    whole = model.scene
    for dimension in (0, 1000, 1791):
        edited = load_model("hear_delores", "cpu")
        edited.scene = lambda audio, d=dimension: np.where(np.arange(1792) == d, 0, whole(audio))  # type: ignore
        assert "get_scene_embeddings" in behaviour_change(one, edited.behaviour), dimension


def test_the_probe_sounds_are_the_same_everywhere() -> None:
    # The values are part of the format: with others, every embedding would be made again.
    powers = {
        0.01: [0.3372056],
        0.1: [0.0304175, 0.0, 0.05, 0.3252637, 0.0028, 0.0100268, 0.057957, 0.05],
        0.2: [0.0],
        0.5: [0.00064, 0.05, 1.0],
        1.0: [0.0299562, 0.0100027, 0.3347722],
        2.3: [0.0561726],
        10.5: [0.0660967],
    }
    for length in LENGTHS_S:
        sounds = probe_sounds(length, 16000)
        assert (sounds.dtype, sounds.shape[1]) == (np.float32, round(16000 * length))
        assert np.abs(sounds).max() <= 1
        assert (sounds.astype(np.float64) ** 2).mean(axis=1) == pytest.approx(powers[length], abs=1e-7)
    assert sketch(np.arange(6.0).reshape(2, 3)) == sketch(np.arange(6.0))
    assert sketch(np.arange(6.0)) == [7.416198, 0.0, -2.0, 3.0, 0.0, -1.0, 4.0, -5.0, 0.0]


def test_taking_a_behaviour_leaves_random_states_and_precision_alone(make_module: Callable[..., str]) -> None:
    draws = "import random, numpy; random.random(); numpy.random.rand(); torch.rand(1)"
    model = load_model(make_module((SCENE, f"{draws}\n    {SCENE}")), "cpu")
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    assert model.behaviour.deterministic
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_sounds_that_a_model_fails_on_are_part_of_its_behaviour(make_module: Callable[..., str]) -> None:
    short = load_model(make_module(("    called(audio)\n", "    assert audio.shape[1] > 2000\n")), "cpu").behaviour
    assert [each is None for each in short.scene] == [True] * 9 + [False] * 9
    assert short.deterministic
    assert behaviour_change(short, load_model(make_module(), "cpu").behaviour)
