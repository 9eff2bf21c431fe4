"""The counted peak against what torch keeps, and the refusal with its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hear_delores.errors import DeloresError
from pretrain.config import load_config
from pretrain.methods import build_method
from pretrain.training import peak_memory as counting
from pretrain.training.footprint import footprint
from pretrain.training.optim import build_optimizer
from pretrain.training.peak_memory import check_peak_memory, count_step, peak_memory
from pretrain.training.start import pretrain

SMALL = ["projector.widths=[64, 48]", "encoder.channels=8", "encoder.embedding_size=32", "segment_s=0.3"]
CPU = torch.device("cpu")


@pytest.mark.parametrize(("preset", "kind"), [("demo-s", "adamw"), ("demo-m", "sgd")])
def test_the_count_is_that_of_a_real_step(preset: str, kind: str) -> None:
    """Parameters, gradients and averages to the byte; what is alive at the peak is at least what autograd keeps."""
    rows = 16
    config = load_config(preset, [*SMALL, "moco.queue=64", f"optimizer.kind={kind}", "precision=float32"])
    found = count_step(config, rows)
    method, kept = build_method(config), {}
    optimizer = build_optimizer(method, config.optimizer, rows)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    views = torch.randn(2, rows, 1, config.frontend.n_mels, config.segment_frames)
    own = {tensor.data_ptr() for tensor in (*method.parameters(), *method.buffers())}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = method(*views)
    loss.backward()
    optimizer.step()
    buffers = dict(method.named_buffers())
    queue = buffers.pop("queue", torch.empty(0))
    parameters = sum(tensor.nbytes for tensor in (*method.parameters(), *buffers.values()))
    states = [value for state in optimizer.state.values() for value in state.values()]
    assert (found.rows, found.parameters, found.queue) == (rows, parameters, queue.nbytes)
    assert found.gradients == sum(p.grad.nbytes for p in method.parameters() if p.grad is not None)
    assert found.optimizer == sum(value.nbytes for value in states)
    saved = sum(size for place, size in kept.items() if place not in own)
    # Beside it live, at the peak, results that nobody keeps and gradients of one block at most.
    assert saved <= found.activations < 2 * saved


def test_a_step_grows_with_the_batch_and_shrinks_in_bfloat16() -> None:
    config = load_config("demo-s", [*SMALL, "precision=float32"])
    few, many = count_step(config, 64), count_step(config, 128)
    assert few.gradients == many.gradients
    assert 1.9 * few.activations < many.activations < 2.1 * few.activations
    reduced = count_step(config.model_copy(update={"precision": "bfloat16"}), 128)
    assert (reduced.parameters, reduced.gradients) == (many.parameters, many.gradients)
    assert reduced.optimizer == many.optimizer
    # The indices of the maxima, int64, stay.
    assert 0.5 * many.activations < reduced.activations < 0.8 * many.activations


def test_the_least_bounds_the_peak_within_the_room_that_skips_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for preset in ("demo-s", "demo-m"):  # the larger presets have the same layers
        config = load_config(preset, ["precision=float32"])
        least, peak = footprint(config, config.batch_size).total, peak_memory(config, config.batch_size)
        assert least < peak.total < counting.ROOM * least, preset
    monkeypatch.setattr(counting, "count_step", None)
    monkeypatch.setattr(counting, "available_bytes", lambda: counting.ROOM * least)
    check_peak_memory(config, config.batch_size, CPU)


def test_what_does_not_fit_is_refused_with_the_numbers_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config("demo-s", [*SMALL, "precision=float32", "device=cpu"])
    need = peak_memory(config, config.batch_size).total
    for free, processes, fits in ((None, 1, True), (need, 1, True), (need - 1, 1, False), (need, 2, False)):
        monkeypatch.setattr(counting, "available_bytes", lambda free=free: free)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        if fits:
            check_peak_memory(config, config.batch_size, CPU)
            continue
        numbers = (
            r"would take about [\d.]+ GB at its peak.*activations of 64 clips.*GB are free: lower batch_size.*--force"
        )
        with pytest.raises(DeloresError, match=numbers) as caught:
            pretrain(config, tmp_path / "no data is looked at", tmp_path / "out", quiet=True)
        assert "\n" not in str(caught.value)
        assert ("by each of 2 processes" in str(caught.value)) == (processes == 2)
        with pytest.raises(DeloresError, match="no data is looked at"):
            pretrain(config, tmp_path / "no data is looked at", tmp_path / "out", quiet=True, force=True)


def test_a_batch_beyond_every_machine_is_counted_all_the_same() -> None:
    config = load_config("demo-s", ["batch_size=2147483647", "segment_s=3600"])
    assert peak_memory(config, config.batch_size).total > 2**45
