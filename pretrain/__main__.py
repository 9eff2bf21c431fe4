"""``python -m pretrain``: pre-training without the rest of the command line."""

from __future__ import annotations

from hear_delores.command_line import whole_command

__all__ = ["main"]


def main() -> None:
    """Runs the command; see :func:`hear_delores.command_line.whole_command`."""
    with whole_command("run the same command again with --resume to go on"):
        import typer

        from pretrain.command import command
        from pretrain.inputs.help_text import PlainCommand

        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(cls=PlainCommand)(command)
        app()


if __name__ == "__main__":
    main()
