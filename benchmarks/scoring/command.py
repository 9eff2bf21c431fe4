"""The command ``delores finetune``. Libraries load when it runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.options import AsJson, Control, ModelPath, PrecisionName, Quiet, Seeds, Shots, TasksDir
from hear_delores.errors import DeloresError
from pretrain.inputs.options import SECONDS_OF_A_DAY, finite, whole

__all__ = ["finetune"]


def finetune(
    module: Annotated[str, typer.Argument(help="A torch model: [LABEL=]MODEL[@WEIGHTS][?option=value&...].")],
    model: ModelPath = None,
    tasks_dir: TasksDir = Path("tasks"),
    task: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="A task or task folder; repeat for more. Default: all tasks of clips."),
    ] = None,
    results: Annotated[Path, typer.Option(help="The folder to write result records into.")] = Path("results"),
    lr: Annotated[
        float | None, typer.Option(**finite(1e-12, 1e3), help="Adam's learning rate for all weights. Default: 0.001.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(**whole(1), help="Clips per step. Default: 64.")] = None,
    epochs: Annotated[int | None, typer.Option(**whole(1), help="The most epochs to train. Default: 100.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(**whole(1), help="Stop after N epochs without a better validation score. Default: 20."),
    ] = None,
    crop_seconds: Annotated[
        float | None,
        typer.Option(
            **finite(0.01, SECONDS_OF_A_DAY),
            help="Length of the random crops. Default: mean length of the training clips.",
        ),
    ] = None,
    shots: Shots = None,
    amp: Annotated[bool, typer.Option("--amp", help="The same as --precision bfloat16.")] = False,
    precision: Annotated[
        PrecisionName,
        typer.Option(
            help="How training multiplies: bfloat16 is faster on processors made for it (float16 where CUDA lacks it); "
            "auto times both."
        ),
    ] = PrecisionName.float32,
    control: Control = None,
    seeds: Seeds = 1,
    seed: Annotated[int, typer.Option(**whole(), help="The first seed.")] = 42,
    device: Annotated[str, typer.Option(help="Where the work is done: auto, cpu, cuda or cuda:1.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a torch model end to end on tasks: the papers' transfer evaluation. The same command again resumes.

    To train on several devices: torchrun --no-python --nproc-per-node N delores finetune ... with the same options.
    """
    import torch

    from benchmarks.embedding.model import ModelSpec, load_model
    from benchmarks.scoring.finetune.protocol import finetune_task
    from benchmarks.tasks.find import find_task_folders
    from benchmarks.terminal import console, print_json, progress_bar, set_up_process
    from pretrain.distributed.world import ReportedElsewhere, join

    options: dict[str, Any] = {
        "lr": lr, "batch_size": batch_size, "max_epochs": epochs, "patience": patience,
        "crop_seconds": crop_seconds, "shots": shots, "amp": amp or precision.value == "bfloat16",
        "auto_precision": precision.value == "auto", "control": control and control.value,
    }  # fmt: skip
    if amp and precision.value == "auto":
        raise typer.BadParameter("--amp is --precision bfloat16; give one of --amp and --precision auto")
    set_up_process()
    records = []
    kind = "cuda" if torch.cuda.is_available() and device != "cpu" else "cpu"
    try:
        with join(kind, "the same command again goes on from there") as world:
            quiet = quiet or not world.leads
            folders = world.share(lambda: find_task_folders(tasks_dir, task or ()))
            if not task:  # all there are: those that can be fine-tuned on
                folders = [folder for folder in folders if folder.embedding_type == "scene"]
            loaded = world.share(
                lambda: load_model(ModelSpec.parse(module, model), device=_own_device(device, world.size))
            )
            for folder, number in itertools.product(folders, range(seed, seed + seeds)):
                with progress_bar(quiet or as_json, f"{folder.name} finetune") as report:
                    record = finetune_task(
                        loaded, folder, results_dir=results, seed=number, progress=report, world=world,
                        say=console(quiet, stderr=True).print, **options,
                    )  # fmt: skip
                records.append(record)
                scores = ", ".join(f"{metric} {value:.4f}" for metric, value in record.scores.items())
                shown = f"{record.model.label} on {folder.name}, finetune, seed {number}: {scores}"
                console(quiet or as_json).print(shown)
    except ReportedElsewhere:  # one process says why
        raise typer.Exit(1) from None
    if as_json and world.leads:
        print_json([record.model_dump() for record in records])


def _own_device(device: str, processes: int) -> str:
    """The device asked for; of several processes on a machine, each takes the GPU of its own number."""
    import torch

    from benchmarks.scoring.fitting import as_device
    from pretrain.distributed.world import local_rank

    found = as_device(device)
    if processes == 1:
        return str(found)
    if found.type not in ("cpu", "cuda"):
        raise DeloresError(
            f"device: several processes run on cpu or cuda, not on {found.type}; start one process, without torchrun"
        )
    if found.type == "cpu":
        return "cpu"
    if local_rank() >= torch.cuda.device_count():
        raise DeloresError(
            f"device: {torch.cuda.device_count()} GPUs for process {local_rank()} (from 0) of this machine; start one "
            "process per GPU, or give --device cpu"
        )
    torch.cuda.set_device(local_rank())
    return f"cuda:{local_rank()}"
