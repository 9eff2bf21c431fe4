"""The command line of the validator: ``delores validate``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hear_delores.errors import DeloresError
from hear_delores.siblings import current_folder_last

if TYPE_CHECKING:
    from benchmarks.validate.check import Check, Outcome
    from benchmarks.validate.validation import Validation

__all__ = ["validate"]

#: After so many seconds a check is named that still runs.
PATIENCE_S = 10.0
STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def validate(
    module: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="A model: [LABEL=]MODEL[@WEIGHTS][?option=value&...], as `delores models` says."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Weights for load_model. Default: load_model gets no path.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="Where the model runs: cpu or cuda. Default: where load_model puts it."),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Also embed 20 minutes of audio, within 16 GB of memory.")
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave out the checks that take longest, and audio of more than 5 seconds.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the outcome as JSON. Use - for standard output."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the outcome as JUnit XML.")] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="CHECK", help="Say what a check asks and why. Use all for every check.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the checks that fail.")] = False,
) -> None:
    """Check a model against the HEAR common API: every check of the official hear-validator, and more.

    The exit code is 0 if no check failed (there may be warnings), 1 if one failed, and 2 if the checks could not run.
    """
    try:
        if explain is not None:
            _explain(explain)
            return
        if module is None:
            raise DeloresError("expected a module to validate, or a check with --explain")
        for path in (json_file, junit):  # known before minutes of checks, not after them
            if path is not None and not path.absolute().parent.is_dir():
                raise DeloresError(f"{path}: its folder does not exist; make it, or choose another path")
        _find(module, model)
        from benchmarks.validate.validation import Validation

        validation = Validation(module, model or "", device=device, long=long, fast=fast)
        outcomes = _run(validation, quiet, to_stderr=str(json_file) == "-")
        _write(module, outcomes, json_file, junit)
    except (DeloresError, OSError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        raise typer.Exit(2) from None
    if any(outcome.verdict == "fail" for outcome in outcomes):
        raise typer.Exit(1)


def _find(module: str, weights: str | None) -> None:
    """A module is looked for where the user stands, too; one that is nowhere is an error."""
    from benchmarks.embedding.spec import ModelSpec
    from benchmarks.encoders.catalogue import READY

    current_folder_last()
    spec = ModelSpec.parse(module, weights)
    if spec.adapter is not None or spec.module in READY:
        return
    if spec.file is not None:
        if not spec.file.is_file():
            raise DeloresError(f"there is no file {spec.file}; check the path")
        return
    try:
        found = importlib.util.find_spec(spec.module.split(".")[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise DeloresError(f"no module is called {spec.module!r}: install it, or run from the folder that holds it")


def _run(validation: Validation, quiet: bool, *, to_stderr: bool) -> list[Outcome]:
    """The outcomes, each shown as soon as there is one."""
    from rich.console import Console

    from benchmarks.terminal import console
    from benchmarks.validate.annotations import on_github, workflow_commands
    from benchmarks.validate.patience import Patience
    from benchmarks.validate.process_state import kept

    shown = console(stderr=to_stderr)
    # The stream is named now: a model's own output is caught while a check runs, the progress is not.
    stream = sys.stderr
    status = Console(file=stream, highlight=False, markup=False, quiet=quiet)
    outcomes: list[Outcome] = []

    def say(name: str) -> None:
        if not status.is_terminal or quiet:  # where no spinner says it
            print(f"{name}: running for {PATIENCE_S:g} s", file=stream, flush=True)

    with status.status("", spinner="dots") as spinner, kept(), Patience(PATIENCE_S, say) as patience:

        def progress(check: Check) -> None:
            name = f"{check.name} ({len(outcomes) + 1} of {len(validation.checks)})"
            spinner.update(name)
            patience.begin(name)

        validation.progress = progress
        for outcome in validation:
            patience.end()
            outcomes.append(outcome)
            if not quiet or outcome.verdict == "fail":
                _show(shown, outcome)
    if not quiet:
        _sum_up(shown, outcomes)
    if on_github():
        for line in workflow_commands(validation.module, outcomes):
            print(line, file=stream, flush=True)
    return outcomes


def _sum_up(shown: Any, outcomes: list[Outcome]) -> None:
    """How many of each, and how to learn more of the first that failed, or else has a warning."""
    counts = {verdict: sum(o.verdict == verdict for o in outcomes) for verdict in STYLES}
    shown.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    noted = [o.check.name for verdict in ("fail", "warn") for o in outcomes if o.verdict == verdict]
    if noted:
        shown.print(f"What a check asks, and why: delores validate --explain {noted[0]}", style="dim")


def _show(shown: Any, outcome: Outcome) -> None:
    from rich.text import Text

    notes = [finding.message for finding in outcome.findings] or [outcome.reason]
    if not any(notes) and outcome.seconds >= 1:
        notes = [f"{outcome.seconds:.0f} s"]
    line = Text.assemble((f"{outcome.verdict:5}", STYLES[outcome.verdict]), f"{outcome.check.name:22}")
    shown.print(line, "; ".join(notes))


def _write(module: str, outcomes: list[Outcome], json_file: Path | None, junit: Path | None) -> None:
    from benchmarks.terminal import print_json
    from benchmarks.validate.outcome_files import to_json, to_junit
    from hear_delores.files import atomic_path, write_json

    if str(json_file) == "-":
        print_json(to_json(module, outcomes))
    elif json_file is not None:
        write_json(json_file, to_json(module, outcomes))
    if junit is not None:
        with atomic_path(junit) as temporary:
            temporary.write_text(to_junit(module, outcomes), encoding="utf-8")


def _explain(name: str) -> None:
    import textwrap

    from benchmarks.validate.checks import all_checks
    from benchmarks.validate.validation import find_check

    for check in all_checks().values() if name == "all" else [find_check(name)]:
        origin = "also in hear-validator" if check.official else "not in hear-validator"
        earlier = [*check.needs, *check.after]
        after = f"; runs after {', '.join(earlier)}" if earlier else ""
        title = f"{check.name} ({origin}{after})"
        sys.stdout.write(textwrap.fill(title, 80, subsequent_indent="    ", break_on_hyphens=False) + "\n")
        sys.stdout.write(textwrap.fill(check.explanation, 80, initial_indent="  ", subsequent_indent="  ") + "\n")
