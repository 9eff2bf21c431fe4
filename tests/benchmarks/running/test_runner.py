"""A run that is ended goes on where it was and leaves no process; lists; two runs at once; what is refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.embedding.model import load_model
from benchmarks.results.record import load_records
from benchmarks.running.run import RunSummary, expand_lists
from hear_delores.errors import DeloresError
from pretrain.locks import folder_lock

pytestmark = pytest.mark.timeout(300)
LOGMEL = "log-mel"


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether a process runs (a dead one that nobody has collected does not)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


#: The command in a session of its own, as a terminal has it; what a shell starts with & ignores SIGINT.
COMMAND = """
import os, signal, sys
os.setsid()
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "delores"
from benchmarks.cli import main
main()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not list processes in /proc")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_process_and_goes_on_where_it_was(
    end: signal.Signals,
    measure: Callable[..., RunSummary],
    assert_same: Callable[..., None],
    tasks_dir: Path,
    here: Path,
    warm: Any,
) -> None:
    words = ["run", "sleeps_once", "--tasks-dir", str(tasks_dir), "--task", "second", "--out", "out", "--jobs", "2"]
    command = warm.start(COMMAND, *words, cwd=here, env={"PYTHONPATH": str(here)})
    log = here / "sleeps_once.log"
    try:
        until(lambda: log.exists() and log.read_text())
        worker = int(log.read_text())
        assert worker != command.pid
        if end == signal.SIGINT:
            os.killpg(command.pid, end)  # as a terminal does: to all
        else:
            command.kill()
        ended = command.finish(120)
        until(lambda: not alive(worker))
    finally:
        command.kill()
    assert ended.returncode == (130 if end == signal.SIGINT else -end)
    assert "Traceback" not in ended.stderr
    assert ("stopped; run the same command again to continue" in ended.stderr) == (end == signal.SIGINT)
    assert not list((here / "out").rglob("*.tmp"))
    assert not list((here / "out").rglob("record.json"))
    assert_same(measure(here / "out", "sleeps_once", tasks=("second",)), "sleeps_once", ("second",))


def test_two_runs_at_once_take_turns(
    measure: Callable[..., RunSummary], assert_same: Callable[..., None], tmp_path: Path
) -> None:
    found, lines = [], []
    target = tmp_path / "embeddings" / load_model(LOGMEL).folder_name / "first-1-full"
    with folder_lock(target, "embedding this", whole=True):
        other = threading.Thread(target=lambda: found.append(measure(tmp_path, LOGMEL, say=lines.append)), daemon=True)
        other.start()
        until(lambda: any("waiting" in line for line in lines))
        assert lines == ["[1/1] log-mel", "  first: another run is at work on this; waiting for it"]
        assert not target.exists()
    other.join(120)
    assert_same(found[0], "log-mel")


def test_failures_are_listed_once_and_the_rest_goes_on(
    measure: Callable[..., RunSummary], assert_same: Callable[..., None], here: Path
) -> None:
    lines: list[str] = []
    found = measure(
        here / "out", "faulty", LOGMEL, LOGMEL, protocols=["linear", "knm"], options={"linear": {"max_epochs": 2}},
        say=lines.append,
    )  # fmt: skip
    said = [(failure.model, failure.task, failure.message.split(";")[0]) for failure in found.failures]
    assert said[0] == ("faulty", "", "model faulty: load_model failed: RuntimeError: no weights today")
    assert [(model, task) for model, task, _ in said[1:]] == [("log-mel", "first-1-full"), ("log-mel", "second-1-full")]
    assert all("knm: unknown protocol 'knm'" in message for *_, message in said[1:])
    assert sum("no weights today" in line for line in lines) == 1
    assert_same(found, "log-mel")


def test_a_list_in_a_file_stands_for_its_lines(delores: Callable[..., Any], tasks_dir: Path, tmp_path: Path) -> None:
    file, tasks, out = tmp_path / "models.txt", tmp_path / "tasks.txt", tmp_path / "out"
    file.write_text("# mine\na=module\n\n  b=module@x y.pt \n")
    assert expand_lists(["first", f"@{file}", "last"]) == ["first", "a=module", "b=module@x y.pt", "last"]
    file.write_text(f"{LOGMEL}\nno_such_module\n")
    tasks.write_text("second\n")
    ran = delores("run", f"@{file}", "--task", f"@{tasks}", "--tasks-dir", tasks_dir, "--out", out, "-p", "knn")
    assert (ran.code, ran.err.splitlines()[0].split(";")[0]) == (
        1, "failed: no_such_module: model no_such_module: no module named 'no_such_module'",
    )  # fmt: skip
    [record] = load_records([out / "results"])
    assert (record.model.label, record.task.name) == ("log-mel", "second")
    file.write_text("# nothing\n")
    with pytest.raises(DeloresError, match="is empty"):
        expand_lists([f"@{file}"])
    with pytest.raises(DeloresError, match=r"gone\.txt: no such file; expected a list of one name a line"):
        expand_lists([f"@{tmp_path / 'gone.txt'}"])


@pytest.mark.parametrize("more", [{"jobs": 0}, {"jobs": 2, "scheduler": "tcp://127.0.0.1:1"}])
def test_jobs_and_a_scheduler_exclude_each_other(
    more: dict[str, object], measure: Callable[..., RunSummary], tmp_path: Path
) -> None:
    with pytest.raises(DeloresError, match="expected jobs of 1 or more, and no jobs beside a scheduler"):
        measure(tmp_path / "out", LOGMEL, **more)
