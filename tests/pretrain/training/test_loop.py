"""Whole runs: killed and resumed equals uninterrupted, threads change nothing, bad input leaves nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from training_state import assert_same

import pretrain as package
from hear_delores.checkpoint import load_checkpoint
from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig, config_to_dict, config_to_yaml, load_config
from pretrain.training.optim import schedule_factor
from pretrain.training.start import pretrain

ROOT = Path(package.__path__[0]).parent

# Trains and is killed with SIGKILL at one exact place, in a process of its own.
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pretrain.config import load_config
from pretrain.training.start import Run, pretrain

config, data, out, place, number = sys.argv[1:]
calls = 0

def die(*_):
    global calls
    calls += 1
    if calls == int(number):
        os.kill(os.getpid(), signal.SIGKILL)

if place == "step":  # the weights have moved, nothing is counted or logged yet
    whole = Run._optimize
    def optimize(self, *views):
        values = whole(self, *views)
        die()
        return values
    Run._optimize = optimize
else:  # in the middle of writing the training state
    write = torch.save
    def save(state, path):
        write(state, path)
        with open(path, "rb+") as stream:
            stream.truncate(1000)
        die()
        write(state, path)
    torch.save = save
pretrain(load_config(config), data, out, quiet=True)
"""


def run_killed(warm: Any, config: PretrainConfig, data: Path, out: Path, place: str, number: int) -> None:
    """A run that dies at the ``number``-th step or save; fails the test if it did not die there."""
    path = out.parent / f"{out.name}.yaml"
    path.write_text(config_to_yaml(config))
    done = warm.run(KILLED, path, data, out, place, number)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "checkpoint.safetensors").exists()


def log_lines(out: Path) -> list[dict[str, Any]]:
    """The log without its one value that is measured in seconds."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all(line.pop("seconds") >= 0 for line in lines)
    return lines


def assert_same_run(a: Path, b: Path) -> None:
    """Bit for bit: checkpoint, its header, log, and every tensor of the training state."""
    assert (a / "checkpoint.safetensors").read_bytes() == (b / "checkpoint.safetensors").read_bytes()
    assert log_lines(a) == log_lines(b)
    assert_same(*(torch.load(out / "state.pt", weights_only=True) for out in (a, b)))


def train(config: PretrainConfig, data: Path, out: Path, **options: Any) -> Path:
    return pretrain(config, data, out, quiet=True, **options)


@pytest.mark.parametrize(
    ("method", "place", "number", "last_save"),
    [("s", "step", 8, 6), ("m", "step", 8, 6), ("m", "save", 2, 3)],
)
def test_killed_and_resumed_equals_uninterrupted(
    method: str,
    place: str,
    number: int,
    last_save: int,
    clips: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    warm: Any,
) -> None:
    config: PretrainConfig = request.getfixturevalue(f"tiny_{method}")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, clips, whole)
    run_killed(warm, config, clips, parts, place, number)
    assert torch.load(parts / "state.pt", weights_only=True)["step"] == last_save
    train(config, clips, parts, resume=True)
    assert_same_run(whole, parts)


def test_dying_before_the_first_save_and_resuming_begins_anew(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    class Stop(Exception):
        pass

    def die(*_: Any) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pretrain.training.start.Run.save", die)
        with pytest.raises(Stop):
            train(tiny_s, clips, tmp_path / "a")
    assert len(log_lines(tmp_path / "a")) > 1
    assert not (tmp_path / "a/state.pt").exists()
    train(tiny_s, clips, tmp_path / "a", resume=True)
    train(tiny_s, clips, tmp_path / "b")
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_a_half_written_log_line_is_dropped_on_resuming(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    out = tmp_path / "a"
    train(tiny_s, clips, out)
    before = log_lines(out)
    with (out / "log.jsonl").open("a") as stream:
        stream.write('{"step": 11, "lo')
    train(tiny_s, clips, out, resume=True)
    assert log_lines(out) == before
    with (out / "log.jsonl").open("ab") as stream:
        stream.write(b"\xb7\xff\n")
    train(tiny_s, clips, out, resume=True)
    assert log_lines(out) == before


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["state.pt", "checkpoint.safetensors"])
def test_a_link_or_folder_in_the_place_of_a_runs_file_is_refused(
    name: str, resume: bool, clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    out = tmp_path / "a"
    out.mkdir()
    (out / name).symlink_to(tmp_path / "gone")
    with pytest.raises(DeloresError, match=rf"{name}: expected a file .* a link to a file that is not there; remove"):
        train(tiny_s, clips, out, resume=resume)
    assert not (tmp_path / "gone").exists()
    (out / name).unlink()
    (out / name).mkdir()
    with pytest.raises(DeloresError, match=rf"{name}: expected a file of the run, but it is no file; remove it"):
        train(tiny_s, clips, out, resume=resume)


def test_being_asked_to_stop_saves_the_last_step(clips: Path, tmp_path: Path, tiny_m: PretrainConfig) -> None:
    steps = 0

    def interrupt(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            signal.raise_signal(signal.SIGINT)

    handler = signal.default_int_handler  # a shell's background job starts with SIGINT ignored
    before = signal.signal(signal.SIGINT, handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pretrain.watching.progress.Display.step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_m, clips, tmp_path / "a")
    assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, before)
    assert torch.load(tmp_path / "a/state.pt", weights_only=True)["step"] == 5
    train(tiny_m, clips, tmp_path / "a", resume=True)
    train(tiny_m, clips, tmp_path / "b")
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("method", ["s", "m"])
def test_threads_prefetch_and_cache_change_nothing(
    method: str, clips: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config: PretrainConfig = request.getfixturevalue(f"tiny_{method}")
    outs = []
    for threads, prefetch, cache_mb in ((0, 1, 0), (1, 2, 1024), (4, 7, 0)):
        out = tmp_path / f"{threads}"
        data = config.data.model_copy(update={"threads": threads, "prefetch": prefetch, "cache_mb": cache_mb})
        train(config.model_copy(update={"data": data}), clips, out)
        outs.append(out)
    tensors = [load_checkpoint(out / "checkpoint.safetensors").state_dict() for out in outs]
    for other, out in zip(tensors[1:], outs[1:], strict=True):
        assert_same(tensors[0], other)
        assert log_lines(out) == log_lines(outs[0])


def test_the_seed_changes_everything_and_the_callers_generator_nothing(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(tiny_s, clips, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    train(tiny_s, clips, tmp_path / "b")
    assert_same_run(tmp_path / "a", tmp_path / "b")
    train(tiny_s.model_copy(update={"seed": 1}), clips, tmp_path / "c")
    assert log_lines(tmp_path / "c")[1:] != log_lines(tmp_path / "a")[1:]


def test_log_follows_the_schedule_over_the_whole_run(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    """13 clips in batches of 8 are epochs of 1.6 steps: fed the step inside the epoch, it would not decay."""
    schedule = tiny_s.schedule.model_copy(update={"warmup": 0.3})
    config = tiny_s.model_copy(update={"log_every": 1, "schedule": schedule})
    train(config, clips, tmp_path / "a")
    lines = log_lines(tmp_path / "a")[1:]
    assert [line["step"] for line in lines] == list(range(1, 11))
    for line in lines:
        rate = config.optimizer.lr * schedule_factor(line["step"] - 1, 10, config.schedule)
        assert line["lr"] == pytest.approx(rate, rel=1e-4, abs=1e-12)
        assert line["epoch"] == pytest.approx(line["step"] * 8 / 13, abs=1e-4)
    assert lines[0]["lr"] == 0
    assert lines[-1]["lr"] < 0.2 * config.optimizer.lr


def test_the_checkpoint_and_the_folder_tell_the_whole_run(clips: Path, tmp_path: Path, tiny_m: PretrainConfig) -> None:
    path = train(tiny_m, clips, tmp_path / "run")
    assert path == tmp_path / "run" / "checkpoint.safetensors"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "checkpoint.safetensors",
        "config.yaml",
        "data-hashes.npy",
        "log.jsonl",
        "state.pt",
    ]
    model, lines = load_checkpoint(path), log_lines(path.parent)
    info = model.info
    assert (info["method"], info["step"], info["config"]) == ("delores-m", 10, config_to_dict(tiny_m))
    assert (info["data"]["clips"], info["data"]["files"], info["data"]["skipped"]) == (13, 13, 0)
    assert info["metrics"]["loss"] == lines[-1]["loss"]
    assert (model.mean, model.std) == (lines[0]["mean"], lines[0]["std"])
    assert load_config(path.parent / "config.yaml") == tiny_m
    state = torch.load(path.parent / "state.pt", weights_only=True)
    for name, value in model.encoder.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, state["method"][f"encoder.{name}"]), name
    assert int(state["method"]["pointer"]) == 80 % 20
    assert int(state["augmenter"]["memory.count"]) == 20
    assert model.scene_embeddings(torch.zeros(2, 16000)).shape == (2, 16)


def test_a_folder_in_use_is_not_overwritten_and_a_finished_run_not_repeated(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    path = train(tiny_s, clips, tmp_path / "a")
    before = path.stat().st_mtime_ns
    with pytest.raises(DeloresError, match=r"already holds a run .* --resume"):
        train(tiny_s, clips, tmp_path / "a")
    assert train(tiny_s, clips, tmp_path / "a", resume=True) == path
    assert path.stat().st_mtime_ns == before
    (tmp_path / "file").write_text("")
    with pytest.raises(DeloresError, match="expected a folder"):
        train(tiny_s, clips, tmp_path / "file")


def test_resuming_with_another_configuration_or_data_names_what_changed(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    out = tmp_path / "a"
    train(tiny_s, clips, out)
    for key, change in {
        "seed": {"seed": 3},
        "steps": {"steps": 20},
        "optimizer.lr": {"optimizer": tiny_s.optimizer.model_copy(update={"lr": 0.5})},
    }.items():
        with pytest.raises(DeloresError, match=f"cannot resume .*: {key} is"):
            train(tiny_s.model_copy(update=change), clips, out, resume=True)
    train(tiny_s.model_copy(update={"save_every": 7}), clips, out, resume=True)  # no part in the result
    (tmp_path / "less").mkdir()
    (tmp_path / "less/x.wav").write_bytes((clips / "clip00.wav").read_bytes())
    with pytest.raises(DeloresError, match=r"the data changed .13 clips then, 1 now"):
        train(tiny_s, tmp_path / "less", out, resume=True)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_training_state_is_one_line(
    content: bytes | None, clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    path = tmp_path / "a" / "state.pt"
    train(tiny_s, clips, tmp_path / "a")
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(DeloresError, match="not a readable training state") as caught:
        train(tiny_s, clips, tmp_path / "a", resume=True)
    assert "\n" not in str(caught.value)


def test_a_training_state_with_code_in_it_is_not_run(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "a").mkdir()
    torch.save({"format_version": 1, "config": Trap()}, tmp_path / "a/state.pt")
    with pytest.raises(DeloresError, match="not a readable training state"):
        train(tiny_s, clips, tmp_path / "a", resume=True)
    assert not (tmp_path / "sprung").exists()


def test_bad_files_stop_a_run_before_it_writes_anything_or_are_listed(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in clips.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    (data / "clip05.wav").write_bytes(b"garbage" * 99)
    soundfile.write(data / "clip07.wav", np.full(9999, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(DeloresError, match=r"clip05.wav: cannot be read as audio"):
        train(tiny_s, data, tmp_path / "a")
    (data / "clip05.wav").unlink()
    with pytest.raises(DeloresError, match=r"clip07.wav: the audio holds NaN"):
        train(tiny_s, data, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    (data / "clip05.wav").write_bytes(b"")

    logs = []
    for name, cache_mb in (("cached", 1024), ("streamed", 0)):
        few = tiny_s.data.model_copy(update={"cache_mb": cache_mb, "statistics_clips": 1})
        path = train(tiny_s.model_copy(update={"data": few}), data, tmp_path / name, skip_bad=True)
        assert load_checkpoint(path).info["data"]["skipped"] == 2
        logs.append(log_lines(path.parent))
        listed = [bad["file"] for bad in logs[-1][0]["skipped"]]
        listed += [line["file"] for line in logs[-1] if line.get("event") == "skipped"]
        assert sorted(listed) == ["clip05.wav", "clip07.wav"]
    assert logs[0][-1] == logs[1][-1]


def test_audio_of_every_kind_trains(tmp_path: Path, tiny_m: PretrainConfig) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()
    for i, (subtype, rate, channels) in enumerate(
        [("PCM_U8", 8000, 1), ("PCM_24", 96000, 2), ("FLOAT", 44100, 1), ("PCM_16", 16000, 6)]
    ):
        soundfile.write(data / f"{i}.wav", 0.2 * rng.standard_normal((rate, channels)), rate, subtype=subtype)
    soundfile.write(data / "5.ogg", 0.2 * rng.standard_normal(22050), 22050)
    soundfile.write(data / "6.wav", np.zeros(16000), 16000)  # silence
    soundfile.write(data / "7.wav", np.array([0.1]), 16000)  # one sample
    assert train(tiny_m, data, tmp_path / "a").is_file()
    assert all(np.isfinite(line["loss"]) for line in log_lines(tmp_path / "a")[1:])


def test_a_corpus_of_silence_trains(tmp_path: Path, tiny_s: PretrainConfig) -> None:
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data/a.wav", np.zeros(16000), 16000)
    assert train(tiny_s, tmp_path / "data", tmp_path / "a").is_file()


def test_a_loss_that_is_not_finite_stops_the_run(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    wild = tiny_s.optimizer.model_copy(update={"kind": "sgd", "lr": 1e30})
    with pytest.raises(DeloresError, match=r"the loss is .* lower optimizer.lr"):
        train(tiny_s.model_copy(update={"optimizer": wild}), clips, tmp_path / "a")
    assert not (tmp_path / "a/checkpoint.safetensors").exists()


def test_bfloat16_and_memory_format_give_nearly_the_same_run(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    losses = {}
    for precision, channels_last in (("float32", True), ("float32", False), ("bfloat16", True)):
        out = tmp_path / f"{precision}{channels_last}"
        train(tiny_s.model_copy(update={"precision": precision, "channels_last": channels_last}), clips, out)
        losses[precision, channels_last] = [line["loss"] for line in log_lines(out)[1:]]
    exact = losses["float32", True]
    assert exact != losses["bfloat16", True]
    assert losses["float32", False] == pytest.approx(exact, rel=1e-2)
    assert losses["bfloat16", True] == pytest.approx(exact, rel=0.1)


def test_automatic_precision_is_decided_and_stored(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    train(tiny_s.model_copy(update={"precision": "auto"}), clips, tmp_path / "a")
    stored = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
    assert stored["precision"] in ("float32", "bfloat16")


def test_an_unknown_device_is_one_line(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    with pytest.raises(DeloresError, match="device 'abacus' cannot be used"):
        train(tiny_s.model_copy(update={"device": "abacus"}), clips, tmp_path / "a")
