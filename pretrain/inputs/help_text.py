"""How ``--help`` shows a command: flags as flags, arguments as ``TASK...``, and one word for what an option takes.

Needs no torch, which ``--help`` has no time for.
"""

from __future__ import annotations

import inspect
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.core import TyperCommand

__all__ = ["PlainCommand", "argument_word", "default_word", "value_word"]

WORDS = {Path: "PATH", int: "INTEGER", float: "NUMBER"}


class PlainCommand(TyperCommand):
    """A command whose help reads the same under every version of typer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.param_type_name == "argument" and not parameter.metavar:
                parameter.metavar = (parameter.name or "").upper()  # the word that errors use, too

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``[OPTIONS] MODULE TASK...``."""
        return ["[OPTIONS]", *(argument_word(p) for p in self.params if p.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """One row for each argument, then one for each option."""
        hints = get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            rows[parameter.param_type_name].append(_row(parameter, hints.get(parameter.name)))
        for title, found in (("Arguments", rows["argument"]), ("Options", rows["option"])):
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


def argument_word(argument: Any) -> str:
    """How an argument stands in the usage: ``TASK``, ``TASK...``, or in brackets where it can be left out."""
    word = f"{argument.metavar or argument.name.upper()}{'...' if argument.nargs == -1 else ''}"
    return word if argument.required else f"[{word}]"


def value_word(option: Any, annotation: Any) -> str:
    """What an option takes: the members of an enumeration, else its metavar, or its type in capitals."""
    while inner := [argument for argument in get_args(annotation) if argument is not type(None)]:
        annotation = inner[0]  # T of list[T], of T | None and of both
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    return str(option.metavar or WORDS.get(annotation, "TEXT"))


def default_word(parameter: Any) -> str:
    """A parameter's default as it is typed; empty where its help says what happens without it."""
    value = parameter.default
    if value is None or value in ((), "", False) or callable(value):
        return ""
    return str(parameter.opts[0] if value is True else getattr(value, "value", value))


def _row(parameter: Any, annotation: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        names = argument_word(parameter)
    else:
        names = ", ".join(sorted(parameter.opts, key=len))
        if not parameter.is_flag:
            names += f" {value_word(parameter, annotation)}"
        elif parameter.secondary_opts:
            names += f" / {', '.join(parameter.secondary_opts)}"
    default = default_word(parameter)
    note = "[required]" if parameter.required else f"[default: {default}]" if default else ""
    return names, "  ".join(text for text in (parameter.help, note) if text)
