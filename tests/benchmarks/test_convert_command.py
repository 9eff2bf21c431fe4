"""``delores convert``: what it prints, and its exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hear_delores import load_checkpoint


@pytest.fixture
def lape(tmp_path: Path, checkpoint: Path) -> Path:
    """The small checkpoint as LAPE would have saved it, with a head and a key encoder."""
    names = {f"blocks.{i}.{part}": f"features_{i + 1}.{j}" for i in range(3) for j, part in enumerate(("conv", "norm"))}
    tensors: dict[str, torch.Tensor] = {"encoder_q.fc.weight": torch.zeros(2, 2), "queue": torch.zeros(2, 2)}
    for name, value in load_checkpoint(checkpoint).encoder.state_dict().items():
        module, _, kind = name.rpartition(".")
        for encoder in ("encoder_q", "encoder_k"):
            tensors[f"{encoder}.encoder.{names.get(module, module)}.{kind}"] = value
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "lape.ckpt")
    return tmp_path / "lape.ckpt"


def test_it_says_what_it_took_and_what_it_left(delores: Callable[..., object], lape: Path, tmp_path: Path) -> None:
    target = tmp_path / "ours.safetensors"
    ran = delores("convert", lape, target, "--mean", "-7", "--std", "4.5")
    assert ran.code == 0, ran.err
    took, sound, left, result = ran.out.splitlines()
    assert took.startswith(f"took the encoder of {lape} (LAPE DeLoRes-M): ")
    assert "embedding_size=16" in took
    assert "mean -7, std 4.5" in sound
    assert left == "left unused: encoder_q.fc (1 tensors), queue (1 tensors), encoder_k (25 tensors), epoch"
    assert result.startswith(f"{target}: 16 dimensions, hash ")
    model = load_checkpoint(target)
    assert (model.mean, model.std) == (-7.0, 4.5)

    ran = delores("convert", lape, target, "--mean", "-8", "--std", "4.5", "--quiet")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: {target} exists: choose another name, or replace it with --force.\n"
    ran = delores("convert", lape, target, "--mean", "-8", "--std", "4.5", "--quiet", "--force")
    assert (ran.code, ran.out.count("\n")) == (0, 1)
    assert load_checkpoint(target).mean == -8.0


def test_missing_statistics_are_one_line(delores: Callable[..., object], lape: Path, tmp_path: Path) -> None:
    ran = delores("convert", lape, tmp_path / "ours.safetensors")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "--mean and --std" in ran.err
    assert not (tmp_path / "ours.safetensors").exists()
