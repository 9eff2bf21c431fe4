"""The one family of errors that this project raises on purpose.

Library code raises :class:`DeloresError` with a message that says what was expected, what came and
what to do next. The command line prints that message in one line and exits with code 1.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

__all__ = ["DeloresError", "did_you_mean", "shown"]


class DeloresError(ValueError):
    """Bad input, or a state that would lead to a wrong result. The message is meant for the user.

    It can be written anywhere: bytes of a file's name that are no UTF-8 are escaped.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_writable(arg) if isinstance(arg, str) else arg for arg in args))


def shown(path: str | os.PathLike[str]) -> str:
    r"""A file's name or path as people read it and logs keep it, in one line that every encoding of Unicode takes.

    Bytes that are no UTF-8, and control characters, are escaped; all other characters stay as they are.

    >>> shown("caf\udce9\n.wav")
    'caf\\xe9\\n.wav'
    """
    text = os.fspath(path)
    if text.isprintable():
        return text
    controls = {c: c.encode("unicode_escape").decode() for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp")}
    return _writable("".join(controls.get(c, c) for c in text))


def _writable(text: str) -> str:
    """``text`` without surrogates, as which Python keeps the bytes of a name that are no UTF-8."""
    text = re.sub("[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):x}", text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that helps after a failed look-up by name.

    >>> did_you_mean("demo_timbr", ["demo_timbre", "esc50"])
    "Did you mean 'demo_timbre'? Available: demo_timbre, esc50."
    >>> did_you_mean("x", ["demo_timbre", "esc50"])
    'Available: demo_timbre, esc50.'
    """
    import difflib  # the pytest plugin imports this module in every run, asked for or not

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    available = f"Available: {', '.join(names)}." if names else "None are available."
    return f"Did you mean '{close[0]}'? {available}" if close else available
