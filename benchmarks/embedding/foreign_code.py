"""Calls of foreign code, such as a model's module: whatever it does becomes one error and cannot end a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hear_delores.errors import DeloresError

__all__ = ["ForeignExit", "Terminated", "contained", "lacks_cuda", "one_line"]

#: What torch says of a machine without CUDA, when a model asks for it.
_NO_CUDA = (
    "Found no NVIDIA driver",
    "Torch not compiled with CUDA enabled",
    "No CUDA GPUs are available",
    "deserialize object on a CUDA device",
    "driver on your system is too old",
)


class ForeignExit(RuntimeError):
    """Foreign code tried to end the process, or raised something that is not an Exception."""


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM). Like Ctrl-C, foreign code must not catch it."""


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Within, foreign code raises an Exception or nothing: ``sys.exit()`` becomes a :class:`ForeignExit`.

    Ctrl-C still stops everything.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        try:
            str(error)
        except Exception:  # whoever reports it needs its text
            raise ForeignExit(f"it raises {one_line(error)}") from None
        raise
    except SystemExit as stop:
        code = "" if stop.code is None else repr(stop.code)
        raise ForeignExit(f"it calls sys.exit({code})") from stop
    except BaseException as error:
        raise ForeignExit(f"it raises {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error's message in one line, with the name of its class if this project did not raise it."""
    try:
        text = " ".join(str(error).split()) or "(no message)"
    except Exception:
        text = "(its message cannot be read)"
    return text if isinstance(error, (DeloresError, ForeignExit)) else f"{type(error).__name__}: {text}"


def lacks_cuda(error: BaseException) -> str:
    """What to say of an error that comes from CUDA being asked for where there is none; "" of other errors."""
    if not any(mark in str(error) for mark in _NO_CUDA):
        return ""
    return (
        "it asks for CUDA, and torch finds none here; let it ask torch.cuda.is_available(), and read weights with "
        "torch.load(..., map_location='cpu')"
    )
