"""``python -m pretrain``: pre-training without the rest of the command line."""

from __future__ import annotations

import sys

import typer

from hear_delores.files import one_line
from pretrain.command import command, flushed

__all__ = ["main"]


def main() -> None:
    """Runs the command; bad input is one line on standard error and exit code 1."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    try:
        with flushed():
            app()
    except Exception as error:
        message = one_line(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
