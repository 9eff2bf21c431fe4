"""The end of a command: one line for an error, the exit code, and standard output that has really been written."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["whole_command"]


@contextlib.contextmanager
def whole_command(advice: str) -> Iterator[None]:
    """Around a whole command: bad input is one line on standard error and exit code 1, Ctrl-C at any time is 130.

    What standard output still holds is written before the command counts as done. A full disk behind it is then an
    error like any other, not words of the interpreter's after its end. A reader that has gone away (``| head``) is no
    error to speak of. A defect of ours keeps its traceback; with DELORES_TRACEBACK set, every error does.

    Args:
        advice: what to do after Ctrl-C, such as "run the same command again to continue".
    """
    try:
        try:
            yield
        except SystemExit as stop:
            if stop.code in (0, None):
                _flush()
            raise
        _flush()
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # Ctrl-C, as typer hands it on
            raise
        sys.stderr.write(f"stopped; {advice}\n")
        sys.exit(130)
    except Exception as error:
        from hear_delores.files import one_line

        message = one_line(error)
        if message is None or os.environ.get("DELORES_TRACEBACK"):
            raise
        sys.stderr.write(f"error: {message}\n")
        sys.exit(1)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None
        raise OSError(error.errno, error.strerror, "standard output") from None
