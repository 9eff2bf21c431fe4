"""Time per clip and peak memory of prepare, embed and linear scoring, at two sizes of a made corpus.

Run: ``python -m benchmarks.perf.scale [--small 1000] [--large 100000] [--dir FOLDER]``. The corpus is short
clips of noise at four levels, which are its labels; the model is the log-mel baseline. Each step is a process of its
own, so that its peak resident memory is its own. The last columns are large over small: of the time per clip (1
is linear) and of the memory (1 is flat).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

__all__ = ["Cost", "main", "make_corpus", "measured_process"]

SECONDS, SAMPLE_RATE = 0.25, 16000
LABELS = ("p", "mp", "mf", "f")
#: Epochs of linear scoring: enough to count, few enough to wait for.
EPOCHS = 5
STEPS = ("prepare", "embed", "score")


@dataclass(frozen=True)
class Cost:
    """What a process took: wall seconds, processor seconds and peak resident bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def make_corpus(folder: Path, n_clips: int) -> Path:
    """Writes ``n_clips`` clips and ``labels.csv`` (eight of ten train, one valid, one test); returns the latter.

    Clip i is a stretch of one fixed noise, so that any number of clips is made at the cost of writing them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_samples = round(SECONDS * SAMPLE_RATE)
    noise = np.random.default_rng(0).uniform(-1, 1, 4 * SAMPLE_RATE)
    lines = ["file,label,split"]
    for index in range(n_clips):
        level = index % len(LABELS)
        start = (index * 7919) % (len(noise) - n_samples)
        audio = (0.05 * 2**level * noise[start : start + n_samples] * 32767).astype(np.int16)
        soundfile.write(folder / f"{index:07d}.wav", audio, SAMPLE_RATE, "PCM_16")
        split = ("train", "valid", "test")[max(0, index // len(LABELS) % 10 - 7)]
        lines.append(f"{index:07d}.wav,{LABELS[level]},{split}")
    file = folder / "labels.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def measure(n_clips: int, folder: Path) -> dict[str, Cost]:
    """The cost of each step for a corpus of ``n_clips``, made in ``folder``, which is emptied afterwards."""
    corpus = make_corpus(folder / "corpus", n_clips)
    costs = {step: run_step(step, corpus, folder) for step in STEPS}
    shutil.rmtree(folder)
    return costs


def run_step(step: str, corpus: Path, folder: Path) -> Cost:
    """One step in a process of its own."""
    return measured_process([sys.executable, "-m", "benchmarks.perf.scale", "--step", step, str(corpus), str(folder)])


def measured_process(words: Sequence[str]) -> Cost:
    """Runs a command, whose output is not shown, and says what it took."""
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words[1:5])} ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def step_here(step: str, corpus: Path, folder: Path) -> None:
    """Does one step in this process."""
    if step == "prepare":
        from benchmarks.tasks.corpora import labels_csv

        labels_csv.prepare(corpus, folder / "tasks", "scale")
    elif step == "embed":
        from benchmarks.embedding.embed import embed_task
        from benchmarks.embedding.model import load_model
        from benchmarks.tasks.folder import TaskFolder

        [task] = (folder / "tasks").iterdir()
        embed_task(load_model("log-mel", "cpu"), TaskFolder.open(task), folder / "embeddings")
    else:
        from benchmarks.scoring.score import score_embeddings

        [embeddings] = (folder / "embeddings").glob("*/*")
        score_embeddings(embeddings, protocol="linear", results_dir=folder / "results", max_epochs=EPOCHS)


def table(small: int, large: int, costs: Sequence[dict[str, Cost]]) -> str:
    """Both sizes and their ratios, in Markdown; the start of Python is in the times."""
    lines = [
        f"| step | ms per clip at {small:,} | at {large:,} | ratio | peak MB at {small:,} | at {large:,} | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for step in STEPS:
        one, two = (cost[step] for cost in costs)
        times = 1000 * one.cpu_seconds / small, 1000 * two.cpu_seconds / large
        peaks = one.peak_bytes / 1e6, two.peak_bytes / 1e6
        lines.append(
            f"| {step} | {times[0]:.2f} | {times[1]:.2f} | {times[1] / times[0]:.2f} "
            f"| {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[1] / peaks[0]:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures both sizes and prints the table. Times are those of the processor, so that other load does not count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--dir", type=Path, help="where the corpora are made and removed (default: a temporary folder)")
    parser.add_argument("--step", nargs=3, metavar=("STEP", "CORPUS", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        step_here(chosen.step[0], Path(chosen.step[1]), Path(chosen.step[2]))
        return
    with tempfile.TemporaryDirectory(dir=chosen.dir, prefix="delores-scale-") as folder:
        costs = [measure(n_clips, Path(folder) / str(n_clips)) for n_clips in (chosen.small, chosen.large)]
    print(table(chosen.small, chosen.large, costs))


if __name__ == "__main__":
    main()
