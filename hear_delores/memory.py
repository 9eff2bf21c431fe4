"""The process's memory: how much is free, and how it is kept by programs that allocate and free large tensors."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

__all__ = ["available_bytes", "keep_freed_memory", "peak_bytes", "resident_bytes"]

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


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that can still be taken, on this machine and in this container (control groups v2); None if unknown."""
    found = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found.append(int(dict(line.split(":", 1) for line in lines)["MemAvailable"].split()[0]) << 10)
    group = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError, KeyError, ValueError):  # "max" is no limit, and no number
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        found.append(max(0, limit - used + int(statistics["inactive_file"])))  # pages that can be dropped
    return min(found) if found else None


def peak_bytes() -> int | None:
    """The most memory that this process has held so far; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes(process: int) -> int:
    """The memory that a process holds; 0 where the system does not say, or the process is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
