"""The command ``delores finetune``. Libraries load when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["finetune"]


def finetune(
    module: Annotated[str, typer.Argument(help="[LABEL=]MODULE[@WEIGHTS][?option=value&...], of a torch HEAR model.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Weights handed to load_model; none calls it without.")
    ] = None,
    tasks_dir: Annotated[Path, typer.Option(help="Folder that holds the task folders.")] = Path("tasks"),
    task: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="Task or task folder name; repeat for more. None: all tasks of clips."),
    ] = None,
    results: Annotated[Path, typer.Option(help="Where result records are written.")] = Path("results"),
    lr: Annotated[float | None, typer.Option(help="Adam's learning rate, of all weights. [default: 0.001]")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Clips per step. [default: 64]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many. [default: 100]")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better validation. [default: 20]")
    ] = None,
    crop_seconds: Annotated[
        float | None, typer.Option(help="Length of the random crops. [default: mean duration of the training clips]")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="Train on so many clips per class, drawn by seed.")] = None,
    amp: Annotated[
        bool, typer.Option("--amp", help="Autocast training to bfloat16 (float16 where CUDA lacks it).")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from --seed on.")] = 1,
    seed: Annotated[int, typer.Option(help="First seed.")] = 42,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and the result.")] = False,
) -> None:
    """Fine-tune a torch model end to end (the papers' transfer evaluation). A killed run goes on when run again."""
    from benchmarks.scoring.finetune import finetune_task
    from benchmarks.scoring.models import load_model
    from benchmarks.scoring.training import as_device
    from benchmarks.tasks.find import find_task_folders
    from benchmarks.terminal import console, model_spec, print_json, progress_bar

    folders = find_task_folders(tasks_dir, task or ())
    if not task:  # all there are: those that can be fine-tuned on
        folders = [folder for folder in folders if folder.embedding_type == "scene"]
    loaded = load_model(model_spec(module, model), device=str(as_device(device)))
    options: dict[str, Any] = {
        "lr": lr, "batch_size": batch_size, "max_epochs": epochs, "patience": patience,
        "crop_seconds": crop_seconds, "shots": shots, "amp": amp,
    }  # fmt: skip
    records = []
    for folder in folders:
        for number in range(seed, seed + seeds):
            with progress_bar(quiet or as_json, f"{folder.name} finetune") as report:
                record = finetune_task(loaded, folder, results_dir=results, seed=number, progress=report, **options)
            records.append(record)
            if not as_json:
                scores = ", ".join(f"{metric} {value:.4f}" for metric, value in record.scores.items())
                console(quiet).print(f"{record.model.label} on {folder.name}, finetune, seed {number}: {scores}")
    if as_json:
        print_json([record.model_dump() for record in records])
