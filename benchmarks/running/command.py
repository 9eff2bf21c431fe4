"""The command ``delores layers``. Libraries load when it runs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.options import ModelPath, Quiet, Tasks, TasksDir
from pretrain.inputs.options import SECONDS_OF_A_DAY, finite, whole

__all__ = ["layers"]

#: The protocols that layers are compared by, and whose test scores are shown: those of the chosen, or of all.
LayerProtocol = Enum("LayerProtocol", {"linear": "linear", "knn": "knn"}, type=str)
LayerSplit = Enum("LayerSplit", {"valid": "valid", "test": "test"}, type=str)


def layers(
    module: Annotated[
        str, typer.Argument(help="hf:ORG/NAME, torchaudio:BUNDLE or a DeLoRes encoder: MODEL[@WEIGHTS][?option=value].")
    ],
    model: ModelPath = None,
    tasks_dir: TasksDir = Path("tasks"),
    task: Tasks = None,
    out: Annotated[Path, typer.Option(help="The folder to write embeddings, results and the table into.")] = Path(
        "runs"
    ),
    protocol: Annotated[LayerProtocol, typer.Option("--protocol", "-p", help="How to score.")] = LayerProtocol.linear,
    split: Annotated[
        LayerSplit,
        typer.Option(help="valid: show the test score of the chosen layer only. test: show that of every layer."),
    ] = LayerSplit.valid,
    seed: Annotated[int, typer.Option(**whole(), help="The seed of the classifier.")] = 42,
    batch_seconds: Annotated[
        float | None,
        typer.Option(**finite(0.01, SECONDS_OF_A_DAY), help="Seconds of audio per batch. Fewer need less memory."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the work is done: auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out audio that cannot be read, and list it.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Score every layer of a model on tasks of clips, in one pass over the audio. Validation chooses the layer."""
    from benchmarks.embedding.layered import load_layers
    from benchmarks.reading.tables.layer_table import draw, to_csv, to_markdown
    from benchmarks.running.layer_sweep import score_layers
    from benchmarks.tasks.find import find_task_folders
    from benchmarks.terminal import console, progress_bar, set_up_process
    from hear_delores.errors import DeloresError
    from hear_delores.files import atomic_path

    set_up_process()
    folders = find_task_folders(tasks_dir, task or ())
    if not task:  # all there are: those that layers can be compared on
        folders = [folder for folder in folders if folder.embedding_type == "scene"]
    if not folders:
        raise DeloresError(f"{tasks_dir}: there is no task of clips; layers are not compared on events")
    loaded, tables = load_layers(module, model, device), []
    for folder in folders:
        with progress_bar(quiet, folder.name) as report:
            scores = score_layers(
                loaded, folder, out, protocol=protocol.value, seed=seed, device=loaded.whole.device,
                batch_seconds=batch_seconds, skip_bad=skip_bad, progress=report,
            )  # fmt: skip
        tables.append(scores)
    every = split is LayerSplit.test
    text = to_markdown(tables, all_tests=every)
    with atomic_path(out / "layers.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    to_csv(out / "layers.csv", tables, all_tests=every)
    draw(out / "layers.png", tables)
    console().print(text, soft_wrap=True)
    console().print(f"{out / 'layers.md'}, layers.csv and layers.png")
