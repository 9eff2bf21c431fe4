"""Processes that are started by others: by a daemon, such as a Dask worker, and by one that forgets them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hear_delores import spawned

SCRIPT = """
import multiprocessing, sys
from hear_delores.spawned import Spawned

def answers(connection):
    connection.send("yes")
    try:
        connection.recv()  # nobody ever asks
    except EOFError:
        print("left", flush=True)

def starts():
    child = Spawned("script", "answers", name="child")
    print("answer", child.connection.recv(), flush=True)
    starts.forgotten = child  # still running when this process ends

if __name__ == "__main__":
    if sys.argv[1] == "main":
        starts()
    else:
        middle = multiprocessing.get_context("spawn").Process(target=starts, daemon=sys.argv[1] == "daemon")
        middle.start()
        middle.join()
        assert middle.exitcode == 0, middle.exitcode
    print("over")
"""


@pytest.mark.parametrize("parent", ["main", "child", "daemon"])
def test_a_forgotten_process_ends_before_its_parent_waits_for_it(parent: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    top = Path(spawned.__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "script.py", parent], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(top)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.split("\n")) == ["", "answer yes", "left", "over"]


def test_the_parent_stays_what_it_was() -> None:
    assert not multiprocessing.current_process().daemon
    child = spawned.Spawned("builtins", "id", name="child")
    assert not multiprocessing.current_process().daemon
    assert child.end() == 0
