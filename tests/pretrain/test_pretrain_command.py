"""``python -m pretrain``: what it prints, and its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from pretrain.__main__ import main

SMALL = ["encoder.channels=8", "encoder.embedding_size=16", "projector.widths=[24,24]", "segment_s=0.3"]
SMALL += ["batch_size=8", "steps=3", "log_every=1"]


def run(arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["pretrain", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_the_resolved_configuration_the_data_and_the_checkpoint_are_printed(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--preset", "demo-s", "--data", clips, "--out", tmp_path / "a", *SMALL, "optimizer.lr=5e-5"]
    assert run(arguments, monkeypatch) == 0
    out, err = capsys.readouterr()
    printed, _, rest = out.partition("data: 13 clips")
    assert yaml.safe_load(printed)["optimizer"]["lr"] == 5e-5
    assert "steps: 0 of 3 done" in rest
    assert f"checkpoint: {tmp_path / 'a' / 'checkpoint.safetensors'}" in rest.replace("\n", " ")
    assert "3/3" in err
    assert "loss" in err
    assert "clips/s" in err


def test_quiet_prints_nothing(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--preset", "demo-m", "--data", clips, "--out", tmp_path / "a", "--quiet", *SMALL]
    assert run(arguments, monkeypatch) == 0
    assert capsys.readouterr() == ("", "")
    assert run([*arguments, "--resume"], monkeypatch) == 0
    assert json.loads((tmp_path / "a/log.jsonl").read_text().splitlines()[-1])["step"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--data": "nowhere"}, "there is no folder or manifest nowhere"),
        ({"--preset": "demo"}, "there is no preset 'demo'. Did you mean 'demo-"),
        ({"extra": "optimizer.rate=1"}, "unknown configuration key 'optimizer.rate'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(
    change: dict[str, str],
    message: str,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {"--preset": "demo-s", "--data": str(clips), "--out": str(tmp_path / "a"), **change}
    extra = options.pop("extra", "seed=1")
    assert run([part for pair in options.items() for part in pair] + [extra], monkeypatch) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_wrong_usage_is_exit_code_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--preset", "demo-s"], monkeypatch) == 2
