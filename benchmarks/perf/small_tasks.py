"""``run`` of many small tasks by several models under three protocols: where the time goes that is no arithmetic.

    python -m benchmarks.perf.small_tasks                       # 40 tasks x 5 models, one after another
    python -m benchmarks.perf.small_tasks --profile 25          # and the 25 functions that most time is spent in
    python -m benchmarks.perf.small_tasks --jobs 2 --runs 3     # in turn against two at once, interleaved
    python -m benchmarks.perf.small_tasks --models 1 10 100 --tasks 4 --protocol linear

Tasks are made: ``--clips`` short sounds at four levels each, which are their labels. Models are random encoders with
different seeds and the log-mel baseline. Each run is a process of its own and begins with nothing done; the last
columns are the seconds of a second run, which finds everything done, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.perf.scale import LABELS, SAMPLE_RATE, measured_process

__all__ = ["main", "make_tasks", "model_names", "rooms"]

LIBRARY = re.compile(r".*(?:site-packages|lib/python[\d.]+(?!/site-packages))/([^/]+)")
OURS = re.compile(r"((?:benchmarks|pretrain|hear_delores)/.*)/")
PROTOCOLS = ("hear", "linear", "knn")
OPTIONS: dict[str, dict[str, Any]] = {"hear": {"grid": "faster", "grid_points": 1}, "linear": {"max_epochs": 20}}


def make_tasks(folder: Path, count: int, clips: int) -> Path:
    """Task folders of ``clips`` quarter seconds of noise, by the package's own preparer."""
    from benchmarks.tasks.corpora import labels_csv

    rng = np.random.default_rng(0)
    for task in range(count):
        place = folder / "corpora" / f"{task:03d}"
        place.mkdir(parents=True)
        lines = ["file,label,split"]
        for number in range(clips):
            level = number % len(LABELS)
            audio = (0.05 * 2**level * rng.uniform(-1, 1, SAMPLE_RATE // 4) * 32767).astype(np.int16)
            soundfile.write(place / f"{number}.wav", audio, SAMPLE_RATE, "PCM_16")
            split = ("train", "train", "valid", "test")[number // len(LABELS) % 4]
            lines.append(f"{number}.wav,{LABELS[level]},{split}")
        (place / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        labels_csv.prepare(place / "labels.csv", folder / "tasks", f"small{task:03d}")
    return folder / "tasks"


def model_names(count: int) -> list[str]:
    """The log-mel baseline and random encoders, each under a label of its own."""
    return ["log-mel", *(f"random{number}=random?seed={number}" for number in range(1, count))]


def run_here(tasks: Path, out: Path, models: int, jobs: int, protocols: Sequence[str], profile: int) -> None:
    """The run in this process, twice; prints both durations as JSON, and first the profile of the first."""
    from benchmarks.running.run import run

    folders = sorted(path for path in tasks.iterdir() if path.is_dir())
    seconds, watch = [], cProfile.Profile()
    for number in range(2):
        began = time.perf_counter()
        if profile and not number:
            watch.enable()
        done = run(model_names(models), folders, out, protocols=protocols, options=OPTIONS, device="cpu", jobs=jobs)
        watch.disable()
        seconds.append(time.perf_counter() - began)
        if done.failures:
            raise SystemExit(str(done.failures[0]))
    if profile:
        print(summary(watch, profile), file=sys.stderr)
    out.joinpath("seconds.json").write_text(json.dumps(seconds))


def summary(watch: cProfile.Profile, lines: int) -> str:
    """Seconds by room of this project and by library, and the functions that most time is spent in themselves."""
    text = io.StringIO()
    stats = pstats.Stats(watch, stream=text)
    stats.sort_stats("tottime").print_stats(lines)
    rows = "\n".join(f"{name:40}{seconds:8.2f} s" for name, seconds in rooms(stats)[:lines])
    return f"time in the functions of each room or library themselves:\n{rows}\n{text.getvalue()}"


def rooms(stats: pstats.Stats) -> list[tuple[str, float]]:
    """(module's package, seconds in its functions themselves), most first."""
    found: dict[str, float] = {}
    for (file, _, name), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        place = LIBRARY.match(file) or OURS.search(file)
        key = place[1] if place else f"built in: {name}"
        found[key] = found.get(key, 0.0) + own
    return sorted(found.items(), key=lambda item: -item[1])


def main() -> None:
    """Prints a line for every number of models and of jobs: medians of interleaved runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--clips", type=int, default=64, help="of each task")
    parser.add_argument("--models", type=int, nargs="+", default=[5])
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS, help="repeat for more; default: all three")
    parser.add_argument("--jobs", type=int, default=1, help="measure so many at once, too")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--tasks-dir", type=Path, help="tasks that are there, such as the demo suite")
    parser.add_argument("--profile", type=int, default=0, metavar="LINES", help="profile the run in turn")
    parser.add_argument("--here", nargs=4, metavar=("TASKS", "OUT", "MODELS", "JOBS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    protocols = chosen.protocol or PROTOCOLS
    if chosen.here:
        tasks, out, models, jobs = chosen.here
        run_here(Path(tasks), Path(out), int(models), int(jobs), protocols, chosen.profile)
        return
    with tempfile.TemporaryDirectory(prefix="delores-small-") as name:
        tasks = chosen.tasks_dir or make_tasks(Path(name), chosen.tasks, chosen.clips)
        compare(Path(name), tasks, chosen, protocols)


def compare(place: Path, tasks: Path, chosen: argparse.Namespace, protocols: Sequence[str]) -> None:
    count = sum(path.is_dir() for path in tasks.iterdir())
    print(f"{count} tasks, protocols {', '.join(protocols)}; medians of {chosen.runs} interleaved runs")
    print("| models | jobs at once | s | ms per model, task and protocol | s, all done before | peak MB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for models in chosen.models:
        costs: dict[int, list[tuple[float, float, float]]] = {jobs: [] for jobs in sorted({1, chosen.jobs})}
        for turn in range(chosen.runs):
            for jobs, own in costs.items():
                out = place / f"out-{models}-{jobs}-{turn}"
                words = ["--here", str(tasks), str(out), str(models), str(jobs), "--profile", str(chosen.profile)]
                words += [word for protocol in protocols for word in ("--protocol", protocol)]
                cost = measured_process([sys.executable, "-m", "benchmarks.perf.small_tasks", *words])
                first, second = json.loads((out / "seconds.json").read_text())
                own.append((first, second, cost.peak_bytes / 1e6))
                shutil.rmtree(out)
        for jobs, own in costs.items():
            first, second, peak = (statistics.median(column) for column in zip(*own, strict=True))
            each = 1000 * first / (models * count * len(protocols))
            print(f"| {models} | {jobs} | {first:.1f} | {each:.0f} | {second:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
