"""Two gloo processes compute what one does with the same global batch: losses, gradients, every state."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from hear_delores.errors import DeloresError
from pretrain.data.batches import Sampler
from pretrain.distributed.world import ALONE, World, join

SCRIPT = Path(__file__).parent / "two_processes.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, warm: Any) -> list[dict[str, Any]]:
    """What the two processes found, by rank."""
    out = tmp_path_factory.mktemp("pair") / "found"
    for code, _, err in warm.pair(SCRIPT.read_text(), out):
        assert code == 0, err
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one() -> dict[str, dict[str, torch.Tensor]]:
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        return script().results(ALONE)


def assert_equal_runs(pair: dict[str, torch.Tensor], single: dict[str, torch.Tensor], tolerance: float) -> None:
    assert pair.keys() == single.keys()
    for name, value in single.items():
        torch.testing.assert_close(
            pair[name], value, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("part", ["norm1d", "norm2d", "average", "correlation", "s", "m"])
def test_two_processes_equal_one_in_float64(part: str, both: list[dict[str, Any]], one: dict[str, Any]) -> None:
    for found in both:
        assert_equal_runs(found["results"][part], one[part], 1e-10)


def test_the_method_runs_saw_gradients_queue_statistics_and_dropout(one: dict[str, Any]) -> None:
    """That the comparison above is about something."""
    for name in ("s", "m"):
        grads = [value for key, value in one[name].items() if key.startswith("step3.grad.")]
        assert len(grads) >= 12
        assert sum(float(g.abs().sum()) for g in grads) > 0.1
    assert int(one["m"]["state.pointer"]) == 32 % 20
    assert "state.encoder.blocks.0.norm.running_mean" in one["s"]
    before = torch.Generator().manual_seed(0).get_state().double()
    assert not torch.equal(one["s"]["random"], before)


def test_augmentation_and_its_memory_are_those_of_one_process(both: list[dict[str, Any]], one: dict[str, Any]) -> None:
    for found in both:
        assert_equal_runs(found["results"]["augmentation"], one["augmentation"], 2e-6)
    assert int(one["augmentation"]["count"]) == 20


def test_reduced_precision_runs_on_two_processes_too(both: list[dict[str, Any]], one: dict[str, Any]) -> None:
    for found in both:
        assert_equal_runs(found["results"]["reduced"], one["reduced"], 0.03)


def test_the_comparison_rejects_local_batch_norm_and_keys_left_shuffled(
    both: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    for broken, name in (("local", "s"), ("shuffled", "m")):
        with pytest.raises(AssertionError):
            assert_equal_runs(both[0]["broken"][broken], one[name], 1e-3)


def test_keys_are_encoded_on_other_processes_and_come_back_in_order(both: list[dict[str, Any]]) -> None:
    rows = [found["shuffling"]["mine"][:, 0].tolist() for found in both]
    assert sorted(rows[0] + rows[1]) == list(range(8))
    assert rows[0] + rows[1] != list(range(8))
    assert {*rows[0]} != set(range(4))
    for found in both:
        assert found["shuffling"]["back"][:, 0].tolist() == [i * i for i in range(8)]


def test_one_error_ends_all_and_is_told_once(both: list[dict[str, Any]]) -> None:
    assert both[0]["errors"] == ["elsewhere", "the disk is full"]
    assert both[1]["errors"] == ["the disk is full", "elsewhere"]


def test_facts_travel(both: list[dict[str, Any]]) -> None:
    for found in both:
        assert found["told"] == {"everybody": [5, 6], "leader": 0}


def test_rows_are_shared_without_overlap_and_without_a_rest() -> None:
    assert [World(rank, 3).rows(12) for rank in range(3)] == [range(4), range(4, 8), range(8, 12)]
    assert World().rows(7) == range(7)
    with pytest.raises(DeloresError, match=r"batch_size of 128 cannot be divided among 3 processes: .* such as 126"):
        World(0, 3).rows(128)
    with pytest.raises(DeloresError, match="such as 3"):
        World(0, 3).rows(2)


def test_two_samplers_read_the_batch_of_one() -> None:
    class Counting:
        skip_bad = False

        def __len__(self) -> int:
            return 5

        def blank(self, rows: int, length: int) -> Any:
            return np.zeros((rows, length), dtype=np.int16)

        def crop(self, index: int, length: int, start: Any) -> tuple[Any, list[int]]:
            return np.full(9, index + 1, dtype=np.int16)[start(9) :][:length], []

    corpus: Any = Counting()
    for step in range(4):
        whole = Sampler(corpus, 4, 6, 0).batch(step).audio
        parts = [Sampler(corpus, 4, 6, 0, rows=World(rank, 2).rows(6)).batch(step).audio for rank in range(2)]
        assert torch.equal(torch.cat(parts), whole)


def test_alone_is_free_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 3)
    for same in (ALONE.part(x), ALONE.gather(x), ALONE.total(x), ALONE.mean(x)):
        assert same is x
    with join("cpu") as world:
        assert world is ALONE
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(DeloresError, match=r"WORLD_SIZE is 2, but .* torchrun"), join("cpu"):
        pass
