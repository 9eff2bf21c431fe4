"""Says what is going on when it takes long: a line once a check has run for some seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["Patience"]


class Patience:
    """Calls ``say`` with the name of what has been running for ``seconds``, once for each.

    Used in a ``with`` block, in which :meth:`begin` names what begins.
    """

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self.seconds, self.say = seconds, say
        self._timer: threading.Timer | None = None

    def begin(self, name: str) -> None:
        """``name`` begins, and what ran before has ended."""
        self.end()
        self._timer = threading.Timer(self.seconds, self.say, [name])
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """What ran has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> Patience:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
