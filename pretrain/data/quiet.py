"""What C libraries print about a damaged file is kept from the terminal: libmpg123 does so, beside its return codes.

A fault is one line of ours, with the name of the file. Their lines have none, and a corpus of a thousand scratched
MP3s would bury it. Only C's own ``stderr`` is turned away, for as long as something is decoded: Python, whose streams
know the descriptor alone, writes on, from whatever thread. Turning away the descriptor would silence those as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
import threading
from collections.abc import Iterator

__all__ = ["quiet_decoders"]

_guard = threading.Lock()
_inside = 0  # how many threads decode now
_kept: int | None = None  # C's stderr while they do


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """While it lasts, what C code prints to ``stderr`` is dropped; where that cannot be done, nothing is changed."""
    global _inside, _kept
    with _guard:
        _inside += 1
        if _inside == 1 and (found := _streams()) is not None:
            stream, nowhere = found
            _kept, stream.value = stream.value, nowhere
    try:
        yield
    finally:
        with _guard:
            _inside = max(0, _inside - 1)  # below 0 in a process that was forked meanwhile
            if _inside == 0:
                _restore()


def _restore() -> None:
    global _kept
    if _kept is not None and (found := _streams()) is not None:
        found[0].value, _kept = _kept, None


def _forked() -> None:
    """The threads that decoded stay in the parent."""
    global _guard, _inside
    _guard, _inside = threading.Lock(), 0
    _restore()


@functools.cache
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """C's variable ``stderr``, and a stream that leads nowhere; None where it is no variable (musl, Windows)."""
    name = {"darwin": "__stderrp", "linux": "stderr"}.get(sys.platform)
    if name is None or (sys.platform == "linux" and platform.libc_ver()[0] != "glibc"):
        return None
    try:
        library = ctypes.CDLL(None)
        stream = ctypes.c_void_p.in_dll(library, name)
        open_stream = library.fopen
    except (OSError, ValueError, AttributeError):
        return None
    open_stream.restype, open_stream.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
    nowhere = open_stream(os.fsencode(os.devnull), b"we")
    return (stream, nowhere) if nowhere else None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
