"""Calls of foreign code, such as a model's module: whatever it does is at most one error, never the end of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hear_delores.errors import DeloresError

__all__ = ["ForeignExit", "Terminated", "contained", "one_line"]


class ForeignExit(RuntimeError):
    """Foreign code tried to end the process, or raised what is no Exception."""


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM): like Ctrl-C, no foreign code's affair."""


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Within, foreign code raises an Exception or nothing: ``sys.exit()`` becomes a :class:`ForeignExit`.

    Ctrl-C still stops everything.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit as stop:
        code = "" if stop.code is None else repr(stop.code)
        raise ForeignExit(f"it calls sys.exit({code})") from stop
    except BaseException as error:
        raise ForeignExit(f"it raises {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """What an error says, in one line; with its kind when it is none of ours."""
    text = " ".join(str(error).split()) or "(no message)"
    return text if isinstance(error, (DeloresError, ForeignExit)) else f"{type(error).__name__}: {text}"
