"""``delores embed`` against heareval's embedding runner with the same model, and against the bare model.

    python benchmarks/perf/embedding.py --python .tox/heareval/bin/python
    python benchmarks/perf/embedding.py --before ../before/.venv/bin/python

A made task of WAV files is embedded by both as whole processes in the environment of ``--python``, alternately. The
floor is the model's forward alone on the same clips, which lie in memory, at its best batch size. Disk is what
either leaves behind.

With ``--before``, the bare forward alone, against that of the environment named, where another version is installed:
one process each, which answer alternately, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL, PIPE

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))
from heareval_scores import ROOT, STUB, timed

RATE = 16000
BARE = """
import importlib, json, sys, time
import torch
from hear_delores.memory import keep_freed_memory
keep_freed_memory()
module = importlib.import_module(sys.argv[1])
clips, samples, event = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "event"
model = module.load_model()
audio = torch.rand(clips, samples) * 0.2 - 0.1
embed = module.get_timestamp_embeddings if event else module.get_scene_embeddings
best = float("inf")
for batch in (1, 4, 16, 64):
    embed(audio[:batch], model)
    began = time.perf_counter()
    for start in range(0, clips, batch):
        embed(audio[start:start + batch], model)
    best = min(best, time.perf_counter() - began)
print(json.dumps(best))
"""

FORWARD = """
import hashlib, json, resource, sys, time
import torch
from hear_delores.memory import keep_freed_memory
keep_freed_memory()
import hear_delores
model = hear_delores.load_model()
torch.manual_seed(0)
for line in sys.stdin:
    kind, clips, samples = json.loads(line)
    audio = torch.rand(clips, samples) * 0.2 - 0.1
    embed = {"scene": hear_delores.get_scene_embeddings, "event": hear_delores.get_timestamp_embeddings}[kind]
    began = time.perf_counter()
    embed(audio, model)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak]), flush=True)
"""


def write_task(folder: Path, kind: str, clips: int, seconds: float) -> None:
    """Noise bursts in three splits, with one label or event each."""
    rng = np.random.default_rng(0)
    labels = ["a", "b"]
    metadata = {
        "task_name": f"made_{kind}", "version": "1", "mode": "full", "embedding_type": kind,
        "prediction_type": "multilabel" if kind == "event" else "multiclass", "split_mode": "trainvaltest",
        "sample_duration": seconds, "splits": ["train", "valid", "test"], "nfolds": None,
        "evaluation": ["event_onset_200ms_fms"] if kind == "event" else ["top1_acc"],
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "task_metadata.json").write_text(json.dumps(metadata))
    (folder / "labelvocabulary.csv").write_text("idx,label\n0,a\n1,b\n")
    for split, share in (("train", 0.6), ("valid", 0.2), ("test", 0.2)):
        truth = {}
        (folder / str(RATE) / split).mkdir(parents=True)
        for number in range(round(clips * share)):
            file, label = f"{split}{number:05d}.wav", labels[number % 2]
            audio = rng.standard_normal(int(seconds * RATE)) * 0.05
            soundfile.write(folder / str(RATE) / split / file, audio, RATE, subtype="PCM_16")
            event = {"label": label, "start": 100.0, "end": 500.0}
            truth[file] = [event] if kind == "event" else [label]
        (folder / f"{split}.json").write_text(json.dumps(truth))


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Prints one line per kind of task and tool: medians of interleaved runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = os.path.abspath  # its processes run in another folder
    parser.add_argument("--python", type=path, default=sys.executable, help="interpreter with heareval")
    parser.add_argument("--before", type=path, help="interpreter of an environment with the version to compare with")
    parser.add_argument("--batch", type=int, action="append", help="with --before: clips in a call; repeat for more")
    parser.add_argument("--module", default="hear_delores")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.before:
        compare_forwards(arguments)
        return
    print("| task | tool | wall s | cpu s | peak MiB | disk MB | heareval / ours | embedding s / floor |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for kind in ("scene", "event"):
        with tempfile.TemporaryDirectory() as place:
            measure(Path(place), kind, arguments)


def compare_forwards(arguments: argparse.Namespace) -> None:
    """Prints one line per kind and batch: medians of turns of the version before and of this one."""
    turns = max(5, arguments.runs)
    samples = int(arguments.seconds * RATE)
    with tempfile.TemporaryDirectory() as place:
        before, now = (
            subprocess.Popen(
                [python, "-c", FORWARD], cwd=place, env=environment, text=True, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
            for python, environment in (
                (arguments.before, {**os.environ}),
                (sys.executable, {**os.environ, "PYTHONPATH": str(ROOT)}),
            )
        )
        print(f"| kind | clips | clips/s before | now | now / before, median of {turns} | peak MiB before, now |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for kind in ("scene", "event"):
            for clips in arguments.batch or (1, 4, 16, 64):
                pairs = []
                for turn in range(turns + 1):
                    answers = [_ask(process, (kind, clips, samples)) for process in (before, now)]
                    if turn:  # the first is a warm-up
                        pairs.append(answers)
                rates = [statistics.median(clips / pair[which][0] for pair in pairs) for which in (0, 1)]
                ratio = statistics.median(a[0] / b[0] for a, b in pairs)
                peaks = ", ".join(f"{peak:.0f}" for _, peak in pairs[-1])
                print(f"| {kind} | {clips} | {rates[0]:.0f} | {rates[1]:.0f} | {ratio:.2f} | {peaks} |", flush=True)
        for process in (before, now):
            process.communicate()


def _ask(process: subprocess.Popen[str], shape: tuple[str, int, int]) -> tuple[float, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps(shape), file=process.stdin, flush=True)
    seconds, peak = json.loads(process.stdout.readline())
    return seconds, peak


def measure(place: Path, kind: str, arguments: argparse.Namespace) -> None:
    tasks = place / "tasks"
    write_task(tasks / f"made_{kind}-1-full", kind, arguments.clips, arguments.seconds)
    (place / "stub" / "tensorflow").mkdir(parents=True)
    (place / "stub" / "tensorflow" / "__init__.py").write_text(STUB)
    environment = {**os.environ, "PYTHONPATH": f"{place / 'stub'}{os.pathsep}{ROOT}"}
    commands = {"heareval": ["-m", "heareval.embeddings.runner"], "ours": ["-m", "benchmarks", "embed", "--quiet"]}
    costs: dict[str, list[tuple[float, float, float]]] = {tool: [] for tool in commands}
    disk: dict[str, int] = {}
    floors, seconds = [], []
    for number in range(arguments.runs):
        for tool, command in commands.items():
            out = place / f"{tool}{number}"
            dirs = ["--tasks-dir", str(tasks), "--embeddings-dir", str(out)]
            costs[tool].append(timed([arguments.python, *command, arguments.module, *dirs], place, environment))
            disk[tool] = bytes_below(out)
        [info] = (place / f"ours{number}").rglob("embedding-info.json")
        seconds.append(json.loads(info.read_text())["seconds"])
        shape = [arguments.module, str(arguments.clips), str(int(arguments.seconds * RATE)), kind]
        bare = subprocess.run(
            [arguments.python, "-c", BARE, *shape], env=environment, capture_output=True, text=True, check=True
        )
        floors.append(float(bare.stdout))
    for tool, runs in costs.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        ratio = below = ""
        if tool == "ours":
            pairs = zip(costs["heareval"], runs, strict=True)
            ratio = f"{statistics.median(a[0] / b[0] for a, b in pairs):.2f}"
            below = f"{statistics.median(a / b for a, b in zip(seconds, floors, strict=True)):.2f}"
        print(
            f"| {kind} | {tool} | {wall:.1f} | {cpu:.1f} | {peak:.0f} | {disk[tool] / 1e6:.1f} | {ratio} | {below} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
