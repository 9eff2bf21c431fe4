"""Writes docs/commands.md from the command line itself: ``python tests/docs/make_commands.py``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_type_hints

import typer.main

from pretrain.inputs.help_text import argument_word, default_word, value_word

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
HEAD = """# Commands

`delores COMMAND --help` says the same. Every error is one line that says what to do, with exit code 1; wrong usage
exits with 2. This page is written by `tests/docs/make_commands.py`.
"""


def command_line() -> Any:
    """The whole command line as a click group."""
    from benchmarks.cli import app

    return typer.main.get_command(app)


def page() -> str:
    """The text of docs/commands.md."""
    group = command_line()
    context = group.context_class(group, info_name="delores")
    parts = [HEAD]
    for name in group.list_commands(context):
        parts.append(_section(f"delores {name}", group.get_command(context, name)))
    return "\n".join(parts)


def _section(title: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([title, "[OPTIONS]" if options else "", *map(argument_word, arguments)])
    hints = get_type_hints(inspect.unwrap(command.callback))
    lines = [f"## {title}", "", _cell(command.help), "", f"    {' '.join(usage.split())}", ""]
    if rows := [_row(parameter, hints[parameter.name]) for parameter in [*arguments, *options]]:
        lines += ["| | | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(parameter: Any, annotation: Any) -> str:
    if parameter.param_type_name == "argument":
        shown = f"`{argument_word(parameter)}`"
    else:
        names = ", ".join(f"`{name}`" for name in sorted(parameter.opts, key=len, reverse=True))
        values = "" if parameter.is_flag else f" {_cell(value_word(parameter, annotation))}"
        shown = f"{names}{values}"
    default = "required" if parameter.required else (word := default_word(parameter)) and f"`{word}`"
    return f"| {shown} | {_cell(getattr(parameter, 'help', None))} | {default} |"


def _cell(text: str | None) -> str:
    """Help as one line of Markdown; brackets and bars would be read as links and cells."""
    joined = " ".join((text or "").split())
    return re.sub(r"(?<!\\)([|\[\]<>*_])", r"\\\1", joined)


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
