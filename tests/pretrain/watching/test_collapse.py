"""What a person watches: rank, spread, correlation figures, the warning of collapse, the picture, TensorBoard."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hear_delores.errors import DeloresError
from hear_delores.files import WriteError
from pretrain.config import PretrainConfig
from pretrain.losses import cross_correlation
from pretrain.methods import Observed
from pretrain.training.start import Watching, pretrain
from pretrain.watching.collapse import Watcher, correlation_figures, effective_rank, spread
from pretrain.watching.picture import draw, read_log


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (7, 7)])
def test_effective_rank_is_the_exponential_entropy_of_numpys_singular_values(shape: tuple[int, int]) -> None:
    z = gaussian(*shape) + 0.5
    s = np.linalg.svd(z.double().numpy(), compute_uv=False)
    p = s / s.sum()
    assert effective_rank(z) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-9)


def test_effective_rank_of_known_cases() -> None:
    assert effective_rank(torch.eye(9)) == pytest.approx(9)
    assert effective_rank(7 * torch.eye(9)) == pytest.approx(9)  # of no unit
    assert effective_rank(torch.ones(9, 5)) == pytest.approx(1, abs=1e-5)
    two = torch.cat([torch.eye(2).repeat(4, 1), torch.zeros(8, 3)], dim=1)
    assert effective_rank(two) == pytest.approx(2, abs=1e-5)
    assert effective_rank(torch.zeros(4, 4)) == pytest.approx(1)
    assert math.isnan(effective_rank(torch.full((3, 3), float("nan"))))


def test_spread_is_one_for_isotropic_and_zero_for_equal_embeddings() -> None:
    assert spread(gaussian(4000, 64)) == pytest.approx(1, abs=0.02)
    assert spread(torch.ones(10, 64) * torch.arange(1, 11)[:, None]) == pytest.approx(0, abs=1e-6)


def test_correlation_figures_are_those_of_a_loop() -> None:
    c = cross_correlation(gaussian(20, 5), gaussian(20, 5, seed=1))
    off = [abs(float(c[i, j])) for i in range(5) for j in range(5) if i != j]
    diagonal, mean_off = correlation_figures(c)
    assert diagonal == pytest.approx(float(c.diag().mean()))
    assert mean_off == pytest.approx(sum(off) / 20, rel=1e-5)
    assert correlation_figures(torch.ones(1, 1)) == (1, 0)


def observed(embedding: Tensor) -> Observed:
    z = embedding @ gaussian(embedding.shape[1], 80, seed=5)
    return Observed(embedding, {"projection": z}, {"projection": cross_correlation(z, z + 0.1 * gaussian(*z.shape))})


def test_collapse_is_warned_of_once_and_again_after_recovery() -> None:
    healthy = gaussian(32, 24).relu()
    alike = torch.ones(32, 24) + 1e-4 * gaussian(32, 24)
    line = gaussian(32, 1) * torch.ones(1, 24)  # every clip on one line: a collapse in dimension
    watcher = Watcher()
    assert watcher.look(observed(healthy)) is None
    warning = watcher.look(observed(alike))
    assert warning is not None
    assert "rank_embedding is 1" in warning
    assert "\n" not in warning
    assert watcher.look(observed(alike)) is None
    assert watcher.look(observed(healthy)) is None
    assert watcher.look(observed(line)) is not None
    assert watcher.look(observed(healthy[:2])) is None


def test_the_collapse_of_a_projection_alone_is_seen() -> None:
    look = observed(gaussian(32, 24))
    assert Watcher().look(look._replace(projections={"query": torch.ones(32, 8)})) is not None


def test_the_watchers_state_goes_on() -> None:
    one, two = Watcher(), Watcher()
    one.look(observed(gaussian(32, 24)))
    one.look(observed(torch.ones(32, 24)))
    two.load_state_dict(one.state_dict())
    assert two.figures == one.figures
    assert two.look(observed(torch.ones(32, 24))) is None  # it has been said
    assert torch.equal(two.before["projection"], one.before["projection"])
    assert two.before["projection"].shape == (64, 64)
    assert not torch.equal(two.before["projection"], two.after["projection"])


@pytest.mark.parametrize("method", ["s", "m"])
def test_a_healthy_run_logs_its_figures_and_does_not_warn(
    method: str, clips: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config: PretrainConfig = request.getfixturevalue(f"tiny_{method}")
    out = tmp_path / "a"
    watching = Watching(picture=True, tensorboard=_has_tensorboard())
    pretrain(config, clips, out, quiet=True, watching=watching)
    lines = read_log(out / "log.jsonl")
    assert not [line for line in lines if line.get("event") == "warning"]
    names = ["projection"] if method == "s" else ["query", "layer1", "layer2", "layer3"]
    for line in lines[1:]:
        assert -1 <= line["mean_diagonal"] <= 1
        assert 0 <= line["mean_abs_off_diagonal"] <= 1
        for name in ["embedding", *names]:
            assert 1 < line[f"rank_{name}"] <= config.batch_size
    if method == "s":
        loss = lines[-1]["on_diagonal"] + config.loss.lambd * lines[-1]["off_diagonal"]
        assert lines[-1]["loss"] == pytest.approx(loss * config.loss.scale, rel=1e-4)
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")
    assert _scalars(out / "tensorboard") in (None, [line["loss"] for line in lines[1:]])


def _has_tensorboard() -> bool:
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        return False
    return True


def _scalars(folder: Path) -> list[Any] | None:
    """The losses that TensorBoard reads back."""
    if not _has_tensorboard():
        return None
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [pytest.approx(event.value, rel=1e-6) for event in events.Scalars("training/loss")]


def test_tensorboard_that_is_not_installed_is_one_line(
    clips: Path, tmp_path: Path, tiny_s: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard.writer", raising=False)
    with pytest.raises(DeloresError, match=r"pip install 'hear-delores\[tensorboard\]'"):
        pretrain(tiny_s, clips, tmp_path / "a", quiet=True, watching=Watching(tensorboard=True))
    assert not (tmp_path / "a").exists()


def test_a_picture_of_a_log_with_gaps_is_drawn_and_a_failure_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    rows: list[dict[str, Any]] = [{"event": "start", "step": 0}]
    rows += [{"step": i, "loss": math.nan if i == 3 else 9 / i, "info_nce": 1.0} for i in range(1, 100)]
    rows += [{"event": "warning", "step": 4}, {"event": "probe", "step": 5, "task": "t", "accuracy": None}]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"half')
    path = tmp_path / "training.png"
    matrices = {f"layer{i}": gaussian(64, 64).tanh() for i in (1, 2, 3)}
    draw(path, "title", read_log(log), {}, matrices)
    drawn = path.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    draw(path, "title", [], {}, {})  # a run resumed after its end
    assert path.read_bytes() != drawn

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(WriteError, match=r"training\.png \(No space left on device\): make room there"):
        draw(path, "title", read_log(log), {}, matrices)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "training.png"]
