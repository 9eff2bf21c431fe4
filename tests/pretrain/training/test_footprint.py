"""What a run takes at the least: what certainly is there, against what is; and what is beyond the machine."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from hear_delores.errors import DeloresError
from hear_delores.memory import available_bytes
from pretrain.config import load_config
from pretrain.methods import build_method
from pretrain.training.footprint import check_footprint, footprint
from pretrain.training.start import pretrain

PRESETS = ["demo-s", "demo-m", "delores-m-small", "delores-s-small"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("kind", "copies"), [("lars", 3), ("adamw", 4)])
def test_parameters_are_counted_as_they_are(preset: str, kind: str, copies: int) -> None:
    config = load_config(preset, [f"optimizer.kind={kind}", "projector.widths=[64, 48]"])
    method = build_method(config)
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in method.parameters() if not p.requires_grad)
    counted = footprint(config, 4).parameters
    expected = 4 * (copies * trained + frozen)
    norms = 4 * copies * sum(m.weight.numel() * 2 for m in method.modules() if isinstance(m, torch.nn.BatchNorm1d))
    heads = 4 * 200 * copies  # biases of the head, and of its copy
    assert expected - norms - heads <= counted <= expected


@pytest.mark.parametrize("preset", ["demo-s", "demo-m"])
def test_a_batch_keeps_at_least_what_is_said(preset: str) -> None:
    """The tensors that autograd keeps, each storage once."""
    config = load_config(preset, ["projector.widths=[64]", "moco.queue=128"])
    method, rows, kept = build_method(config), 8, {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    views = [torch.randn(rows, 1, config.frontend.n_mels, config.segment_frames) for _ in range(2)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        method(*views)
    need = footprint(config, rows).batch - 4 * rows * config.segment_samples
    assert 0.5 * sum(kept.values()) < need < sum(kept.values())


@pytest.mark.parametrize(
    ("overrides", "advice"),
    [
        (["batch_size=1000000000"], "lower batch_size"),
        (["projector.widths=[1000000, 1000000]"], "lower projector.widths"),
        (["augment.mixup_memory=1000000000"], "lower augment.mixup_memory"),
        (["segment_s=3600", "batch_size=100000"], "lower batch_size or segment_s"),
    ],
)
def test_what_is_beyond_the_machine_is_one_line_before_the_first_step(
    overrides: list[str], advice: str, tmp_path: Path
) -> None:
    config = load_config("demo-s", [*overrides, "device=cpu"])
    with pytest.raises(DeloresError, match=rf"would take [\d,.]+ GB at the least .*GB are free: {advice}") as caught:
        pretrain(config, tmp_path / "no data is looked at", tmp_path / "out", quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_fits_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("demo-s")
    need = footprint(config, config.batch_size).total
    for free, fits in ((None, True), (need, True), (need - 1, False)):
        monkeypatch.setattr("pretrain.training.footprint.available_bytes", lambda free=free: free)
        if fits:
            check_footprint(config, config.batch_size, torch.device("cpu"))
        else:
            with pytest.raises(DeloresError, match="would take"):
                check_footprint(config, config.batch_size, torch.device("cpu"))


def test_free_memory_is_a_number_here() -> None:
    free = available_bytes()
    assert free is None or 0 < free < math.inf
