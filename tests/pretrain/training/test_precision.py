"""Which number format is taken: by a product timed in both, told in one line, kept when a run is resumed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from pretrain.config import PretrainConfig
from pretrain.training import device, precision
from pretrain.training.device import resolved
from pretrain.training.precision import ProductTimes, time_products


def measured(monkeypatch: pytest.MonkeyPatch, float32_s: float, bfloat16_s: float) -> list[tuple[int, int, int]]:
    """Makes every timing give these seconds; returns the list of shapes asked for."""
    asked: list[tuple[int, int, int]] = []

    def times(rows: int, inputs: int, outputs: int, where: object) -> ProductTimes:
        asked.append((rows, inputs, outputs))
        return ProductTimes(rows, inputs, outputs, float32_s, bfloat16_s)

    monkeypatch.setattr(device, "time_products", times)
    return asked


@pytest.mark.parametrize(
    ("bfloat16_s", "faster", "slower"),
    [(0.5, "bfloat16", False), (0.95, "float32", False), (1.01, "float32", True), (math.inf, "float32", True)],
)
def test_bfloat16_is_taken_where_it_is_worth_it(bfloat16_s: float, faster: str, slower: bool) -> None:
    times = ProductTimes(8, 8, 8, 1.0, bfloat16_s)
    assert (times.faster, times.bfloat16_is_slower) == (faster, slower)


def test_both_formats_are_timed_in_turns_and_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {torch.float32: iter([9.0, 3.0, 2.0]), torch.bfloat16: iter([8.0, 5.0, 6.0])}
    turns: list[torch.dtype] = []
    linear = precision.F.linear

    def seen(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        turns.append(values.dtype)
        assert (values.shape, weight.shape) == ((3, 4096), (2, 4096))  # at most 4096
        return linear(values, weight)

    def timed(product: Callable[[], torch.Tensor], where: torch.device) -> float:
        product()
        return next(seconds[turns[-1]])

    monkeypatch.setattr(precision.F, "linear", seen)
    monkeypatch.setattr(precision, "_seconds", timed)
    monkeypatch.setattr(precision, "ALTERNATIONS", 2)
    state = torch.get_rng_state()
    times = time_products(3, 10_000, 2, "cpu")
    assert turns == [torch.float32, torch.bfloat16] * 3
    assert (times.float32_s, times.bfloat16_s) == (2.0, 5.0)  # the first turn warms up
    assert times.describe() == ("a product of 3 x 4096 by 4096 x 2 takes 5e+03 ms in bfloat16, 2e+03 ms in float32")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_device_without_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("not implemented")

    monkeypatch.setattr(torch.Tensor, "bfloat16", refuses)
    times = time_products(2, 2, 2, "cpu")
    assert (times.faster, times.bfloat16_s) == ("float32", math.inf)
    assert times.describe() == "a product of 2 x 2 by 2 x 2 cannot be made in bfloat16 here"


def test_pretraining_decides_once(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = PretrainConfig(precision="auto", batch_size=16)
    asked = measured(monkeypatch, 1.0, 0.25)
    chosen, line = resolved(auto)
    assert chosen.precision == "bfloat16"
    assert asked == [(16, auto.encoder.embedding_size, auto.projector.widths[0])]
    assert line.startswith("precision: bfloat16, since a product of 16 x 2048 by 2048 x 8192 takes 250 ms in bfloat16")
    measured(monkeypatch, 1.0, 4.0)
    assert resolved(auto)[0].precision == "float32"
    assert resolved(auto, before=chosen.precision) == (chosen, "")  # a run that is resumed


def test_bfloat16_that_was_asked_for_is_kept_and_said_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = PretrainConfig(precision="bfloat16", batch_size=16)
    measured(monkeypatch, 1.0, 4.0)
    chosen, line = resolved(wanted)
    assert chosen == wanted
    assert line.startswith("precision: bfloat16 is slower here: a product of ")
    measured(monkeypatch, 1.0, 0.5)
    assert resolved(wanted) == (wanted, "")
    asked = measured(monkeypatch, 1.0, 0.5)
    assert resolved(PretrainConfig()) == (PretrainConfig(), "")
    assert not asked


def test_waiting_for_another_program_does_not_count_and_a_shape_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is one where time passes by the clock, and none by the processor's."""
    passed = iter(range(10**6))
    monkeypatch.setattr(precision.time, "perf_counter", lambda: float(next(passed)))
    times = time_products(5, 7, 9, "cpu")
    assert 0 < times.float32_s < 1
    assert time_products(5, 7, 9, "cpu") is times
