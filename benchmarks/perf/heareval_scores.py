"""heareval's prediction runner and ours on the same folders: scores, time, processor time, memory, and the floor.

    python benchmarks/perf/heareval_scores.py --python .tox/heareval/bin/python

Both run as whole processes in the environment of ``--python``, one after the other, alternating run by run with
another seed. heareval is unmodified: its seed is set before it is called, with its own --deterministic False and
Python's generator at 42, from which it shuffles its grid. The floor is the time of the matrix products of the
same heads, epochs and validations alone, at the rate of torch's float32 products on all cores, in this process;
the seconds of our record are set against it, which begin when torch is imported.

The made folders bound the epochs by the metadata's own task_specific_param_grid, so that both do the same work;
--full leaves heareval's 500 epochs and early stopping, where the ratio is that of what either chose to do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
KINDS = ("scene", "folds", "multilabel", "event")
PRIMARY = {"scene": "top1_acc", "folds": "top1_acc", "multilabel": "mAP", "event": "event_onset_200ms_fms"}
SIZES = {"train": 1000, "valid": 300, "test": 300}
N_FOLDS, FOLD_ROWS = 5, 300
N_FILES, EVENT_SECONDS, HOP_MS = 6, 20.0, 50.0
NOISE = 1.6
STUB = """
class Module: pass
class test:
    @staticmethod
    def is_gpu_available(*args, **kwargs): return False
"""
# Lightning seeds from torch's generator; the grid is shuffled with Python's.
DRIVER = """
import random, sys, numpy, torch, warnings
warnings.simplefilter("ignore")
seed = int(sys.argv.pop(1))
from heareval.predictions.runner import runner
random.seed(42); numpy.random.seed(seed); torch.manual_seed(seed)
runner()
"""


@dataclass
class Ran:
    """One process: its score and what it cost."""

    score: float
    wall_s: float
    cpu_s: float
    peak_mib: float
    scoring_s: float = float("nan")  # wall_s without the start of Python and the imports
    epochs: list[tuple[dict[str, Any], int]] = field(default_factory=list)  # (hyper-parameters, epochs) of each head


# --- folders


def write_folder(folder: Path, kind: str, dim: int, epochs: int | None, noise: float = NOISE) -> None:
    """A task's embeddings in heareval's layout: class centres plus noise, far from saturated."""
    rng = np.random.default_rng([KINDS.index(kind), dim])
    labels = [f"class{i:02d}" for i in range(20 if kind == "multilabel" else 3 if kind == "event" else 10)]
    splits = [f"fold{i:02d}" for i in range(N_FOLDS)] if kind == "folds" else list(SIZES)
    evaluation = {"event": ["event_onset_200ms_fms", "segment_1s_er"], "multilabel": ["mAP", "d_prime", "aucroc"]}
    metadata: dict[str, Any] = {
        "task_name": f"made_{kind}", "version": "1", "mode": "full",
        "embedding_type": "event" if kind == "event" else "scene",
        "prediction_type": "multilabel" if kind in ("multilabel", "event") else "multiclass",
        "split_mode": "new_split_kfold" if kind == "folds" else "trainvaltest",
        "sample_duration": EVENT_SECONDS, "splits": splits, "nfolds": N_FOLDS if kind == "folds" else None,
        "evaluation": evaluation.get(kind, ["top1_acc", "mAP", "d_prime", "aucroc"]),
    }  # fmt: skip
    if epochs is not None:
        metadata["evaluation_params"] = {"task_specific_param_grid": {"max_epochs": [epochs]}}
    folder.mkdir(parents=True)
    (folder / "task_metadata.json").write_text(json.dumps(metadata))
    lines = ["idx,label", *(f"{i},{label}" for i, label in enumerate(labels))]
    (folder / "labelvocabulary.csv").write_text("\n".join(lines) + "\n")
    centres = rng.standard_normal((len(labels), dim)) * (32.0 / dim) ** 0.5
    for split in splits:
        write = write_event_split if kind == "event" else write_scene_split
        write(folder, split, kind, labels, centres, noise, rng)


def write_scene_split(
    folder: Path,
    split: str,
    kind: str,
    labels: list[str],
    centres: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> None:
    n = FOLD_ROWS if kind == "folds" else SIZES[split]
    held = rng.random((n, len(labels))) < 0.15 if kind == "multilabel" else np.eye(len(labels))[np.arange(n) % 10]
    files = [f"{split}_{i:05d}.wav" for i in range(n)]
    truth = {file: [labels[j] for j in np.nonzero(row)[0]] for file, row in zip(files, held, strict=True)}
    order = rng.permutation(n)
    rows = held[order] @ centres + rng.standard_normal((n, centres.shape[1])) * noise
    (folder / f"{split}.json").write_text(json.dumps(truth))
    write_rows(folder, split, rows, [truth[files[i]] for i in order])


def write_event_split(
    folder: Path,
    split: str,
    kind: str,
    labels: list[str],
    centres: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> None:
    times = np.arange(0.0, EVENT_SECONDS * 1000, HOP_MS)
    truth, rows, held, stamps = {}, [], [], []
    for number in range(N_FILES):
        file = f"{split}_{number:02d}.wav"
        events: list[dict[str, Any]] = []
        for label in labels:
            start = rng.uniform(0, 2000)
            while start < EVENT_SECONDS * 1000 - 1500:
                length = rng.uniform(400, 1200)
                events.append({"label": label, "start": round(start, 1), "end": round(start + length, 1)})
                start += length + rng.uniform(600, 3000)
        truth[file] = events
        active = np.array([[any(e["label"] == label and e["start"] <= t < e["end"] for e in events)
                            for label in labels] for t in times])  # fmt: skip
        rows.append(active @ centres + rng.standard_normal((len(times), centres.shape[1])) * noise)
        held += [[labels[j] for j in np.nonzero(row)[0]] for row in active]
        stamps += [[file, float(t)] for t in times]
    (folder / f"{split}.json").write_text(json.dumps(truth))
    (folder / f"{split}.filename-timestamps.json").write_text(json.dumps(stamps))
    write_rows(folder, split, np.concatenate(rows), held)


def write_rows(folder: Path, split: str, rows: np.ndarray, labels: list[list[str]]) -> None:
    rows.astype(np.float32).tofile(folder / f"{split}.embeddings.npy")  # raw, not the npy format
    (folder / f"{split}.embedding-dimensions.json").write_text(json.dumps(list(rows.shape)))
    (folder / f"{split}.target-labels.pkl").write_bytes(pickle.dumps(labels))


# --- the two tools


def timed(command: list[str], cwd: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak MiB of a process and its children."""
    with open(cwd / "output.log", "wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{(cwd / 'output.log').read_text()[-3000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def run_heareval(python: str, folder: Path, points: int, seed: int, work: Path) -> Ran:
    copy = work / "embeddings" / "made" / folder.name
    shutil.copytree(folder, copy)
    (work / "stub" / "tensorflow").mkdir(parents=True)
    (work / "stub" / "tensorflow" / "__init__.py").write_text(STUB)
    environment = {**os.environ, "PYTHONPATH": str(work / "stub"), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    options = ["--grid-points", str(points), "--deterministic", "False"]
    cost = timed([python, "-c", DRIVER, str(seed), str(copy), *options], work, environment)
    result = json.loads((copy / "test.predicted-scores.json").read_text())
    score = result["aggregated_scores"]["test_score_mean"] if "aggregated_scores" in result else None
    return Ran(result["test"]["test_score"] if score is None else score, *cost)


def run_ours(python: str, folder: Path, points: int, seed: int, work: Path, precision: str) -> Ran:
    work.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [python, "-m", "benchmarks", "score", str(folder), "--grid-points", str(points), "--seed", str(seed),
               "--results", str(work / "results"), "--precision", precision, "--quiet"]  # fmt: skip
    cost = timed(command, work, environment)
    [path] = (work / "results").rglob("record.json")
    record = json.loads(path.read_text())
    heads = [(item["hyperparameters"], item["epochs_run"]) for item in [*record["grid"], *record["folds"][1:]]]
    return Ran(record["scores"][record["task"]["primary_metric"]], *cost, record["seconds"]["total"], heads)


# --- the floor


def floor_seconds(kind: str, dim: int, heads: list[tuple[dict[str, Any], int]]) -> float:
    """Seconds of the heads' matrix products alone: forward, both gradients, a validation every few epochs."""
    n_labels = {"multilabel": 20, "event": 3}.get(kind, 10)
    event_rows = N_FILES * int(EVENT_SECONDS * 1000 / HOP_MS)
    n_train = {"folds": 3 * FOLD_ROWS, "event": event_rows}.get(kind, SIZES["train"])
    n_valid = {"folds": FOLD_ROWS, "event": event_rows}.get(kind, SIZES["valid"])
    total = 0.0
    for layers in (0, 1, 2):
        own = [(config, epochs) for config, epochs in heads if config["hidden_layers"] == layers]
        if own:
            width = int(own[0][0]["hidden_dim"])
            batch = int(own[0][0]["batch_size"])
            train, valid = products(n_train, n_valid, batch, dim, width, layers, n_labels)
            each = own[0][0]["check_val_every_n_epoch"]
            total += sum(epochs * train + epochs // each * valid for _, epochs in own)
    return total


def products(
    n_train: int, n_valid: int, batch: int, dim: int, width: int, layers: int, n_labels: int
) -> tuple[float, float]:
    """Seconds of one training epoch's products, and of one validation's."""
    import torch

    sizes = [dim, *[width] * layers, n_labels]
    weights = [torch.randn(out, inner) for inner, out in itertools.pairwise(sizes)]

    def buffers(n: int) -> list[torch.Tensor]:
        return [torch.randn(n, size) for size in sizes]

    gradients = [torch.empty_like(weight) for weight in weights]
    blocks = [buffers(min(batch, n_train - start)) for start in range(0, n_train, batch)]
    checked = buffers(n_valid)

    def forward(values: list[torch.Tensor]) -> None:
        for number, weight in enumerate(weights):
            torch.mm(values[number], weight.t(), out=values[number + 1])

    def epoch() -> None:
        for values in blocks:
            forward(values)
            for number in reversed(range(len(weights))):
                torch.mm(values[number + 1].t(), values[number], out=gradients[number])
                if number:
                    torch.mm(values[number + 1], weights[number], out=values[number])

    return best_of(epoch), best_of(lambda: forward(checked))


def best_of(function: Callable[[], None], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


# --- the table


def cells(arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    for kind in arguments.kinds:
        for dim in arguments.dims:
            yield kind, dim


def mean_and_error(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def main() -> None:
    """Prints one line per cell as soon as it is measured, the whole as JSON at the end if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    text = "interpreter of the environment with heareval"
    parser.add_argument("--python", type=os.path.abspath, default=sys.executable, help=text)  # it runs elsewhere
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--dims", nargs="+", type=int, default=[128, 512, 2048, 4096])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=42, help="of the first run; each has the next")
    parser.add_argument("--grid-points", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--full", action="store_true", help="heareval's 500 epochs with early stopping")
    parser.add_argument("--noise", type=float, default=NOISE, help="of the made rows; larger makes a harder task")
    parser.add_argument("--no-bfloat16", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    random.seed(0)
    precisions = ["float32"] if arguments.no_bfloat16 else ["float32", "bfloat16"]
    print("medians over runs; scores are means over the runs' seeds ± standard errors")
    print("| task | dim | tool | score | wall s | cpu s | peak MiB | heareval / ours | ours / floor |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    kept: list[dict[str, Any]] = []
    for kind, dim in cells(arguments):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / f"made_{kind}-1-full"
            write_folder(folder, kind, dim, None if arguments.full else arguments.epochs, arguments.noise)
            found: dict[str, list[Ran]] = {"heareval": [], **{precision: [] for precision in precisions}}
            floors: list[float] = []
            for number in range(arguments.runs):
                seed = arguments.seed + number
                work = Path(place) / f"run{number}"
                points = arguments.grid_points
                found["heareval"].append(run_heareval(arguments.python, folder, points, seed, work / "theirs"))
                for precision in precisions:
                    ran = run_ours(arguments.python, folder, points, seed, work / precision, precision)
                    found[precision].append(ran)
                floors.append(floor_seconds(kind, dim, found["float32"][-1].epochs))
        for tool, runs in found.items():
            wall = statistics.median(run.wall_s for run in runs)
            scores = [run.score for run in runs]
            line: dict[str, Any] = {
                "task": kind, "dim": dim, "tool": tool, "scores": scores, "wall_s": wall,
                "cpu_s": statistics.median(run.cpu_s for run in runs),
                "peak_mib": statistics.median(run.peak_mib for run in runs),
            }  # fmt: skip
            ratio = below = ""
            if tool != "heareval":
                pairs = zip(found["heareval"], runs, strict=True)
                ratio = f"{statistics.median(a.wall_s / b.wall_s for a, b in pairs):.2f}"
                below = f"{statistics.median(run.scoring_s / low for run, low in zip(runs, floors, strict=True)):.2f}"
            shown = tool if tool == "heareval" else f"ours {tool}"
            print(
                f"| {kind} | {dim} | {shown} | {mean_and_error(scores)} | {wall:.1f} | {line['cpu_s']:.1f} | "
                f"{line['peak_mib']:.0f} | {ratio} | {below} |", flush=True,
            )  # fmt: skip
            kept.append({**line, "heareval_over_ours": ratio, "ours_over_floor": below, "floors_s": floors})
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
