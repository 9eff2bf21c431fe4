"""Fifty kills and thirty signals, each followed by the same command once more: ``tox -e zoo -- tests/zoo/test_kills.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.zoo, pytest.mark.timeout(3600)]


def test_interrupted_and_run_again_equals_uninterrupted() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.zoo.kills"], cwd=ROOT, capture_output=True, text=True, timeout=3600
    )
    print(done.stdout)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert done.returncode == 0, "\n".join(failed) or done.stderr
