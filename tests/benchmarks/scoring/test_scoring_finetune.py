"""Protocol finetune: it learns end to end, changes nothing else, scores as the HEAR API would, and resumes."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner

import hear_delores
from benchmarks.embedding.model import load_model
from benchmarks.reading.tables.table import comparison_tables
from benchmarks.results.record import load_predictions, load_record, load_records
from benchmarks.scoring.command import finetune
from benchmarks.scoring.evaluation import SceneEvaluator
from benchmarks.scoring.finetune import protocol
from benchmarks.scoring.finetune.clips import Clips, crop, training_batches, whole_batches
from benchmarks.scoring.finetune.protocol import finetune_task
from benchmarks.scoring.finetune.train import Finetune, FineTuned
from benchmarks.scoring.fitting import BestEpoch
from benchmarks.tasks.folder import TaskFolder
from hear_delores import AudioNTT, EncoderConfig, FrontendConfig, HearModel, save_checkpoint
from hear_delores.errors import DeloresError
from pretrain.training.precision import ProductTimes

ROOT = Path(hear_delores.__file__).parents[1]
RATE = 16000
QUICK = {"max_epochs": 2, "batch_size": 8}


def write_task(folder: Path, splits: dict[str, int], *, multilabel: bool = False, seconds: float = 0.25) -> Path:
    """Tones in noise: class 0 low, class 1 high (multilabel: each there or not); clips differ in length."""
    rng = np.random.default_rng(0)
    folds = "train" not in splits
    metadata = {
        "task_name": "tones", "version": "v1", "mode": "full", "embedding_type": "scene",
        "prediction_type": "multilabel" if multilabel else "multiclass",
        "split_mode": "presplit_kfold" if folds else "trainvaltest", "splits": list(splits),
        "nfolds": len(splits) if folds else None, "evaluation": ["mAP" if multilabel else "top1_acc"],
        "sample_duration": None,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "task_metadata.json").write_text(json.dumps(metadata))
    (folder / "labelvocabulary.csv").write_text("idx,label\n0,low\n1,high\n")
    for split, count in splits.items():
        (folder / str(RATE) / split).mkdir(parents=True)
        truth = {}
        for index in range(count):
            n = int(RATE * seconds * (1 + 0.2 * (index % 3)))
            held = [[0], [1], [0, 1], []][index % 4] if multilabel else [index % 2]
            clip = 0.03 * rng.standard_normal(n)
            for label in held:
                clip += 0.1 * np.sin(2 * np.pi * (400, 2500)[label] * np.arange(n) / RATE + rng.uniform(0, 6))
            soundfile.write(folder / str(RATE) / split / f"{split}{index}.wav", clip, RATE, subtype="FLOAT")
            truth[f"{split}{index}.wav"] = [("low", "high")[label] for label in held]
        (folder / f"{split}.json").write_text(json.dumps(truth))
    return folder


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TaskFolder:
    sizes = {"train": 24, "valid": 8, "test": 12}
    return TaskFolder.open(write_task(tmp_path_factory.mktemp("tasks") / "tones-v1-full", sizes))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = AudioNTT(EncoderConfig(channels=8, embedding_size=12))
    save_checkpoint(path, HearModel(encoder, FrontendConfig(), -7.0, 4.0, scene=("pooled", "layer2_std")))
    return path


@pytest.fixture
def model(weights):
    return load_model(f"tiny=hear_delores@{weights}", device="cpu")


# --- the model with gradients


def test_the_differentiable_embedding_is_the_hear_embedding_in_eval_mode(model):
    audio = 0.1 * torch.randn(3, 9000)
    expected = hear_delores.get_scene_embeddings(audio, model.model)
    found = model.model.differentiable_scene(audio)
    assert found.requires_grad
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    for n_samples in (1, 159, 1280, 40000):  # shorter than a frame, and of more than one piece
        model.model.chunk_frames = 64
        clip = 0.1 * torch.randn(1, n_samples)
        torch.testing.assert_close(
            model.model.differentiable_scene(clip), model.model.scene_embeddings(clip), atol=2e-5, rtol=1e-4
        )
    model.model.chunk_frames = None
    model.model.train()
    statistics = model.model.encoder.blocks[0].norm.running_mean.clone()
    model.model.differentiable_scene(audio)
    assert not torch.equal(model.model.encoder.blocks[0].norm.running_mean, statistics)  # it does train


def test_gradients_are_finite_and_reach_every_parameter_even_of_silence(model):
    tuned = FineTuned(model, 2)
    tuned.train()
    with torch.no_grad():
        model.model.encoder.blocks[1].norm.weight[0] = 0  # a channel that is constant: its deviation over time is 0
        model.model.encoder.blocks[1].norm.bias[0] = 1
    audio = torch.cat([0.1 * torch.randn(3, 8000), torch.zeros(1, 8000)])
    tuned(audio).square().sum().backward()
    for name, parameter in tuned.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert tuned.encoder.encoder.blocks[0].conv.weight.grad.abs().sum() > 0


def test_predictions_are_the_hear_embedding_and_the_linear_layer(model, task):
    tuned = FineTuned(model, 2)
    clips = Clips(task, ["test"], RATE)
    tuned.train()
    logits = tuned.logits(clips, 5000)
    for row, file in enumerate(clips.files):
        audio, _ = soundfile.read(task.audio_file("test", file, RATE), dtype="float32")
        audio = np.pad(audio, (0, max(0, 5000 - len(audio))))
        scene = hear_delores.get_scene_embeddings(torch.from_numpy(audio)[None], model.model)
        torch.testing.assert_close(logits[row], tuned.classifier(scene)[0].detach(), atol=1e-5, rtol=1e-4)


def test_whatever_drops_out_in_training_is_there_when_clips_are_scored(task, tmp_path, monkeypatch):
    dropping = "        self.layer = torch.nn.Sequential(self.layer, torch.nn.Dropout(0.5))"
    tuned = FineTuned(foreign(tmp_path, monkeypatch, "drops_out", extra=dropping), 2)
    clips = Clips(task, ["test"], RATE)
    expected = tuned.eval().logits(clips, 5000)
    torch.testing.assert_close(tuned.train().logits(clips, 5000), expected)


# --- audio


def test_crops_lie_everywhere_inside_and_pad_what_is_short():
    clip = np.arange(10, dtype=np.float32) + 1
    starts = [crop(clip, 4, position)[0] for position in np.arange(0, 1, 1e-3)]
    assert sorted(set(starts)) == [1, 2, 3, 4, 5, 6, 7]
    assert max(np.bincount(np.array(starts, dtype=int))[1:]) < 160  # 1000 / 7 each
    for position in (0, 0.3, 0.999):
        padded = crop(clip, 13, position)
        assert len(padded) == 13
        np.testing.assert_array_equal(padded[padded != 0], clip)
    np.testing.assert_array_equal(crop(clip, 10, 0.7), clip)


def test_every_clip_is_trained_on_and_scored_once(task):
    clips = Clips(task, ["train"], RATE)
    order, positions = torch.randperm(24), torch.rand(24, dtype=torch.float64)
    batches = list(training_batches(clips, order, positions, 23, 3000))
    assert [len(audio) for audio, _ in batches] == [24]  # one clip alone would be a batch of one
    batches = list(training_batches(clips, order, positions, 10, 3000))
    assert [len(audio) for audio, _ in batches] == [10, 10, 4]
    np.testing.assert_array_equal(torch.cat([targets for _, targets in batches]), clips.targets[order])
    for row, audio in zip(order.tolist(), torch.cat([audio for audio, _ in batches]), strict=True):
        start = int(positions[order.tolist().index(row)] * (len(clips.audio(row)) - 2999))
        np.testing.assert_array_equal(audio, clips.audio(row)[start : start + 3000])
    found = [row for rows, audio in whole_batches(clips, 4500) for row in rows]
    assert sorted(found) == list(range(24))
    assert {audio.shape[1] for _, audio in whole_batches(clips, 4500)} == {4500, 4800, 5600}


def test_clips_come_in_the_order_of_embedded_rows_and_fit_in_their_memory(task, model, tmp_path):
    from benchmarks.embedding.embed import embed_task
    from benchmarks.embedding.folder import EmbeddingsTask

    embedded = EmbeddingsTask.open(embed_task(model, task, tmp_path).path)
    for split in ("train", "test"):
        clips = Clips(task, [split], RATE)
        assert clips.files == embedded.splits[split].files
        np.testing.assert_array_equal(clips.targets, embedded.splits[split].targets)
    small = Clips(task, ["train"], RATE, cache_bytes=40_000)
    for row in range(24):
        small.audio(row)
    assert 0 < sum(audio.nbytes for audio in small._kept.values()) <= 40_000


# --- the whole protocol


def test_it_learns_and_leaves_the_model_as_it_was(task, model, weights, tmp_path):
    before, file = {k: v.clone() for k, v in model.model.state_dict().items()}, weights.read_bytes()
    torch.manual_seed(5)
    random_state = torch.get_rng_state()
    seen: list[tuple[int, int, str]] = []
    record = finetune_task(
        model, task, results_dir=tmp_path, max_epochs=12, batch_size=8, lr=3e-3, patience=12,
        progress=lambda *args: seen.append(args),
    )  # fmt: skip
    assert record.scores["top1_acc"] >= 0.9
    assert all(torch.equal(value, before[key]) for key, value in model.model.state_dict().items())
    assert weights.read_bytes() == file
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (seen[0][0], seen[-1][0], seen[0][1]) == (1, record.folds[0].epochs_run, 12)
    assert load_record(record.folder) == record
    assert record.folder.name == "finetune-lr=0.003-batch_size=8-max_epochs=12-patience=12-seed42"
    assert not (record.folder / "work").exists()
    fold = load_predictions(record.folder)["test"]
    assert (fold.prediction.argmax(1) == fold.target.argmax(1)).mean() == pytest.approx(record.scores["top1_acc"])
    assert sorted(fold.files) == sorted(f"test{n}.wav" for n in range(12))
    mean = np.mean([0.25, 0.3, 0.35])
    assert record.folds[0].hyperparameters["crop_seconds"] == pytest.approx(mean, abs=1e-4)
    again = finetune_task(model, task, results_dir=tmp_path, max_epochs=12, batch_size=8, lr=3e-3, patience=12)
    assert again.created == record.created


@pytest.mark.parametrize("interrupted", [0, 2, 3])
def test_the_best_epoch_is_restored_tested_once_and_training_stops_early(
    task, model, tmp_path, monkeypatch, interrupted
):
    scores = iter([0.5, 0.75, 0.5, 0.75, 0.6, 1.0])
    weights_then: list[torch.Tensor] = []
    tested: list[torch.Tensor] = []

    class Validator(SceneEvaluator):
        def select(self, probabilities):
            return next(scores), {}

    monkeypatch.setattr("benchmarks.scoring.finetune.protocol.SceneEvaluator", Validator)
    whole = FineTuned.logits

    def logits(self, clips, least):
        (tested if len(clips) == 12 else weights_then).append(self.encoder.encoder.fc[0].weight.detach().clone())
        return whole(self, clips, least)

    monkeypatch.setattr(FineTuned, "logits", logits)
    options = {"max_epochs": 9, "batch_size": 12, "patience": 3}
    if interrupted:  # what is known of the best epoch must survive too

        def stop(done, total, text):
            if done == interrupted:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            finetune_task(model, task, results_dir=tmp_path, progress=stop, **options)
    record = finetune_task(model, task, results_dir=tmp_path, **options)
    assert (record.folds[0].epoch, record.folds[0].epochs_run) == (1, 5)
    assert record.folds[0].validation_score == 0.75
    [used] = tested
    assert torch.equal(used, weights_then[1])
    assert not torch.equal(used, weights_then[4])


def test_folds_several_labels_shots_amp_and_the_record_s_name(model, tmp_path):
    folds = {"fold00": 8, "fold01": 8, "fold02": 8}
    task = TaskFolder.open(write_task(tmp_path / "t" / "tones-v1-full", folds, multilabel=True))
    record = finetune_task(model, task, results_dir=tmp_path / "r", shots=1, amp=True, **QUICK)
    assert [fold.test_split for fold in record.folds] == ["fold00", "fold01", "fold02"]
    assert record.protocol.title == "finetune (batch_size=8-max_epochs=2-1-shot-amp)"
    assert record.folds[0].hyperparameters["precision"] == "bfloat16"
    assert record.folds[0].n_train_rows in (1, 2)
    assert set(record.scores_std) == {"mAP"}
    assert 0 <= record.scores["mAP"] <= 1


def test_shuffled_labels_are_trained_on_and_tested(model, task, tmp_path):
    real, shuffled = (
        finetune_task(model, task, results_dir=tmp_path, control=control, **QUICK) for control in (None, "shuffled")
    )
    assert shuffled.protocol.title == "finetune (batch_size=8-max_epochs=2-shuffled labels)"
    assert real.fingerprint != shuffled.fingerprint
    truth, permuted = (load_predictions(record.folder)["test"].target for record in (real, shuffled))
    assert (truth != permuted).any()
    np.testing.assert_array_equal(truth.sum(axis=0), permuted.sum(axis=0))
    losses = [record.folds[0].loss for record in (real, shuffled)]
    assert losses[0] != losses[1]
    with pytest.raises(DeloresError, match="Did you mean 'shuffled'"):
        finetune_task(model, task, results_dir=tmp_path, control="shufled", **QUICK)


def test_a_random_encoder_can_be_fine_tuned(task, weights, tmp_path):
    model = load_model(f"random=random@{weights}?seed=3", device="cpu")
    record = finetune_task(model, task, results_dir=tmp_path, **QUICK)
    assert record.model.label == "random"
    assert record.model.options == {"seed": 3}
    assert math.isfinite(record.scores["top1_acc"])


# --- killed and run again

CHILD = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from benchmarks.scoring.finetune import train as finetune_train
from benchmarks.scoring.finetune.protocol import finetune_task
from benchmarks.scoring.fitting import BestEpoch
from benchmarks.embedding.model import load_model
from benchmarks.tasks.folder import TaskFolder
task, weights, results, deadly = sys.argv[1:4] + [int(sys.argv[4])]
steps = 0
step = finetune_train._Training._step
def counted(self, *args):
    global steps
    steps += 1
    if steps == deadly:
        os.kill(os.getpid(), signal.SIGKILL)  # in the middle of an epoch
    return step(self, *args)
finetune_train._Training._step = counted
def keep_last(self, epoch, score):  # so that the scores depend on every epoch
    self.kept, self.epoch = score, epoch
    return True
BestEpoch.update = keep_last
model = load_model(f"tiny=hear_delores@{weights}", device="cpu")
finetune_task(model, TaskFolder.open(task), results_dir=results, max_epochs=3, batch_size=6)
print(steps)
"""


def without_times(folder: Path) -> dict:
    record = json.loads((folder / "record.json").read_text())
    for part in [*record["folds"], record]:
        part.pop("seconds")
    record.pop("created")
    record.pop("peak_memory_bytes")
    return record


def test_killed_and_run_again_equals_uninterrupted(model, weights, tmp_path, warm, monkeypatch):
    def keep_last(self, epoch, score):
        self.kept, self.epoch = score, epoch
        return True

    monkeypatch.setattr(BestEpoch, "update", keep_last)
    task = TaskFolder.open(write_task(tmp_path / "t" / "tones-v1-full", {"fold00": 6, "fold01": 6, "fold02": 12}))
    # Fold 0 trains on 12 clips (the third fold), in two steps: killed in the third epoch of the second fold, whose
    # 6 clips are one step each.
    killed = warm.run(CHILD, task.path, weights, tmp_path / "killed", 3 * 2 + 3)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [work] = (tmp_path / "killed").rglob("work")
    assert {path.name for path in work.iterdir()} >= {"fold-00.safetensors", "fold-01.state.pt"}
    assert not load_records([tmp_path / "killed"])
    again = warm.run(CHILD, task.path, weights, tmp_path / "killed", 0)
    assert again.returncode == 0, again.stderr
    assert again.stdout.split() == [str(1 + 3 * 1)]  # the epoch in flight, and the last fold
    whole = finetune_task(model, task, results_dir=tmp_path / "whole", max_epochs=3, batch_size=6)
    resumed = tmp_path / "killed" / whole.folder.relative_to(tmp_path / "whole")
    assert without_times(resumed) == without_times(whole.folder)
    one, two = load_predictions(resumed), load_predictions(whole.folder)
    for split in two:
        np.testing.assert_array_equal(one[split].prediction, two[split].prediction)


# --- models of others, and bad input

FOREIGN = """
import torch
class Model(torch.nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 4, 4
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(100, 4)
{extra}
def load_model(path=""):
    {seed}
    return Model()
def get_scene_embeddings(audio, model):
    {guard}
        return model.layer(audio[:, : audio.shape[1] // 100 * 100].reshape(len(audio), -1, 100)).tanh().mean(1)
def get_timestamp_embeddings(audio, model):
    return get_scene_embeddings(audio, model)[:, None], torch.zeros(len(audio), 1)
"""


def foreign(tmp_path, monkeypatch, name, *, guard="if True:", seed="torch.manual_seed(0)", extra=""):
    (tmp_path / f"{name}.py").write_text(FOREIGN.format(guard=guard, seed=seed, extra=extra))
    monkeypatch.syspath_prepend(tmp_path)
    return load_model(name, device="cpu")


def test_models_of_others(task, tmp_path, monkeypatch):
    keeps = foreign(tmp_path, monkeypatch, "keeps_gradients")
    record = finetune_task(keeps, task, results_dir=tmp_path / "r", **QUICK)
    assert record.folds[0].hyperparameters["n_trained_parameters"] == 404 + 10
    drops = foreign(tmp_path, monkeypatch, "drops_gradients", guard="with torch.no_grad():")
    with pytest.raises(
        DeloresError, match=r"drops_gradients: get_scene_embeddings keeps no gradients.*differentiable_s"
    ):
        finetune_task(drops, task, results_dir=tmp_path / "d", **QUICK)
    own = (
        "    def differentiable_scene(self, audio):\n"
        "        return self.layer(audio[:, : audio.shape[1] // 100 * 100].reshape(len(audio), -1, 100)).tanh().mean(1)"
    )
    helped = foreign(tmp_path, monkeypatch, "own_method", guard="with torch.no_grad():", extra=own)
    again = finetune_task(helped, task, results_dir=tmp_path / "h", **QUICK)
    assert again.scores == record.scores
    frozen = foreign(tmp_path, monkeypatch, "all_frozen", extra="        self.requires_grad_(False)")
    with pytest.raises(DeloresError, match="none of its parameters can be trained"):
        finetune_task(frozen, task, results_dir=tmp_path / "f", **QUICK)
    other = foreign(tmp_path, monkeypatch, "other_each_time", seed="pass")
    with pytest.raises(DeloresError, match="load_model returns different weights each time"):
        finetune_task(other, task, results_dir=tmp_path / "o", **QUICK)
    assert not [name for name in "dfo" if (tmp_path / name).exists()]  # nothing is left of what never began


def test_an_edited_model_is_trained_again_and_one_that_answers_alike_is_not(task, tmp_path, monkeypatch):
    said = []

    def tuned(**changes):
        sys.modules.pop("edited", None)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        model = foreign(tmp_path, monkeypatch, "edited", **changes)
        return finetune_task(model, task, results_dir=tmp_path / "r", say=said.append, **QUICK)

    first = tuned()
    assert tuned().created == first.created
    assert said == []
    tuned(guard="if 1:")
    assert said == ["the source of edited has changed, but it answers the probe sounds as before"]
    tuned(guard="if True:\n        audio = audio * 2\n    if True:")
    assert said[1].startswith("trained again: the model answers the probe sounds differently than before (get_scene")
    file = first.folder / "record.json"
    values = json.loads(file.read_text())
    del values["model"]["behaviour"]
    file.write_text(json.dumps(values))
    tuned(guard="if True:\n        audio = audio * 2\n    if True:")
    assert said[2:] == ["trained again: the record was made before the behaviour of models was recorded"]


def test_one_object_handed_out_again_and_again_is_not_trained(task, tmp_path, monkeypatch):
    single = HearModel(AudioNTT(EncoderConfig(channels=8, embedding_size=8)), FrontendConfig(), -7.0, 4.0).eval()
    monkeypatch.setattr(hear_delores, "load_model", lambda *args: single)
    model = load_model("single=hear_delores", device="cpu")
    before = {key: value.clone() for key, value in single.state_dict().items()}
    finetune_task(model, task, results_dir=tmp_path, **QUICK)
    assert all(torch.equal(value, before[key]) for key, value in single.state_dict().items())


def test_bad_input(task, model, tmp_path, monkeypatch):
    with pytest.raises(DeloresError, match=r"unknown option 'epochs' of protocol finetune"):
        finetune_task(model, task, results_dir=tmp_path / "r", epochs=3)
    for options in ({"lr": 0}, {"patience": 0}, {"crop_seconds": -1.0}, {"shots": 0}):
        with pytest.raises(DeloresError, match="expected"):
            Finetune(**options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DeloresError, match="2 processes were started; pass the world that they have joined"):
        finetune_task(model, task, results_dir=tmp_path / "r", **QUICK)
    monkeypatch.delenv("WORLD_SIZE")
    # No lr that is allowed makes the toy diverge.
    monkeypatch.setattr("benchmarks.scoring.finetune.train.logit_loss", lambda *args: torch.tensor(float("inf")))
    with pytest.raises(DeloresError, match=r"the loss of fold-00 is inf in epoch \d+: lower lr"):
        finetune_task(model, task, results_dir=tmp_path / "n", **QUICK)
    assert not (tmp_path / "n").exists()
    assert not (tmp_path / "r").exists()


def test_a_clip_that_cannot_be_read_is_named(model, tmp_path):
    task = TaskFolder.open(write_task(tmp_path / "t" / "tones-v1-full", {"train": 6, "valid": 4, "test": 4}))
    task.audio_file("train", "train3.wav", RATE).write_bytes(b"RIFFnonsense")
    with pytest.raises(DeloresError, match=r"train3\.wav"):
        finetune_task(model, task, results_dir=tmp_path / "r", **QUICK)
    assert not (tmp_path / "r").exists()


def test_the_command(task, weights, tmp_path):
    app = typer.Typer()
    app.command()(finetune)
    words = [
        "hear_delores", "--model", weights, "--tasks-dir", task.path.parent, "--task", "tones", "--results",
        tmp_path / "r", "--epochs", 1, "--batch-size", 8, "--seeds", 2, "--device", "cpu", "--json",
    ]  # fmt: skip
    ran = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert ran.exit_code == 0
    records = load_records([tmp_path / "r"])
    assert [record["seed"] for record in json.loads(ran.stdout)] == [42, 43]
    [table] = comparison_tables(records)
    assert table.protocol == "finetune (batch_size=8-max_epochs=1)"
    assert table.cells["hear_delores-tiny", "tones"].n_seeds == 2


def test_auto_precision_is_the_faster_one_and_stays_so(model, task, tmp_path, monkeypatch):
    seconds = {"bfloat16": 3.0}
    monkeypatch.setattr(protocol, "time_products", lambda *shape: ProductTimes(*shape[:3], 1.0, seconds["bfloat16"]))
    said: list[str] = []
    kept = {"results_dir": tmp_path, "say": said.append, "auto_precision": True, "max_epochs": 1, "batch_size": 12}
    record = finetune_task(model, task, **kept)
    assert record.folds[0].hyperparameters["precision"] == "float32"
    assert [line.split(",")[0] for line in said] == ["precision: float32"]
    seconds["bfloat16"] = 0.1
    assert finetune_task(model, task, **kept).created == record.created  # what there is, with no second decision
    assert len(said) == 1
    other = finetune_task(model, task, **kept, seed=43)
    assert other.folds[0].hyperparameters["precision"] == "bfloat16"
    assert said[1].startswith("precision: bfloat16, since a product of 12 x ")
