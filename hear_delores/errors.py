"""The one family of errors that this project raises on purpose.

Library code raises :class:`DeloresError` with a message that says what was expected, what came and
what to do next. The command line prints that message in one line and exits with code 1.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["DeloresError", "did_you_mean"]


class DeloresError(ValueError):
    """Bad input, or a state that would lead to a wrong result. The message is meant for the user."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that helps after a failed look-up by name.

    >>> did_you_mean("demo_timbr", ["demo_timbre", "esc50"])
    "Did you mean 'demo_timbre'? Available: demo_timbre, esc50."
    >>> did_you_mean("x", ["demo_timbre", "esc50"])
    'Available: demo_timbre, esc50.'
    """
    import difflib  # takes longer than all else that the command line needs before it can be stopped in one line

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    available = f"Available: {', '.join(names)}." if names else "None are available."
    return f"Did you mean '{close[0]}'? {available}" if close else available
