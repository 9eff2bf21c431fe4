"""One process at a time at a folder: refused or waited for, never held by the dead, and nothing left behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig, config_to_yaml
from pretrain.data.pack import pack
from pretrain.locks import LOCK_FILE, folder_lock, release_all
from pretrain.training.start import pretrain

HOLDS = """
import sys, time
from pretrain.locks import folder_lock
with folder_lock(sys.argv[1], "testing"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_is_kept_out_until_it_is_killed(tmp_path: Path, warm: Any) -> None:
    out = tmp_path / "a" / "run"
    other = warm.start(HOLDS, out)
    try:
        while other.said("out") != "held\n":
            assert other.poll() is None, other.said("err")
            time.sleep(0.01)
        with pytest.raises(DeloresError) as error, folder_lock(out, "pre-training into this folder"):
            pass
        assert str(error.value) == (
            f"{out}: another process is pre-training into this folder; wait until it has ended, or end it"
        )
    finally:
        other.kill()
        other.finish()
    assert (out / LOCK_FILE).exists()  # a kill leaves the file, which locks nothing
    with folder_lock(out, "x"):
        pass
    assert os.listdir(out) == []


@pytest.mark.parametrize("whole", [False, True])
def test_nothing_stays_behind(whole: bool, tmp_path: Path) -> None:
    with folder_lock(tmp_path / "a" / "b", "x", whole=whole):
        assert list((tmp_path / "a").rglob("*lock"))
    assert os.listdir(tmp_path) == []
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "kept").touch()
    with folder_lock(tmp_path / "a" / "b", "x", whole=whole):
        pass
    assert [os.listdir(tmp_path / "a"), os.listdir(tmp_path / "a" / "b")] == [["b"], ["kept"]]


def test_who_waits_comes_next_and_never_beside(tmp_path: Path) -> None:
    out, inside, most, waited = tmp_path / "run", [], [], []

    def work() -> None:
        for _ in range(5):
            with folder_lock(out, "x", wait=True, on_wait=lambda: waited.append(1)):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert most == [1] * 20
    assert waited
    assert not list(tmp_path.rglob(LOCK_FILE))


def test_all_locks_are_let_go_of_before_a_signal_ends_the_process(tmp_path: Path) -> None:
    with folder_lock(tmp_path, "x"):
        release_all()
        assert os.listdir(tmp_path) == []
        with folder_lock(tmp_path, "y"):
            pass


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeloresError, match=r"cannot write .*file"), folder_lock(tmp_path / "file" / "run", "x"):
        pass


def test_two_pre_trainings_do_not_share_a_folder(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    with folder_lock(tmp_path, "x"), pytest.raises(DeloresError, match="another process is pre-training into this"):
        pretrain(tiny_s, clips, tmp_path, quiet=True)
    assert os.listdir(tmp_path) == []


def test_of_two_processes_that_pre_train_into_one_folder_one_is_refused(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig, warm: Any
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(config_to_yaml(tiny_s.model_copy(update={"steps": 4000})))
    words = ["--preset", config, "--data", clips, "--out", tmp_path / "run", "--quiet"]
    both = [warm.start("from pretrain.__main__ import main; main()", *words) for _ in range(2)]
    try:
        while all(process.poll() is None for process in both):
            time.sleep(0.1)
        [refused] = [process for process in both if process.poll() is not None]
        said = refused.finish().stderr
        assert (refused.returncode, said.count("\n")) == (1, 1), said
        assert "another process is pre-training into this folder" in said
        [other] = [process for process in both if process is not refused]
        assert other.poll() is None
    finally:
        for process in both:
            process.kill()
            process.finish()


def test_two_packings_do_not_share_a_folder(clips: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    with folder_lock(tmp_path, "x"), pytest.raises(DeloresError, match="another process is packing into this folder"):
        pack(clips, tmp_path, tiny_s)
    assert pack(clips, tmp_path, tiny_s).clips == 13
    assert LOCK_FILE not in os.listdir(tmp_path)


def test_what_a_killed_pre_training_left_half_written_is_gone_when_it_goes_on(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    for name in (
        ".state.pt.0123abcd.tmp",
        ".checkpoint.safetensors.x_y-z123.tmp",
    ):  # of this version, of the one before
        (tmp_path / name).write_bytes(b"half")
    pretrain(tiny_s, clips, tmp_path, resume=True, quiet=True)
    files = ["checkpoint.safetensors", "config.yaml", "data-hashes.npy", "log.jsonl", "state.pt"]
    assert sorted(os.listdir(tmp_path)) == files
