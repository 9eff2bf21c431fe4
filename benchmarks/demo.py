"""The whole chain on generated audio: tasks, pre-training, validation, embeddings, scores, tables, report."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from benchmarks.embedding.model import ModelSpec
from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.page import Sources, render_report
from benchmarks.reading.tables.plain import write_tables
from benchmarks.running.run import run
from benchmarks.tasks.demo import write_demo_pool, write_demo_tasks
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


def run_demo(out: Path, shown: Console) -> None:
    """Runs every step of the chain, and prints one table per protocol. Finished steps are skipped.

    Writes ``tasks/``, ``pool/`` (generated audio), ``pretrain/`` (two checkpoints), ``embeddings/``,
    ``results/``, ``tables.md``, ``results.csv`` and ``report.html`` into ``out``.

    Raises:
        DeloresError: a link of the chain failed.
    """
    started = time.perf_counter()
    _say(shown, started, "generating the demo tasks and an unlabelled pool")
    specs = list_tasks("demo")
    write_demo_tasks(out / "tasks", [spec.name for spec in specs])
    pool = write_demo_pool(out / "pool")

    checkpoints = {}
    for label, preset in (("DeLoRes-S", "demo-s"), ("DeLoRes-M", "demo-m")):
        _say(shown, started, f"pre-training {label} on the pool (preset {preset})")
        folder = out / "pretrain" / preset
        checkpoints[label] = pretrain(
            load_config(preset), pool, folder, resume=True, quiet=True, watching=Watching(picture=True)
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
    sources = Sources([path.parent for path in checkpoints.values()], out / "embeddings")
    page = render_report(gather(summary.records), sources, title="delores demo")
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    _say(shown, started, "done")


def _say(shown: Console, started: float, text: str) -> None:
    shown.print(f"{time.perf_counter() - started:5.0f} s  {text}", style="bold")
