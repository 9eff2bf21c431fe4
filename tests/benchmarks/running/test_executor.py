"""Jobs side by side in processes: the records of a run in turn, whoever dies; and who begins when."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.embedding.model import ModelSpec
from benchmarks.running import processes as executor
from benchmarks.running.job import Job, JobResult
from benchmarks.running.processes import expected_bytes, run_side_by_side
from benchmarks.running.run import RunSummary
from benchmarks.tasks.find import find_task_folders

pytestmark = pytest.mark.timeout(300)


def test_processes_give_the_records_of_a_run_in_turn_and_a_death_costs_one_job(
    measure: Callable[..., RunSummary], assert_same: Callable[..., None], here: Path
) -> None:
    lines: list[str] = []
    found = measure(here / "out", "dies_once", "dies_always", jobs=2, say=lines.append)
    [failure] = found.failures
    assert (failure.model, failure.task) == ("dies_always", "second-1-full")
    assert "its process died twice, the second time alone: killed" in failure.message
    assert_same(found, "dies_once")
    assert_same(found, "dies_always", ("first",))
    for name in ("dies_once", "dies_always"):
        processes = set((here / f"{name}.log").read_text().split())
        assert len(processes) == 2
        assert str(os.getpid()) not in processes
    assert [line for line in lines if line.startswith("[")][-1] == "[4/4] dies_always"


# --- who begins when


@dataclass
class Fakes:
    """Stands in for processes: every job is done at once. Notes what was begun, and beside how many others."""

    peak_bytes: int = 0
    begun: list[tuple[int, int, int]] = field(default_factory=list)  # process, job, how many run
    ended: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def spawn(self, threads: int) -> executor._Worker:
        self.threads.append(threads)
        fakes, name = self, len(self.threads)
        here, there = Pipe()
        never, self.keep_open = Pipe()
        process = SimpleNamespace(pid=name, sentinel=never, terminate=lambda: None)
        gone = [here.close, there.close, never.close, lambda: fakes.ended.append(name)]
        child = SimpleNamespace(process=process, connection=here, end=lambda: [end() for end in gone] and 0)

        class Fake(executor._Worker):
            def send(self, number: int, job: Job, need: int) -> None:
                self.number, self.job, self.model, self.need = number, job, job.model, need
                fakes.running += 1
                fakes.begun.append((name, number, fakes.running))
                there.send(JobResult(peak_bytes=fakes.peak_bytes))

            def receive(self) -> JobResult | None:
                fakes.running -= 1
                return super().receive()

        return Fake(child)  # type: ignore[arg-type]

    running: int = 0


def deal(monkeypatch: pytest.MonkeyPatch, fakes: Fakes, free: int | None, need: int = 1, n: int = 2) -> list[int]:
    """Three tasks of two models each; the numbers of the jobs as they came back."""
    monkeypatch.setattr(executor._Worker, "spawn", fakes.spawn)
    monkeypatch.setattr(executor, "available_bytes", lambda: free)
    monkeypatch.setattr(executor, "resident_bytes", lambda process: 0)
    monkeypatch.setattr(executor, "POLL_SECONDS", 0.01)
    jobs = [
        Job("run", ModelSpec("m", label=label), Path(str(task)), Path("out"), (), (), expected_bytes=need)
        for label in "AB"
        for task in range(3)
    ]
    came: list[int] = []
    run_side_by_side(jobs, n, lambda number, result: came.append(number))
    return came


def test_a_process_keeps_to_its_model_and_the_next_begins_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Fakes()
    assert sorted(deal(monkeypatch, fakes, free=None)) == list(range(6))
    assert [job for process, job, _ in fakes.begun if process == 1] == [0, 1, 2]
    assert [job for process, job, _ in fakes.begun if process == 2] == [3, 4, 5]
    assert max(running for *_, running in fakes.begun) == 2
    assert sorted(fakes.ended) == [1, 2]


@pytest.mark.parametrize(
    ("free", "need", "peak", "expected"),
    [(200, 100, 0, [1, 2]), (199, 100, 0, [1, 1]), (200, 1, 101, [1, 2]), (0, 1, 0, [1, 1])],
)
def test_a_job_begins_when_what_it_takes_is_free(
    free: int, need: int, peak: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = Fakes(peak_bytes=peak)
    assert sorted(deal(monkeypatch, fakes, free, need)) == list(range(6))
    assert [running for *_, running in fakes.begun[:2]] == expected
    if peak:  # what was measured counts from then on
        assert {running for *_, running in fakes.begun[2:]} == {1}


def test_an_idle_process_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Fakes(peak_bytes=101)
    deal(monkeypatch, fakes, free=200)
    # Both begin together, before either is measured; then the second has to go for the first.
    assert fakes.ended == [2, 1]


def test_running_jobs_keep_what_they_may_still_take(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {1: 30, 2: 10}
    monkeypatch.setattr(executor, "resident_bytes", held.__getitem__)
    busy, idle = (
        executor._Worker(SimpleNamespace(process=SimpleNamespace(pid=1)), job="job", need=100),  # type: ignore[arg-type]
        executor._Worker(SimpleNamespace(process=SimpleNamespace(pid=2))),  # type: ignore[arg-type]
    )
    for free, fits in ((160, True), (159, False)):  # 70 for the busy one, 90 beside what the idle one holds
        monkeypatch.setattr(executor, "available_bytes", lambda free=free: free)
        assert executor._fits(100, idle, [busy, idle]) is fits
    assert not executor._fits(100, None, [busy])


@pytest.mark.parametrize(("variable", "expected"), [(None, 2), ("4", 8)])
def test_processes_share_the_threads_unless_their_number_is_given(
    variable: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    fakes = Fakes()
    deal(monkeypatch, fakes, free=None, n=4)
    assert set(fakes.threads) == {expected}


# --- memory


def test_the_first_guess_grows_with_the_batch(tasks_dir: Path) -> None:
    task, _ = find_task_folders(tasks_dir)
    assert executor.BASE_BYTES < expected_bytes(task, 10) < expected_bytes(task) < expected_bytes(task, 1000)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 7000 kB\n"}, 7000 << 10),
        ({"proc/meminfo": "MemAvailable: 7000 kB\n", "sys/fs/cgroup/memory.max": "3000000\n"}, 1500000),
        ({"proc/meminfo": "MemAvailable: 7 kB\n", "sys/fs/cgroup/memory.max": "3000000\n"}, 7 << 10),
        ({"proc/meminfo": "MemAvailable: 7000 kB\n", "sys/fs/cgroup/memory.max": "max\n"}, 7000 << 10),
        ({"sys/fs/cgroup/memory.max": "1\n"}, 0),
        ({}, None),
    ],
)
def test_available_memory_is_the_machines_or_the_containers(
    files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    used = {"sys/fs/cgroup/memory.current": "2000000\n", "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 500000\n"}
    for name, text in {**used, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert executor.available_bytes(tmp_path) == expected


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what a process holds")
def test_a_process_holds_memory() -> None:
    assert 10 << 20 < executor.resident_bytes(os.getpid()) < 1 << 40
    assert executor.resident_bytes(2**22 + 1) == 0
