"""A run killed with SIGKILL at random points, and resumed each time, equals one that never was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_state import assert_same

from pretrain.config import PretrainConfig, config_to_yaml

# Forks a process for each part of the run, before any tensor is made. The parent hands out steps
# through a pipe, so that a part can never run to the end, and kills some time after the last one was taken: in the
# set-up, within a step, or while a state is written. What a part did is told by its exit alone.
DRIVER = """
import os, random, signal, sys, time
from pretrain.config import load_config
from pretrain.training.start import Run, pretrain
import torch
torch.set_num_threads(1)

config, data, whole, parts, kills, seed = sys.argv[1:]
config, chance = load_config(config), random.Random(int(seed))

def start(out, steps=None):
    read, write = os.pipe()
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(write)
            advance = Run._advance
            def taken(self, batch):
                os.write(told, b".")
                if steps is not None and not os.read(read, 1):
                    time.sleep(600)  # the parent closed the pipe: nothing more to take, only to be killed
                advance(self, batch)
            Run._advance = taken
            pretrain(config, data, out, resume=True, quiet=True)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(repr(error))
        os._exit(1)
    os.close(read)
    os.close(told)
    if steps is not None:
        os.write(write, b"." * steps)
    os.close(write)
    return child, ready

began = time.monotonic()
child, ready = start(whole)
os.read(ready, 1)
setting_up = time.monotonic() - began
began = time.monotonic()
assert os.waitpid(child, 0)[1] == 0
step = (time.monotonic() - began) / (config.steps or 1)
for number in range(int(kills)):
    steps = chance.choice([0, 1, 1, 2, 3])
    child, ready = start(parts, steps)
    if steps == 0:  # somewhere in the set-up, and so the loading of a state
        time.sleep(chance.uniform(0, 1.2 * setting_up))
    else:
        for _ in range(steps):
            os.read(ready, 1)
        time.sleep(chance.uniform(0, 2 * step))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, number
    os.close(ready)
    left = os.path.exists(os.path.join(parts, "checkpoint.safetensors"))
    assert not left, "a part ran to the end"
    try:
        saved = torch.load(os.path.join(parts, "state.pt"), weights_only=True)["step"]
    except FileNotFoundError:
        saved = 0
    print(saved, flush=True)
assert os.waitpid(start(parts)[0], 0)[1] == 0
"""


@pytest.mark.parametrize("method", ["s", "m"])
@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.long)])
def test_kills_change_nothing(
    kills: int, method: str, clips: Path, tmp_path: Path, request: pytest.FixtureRequest, warm: Any
) -> None:
    tiny: PretrainConfig = request.getfixturevalue(f"tiny_{method}")
    steps = 2 * kills + 4
    config = tiny.model_copy(update={"steps": steps, "save_every": 2, "log_every": 1})
    (tmp_path / "config.yaml").write_text(config_to_yaml(config))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    arguments = [tmp_path / "config.yaml", clips, whole, parts, kills, "sm".index(method)]
    done = warm.run(DRIVER, *arguments, timeout=280)
    assert done.returncode == 0, done.stderr
    saved = [int(step) for step in done.stdout.split()]
    assert len(saved) == kills
    assert saved == sorted(saved)  # nothing that was saved is lost
    assert 0 < saved[-1] < steps
    assert (parts / "checkpoint.safetensors").read_bytes() == (whole / "checkpoint.safetensors").read_bytes()
    assert log_of(parts) == log_of(whole)
    assert_same(*(torch.load(out / "state.pt", weights_only=True) for out in (parts, whole)))


def log_of(out: Path) -> list[dict[str, Any]]:
    """The log without its one value that is measured in seconds."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
