"""Fine-tuning on two processes takes the steps of one, goes on from one or two, and ends with one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_scoring_finetune import write_task

import hear_delores
from benchmarks.embedding.model import load_model
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import load_predictions, load_record
from benchmarks.scoring.finetune import train as finetune_train
from benchmarks.scoring.finetune.clips import Clips, training_batches, whole_batches
from benchmarks.scoring.finetune.protocol import finetune_task
from benchmarks.tasks.folder import TaskFolder
from hear_delores import AudioNTT, EncoderConfig, FrontendConfig, HearModel, save_checkpoint
from hear_delores.errors import DeloresError
from pretrain.distributed.world import World

ROOT = Path(hear_delores.__file__).parents[1]
RATE = 16000
# 23 clips in batches of 7, 7, 7 and 2: processes with 3 and 4 rows, and with 1 and 1
SIZES = {"train": 23, "valid": 8, "test": 11}
OPTIONS: dict[str, Any] = {"max_epochs": 3, "batch_size": 7, "lr": 0.05}
WORDS = ["--epochs", "3", "--batch-size", "7", "--lr", "0.05"]

# A process of a pair: `delores` with SGD, for Adam divides noise by its own size where a gradient is zero (a bias
# before a norm); it keeps the last weights and, when told to, the second process dies at a step.
CHILD = """
import os, signal, sys, torch
torch.set_num_threads(1)
from benchmarks.cli import main
from benchmarks.scoring.finetune import train as finetune_train
deadly, kept, *words = sys.argv[1:]
torch.optim.Adam = torch.optim.SGD
step, test, steps = finetune_train._Training._step, finetune_train._Training.fitted, 0
def counted(self, *args):
    global steps
    steps += 1
    if steps == int(deadly) and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, *args)
def keeping(self):
    torch.save([self.best.trace, self.model.state_dict()], kept + "." + os.environ["RANK"])
    return test(self)
finetune_train._Training._step, finetune_train._Training.fitted = counted, keeping
sys.argv = ["delores", "finetune", *words]
main()
"""

# Its embedding is a function beside the module, with BatchNorm, a frozen and an unused parameter.
FOREIGN = """
import torch
class Model(torch.nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 6, 6
    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.out = torch.nn.Linear(100, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 6)
        self.frozen, self.unused = torch.nn.Parameter(torch.ones(1), False), torch.nn.Parameter(torch.ones(2))
def load_model(path=""):
    torch.manual_seed(0)
    return Model()
def get_scene_embeddings(audio, model):
    x = model.layer(audio[:, : audio.shape[1] // 100 * 100].reshape(len(audio), -1, 100))
    return model.out(model.norm(x.transpose(1, 2)).tanh().square().mean(2)) * model.frozen
def get_timestamp_embeddings(audio, model):
    return get_scene_embeddings(audio, model)[:, None], torch.zeros(len(audio), 1)
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaskFolder:
    return TaskFolder.open(write_task(tmp_path_factory.mktemp("tasks") / "tones-v1-full", SIZES))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small encoder without dropout, which makes a ragged batch random in its own way."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = AudioNTT(EncoderConfig(channels=8, embedding_size=12, dropout=0.0))
    save_checkpoint(path, HearModel(encoder, FrontendConfig(), -7.0, 4.0, scene=("pooled", "layer2_std")))
    return path


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the one process, in here, that is compared with ends its training with."""
    found: list[Any] = []
    test = finetune_train._Training.fitted

    def keeping(self: Any) -> Any:
        found[:] = [self.best.trace, {name: value.clone() for name, value in self.model.state_dict().items()}]
        return test(self)

    monkeypatch.setattr(finetune_train._Training, "fitted", keeping)
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)
    return found


def run_pair(warm: Any, folder: Path, words: list[str], deadly: int = 0) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of both processes."""
    more = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "CUDA_VISIBLE_DEVICES": ""}
    return warm.pair(CHILD, deadly, folder / "kept", *words, cwd=folder, env=more)


def words(module: str, task: TaskFolder, results: Path) -> list[str]:
    return [module, "--tasks-dir", str(task.path.parent), "--results", str(results), "--device", "cpu"]


def assert_near(found: list[Any], expected: list[Any]) -> None:
    assert [score for _, score in found[0]] == [score for _, score in expected[0]]
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


def assert_same_record(found: ResultRecord, expected: ResultRecord) -> None:
    assert found.scores == expected.scores
    assert found.fingerprint == expected.fingerprint
    assert found.folds[0].epoch == expected.folds[0].epoch
    one, two = load_predictions(found.folder)["test"], load_predictions(expected.folder)["test"]
    np.testing.assert_allclose(one.prediction, two.prediction, rtol=1e-3, atol=1e-5)
    assert list(one.files) == list(two.files)


def stop_after_an_epoch(done: int, total: int, text: str) -> None:
    raise KeyboardInterrupt


def test_a_model_of_others_begun_on_one_process_and_ended_on_two_equals_one(task, tmp_path, kept, warm, monkeypatch):
    (tmp_path / "beside.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    model = load_model("beside", device="cpu")
    whole = finetune_task(model, task, results_dir=tmp_path / "one", **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        finetune_task(model, task, results_dir=tmp_path / "two", progress=stop_after_an_epoch, **OPTIONS)
    found = run_pair(warm, tmp_path, [*words("beside", task, tmp_path / "two"), *WORDS])
    assert [code for code, _, _ in found] == [0, 0], found
    assert ["finetune, seed 42" in out for _, out, _ in found] == [True, False]
    pair = [torch.load(tmp_path / f"kept.{rank}", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(value, pair[1][1][name]) for name, value in pair[0][1].items())
    assert_near(pair[0], kept)
    assert torch.equal(pair[0][1]["encoder.unused"], torch.ones(2))
    assert int(pair[0][1]["encoder.norm.num_batches_tracked"]) == 3 * 4
    record = load_record(tmp_path / "two" / whole.folder.relative_to(tmp_path / "one"))
    assert_same_record(record, whole)
    assert not (record.folder / "work").exists()


def test_killed_on_two_processes_and_ended_on_one_equals_one(task, weights, tmp_path, kept, warm):
    """Ours. The second process dies in the second epoch: the first says in one line how to go on."""
    module = f"tiny=hear_delores@{weights}"
    found = run_pair(warm, tmp_path, [*words(module, task, tmp_path / "two"), *WORDS], deadly=6)
    assert [code for code, _, _ in found] == [1, -9], found
    assert found[0][2].count("error:") == 1
    assert "contact with another of the 2 processes was lost" in found[0][2]
    assert "the same command again goes on from there" in found[0][2]
    assert "Traceback" not in found[0][2]
    model = load_model(module, device="cpu")
    done: list[int] = []
    options = {**OPTIONS, "progress": lambda epochs, total, text: done.append(epochs)}
    record = finetune_task(model, task, results_dir=tmp_path / "two", **options)
    assert done == [2, 3]
    resumed = list(kept)
    whole = finetune_task(model, task, results_dir=tmp_path / "one", **OPTIONS)
    assert_near(resumed, kept)
    assert_same_record(record, whole)


@pytest.mark.parametrize("torchrun", [False, pytest.param(True, marks=pytest.mark.long)])
def test_two_processes_write_one_record_and_json_once(task, weights, tmp_path, warm, torchrun):
    arguments = words(f"tiny=hear_delores@{weights}", task, tmp_path / "r")
    arguments += ["--epochs", "1", "--batch-size", "8", "--amp", "--json"]
    if torchrun:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        ran = subprocess.run(
            [*command, "-m", "benchmarks", "finetune", *arguments], capture_output=True, text=True, timeout=280,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        printed = ran.stdout
    else:
        found = run_pair(warm, tmp_path, arguments)
        assert [(code, bool(out)) for code, out, _ in found] == [(0, True), (0, False)], found
        printed = found[0][1]
    [record] = json.loads(printed)
    assert record["folds"][0]["hyperparameters"]["precision"] == "bfloat16"
    assert len(list((tmp_path / "r").rglob("record.json"))) == 1


@pytest.mark.parametrize("broken", ["batch", "clip"])
def test_what_ends_one_process_ends_both_with_one_line(task, weights, tmp_path, warm, broken):
    """Batches that two processes cannot share; a clip that only the one that has it finds to be bad."""
    extra, message = ["--batch-size", "1"], "batches of 1 clips cannot be shared among 2 processes"
    if broken == "clip":
        task = TaskFolder.open(write_task(tmp_path / "t" / "tones-v1-full", {"train": 2, "valid": 2, "test": 2}))
        path = task.audio_file("train", "train1.wav", RATE)
        path.write_bytes(path.read_bytes()[:300] + b"\xff" * (path.stat().st_size - 300))  # NaN after a good header
        extra, message = ["--epochs", "1"], "train1.wav"
    found = run_pair(warm, tmp_path, [*words(f"hear_delores@{weights}", task, tmp_path / "r"), *extra])
    assert [code for code, _, _ in found] == [1, 1], found
    said = "".join(err for _, _, err in found)
    assert said.count("error:") == 1, said
    assert message in said
    assert "Traceback" not in said
    assert not list((tmp_path / "r").rglob("record.json"))


def test_the_rows_of_three_processes_are_those_of_one(task):
    """Every batch in the order of one process, split without gaps; fewer clips than processes join the batch before."""
    clips, order = Clips(task, ["train"], RATE), torch.randperm(23)
    positions = torch.rand(23, dtype=torch.float64)
    worlds = [World(rank, 3) for rank in range(3)]
    for size, sizes in ((7, [7, 7, 9]), (10, [10, 10, 3]), (23, [23])):
        each = [list(training_batches(clips, order, positions, size, 3000, world)) for world in worlds]
        audio = [torch.cat([part[0] for part in parts]) for parts in zip(*each, strict=True)]
        assert [len(batch) for batch in audio] == sizes
        [(whole, targets)] = training_batches(clips, order, positions, 23, 3000)
        assert torch.equal(torch.cat(audio), whole)
        assert torch.equal(torch.cat([part[1] for parts in zip(*each, strict=True) for part in parts]), targets)
        assert all(
            max(n) - min(n) <= 1 for n in ([len(part[0]) for part in parts] for parts in zip(*each, strict=True))
        )
    rows = [row for world in worlds for group, _ in whole_batches(clips, 0, world) for row in group]
    assert sorted(rows) == list(range(23))
    with pytest.raises(DeloresError, match="batches of 2 clips cannot be shared among 3 processes"):
        next(training_batches(clips, order, positions, 2, 3000, worlds[0]))
