"""The commands ``convert``, ``export`` and ``ablate``. Libraries load when one runs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.options import Quiet, Tasks, TasksDir
from pretrain.inputs.options import finite, whole

__all__ = ["ablate", "convert", "export"]


class Format(str, Enum):
    """What a checkpoint is exported to."""

    onnx = "onnx"


#: The split whose scores a table shows.
Split = Enum("Split", {"valid": "valid", "test": "test"}, type=str)


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A checkpoint of BYOL-A, DeLoRes or LAPE, or one of this project.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, such as model.safetensors.")],
    mean: Annotated[
        float | None,
        typer.Option(**finite(-1e6, 1e6), help="The mean of the log-mel values that the model was trained on."),
    ] = None,
    std: Annotated[
        float | None, typer.Option(**finite(1e-6, 1e6), help="The standard deviation of these values.")
    ] = None,
    frontend: Annotated[
        str | None,
        typer.Option(
            help="delores (librosa's mel filters) or byol-a (torchaudio's). Default: that of the checkpoint's authors."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Convert a published checkpoint to this project's format, with its front-end and statistics in the file."""
    from benchmarks.terminal import console
    from hear_delores.checkpoint import weights_hash
    from hear_delores.convert import convert as convert_checkpoint

    model = convert_checkpoint(source, target, frontend=frontend, mean=mean, std=std, force=force)
    shown, encoder, sound = console(quiet), model.encoder.config, model.frontend.config
    unused = model.info["config"].get("unused", {})
    shown.print(f"took the encoder of {source} ({model.info['method'] or 'hear_delores'}): {encoder}")
    shown.print(
        f"front-end: {sound.mel_scale} scale, norm {sound.mel_norm}, {sound.n_mels} mel bands, {sound.f_min:g} to "
        f"{sound.f_max:g} Hz; mean {model.mean:g}, std {model.std:g}"
    )
    if unused:
        parts = (f"{part} ({count} tensors)" if count else part for part, count in unused.items())
        shown.print(f"left unused: {', '.join(parts)}")
    console().print(f"{target}: {model.scene_embedding_size} dimensions, hash {weights_hash(model)[:8]}")


def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint's file, or the name of shipped weights.")
    ],
    form: Annotated[Format, typer.Option("--format", help="The format to write.")] = Format.onnx,
    out: Annotated[
        Path | None, typer.Option(help="The file to write. Default: CHECKPOINT's name with .onnx, in this folder.")
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps/--scene", help="Which embeddings the graph computes.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Export a checkpoint for use without PyTorch: one graph, from audio to embeddings, for clips of any length."""
    import hear_delores
    from benchmarks.terminal import console
    from hear_delores.errors import DeloresError
    from hear_delores.export import OPSET, export_onnx

    target = out or Path(f"{Path(checkpoint).stem}.{form.value}")
    if target.exists() and not force:
        raise DeloresError(f"{target} exists: choose another name with --out, or replace it with --force.")
    model = hear_delores.load_model(checkpoint)
    console(quiet).print(f"exporting {checkpoint}; this takes some seconds")
    export_onnx(model, target, timestamps=timestamps)
    kind, size = "scene", model.scene_embedding_size
    if timestamps:
        kind, size = "timestamp", model.timestamp_embedding_size
    console().print(
        f"{target}: {kind} embeddings of {size} dimensions from audio (n_sounds, n_samples) float32 at "
        f"{model.sample_rate} Hz; ONNX opset {OPSET}"
    )


def ablate(
    data: Annotated[
        str,
        typer.Option(help="A folder of audio, a CSV with a file column, a HEAR task folder or pack, or synthetic."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write runs, embeddings, results and the table into.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="'NAME: KEY=VALUE ...'", help="Settings to train beside the base, each in quotes."),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="The base: the name of a preset, or the path of a YAML configuration.")
    ] = ("delores-s-small"),
    file: Annotated[Path | None, typer.Option("--settings", help="A YAML file with one setting per line.")] = None,
    shared: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change this in the base and in all settings; repeat for more."
        ),
    ] = None,
    tasks_dir: TasksDir = Path("tasks"),
    task: Tasks = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", "-p", help="linear, hear or knn; repeat for more. Default: linear."),
    ] = None,
    split: Annotated[Split, typer.Option(help="The split whose scores the table shows.")] = Split.valid,
    seeds: Annotated[
        int, typer.Option(**whole(1, 1000), help="How many seeds of the classifier to run, from --seed upwards.")
    ] = 1,
    seed: Annotated[int, typer.Option(**whole(), help="The first seed of the classifier.")] = 42,
    device: Annotated[str, typer.Option(help="Where scoring is done: auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files that cannot be read, and list them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Pre-train a grid of settings, score each on validation splits beside a random encoder, and write one table."""
    from benchmarks.reading.tables.ablation_table import to_rich
    from benchmarks.running.ablation import Ablation, read_settings
    from benchmarks.tasks.find import find_task_folders
    from benchmarks.terminal import console, refuse_failures, set_up_process

    set_up_process()
    shown, wanted = console(quiet), read_settings(preset, shared or (), settings or (), file)
    summary = Ablation(
        wanted, data, out, find_task_folders(tasks_dir, task or ()), protocols=protocol or ("linear",),
        seeds=range(seed, seed + seeds), device=device, split=split.value, skip_bad=skip_bad, quiet=quiet,
        say=lambda text: shown.print(text),
    ).run()  # fmt: skip
    for table in summary.tables:
        console().print(to_rich(table), soft_wrap=False)
    console().print(f"{out / 'ablation.md'}")
    refuse_failures(summary.failures)
