"""Whole runs of two processes: near those of one, stopped and resumed on another number, one line of error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

import pretrain as package
from hear_delores.checkpoint import load_checkpoint
from pretrain.config import PretrainConfig, config_to_yaml
from pretrain.training.start import pretrain

ROOT = Path(package.__path__[0]).parent

# Trains on the processes that the environment names; the second one is asked to stop after a step, if any is given.
TRAIN = """
import os, signal, sys, torch
torch.set_num_threads(1)
from pretrain.__main__ import main
from pretrain.watching.progress import Display
config, data, out, stop_after, *options = sys.argv[1:]
step = Display.step
def asked(self, done, *rest):
    step(self, done, *rest)
    if done == int(stop_after) and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
Display.step = asked
sys.argv = ["pretrain", "--preset", config, "--data", data, "--out", out, "--no-picture", *options]
main()
"""

# Prints whether gloo's threads are there while a run trains, and which are left after it.
THREADS = """
import sys
from pathlib import Path
from pretrain.config import load_config
from pretrain.training.start import Run, pretrain
def gloos():
    names = [path.read_text().strip() for path in Path('/proc/self/task').glob('*/comm')]
    return sorted(name for name in names if 'gloo' in name)
def train(self, inner=Run.train):
    print(len(gloos()) > 0)
    return inner(self)
Run.train = train
pretrain(load_config(sys.argv[1]), sys.argv[2], sys.argv[3], quiet=True)
print(gloos())
"""


def sgd(config: PretrainConfig, lr: float) -> PretrainConfig:
    """Adam divides noise by its own size, such as the gradients of biases before a norm, which are zero."""
    update = {"kind": "sgd", "lr": lr, "weight_decay": 0.0}
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update=update)})


def arguments(config: PretrainConfig, data: Path, out: Path, stop_after: int, *options: str) -> list[str]:
    path = out.parent / f"{out.name}.yaml"
    path.write_text(config_to_yaml(config))
    return [str(path), str(data), str(out), str(stop_after), *options]


def log_lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_near(a: Path, b: Path) -> None:
    """Every tensor of the training states, and every figure of the logs, to the rounding of float32."""
    states = [torch.load(out / "state.pt", weights_only=True) for out in (a, b)]
    assert states[0]["step"] == states[1]["step"]
    for part in ("method", "augmenter"):
        for name, value in states[0][part].items():
            torch.testing.assert_close(states[1][part][name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert torch.equal(states[0]["rng"], states[1]["rng"])
    assert torch.equal(states[0]["generator"], states[1]["generator"])
    lines = [log_lines(out) for out in (a, b)]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    for left, right in zip(*lines, strict=True):
        for key in ("loss", "mean_diagonal", "mean_abs_off_diagonal", "rank_embedding", "mean", "std"):
            if key in left:
                assert left[key] == pytest.approx(right[key], rel=1e-3, abs=1e-4), key


@pytest.mark.parametrize("torchrun", [False, pytest.param(True, marks=pytest.mark.long)])
def test_stopped_on_two_processes_and_resumed_on_one_equals_one(
    clips: Path, tmp_path: Path, tiny_m: PretrainConfig, warm: Any, torchrun: bool
) -> None:
    """The second process alone is asked to stop, and both do, after the same step."""
    config, out = sgd(tiny_m, 1e-3), tmp_path / "pair"
    words = arguments(config, clips, out, 5)
    if torchrun:
        script = tmp_path / "train.py"
        script.write_text(TRAIN)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = subprocess.run(
            [*command, str(script), *words],
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=280,
        )
        ended, printed, errors = [done.returncode], done.stdout, done.stderr
    else:
        found = warm.pair(TRAIN, *words)
        ended = [code for code, _, _ in found]
        printed, errors = ("".join(each[stream] for each in found) for stream in (1, 2))
    assert 0 not in ended
    assert "stopped after step 5, state saved: continue with --resume" in errors.replace("\n", " "), errors
    assert "processes: 2, each with 4 clips of every batch" in printed
    assert printed.count("data: 13 clips") == 1
    assert sorted(p.name for p in out.iterdir()) == ["config.yaml", "data-hashes.npy", "log.jsonl", "state.pt"]
    assert torch.load(out / "state.pt", weights_only=True)["step"] == 5
    pretrain(config, clips, out, resume=True, quiet=True)
    pretrain(config, clips, tmp_path / "one", quiet=True)
    assert_near(tmp_path / "one", out)


def test_stopped_on_one_process_and_resumed_on_two_equals_one(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig, warm: Any
) -> None:
    """With a bad file in the second process's half of a batch, which both skip, and the first one lists."""
    data = tmp_path / "data"
    data.mkdir()
    for path in clips.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    samples, rate = soundfile.read(data / "clip03.wav")
    soundfile.write(data / "clip03.wav", samples * float("nan"), rate, subtype="FLOAT")
    few = tiny_s.data.model_copy(update={"cache_mb": 0, "statistics_clips": 1})
    config = sgd(tiny_s, 1e-5)  # the loss, and so its gradient, is not scaled down as M's is
    config = config.model_copy(update={"data": few, "scene": ("layer3_std_decorrelated",)})

    class Stop(Exception):
        pass

    def die(*_: Any) -> None:
        raise Stop

    out = tmp_path / "pair"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pretrain.training.start.Run._report_bad", lambda self, bad: die() if self.step == 5 else None)
        with pytest.raises(Stop):
            pretrain(config, data, out, quiet=True, skip_bad=True)
    assert torch.load(out / "state.pt", weights_only=True)["step"] == 3
    found = warm.pair(TRAIN, *arguments(config, data, out, 0, "--resume", "--skip-bad", "--quiet"))
    assert [(code, text) for code, text, _ in found] == [(0, ""), (0, "")], found
    pretrain(config, data, tmp_path / "one", quiet=True, skip_bad=True)
    assert (out / "checkpoint.safetensors").is_file()
    states = [torch.load(o / "state.pt", weights_only=True) for o in (out, tmp_path / "one")]
    assert states[0]["reported"] == states[1]["reported"] == ["clip03.wav"]
    for name, value in states[1]["method"].items():
        torch.testing.assert_close(states[0]["method"][name], value, rtol=1e-3, atol=1e-4, msg=name)
    maps = [load_checkpoint(o / "checkpoint.safetensors").decorrelation["layer3_std"] for o in (out, tmp_path / "one")]
    torch.testing.assert_close(maps[0].matrix, maps[1].matrix, rtol=1e-2, atol=1e-3 * float(maps[1].matrix.abs().max()))


def test_what_ends_one_process_ends_both_with_one_line(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig, warm: Any
) -> None:
    """A batch that two processes cannot share: both find out, one says so."""
    config = tiny_s.model_copy(update={"batch_size": 9})
    found = warm.pair(TRAIN, *arguments(config, clips, tmp_path / "a", 0))
    assert [code for code, _, _ in found] == [1, 1]
    said = "".join(err for _, _, err in found)
    assert said.count("error:") == 1, said
    assert "batch_size of 9 cannot be divided among 2 processes" in said
    assert "Traceback" not in said
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed there on Linux")
def test_no_thread_of_the_processes_outlives_their_run(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig, warm: Any
) -> None:
    """One of gloo's that still holds a tensor when the interpreter ends would abort the process."""
    (tmp_path / "config.yaml").write_text(config_to_yaml(tiny_s.model_copy(update={"steps": 2})))
    found = warm.pair(THREADS, tmp_path / "config.yaml", clips, tmp_path / "out")
    assert [(code, text.split("\n")) for code, text, _ in found] == [(0, ["True", "[]", ""])] * 2, found


@pytest.fixture(autouse=True)
def _default_signals() -> Any:
    """A shell's background job starts with SIGINT ignored, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
