"""A disk that fills up while something is saved: one line, and what was saved before stays good."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hear_delores import AudioNTT, EncoderConfig, FrontendConfig, HearModel
from hear_delores.checkpoint import load_checkpoint, save_checkpoint
from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig, config_to_yaml
from pretrain.training.start import pretrain
from pretrain.training.state import load_state

# From the n-th call of one function on, no file may grow beyond some bytes: write(2) then fails as on a full disk,
# in whatever library it happens, with EFBIG for ENOSPC.
FULL = """
import resource, sys
import torch
torch.set_num_threads(1)
from pretrain.training import loop as run
from pretrain.__main__ import main

place, number, room = sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1))
owner = run.Run if hasattr(run.Run, place) else run
calls, whole = 0, getattr(owner, place)

def full(*arguments):
    global calls
    calls += 1
    if calls == number:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    return whole(*arguments)

setattr(owner, place, full)
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of resources")
@pytest.mark.parametrize(
    ("place", "number", "room", "said", "last_step"),
    [
        ("save", 2, 100_000, "cannot write the training state {out}/state.pt", 3),  # it has half a megabyte
        # a line has 500 bytes; standard error, which is a file here, has less
        ("_write_line", 2, 500, "cannot write the log {out}/log.jsonl", 3),
        ("_finish", 1, 100_000, "cannot write the training state {out}/state.pt", 9),
        ("save_checkpoint", 1, 5000, "cannot write the checkpoint {out}/checkpoint.safetensors", 10),  # 15 kB
    ],
)
def test_a_full_disk_is_one_line_and_a_resumed_run_goes_on_from_what_was_saved(
    place: str,
    number: int,
    room: int,
    said: str,
    last_step: int,
    clips: Path,
    tmp_path: Path,
    tiny_m: PretrainConfig,
    warm: Any,
) -> None:
    path, out = tmp_path / "config.yaml", tmp_path / "parts"
    path.write_text(config_to_yaml(tiny_m))
    options = ["--preset", path, "--data", clips, "--out", out, "--quiet", "--no-picture"]
    done = warm.run(FULL, place, number, room, *options)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith(f"error: {said.format(out=out)}"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "File too large" in done.stderr or "is the disk full?" in done.stderr
    assert not (out / "checkpoint.safetensors").exists()
    assert not list(out.glob(".*")), "something half written was left"
    assert load_state(out / "state.pt")["step"] == last_step
    resumed = pretrain(tiny_m, clips, out, resume=True, quiet=True)
    assert resumed.read_bytes() == pretrain(tiny_m, clips, tmp_path / "whole", quiet=True).read_bytes()


def test_a_checkpoint_that_is_there_survives_a_full_disk(checkpoint_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(checkpoint_bytes)

    def full(tensors: Any, target: Path, metadata: Any) -> None:
        Path(target).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    model = load_checkpoint(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hear_delores.checkpoint.save_file", full)
        with pytest.raises(DeloresError, match="No space left on device"):
            save_checkpoint(path, model)
    assert path.read_bytes() == checkpoint_bytes
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.fixture
def checkpoint_bytes(tmp_path: Path) -> bytes:
    path = tmp_path / "model"
    save_checkpoint(path, HearModel(AudioNTT(EncoderConfig(embedding_size=8, channels=4)), FrontendConfig(), -7.0, 4.0))
    content = path.read_bytes()
    path.unlink()
    return content
