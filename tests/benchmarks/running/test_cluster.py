"""Jobs on a real Dask cluster of two worker processes, one of which is killed; and clusters that cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks.running import dask as cluster
from benchmarks.running.run import RunSummary
from hear_delores.errors import DeloresError

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.timeout(300)
LOGMEL = "log-mel"


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two worker processes, none of which starts again when it dies.

    They stand in a repository that has modules of our packages' names, which -m puts first on their path. All end with
    the test, and of their own accord should the test itself be killed.
    """
    folder = tmp_path_factory.mktemp("dask")
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "__init__.py").write_text("raise ImportError('not ours')\n")
    (folder / "pretrain.py").write_text("raise ImportError('not ours')\n")
    file = folder / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(Path(benchmarks.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    def start(module: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", str(file), "--no-dashboard"]
        with open(folder / f"{module}.log", "a") as log:
            return subprocess.Popen([*command, *words], env=environment, stdout=log, stderr=log, cwd=folder)

    processes = [start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--idle-timeout", "900 s")]
    try:
        until(lambda: file.exists() and '"address"' in file.read_text())
        words = ("--no-nanny", "--nthreads", "1", "--death-timeout", "120", "--local-directory", str(folder))
        processes += [start("dask_worker", *words) for _ in range(2)]
        address = json.loads(file.read_text())["address"]
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_worker_that_is_killed_costs_nothing_but_time(
    measure: Callable[..., RunSummary], assert_same: Callable[..., None], scheduler: str, here: Path
) -> None:
    lines: list[str] = []
    out = Path("out")  # as seen from here, not from where the workers stand
    found = measure(out, "dies_once", scheduler=scheduler, say=lines.append)
    assert found.failures == []
    assert_same(found, "dies_once")
    dead, *others = (here / "dies_once.log").read_text().split()
    assert str(os.getpid()) not in others
    assert dead not in others
    assert len(set(others)) == 1
    assert [line for line in lines if line.startswith("[")] == ["[1/2] dies_once", "[2/2] dies_once"]

    again = measure(out, "dies_once", scheduler=scheduler)
    assert [record.created for record in again.records] == [record.created for record in found.records]
    assert len((here / "dies_once.log").read_text().split()) == 1 + len(others)


def test_a_module_that_was_changed_since_a_worker_imported_it_is_refused(
    measure: Callable[..., RunSummary], scheduler: str, here: Path
) -> None:
    module = here / "edited_model.py"
    module.write_text("from benchmarks.encoders.log_mel import *\n")
    assert measure(here / "out", "edited_model", tasks=("first",), scheduler=scheduler).failures == []
    module.write_text("from benchmarks.encoders.log_mel import *\n# changed\n")
    [failure] = measure(here / "out", "edited_model", tasks=("first",), scheduler=scheduler).failures
    assert failure.task == ""
    assert "start the workers again" in failure.message


def test_a_worker_that_does_not_see_the_tasks_stops_the_run_in_one_line(
    measure: Callable[..., RunSummary], scheduler: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_with_full_paths", lambda job: replace(job, task=here / "elsewhere"))
    with pytest.raises(DeloresError, match=r"worker tcp://.* does not see .*elsewhere") as error:
        measure(here / "out", LOGMEL, scheduler=scheduler)
    assert "file system that all machines share" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_worker_of_another_version_stops_the_run(
    measure: Callable[..., RunSummary], scheduler: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_versions", lambda: {"hear-delores": "9.9"})
    with pytest.raises(DeloresError, match=r"expected {'hear-delores': '9\.9'} as here; install the same"):
        measure(here / "out", LOGMEL, scheduler=scheduler)


# --- clusters that cannot be used


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "tcp://127.0.0.1:port"])
def test_a_scheduler_that_does_not_answer_is_told_in_one_line(
    address: str, delores: Callable[..., Any], tasks_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    ran = delores("run", LOGMEL, "--tasks-dir", tasks_dir, "--out", tmp_path / "out", "--scheduler", address)
    assert ran.code == 1
    [line] = ran.err.splitlines()
    assert line.startswith(f"error: no Dask scheduler answered at {address} within 0.5 s")
    assert not (tmp_path / "out").exists()


def test_a_cluster_without_workers(
    measure: Callable[..., RunSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WORKERS_SECONDS", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0", protocol="tcp") as local,
        pytest.raises(DeloresError, match=r"has had no worker for 0\.5 s"),
    ):
        measure(tmp_path / "out", LOGMEL, scheduler=local.scheduler_address)


def test_a_missing_package_says_what_to_install(
    measure: Callable[..., RunSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DeloresError, match=r"pip install 'hear-delores\[cluster\]'"):
        measure(tmp_path / "out", LOGMEL, scheduler="tcp://127.0.0.1:9")
