"""Seconds and peak memory of reading many clips' predictions: ``tables --intervals``, ``report`` and ``compare``.

    python -m benchmarks.perf.reading [--records 10 100] [--clips 100000] [--runs 3] [--dir FOLDER]

Synthetic records of ten models on as many tasks as make up the number, so that ``compare`` of two models has its
tenth of the tasks, too. A model's predictions lie on disk once, linked into its tasks' records: what is read and
computed is as large as without links, what is stored is not. Each command is a process of its own, so that its
processor seconds and its peak resident memory are its own. The last columns are of the largest number over the
smallest: the ratio of seconds per record (1 is linear; the start of Python makes it less), and that of memory (1 is
flat).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.metrics.registry import METRICS
from benchmarks.perf.scale import Cost, measured_process
from benchmarks.results.format import FoldPredictions, FoldResult, ModelInfo, ProtocolInfo, ResultRecord, TaskInfo
from benchmarks.results.record import PREDICTIONS_FILE, save_record

__all__ = ["COMMANDS", "main", "make_records", "table"]

MODELS = 10
LABELS = 10
METRIC_NAMES = ["top1_acc", "mAP"]
COMMANDS = ("tables", "report", "compare")


def make_records(folder: Path, n_records: int, n_clips: int) -> None:
    """Writes ``n_records`` records, a multiple of ten, each with predictions of ``n_clips`` test clips."""
    files = np.array([f"{clip:07d}.wav" for clip in range(n_clips)])
    for model in range(MODELS):
        rng = np.random.default_rng(model)
        truth = np.arange(n_clips) % LABELS
        target = np.eye(LABELS, dtype=np.float32)[truth]
        logits = rng.standard_normal((n_clips, LABELS), dtype=np.float32)
        logits[np.arange(n_clips), truth] += 1 + 0.1 * model
        shares = np.exp(logits)
        predictions = FoldPredictions(shares / shares.sum(axis=1, keepdims=True), target, files)
        scores = {name: METRICS[name].scores(predictions.prediction, target)[name] for name in METRIC_NAMES}
        first: Path | None = None
        for task in range(n_records // MODELS):
            record = _record(model, task, n_clips, scores)
            saved = save_record(record, folder, {"test": predictions} if first is None else None)
            if first is None:
                first = saved / PREDICTIONS_FILE
            else:
                os.link(first, saved / PREDICTIONS_FILE)


def _record(model: int, task: int, n_clips: int, scores: dict[str, float]) -> ResultRecord:
    digest = f"{model:08x}"
    fold = FoldResult(
        test_split="test", scores=scores, loss=1.0, validation_score=0.5, epoch=1, epochs_run=2,
        hyperparameters={}, n_train_rows=n_clips, n_test_rows=n_clips, seconds=1.0,
    )  # fmt: skip
    return ResultRecord(
        fingerprint=f"{model:04x}{task:04x}", embeddings_hash=digest,
        model=ModelInfo(label=f"model{model}", module="synthetic", weights_hash=digest),
        task=TaskInfo(
            name=f"task{task:03d}", version="1", mode="full", revision="0" * 8, embedding_type="scene",
            prediction_type="multiclass", primary_metric=METRIC_NAMES[0], metrics=METRIC_NAMES, maximise=True,
            n_clips=3 * n_clips,
        ),
        protocol=ProtocolInfo(name="hear"), seed=42, scores=scores, folds=[fold], device="cpu", versions={},
        created="2026-01-01T00:00:00",
    )  # fmt: skip


def measure(n_records: int, n_clips: int, runs: int, folder: Path) -> dict[str, Cost]:
    """The median cost of each command on so many records, made in ``folder``, which is emptied afterwards."""
    make_records(folder, n_records, n_clips)
    words = {
        "tables": ["tables", str(folder), "--intervals", "--out", str(folder / "out")],
        "report": ["report", str(folder), "--out", str(folder / "out" / "report.html")],
        "compare": ["compare", str(folder / "model0-00000000"), str(folder / "model1-00000001"), "--json"],
    }
    found: dict[str, list[Cost]] = {command: [] for command in COMMANDS}
    for _ in range(runs):
        for command in COMMANDS:
            found[command].append(measured_process([sys.executable, "-m", "benchmarks", *words[command]]))
    shutil.rmtree(folder)
    return {command: _median(costs) for command, costs in found.items()}


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.cpu_seconds for cost in costs),
        max(cost.peak_bytes for cost in costs),
    )


def table(numbers: Sequence[int], costs: Sequence[dict[str, Cost]]) -> str:
    """Markdown: processor seconds and peak memory of each command at each number of records, and the ratios."""
    heads = [f"s at {number:,} | MB" for number in numbers]
    lines = [
        f"| command | {' | '.join(heads)} | s per record, ratio | MB, ratio |",
        "|---|" + "---:|" * (2 * len(numbers) + 2),
    ]
    for command in COMMANDS:
        own = [cost[command] for cost in costs]
        cells = [f"{cost.cpu_seconds:.1f} | {cost.peak_bytes / 1e6:.0f}" for cost in own]
        each = [cost.cpu_seconds / number for cost, number in zip(own, numbers, strict=True)]
        ratios = f"{each[-1] / each[0]:.2f} | {own[-1].peak_bytes / own[0].peak_bytes:.2f}"
        lines.append(f"| {command} | {' | '.join(cells)} | {ratios} |")
    return "\n".join(lines)


def main() -> None:
    """Measures each number of records and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10, 100], help="multiples of ten")
    parser.add_argument("--clips", type=int, default=100_000, help="test clips of a record")
    parser.add_argument("--runs", type=int, default=3, help="of each command; medians are printed, peaks the largest")
    parser.add_argument("--dir", type=Path, help="where records are made and removed (default: a temporary folder)")
    chosen = parser.parse_args()
    if wrong := [number for number in chosen.records if number < MODELS or number % MODELS]:
        parser.error(f"--records: expected multiples of {MODELS}, got {wrong[0]}")
    with tempfile.TemporaryDirectory(dir=chosen.dir, prefix="delores-reading-") as folder:
        costs = [measure(number, chosen.clips, chosen.runs, Path(folder) / str(number)) for number in chosen.records]
    print(table(chosen.records, costs))


if __name__ == "__main__":
    main()
