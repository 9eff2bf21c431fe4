"""The official hearvalidator 2021.0.6, unmodified, accepts our models (run by `tox -e heareval`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hearvalidator", reason="hearvalidator is installed by `tox -e heareval`")
pytestmark = pytest.mark.official

STUBS = Path(__file__).parent / "stubs"


def official(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(STUBS)}
    return subprocess.run(
        [sys.executable, "-m", "hearvalidator.validate", *arguments],
        capture_output=True, text=True, env=environment, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize(
    "module", ["hear_delores", "benchmarks.encoders.log_mel", "benchmarks.encoders.random_encoder"]
)
def test_official_validator_accepts_the_module_without_a_path(module: str) -> None:
    ran = official(module)
    assert ran.returncode == 0, ran.stderr
    assert "Looks good!" in ran.stdout


def test_official_validator_accepts_a_checkpoint_by_path(tmp_path: Path) -> None:
    from hear_delores import load_model
    from hear_delores.checkpoint import save_checkpoint

    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, load_model())
    ran = official("hear_delores", "--model", str(path), "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    assert "Looks good!" in ran.stdout
    # Its warnings about late first, early last and sparse timestamps are not deserved either.
    for unwanted in ("begin at", "end at", "suggest a interval"):
        assert unwanted not in ran.stderr


def test_official_validator_rejects_a_faulty_model(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text("import torch\ndef load_model(path=''):\n    return torch.nn.Identity()\n")
    environment = {**os.environ, "PYTHONPATH": f"{STUBS}{os.pathsep}{tmp_path}"}
    ran = subprocess.run(
        [sys.executable, "-m", "hearvalidator.validate", "faulty"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert ran.returncode != 0
