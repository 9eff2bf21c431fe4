"""What pre-training refuses at its start: one line, exit code 1, and nothing that was there is changed.

(A batch that the processes cannot share: test_distributed_runs.py.)
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pretrain.__main__ import main

SMALL = ["encoder.channels=4", "encoder.embedding_size=8", "projector.widths=[8,8]", "segment_s=0.2"]
SMALL += ["batch_size=8", "steps=2", "moco.queue=10", "moco.dim=4"]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, words), "--quiet", "--no-picture", *SMALL])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: demo-s\noptimizer: {lrr: 1}\n", "unknown configuration key 'optimizer.lrr'. Did you mean 'lr'"),
        ("batchsize: 3\n", "unknown configuration key 'batchsize'. Did you mean 'batch_size'"),
        ("loss: {layer: [1]}\n", "unknown configuration key 'loss.layer'. Did you mean 'layers'"),
        ("base: demo\n", "there is no preset 'demo'. Did you mean"),
        ("- 1\n", "expected keys and values"),
        ("a: [\n", "not YAML"),
    ],
)
def test_a_preset_that_does_not_fit(
    text: str, message: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "mine.yaml").write_text(text)
    words = ["--preset", tmp_path / "mine.yaml", "--data", clips, "--out", tmp_path / "a"]
    assert run(monkeypatch, *words) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith("error: ")) == ("", 1, True)
    assert message in err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("encoder.channels=8", "encoder.channels is 8 now and was 4 when the run began"),
        ("encoder.embedding_size=16", "encoder.embedding_size is 16 now and was 8"),
        ("projector.widths=[8,16]", "projector.widths is [8, 16] now and was [8, 8]"),
        ("method=delores-m", "method is 'delores-m' now and was 'delores-s'"),
        ("frontend.f_max=7000", "frontend.f_max is 7000.0 now and was 7800.0"),
        ("loss.diagonal=0.5", "loss.diagonal is 0.5 now and was 1.0"),
    ],
)
def test_resuming_with_another_architecture(
    change: str, message: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["--preset", "demo-s", "--data", clips, "--out", tmp_path / "a"]
    assert run(monkeypatch, *words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    capsys.readouterr()
    monkeypatch.setattr(sys.modules[__name__], "SMALL", [*SMALL, change])
    assert run(monkeypatch, *words, "--resume") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: cannot resume {tmp_path / 'a'}: {message}")
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
