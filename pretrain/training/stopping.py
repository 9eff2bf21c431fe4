"""Being asked to stop: the step in flight is finished and saved, and then the signal takes its course."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from pretrain.locks import release_all

__all__ = ["StopRequest", "stop_requests"]


class StopRequest:
    """``number``: of the signal that asked to stop (SIGINT or SIGTERM), 0 as long as none did."""

    def __init__(self) -> None:
        self.number = 0
        self.old: dict[int, Any] = {}

    def restore(self) -> None:
        """Gives the signals back to who had them."""
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def obey(self, number: int) -> None:
        """Stops the process as the signal would have done."""
        self.restore()
        if signal.getsignal(number) == signal.SIG_DFL:  # no exception, and so no block is left
            release_all()
        signal.raise_signal(number)


@contextlib.contextmanager
def stop_requests(patient: bool = False) -> Iterator[StopRequest]:
    """Notes Ctrl-C and SIGTERM instead of dying of them. A second one is not held back, unless ``patient``.

    ``torchrun`` passes on what the terminal has sent to every process already: with several processes, only its
    SIGKILL, half a minute later, is not held back.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    request.old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        if not patient:
            request.restore()
        request.number = number

    for number in request.old:
        signal.signal(number, note)
    try:
        yield request
    finally:
        request.restore()
