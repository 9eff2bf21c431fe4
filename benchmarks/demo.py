"""The whole chain on generated audio: tasks, pre-training, validation, embeddings, scores, tables, report.

Pre-training hears synthetic sounds alone, none of the tasks' own generators.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from benchmarks.embedding.model import ModelSpec
from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.page import Sources, render_report
from benchmarks.reading.tables.plain import write_tables
from benchmarks.running.run import run
from benchmarks.tasks.demo import write_demo_tasks
from benchmarks.tasks.find import find_task_folders
from benchmarks.tasks.registry import list_tasks
from benchmarks.validate.model_report import validate_model
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path
from pretrain.config import load_config
from pretrain.training.start import Watching, pretrain

__all__ = ["run_demo"]

#: Grid points of the hear protocol in the demo, of the official eight: enough to choose from, quick.
GRID_POINTS = 2

#: What is pre-trained: label -> preset, changes of it, and what is said. One step at next to no rate changes no
#: convolution; the maps of the scene's parts are then learnt as for the others.
TRAINED = {
    "DeLoRes-S": ("demo-s", (), "pre-training DeLoRes-S on synthetic sounds"),
    "DeLoRes-M": ("demo-m", (), "pre-training DeLoRes-M on synthetic sounds"),
    "untrained": ("demo-s", ("steps=1", "optimizer.lr=1e-12"), "learning the maps of an untrained encoder"),
}


def run_demo(out: Path, shown: Console) -> None:
    """Runs every step of the chain, and prints one table per protocol. Finished steps are skipped.

    Writes ``tasks/`` (generated audio), ``pretrain/`` (the checkpoints), ``embeddings/``, ``results/``, ``tables.md``,
    ``results.csv`` and ``report.html`` into ``out``. The models are DeLoRes-S and DeLoRes-M; ``untrained``, which has
    the same parts and the maps learnt on top, but the convolutions as they were drawn; ``random``, which has the
    parts without maps; the shipped weights; and log-mel statistics.

    Raises:
        DeloresError: a link of the chain failed.
    """
    started = time.perf_counter()
    _say(shown, started, "generating the demo tasks")
    specs = list_tasks("demo")
    write_demo_tasks(out / "tasks", [spec.name for spec in specs])

    checkpoints = {}
    for label, (preset, changes, what) in TRAINED.items():
        _say(shown, started, f"{what} (preset {preset})")
        checkpoints[label] = pretrain(
            load_config(preset, changes),
            "synthetic",
            out / "pretrain" / (preset if not changes else label),
            resume=True,
            quiet=True,
            watching=Watching(picture=True),
        )

    _say(shown, started, "validating the HEAR API of the new DeLoRes-S checkpoint")
    checked = ModelSpec.parse("hear_delores", str(checkpoints["DeLoRes-S"]))
    if missed := validate_model(checked).failed:
        raise DeloresError(f"hear_delores fails the check {missed[0].check.name}: {missed[0].findings[0].message}")

    models = [ModelSpec.parse(f"{label}=hear_delores@{path}") for label, path in checkpoints.items()]
    models += [
        ModelSpec.parse("shipped=hear_delores"),
        ModelSpec.parse(f"random=random@{checkpoints['DeLoRes-S']}"),
        ModelSpec.parse("log-mel"),
    ]
    _say(shown, started, f"embedding and scoring {len(models)} models on {len(specs)} tasks")
    summary = run(
        models,
        find_task_folders(out / "tasks", [spec.folder_name for spec in specs]),
        out,
        protocols=("hear", "linear"),
        options={"hear": {"grid_points": GRID_POINTS}},
        say=lambda text: shown.print(f"         {text}", style="dim"),
    )
    if summary.failures:
        failure = summary.failures[0]
        raise DeloresError(f"{failure.model} failed on {failure.task}: {failure.message}")
    _say(shown, started, f"tables, in {out}/tables.md and {out}/results.csv")
    write_tables(summary.records, out, shown)
    _say(shown, started, f"report, in {out}/report.html")
    curves = [checkpoints[label].parent for label in ("DeLoRes-S", "DeLoRes-M")]
    sources = Sources(curves, out / "embeddings")
    page = render_report(gather(summary.records), sources, title="delores demo")
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    _say(shown, started, "done")


def _say(shown: Console, started: float, text: str) -> None:
    shown.print(f"{time.perf_counter() - started:5.0f} s  {text}", style="bold")
