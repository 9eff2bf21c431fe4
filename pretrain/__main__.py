"""``python -m pretrain``: pre-training without the rest of the command line."""

from __future__ import annotations

import sys

from hear_delores.files import one_line

__all__ = ["main"]


def main() -> None:
    """Runs the command; bad input is one line on standard error and exit code 1, Ctrl-C at any time is 130."""
    try:
        import typer

        from pretrain.command import command, flushed
        from pretrain.inputs.help_text import PlainCommand

        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(cls=PlainCommand)(command)
        with flushed():
            app()
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # Ctrl-C, as typer hands it on
            raise
        sys.stderr.write("stopped; run the same command again with --resume to go on\n")
        sys.exit(130)
    except Exception as error:
        message = one_line(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
