"""How the process keeps memory: a setting for programs that allocate and free large tensors all the time."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next tensor of this process; True when it could be set.

    By default each tensor above 32 MB is mapped anew from the kernel and its pages are faulted in one by one
    at every step of a training: on two cores that took more time than the arithmetic. Freed memory then goes
    back to the system only when the process ends. Other C libraries keep their own ways: False, nothing changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    values = {M_MMAP_THRESHOLD: LARGEST_INT, M_TRIM_THRESHOLD: LARGEST_INT, M_TOP_PAD: 256 << 20}
    return all(mallopt(option, value) == 1 for option, value in values.items())
