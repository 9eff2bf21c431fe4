"""The GPU measurement, run on the processor at toy sizes, and steps that would not wait for a GPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.perf import gpu
from benchmarks.scoring.hear.grid import HeadConfig
from benchmarks.scoring.hear.heads import initial_head
from benchmarks.scoring.hear.stacked import HeadStack
from pretrain.config import load_config
from pretrain.methods import build_method
from pretrain.training.optim import build_optimizer

CPU = torch.device("cpu")
TINY = dataclasses.replace(gpu.SIZES["tiny"], compiled=(False, True))
#: Read a value back, or have a shape that depends on values.
WAITING = {"aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::masked_select", "aten::is_nonzero",
           "aten::equal", "aten::unique_dim", "aten::_unique2", "aten::repeat_interleave"}  # fmt: skip


class NoWaiting(TorchDispatchMode):
    """Raises at values read back and at copies to the processor; counts all operations otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        self.operations += 1
        if name in WAITING:
            raise AssertionError(f"{name} waits for the device")
        masks = [each for each in tree_leaves(args) if isinstance(each, torch.Tensor) and each.dtype is torch.bool]
        if name.startswith("aten::index") and masks:
            raise AssertionError(f"{name} by a mask waits for the device")
        copies = {"aten::_to_copy", "aten::to"}
        if name in copies and torch.device((kwargs or {}).get("device") or "meta").type == "cpu":
            raise AssertionError(f"{name} copies to the processor")
        return func(*args, **(kwargs or {}))


def test_the_whole_table_on_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every kind of line is there, measured; the compiled step is compiled."""
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    monkeypatch.setitem(gpu.SIZES, "tiny", TINY)
    gpu.main(["--device", "cpu", "--size", "tiny", "--out", str(tmp_path / "gpu.md")])
    text = (tmp_path / "gpu.md").read_text()
    assert text in capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")][1:]
    assert text.startswith(f"{gpu.platform.machine()} processor, torch {torch.__version__}\n")
    assert len(compiled) == 8
    for what, count in (
        ("heads", 4), ("folds", 4), ("our encoder", 1), ("transformer", 1), ("compiled", 8), ("channels_last", 8),
        ("bfloat16", 8), ("step of delores-s-paper", 8), ("step of delores-m-released", 8),
    ):  # fmt: skip
        assert sum(what in row[0] for row in rows) == count, what
    for row in rows:
        assert float(row[4]) == pytest.approx(float(row[1]) / float(row[3]), rel=0.2, abs=0.01)
        assert row[5] == ""  # a processor's memory is not counted


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_a_step_of_heads_waits_for_nothing_and_does_not_grow_with_them(layers: int, kind: str) -> None:
    config = HeadConfig(hidden_layers=layers, hidden_dim=8, dropout=0.2, max_epochs=3)
    fold = gpu._fold(gpu.SIZES["tiny"], 8, CPU, 0)
    counts = []
    for heads in (1, 2, 7):
        jobs = [dataclasses.replace(gpu._job(config, fold, seed), prediction_type=kind) for seed in range(heads)]
        stack = HeadStack(jobs, [initial_head(job) for job in jobs], accelerated=True)
        targets = fold.train.targets.argmax(dim=1) if kind == "multiclass" else fold.train.targets
        embeddings = fold.train.embeddings(0, len(fold.train))
        with NoWaiting() as mode:
            stack.step(embeddings, targets, kind)
        counts.append(mode.operations)
    assert counts[1] == counts[2]
    assert counts[0] <= counts[1]


@pytest.mark.parametrize("preset", ["delores-s-paper", "delores-m-released"])
def test_a_step_of_pretraining_waits_for_nothing(preset: str) -> None:
    """Views, forward, backward and update, with a memory that is partly filled."""
    config = load_config(preset, [*gpu.SIZES["tiny"].pretraining, "optimizer.kind=lars"])
    method = build_method(config).train()
    optimizer = build_optimizer(method, config.optimizer, config.batch_size)
    shape = config.frontend.n_mels, config.segment_frames
    augmenter, generator = gpu.Augmenter(config.augment, *shape, 0.0, 1.0), torch.Generator().manual_seed(0)
    mel = torch.randn(config.batch_size, *shape)
    with NoWaiting():
        for _ in range(3):
            with torch.no_grad():
                views = [view[:, None] for view in augmenter(mel, generator)]
            loss, _ = method(*views)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert augmenter.memory is not None
    assert len(augmenter.memory) == int(augmenter.memory.count) == 8
    other = gpu.Augmenter(config.augment, *shape, 0.0, 1.0)
    other.load_state_dict(augmenter.state_dict())
    assert other.memory is not None
    assert len(other.memory) == 8


@pytest.mark.parametrize("read", [lambda x: float(x.sum()), lambda x: x.nonzero(), lambda x: x[x > 0]])
def test_the_mode_sees_what_waits(read: object) -> None:
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        read(torch.ones(3))  # type: ignore[operator]
