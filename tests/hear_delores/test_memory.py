"""Freed memory is kept: no page of a large tensor is faulted in twice."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from hear_delores.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
make = lambda: torch.empty(20_000_000).fill_(1)
make()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    make()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's setting")
def test_large_tensors_reuse_their_pages() -> None:
    faults = {
        way: int(subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True).stdout)
        for way in ("keep", "default")
    }
    assert faults["keep"] < faults["default"] / 2
