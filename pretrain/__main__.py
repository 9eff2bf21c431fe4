"""``python -m pretrain``: pre-training without the rest of the command line."""

from __future__ import annotations

import sys

import typer

from hear_delores.errors import DeloresError
from pretrain.command import command

__all__ = ["main"]


def main() -> None:
    """Runs the command; bad input is one line on standard error and exit code 1."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    try:
        app()
    except DeloresError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a full disk, a missing right
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
