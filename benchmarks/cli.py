"""The command ``delores``: every step from audio files to a comparison table."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from benchmarks.options import (
    AsJson,
    Control,
    ControlName,
    ModelPath,
    PrecisionName,
    Quiet,
    Seeds,
    Shots,
    Tasks,
    TasksDir,
)  # fmt: skip
from benchmarks.scoring.protocols import MAX_POINTS, PROTOCOLS, find_protocol
from benchmarks.terminal import console, print_json, progress_bar, refuse_failures, set_up_process
from hear_delores.command_line import whole_command
from pretrain.inputs.help_text import PlainCommand
from pretrain.inputs.options import SECONDS_OF_A_DAY, finite, whole

# Each command imports what it needs itself: torch alone takes seconds, and `delores --help` needs nothing of it.


class WholeHelp(TyperGroup):
    """A group whose help shows the whole first paragraph of each command; click would cut it to a line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_paragraph(command)) for name, command in commands if command])


def _first_paragraph(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


app = typer.Typer(
    name="delores",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    cls=WholeHelp,
    rich_markup_mode=None,  # Rich takes [@WEIGHTS] for markup and leaves it out, and cuts long words to a column
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pre-train DeLoRes audio encoders, and score any HEAR model on the DeLoRes and HEAR tasks.",
)

# The protocols, how the linear layer is found, and heareval's three grids.
ProtocolName = Enum("ProtocolName", {name: name for name in PROTOCOLS}, type=str)  # type: ignore[misc]
SolverName = Enum("SolverName", {"adam": "adam", "logistic": "logistic"}, type=str)
GridName = Enum("GridName", {"default": "default", "fast": "fast", "faster": "faster"}, type=str)
NeedsName = Enum("NeedsName", {"scene": "scene", "timestamps": "timestamps"}, type=str)
Device = Annotated[str, typer.Option(help="Where the work is done: auto, cpu, cuda, cuda:1 or mps.")]
Needs = Annotated[
    NeedsName,
    typer.Option(help="What to embed of clips: scene embeddings, or all timestamp embeddings (attentive, prototype)."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out audio that cannot be read, and list it.")]
Force = Annotated[bool, typer.Option("--force", help="Embed again, even if the embeddings exist.")]
BatchSeconds = Annotated[
    float | None,
    typer.Option(**finite(0.01, SECONDS_OF_A_DAY), help="Seconds of audio per batch. Fewer need less memory."),
]
Grid = Annotated[GridName, typer.Option(help="Protocol hear: heareval's grid of hyper-parameters.")]
GridPoints = Annotated[
    int, typer.Option(**whole(1, MAX_POINTS), help="Protocol hear: how many points of the grid to try.")
]
Precision = Annotated[
    PrecisionName, typer.Option(help="Protocol hear: bfloat16 is faster on processors made for it; auto times both.")
]
Solver = Annotated[SolverName, typer.Option(help="Protocol linear: Adam, or scikit-learn's logistic regression.")]
ShareGrid = Annotated[
    bool,
    typer.Option(
        "--share-grid", help="Protocol hear: only the first seed searches the grid. heareval searches for each seed."
    ),
]
Perturb = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND:VALUE,...",
        help="Test the same heads on perturbed clips, too: noise:DB, pink:DB, reverb:SECONDS, band:HIGH, "
        "band:LOW-HIGH, codec:mp3-KBPS, codec:opus-KBPS or codec:vorbis-QUALITY; repeat for more.",
    ),
]
Protocols = Annotated[
    list[ProtocolName] | None, typer.Option("--protocol", "-p", help="How to score; repeat for more. Default: hear.")
]
Seed = Annotated[int, typer.Option(**whole(), help="The first seed. heareval uses 42.")]
SUITES = "hear, delores, demo, papers or papers+"
MODEL_HELP = (
    "A model: [LABEL=]MODEL[@WEIGHTS][?option=value&...]. MODEL is a short name of `delores models`, hf:ORG/NAME, "
    "torchaudio:BUNDLE, xares:MODULE:CLASS, an importable module or a .py file. Examples: log-mel, "
    "small=hear_delores@run/checkpoint.safetensors, hf:facebook/wav2vec2-base?layer=6, ./my_model.py"
)


def print_version(wanted: bool) -> None:
    """Prints the version and exits, before any command is looked up."""
    if wanted:
        import hear_delores

        print(hear_delores.__version__)
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and stop."),
    ] = False,
) -> None:
    """Options before the command."""


@app.command(cls=PlainCommand)
def demo(
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("delores-demo"),
    quiet: Quiet = False,
) -> None:
    """Run the whole chain on generated audio. It takes a few minutes and downloads nothing."""
    from benchmarks.demo import run_demo

    set_up_process()
    run_demo(out, console(quiet))


@app.command(cls=PlainCommand)
def embed(
    module: Annotated[str, typer.Argument(help=MODEL_HELP)],
    model: ModelPath = None,
    tasks_dir: TasksDir = Path("tasks"),
    embeddings_dir: Annotated[Path, typer.Option(help="The folder to write embeddings into.")] = Path("embeddings"),
    task: Tasks = None,
    needs: Needs = NeedsName.scene,
    batch_seconds: BatchSeconds = None,
    device: Device = "auto",
    skip_bad: SkipBad = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Embed tasks with a model, and write the embeddings in heareval's layout."""
    from benchmarks import front_door
    from benchmarks.embedding.model import ModelSpec, load_model
    from benchmarks.tasks.find import find_task_folders

    set_up_process()
    shown = console(quiet)
    folders = find_task_folders(tasks_dir, task or ())
    loaded = load_model(ModelSpec.parse(module, model), device=device)
    for note in loaded.notes:
        shown.print(note)
    for folder in folders:
        with progress_bar(quiet, f"{folder.name}") as report:
            done = front_door.embed(
                loaded, folder, embeddings_dir, needs=needs.value,
                batch_seconds=batch_seconds, skip_bad=skip_bad, force=force, progress=report,
            )  # fmt: skip
        shown.print(f"{done.path} ({'from before' if done.cached else f'{done.seconds:.1f} s'})")
        for note in done.notes:
            shown.print(f"  {note}")
        for name in done.skipped:
            shown.print(f"  left out: {name}")


@app.command(cls=PlainCommand)
def score(
    embeddings: Annotated[
        list[Path], typer.Argument(help="Embedding folders, one for each task, from `delores embed` or heareval.")
    ],
    protocol: Protocols = None,
    results: Annotated[Path, typer.Option(help="The folder to write result records into.")] = Path("results"),
    grid: Grid = GridName.default,
    grid_points: GridPoints = 8,
    precision: Precision = PrecisionName.float32,
    solver: Solver = SolverName.adam,
    shots: Shots = None,
    control: Control = None,
    share_grid: ShareGrid = False,
    seeds: Seeds = 1,
    seed: Seed = 42,
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a shallow classifier on embeddings, and test it."""
    from benchmarks import front_door

    set_up_process()
    options = _options(grid, grid_points, precision, solver, shots, control, seed if share_grid else None)
    errors = console(quiet, stderr=True)

    def waiting() -> None:
        errors.print("another process is making this record; waiting for it")

    records = []
    for folder in embeddings:
        for name in _names(protocol):
            for number in range(seed, seed + seeds):
                with progress_bar(quiet or as_json, f"{folder.name} {name}") as report:
                    record = front_door.score(
                        folder, name, seed=number, results_dir=results, device=device,
                        progress=report, on_wait=waiting, say=errors.print, **options[name],
                    )  # fmt: skip
                records.append(record)
                if not as_json:
                    scores = ", ".join(f"{metric} {value:.4f}" for metric, value in record.scores.items())
                    console(quiet).print(f"{record.model.label} on {record.task.name}, {name}, seed {number}: {scores}")
                    if record.untrained:
                        errors.print(f"{record.model.label} on {record.task.name}, {name}: {record.untrained}")
    if as_json:
        print_json([record.model_dump(exclude={"grid"}) for record in records])


def _names(protocols: list[ProtocolName] | None) -> list[str]:
    return [item.value for item in protocols or ()] or ["hear"]


def _options(
    grid: GridName,
    grid_points: int,
    precision: PrecisionName,
    solver: SolverName,
    shots: int | None,
    control: ControlName | None,
    grid_seed: int | None,
) -> dict[str, dict[str, Any]]:
    """The options of each protocol: those that it has."""
    given = {
        "grid": grid.value, "grid_points": grid_points, "precision": precision.value, "solver": solver.value,
        "shots": shots, "control": control and control.value, "grid_seed": grid_seed,
    }  # fmt: skip
    known = {name: [item.name for item in fields(find_protocol(name))] for name in PROTOCOLS}  # type: ignore[arg-type]
    return {name: {key: value for key, value in given.items() if key in own} for name, own in known.items()}


@app.command(cls=PlainCommand)
def run(
    modules: Annotated[list[str], typer.Argument(help=f"{MODEL_HELP}. @FILE reads one model per line.")],
    suite: Annotated[str | None, typer.Option(help=f"Use only the tasks of this suite: {SUITES}.")] = None,
    tasks_dir: TasksDir = Path("tasks"),
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "-t", help="A task or task folder, or @FILE with one per line; repeat for more. Default: all."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write embeddings, results and tables into.")] = Path("runs"),
    protocol: Protocols = None,
    grid: Grid = GridName.default,
    grid_points: GridPoints = 8,
    precision: Precision = PrecisionName.float32,
    solver: Solver = SolverName.adam,
    shots: Shots = None,
    control: Control = None,
    share_grid: ShareGrid = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            **whole(1, 1000), help="How many seeds to run, from --seed upwards. Default: 1; 10 for the suite papers."
        ),
    ] = None,
    seed: Seed = 42,
    perturb: Perturb = None,
    perturb_seed: Annotated[int, typer.Option(**whole(), help="The seed of the noise and the rooms of --perturb.")] = 0,
    batch_seconds: BatchSeconds = None,
    device: Device = "auto",
    skip_bad: SkipBad = False,
    force: Force = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", **whole(1, 1000), help="How many jobs (a model on a task) to run at once, if memory allows."
        ),
    ] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler, tcp://HOST:PORT. Its workers do the jobs.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be done, and estimate its hours, memory and disk space."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Embed, score and tabulate many models on many tasks. What is finished is skipped."""
    from benchmarks.perturbing.perturbation import refuse_perturbations
    from benchmarks.reading.tables.plain import write_tables
    from benchmarks.running.run import expand_lists
    from benchmarks.running.run import run as run_all
    from benchmarks.running.run_bar import run_bar
    from benchmarks.running.workload import find_work
    from benchmarks.tasks.find import find_task_folders
    from benchmarks.tasks.suites import find_suite

    set_up_process()
    shown, customary = console(quiet), find_suite(suite)
    models = expand_lists(modules)
    refuse_perturbations(models, perturb, perturb_seed)
    measured: dict[str, Any] = {
        "protocols": _names(protocol), "seeds": range(seed, seed + (seeds or customary.seeds)),
        "options": _options(grid, grid_points, precision, solver, shots, control, seed if share_grid else None),
        "device": device, "batch_seconds": batch_seconds, "force": force,
        "perturb": perturb or (), "perturb_seed": perturb_seed,
    }  # fmt: skip
    if dry_run:
        _print_plan(models, partial(find_work, tasks_dir, expand_lists(task or ()), suite), out, measured)
        return
    folders = find_task_folders(tasks_dir, expand_lists(task or ()), suite, on_skip=shown.print)
    with run_bar(quiet) as bar:
        summary = run_all(
            models,
            folders,
            out,
            skip_bad=skip_bad,
            jobs=jobs,
            scheduler=scheduler,
            say=lambda text: shown.print(text),
            progress=bar,
            **measured,
        )
    if summary.records:
        write_tables(summary.records, out, console(), over_seeds=customary.over_seeds)
    for name, clips in summary.skipped_clips.items():
        shown.print(f"{name}: {len(clips)} clips left out: {', '.join(clips)}")
    refuse_failures(summary.failures)


def _print_plan(models: list[str], work: Any, out: Path, measured: dict[str, Any]) -> None:
    """What a run would do, with its hours, memory and disk."""
    from benchmarks.running.estimate import estimate_run
    from benchmarks.running.plan_table import plan_lines

    console().print("\n".join(plan_lines(estimate_run(models, work, out, **measured))))


@app.command(cls=PlainCommand)
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed and works on this machine, and how to fix the rest."""
    from dataclasses import asdict

    from benchmarks.doctor import diagnose

    found = diagnose()
    if as_json:
        print_json([asdict(item) for item in found])
    else:
        styles = {"ok": "green", "note": "yellow", "broken": "bold red"}
        for item in found:
            line = Text.assemble((f"{item.state:7}", styles[item.state]), f"{item.name:18}{item.value}")
            console().print(line, f"-> {item.advice}" if item.advice else "")
    if any(item.state == "broken" for item in found):
        raise typer.Exit(1)


def register_rooms() -> None:
    """Adds the commands that the packages define."""
    from benchmarks.command import ablate, convert, export
    from benchmarks.encoders.command import models
    from benchmarks.reading.command import geometry, report, tables
    from benchmarks.reading.leaderboard.command import standings, submit
    from benchmarks.reading.statistics.command import compare
    from benchmarks.running.command import layers
    from benchmarks.scoring.command import finetune
    from benchmarks.sharing.command import push
    from benchmarks.tasks.command import download, prepare, tasks
    from benchmarks.validate.command import validate
    from pretrain.command import command as pretrain
    from pretrain.command import pack
    from pretrain.pools.command import pool

    app.command("pretrain", cls=PlainCommand)(pretrain)
    app.command("pack", cls=PlainCommand)(pack)
    app.command("pool", cls=PlainCommand)(pool)
    for command in (
        models, tasks, prepare, convert, export, ablate, download, validate, finetune, layers, tables, compare, report,
        submit, standings, geometry, push,
    ):  # fmt: skip
        app.command(command.__name__, cls=PlainCommand)(command)


register_rooms()


def main() -> None:
    """Runs the command line. An expected error is one line on standard error and exit code 1."""
    with whole_command("run the same command again to continue"):
        app()
