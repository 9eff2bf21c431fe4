"""The online probe: what it scores, what it refuses, and that a run with it ends in the same bits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hear_delores.encoder import AudioNTT
from hear_delores.errors import DeloresError
from hear_delores.model import HearModel
from pretrain.config import PretrainConfig
from pretrain.training.start import Watching, pretrain
from pretrain.watching import online_probe as module
from pretrain.watching.online_probe import Probe

KIND = {"embedding_type": "scene", "prediction_type": "multiclass"}


def make_task(folder: Path, counts: dict[str, int], **metadata: Any) -> Path:
    """Noise ("n") and tones ("t") of two lengths, told apart with ease; the labels of the first fold are wrong."""
    rng = np.random.default_rng(1)
    (folder / "16000").mkdir(parents=True)
    values = {**KIND, "task_name": "toy", "splits": list(counts), **metadata}
    (folder / "task_metadata.json").write_text(json.dumps(values))
    for split, count in counts.items():
        (folder / "16000" / split).mkdir()
        labels = {}
        for i in range(count):
            t = np.arange(4800 + 1600 * (i % 3 == 0)) / 16000
            tone = i % 2 == 0
            audio = np.sin(2 * np.pi * rng.uniform(300, 900) * t) if tone else rng.standard_normal(len(t))
            soundfile.write(folder / "16000" / split / f"{i}.wav", 0.2 * audio, 16000)
            labels[f"{i}.wav"] = ["t" if tone != (split == "fold00") else "n"]
        (folder / f"{split}.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_task(tmp_path_factory.mktemp("task") / "folds", {"fold00": 8, "fold01": 10, "fold02": 12, "fold03": 9})


def encoder(config: PretrainConfig) -> AudioNTT:
    torch.manual_seed(3)
    return AudioNTT(config.encoder)


def test_the_score_is_that_of_logistic_regression_on_scene_embeddings(folds: Path, tiny_s: PretrainConfig) -> None:
    network = encoder(tiny_s).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    score = Probe(folds, tiny_s).score(network, -4.0, 3.0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    model = HearModel(network, tiny_s.frontend, -4.0, 3.0)
    rows: dict[str, tuple[list[Any], list[str]]] = {}
    for part, names in (("train", ["fold02", "fold03"]), ("valid", ["fold01"])):
        x, y = rows[part] = [], []
        for split in names:
            for name, (label,) in json.loads((folds / f"{split}.json").read_text()).items():
                audio, _ = soundfile.read(folds / "16000" / split / name, dtype="float32")
                x.append(model.scene_embeddings(torch.from_numpy(audio)[None])[0].numpy())
                y.append(label)
    scaler = StandardScaler().fit(rows["train"][0])
    reference = LogisticRegression(C=0.1, max_iter=200, tol=1e-3).fit(
        scaler.transform(rows["train"][0]), rows["train"][1]
    )
    assert score == pytest.approx(reference.score(scaler.transform(rows["valid"][0]), rows["valid"][1]))
    assert score >= 0.8  # with a label of the first fold, which are wrong, in the training data it is not


def test_train_and_valid_splits_and_a_cap(
    tmp_path: Path, tiny_s: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_task(tmp_path / "task", {"test": 4, "train": 12, "valid": 6})
    probe = Probe(folder, tiny_s)
    assert (len(probe._train[1]), len(probe._valid[1])) == (12, 6)
    monkeypatch.setattr(module, "TRAIN_CLIPS", 5)
    monkeypatch.setattr(module, "LONGEST_S", 0.1)
    capped = Probe(folder, tiny_s)
    assert len(capped._train[1]) == 5
    assert {len(clip) for clip in capped._train[0]} == {1600}
    assert capped._train[1] == Probe(folder, tiny_s)._train[1]


@pytest.mark.parametrize(
    ("wanted", "taken"), [(8000, 8000), (16000, 22050), (22050, 22050), (44100, 48000), (96000, 48000)]
)
def test_audio_of_the_front_ends_rate_or_the_next_above_is_taken(
    tmp_path: Path, tiny_s: PretrainConfig, wanted: int, taken: int
) -> None:
    """Of a front-end at 44.1 kHz, audio at 16 kHz has nothing to say above 8 kHz."""
    folder = make_task(tmp_path / "task", {"train": 4, "valid": 4})
    for rate in (48000, 22050, 8000):
        for split in ("train", "valid"):
            (folder / str(rate) / split).mkdir(parents=True)
            for clip in (folder / "16000" / split).iterdir():
                soundfile.write(folder / str(rate) / split / clip.name, np.full(rate // 10, rate / 100_000), rate)
    shutil.rmtree(folder / "16000")
    frontend = replace(tiny_s.frontend, sample_rate=wanted, f_max=wanted / 2, f_min=0.0)
    probe = Probe(folder, tiny_s.model_copy(update={"frontend": frontend}))
    clip = probe._train[0][0]
    assert len(clip) == round(wanted / 10)
    assert np.median(clip) / 32768 == pytest.approx(taken / 100_000, abs=1e-3)


def test_embeddings_that_are_not_finite_are_no_score(folds: Path, tiny_s: PretrainConfig) -> None:
    network = encoder(tiny_s)
    with torch.no_grad():
        network.fc[0].weight.fill_(float("nan"))
    assert np.isnan(Probe(folds, tiny_s).score(network, -4.0, 3.0))


@pytest.mark.parametrize(
    ("metadata", "splits", "message"),
    [
        ({"prediction_type": "multilabel"}, {"train": 2, "valid": 2}, "this is a scene multilabel task"),
        ({"embedding_type": "event"}, {"train": 2, "valid": 2}, "this is a event multiclass task"),
        ({}, {"train": 2, "test": 2}, "expected the splits train and valid, or three folds"),
        ({}, {"fold00": 2, "fold01": 2}, "expected the splits train and valid, or three folds"),
        ({}, {"train": 1, "valid": 2}, "training clips of two labels"),
        ({"splits": "train"}, {"train": 2}, "expected .splits. to be a list of different names"),
        ({"splits": ["train", "valid"]}, {"train": 2}, r"valid\.json: no such file"),
        ({"splits": ["train", "../valid"]}, {"train": 2}, r"splits: expected a plain name, got '../valid'"),
    ],
)
def test_tasks_that_are_no_probe_are_one_line(
    metadata: dict[str, Any], splits: dict[str, int], message: str, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    folder = make_task(tmp_path / "task", splits, **metadata)
    with pytest.raises(DeloresError, match=message) as caught:
        Probe(folder, tiny_s)
    assert "\n" not in str(caught.value)


def test_a_probe_that_cannot_be_stops_the_run_before_it_writes(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    with pytest.raises(DeloresError, match=r"expected a HEAR task folder with task_metadata.json"):
        pretrain(tiny_s, clips, tmp_path / "a", quiet=True, watching=Watching(probe=clips))
    with pytest.raises(DeloresError, match=r"expected 1 step or more, got 0"):
        pretrain(tiny_s, clips, tmp_path / "a", quiet=True, watching=Watching(probe_every=0))
    assert not (tmp_path / "a").exists()


def test_a_run_with_a_probe_ends_in_the_same_bits_and_logs_it(
    clips: Path, folds: Path, tmp_path: Path, tiny_m: PretrainConfig
) -> None:
    """Stopped in between, too: what was probed before the stop is not probed again."""
    watching = Watching(probe=folds, probe_every=4)
    plain = pretrain(tiny_m, clips, tmp_path / "plain", quiet=True)
    probed = pretrain(tiny_m, clips, tmp_path / "probed", quiet=True, watching=watching)
    assert plain.read_bytes() == probed.read_bytes()

    class Stop(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:

        def die(self: Any, *_: Any) -> None:
            if self.step == 7:
                raise Stop

        patch.setattr("pretrain.training.start.Run._report_bad", die)
        with pytest.raises(Stop):
            pretrain(tiny_m, clips, tmp_path / "parts", quiet=True, watching=watching)
    pretrain(tiny_m, clips, tmp_path / "parts", quiet=True, resume=True, watching=watching)
    assert (tmp_path / "parts/checkpoint.safetensors").read_bytes() == plain.read_bytes()

    logs = {}
    for name in ("plain", "probed", "parts"):
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        logs[name] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    scores = [line for line in logs["probed"] if line.get("event") == "probe"]
    assert [line["step"] for line in scores] == [0, 4, 8, 10]
    assert all(0 <= line["accuracy"] <= 1 and line["task"] == "toy" for line in scores)
    assert [line for line in logs["probed"] if line.get("event") != "probe"] == logs["plain"]
    assert logs["parts"] == logs["probed"]
