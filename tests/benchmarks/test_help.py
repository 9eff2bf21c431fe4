"""What ``--help`` and ``--version`` print, and Ctrl-C before a command has begun."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import typer.main

import hear_delores
from benchmarks.cli import app

GROUP = typer.main.get_command(app)
COMMANDS = sorted(GROUP.list_commands(GROUP.context_class(GROUP, info_name="delores")))  # type: ignore[attr-defined]
#: An interpreter that is interrupted when a module is looked for.
INTERRUPTED = """
import sys
class Interrupted:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted)
sys.argv = ["delores", "doctor"]
from {where} import {function}
{function}()
"""


def texts(command: object) -> list[str]:
    """All that somebody wrote for a command's help."""
    found = [command.help, *(getattr(parameter, "help", None) for parameter in command.params)]
    return [text for text in [*found, *(parameter.metavar for parameter in command.params)] if text]


def shown(monkeypatch: pytest.MonkeyPatch, delores: Callable[..., object], *words: str) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    ran = delores(*words, "--help")
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines())) <= 80
    return ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_word_that_was_written(
    monkeypatch: pytest.MonkeyPatch, delores: Callable[..., object], name: str
) -> None:
    """At 80 columns: no [@WEIGHTS] taken for markup, nothing cut off, no name broken in two."""
    words = shown(monkeypatch, delores, name).split()
    command = GROUP.get_command(GROUP.context_class(GROUP, info_name="delores"), name)  # type: ignore[attr-defined]
    lost = [word for text in texts(command) for word in text.split() if not any(word in seen for seen in words)]
    # At a hyphen a line may end.
    joined = "".join(words)
    assert not [word for word in lost if "-" not in word or word not in joined]


def test_the_list_of_commands_tells_the_whole_first_paragraph(
    monkeypatch: pytest.MonkeyPatch, delores: Callable[..., object]
) -> None:
    listed = " ".join(shown(monkeypatch, delores).split())
    for name in COMMANDS:
        command = GROUP.get_command(GROUP.context_class(GROUP, info_name="delores"), name)  # type: ignore[attr-defined]
        assert f"{name} {' '.join(command.help.split(chr(10) * 2)[0].split())}" in listed


def test_version_is_printed_and_that_is_all(delores: Callable[..., object]) -> None:
    ran = delores("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"{hear_delores.__version__}\n", "")
    assert delores("--version", "tables").out == f"{hear_delores.__version__}\n"
    assert delores("--verbose").code == 2


@pytest.mark.parametrize(
    ("where", "function", "module"),
    [
        ("hear_delores.siblings", "delores", "benchmarks.cli"),
        ("hear_delores.siblings", "delores", "typer"),
        ("hear_delores.siblings", "delores", "benchmarks.doctor"),
        ("pretrain.__main__", "main", "typer"),
        ("pretrain.__main__", "main", "pretrain.command"),
    ],
)
def test_ctrl_c_while_modules_are_imported_is_one_line_and_130(where: str, function: str, module: str) -> None:
    code = INTERRUPTED.format(where=where, function=function, module=module)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 130, ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert ran.stderr.strip().startswith("stopped")


@pytest.mark.parametrize("module", ["hear_delores", "hear_delores.siblings", "hear_delores.pytest_plugin"])
def test_what_is_imported_before_it_is_asked_for_loads_no_library(module: str) -> None:
    code = f"import sys, pytest, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert not {"torch", "numpy", "typer", "benchmarks", "pretrain", "difflib"} & set(ran.stdout.split())
