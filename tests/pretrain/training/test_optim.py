"""LARS against a transcription of the published algorithm, the schedule against Barlow Twins'."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.config import OptimizerConfig, ScheduleConfig
from pretrain.training.optim import LARS, build_optimizer, parameter_groups, schedule_factor, set_learning_rate

CONFIG = OptimizerConfig(lr=0.3, lr_bias=0.01, weight_decay=0.02, momentum=0.8, eta=0.005)
RATES = (1.0, 0.5, 0.9, 0.1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def gradients(model: nn.Module, step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=generator) for p in model.parameters()]


def published_lars(model: nn.Module, lr_at: Callable[[int], tuple[float, float]], steps: int) -> list[np.ndarray]:
    """You, Gitman and Ginsburg 2017, algorithm 1, for weights; momentum SGD for biases and norms; float64.

    The local rate is eta |w| / |g + beta w| as Barlow Twins takes it, and the global rate is applied after
    the momentum, so that a schedule acts at once.
    """
    weights = [p.detach().double().numpy().copy() for p in model.parameters()]
    velocity = [np.zeros_like(w) for w in weights]
    for step in range(steps):
        lr, lr_bias = lr_at(step)
        for i, gradient in enumerate(gradients(model, step)):
            g = gradient.double().numpy()
            if weights[i].ndim > 1:
                g = g + CONFIG.weight_decay * weights[i]
                local = CONFIG.eta * np.sqrt((weights[i] ** 2).sum()) / np.sqrt((g**2).sum())
                velocity[i] = CONFIG.momentum * velocity[i] + local * g
                weights[i] = weights[i] - lr * velocity[i]
            else:
                velocity[i] = CONFIG.momentum * velocity[i] + g
                weights[i] = weights[i] - lr_bias * velocity[i]
    return weights


def check_lars(groups: Callable[[nn.Module], list[dict[str, Any]]], optimizer: type[LARS] = LARS) -> None:
    model = network()
    lars = optimizer(groups(model), lr=1.0, momentum=CONFIG.momentum, eta=CONFIG.eta)
    expected = published_lars(model, lambda step: (0.6 * RATES[step], 0.02 * RATES[step]), len(RATES))
    for step, rate in enumerate(RATES):
        set_learning_rate(lars, rate)
        for p, g in zip(model.parameters(), gradients(model, step), strict=True):
            p.grad = g
        lars.step()
    for p, w in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-5, atol=1e-7)


def configured(model: nn.Module) -> list[dict[str, Any]]:
    return parameter_groups(model, CONFIG, batch_size=512)


def test_lars_is_the_published_algorithm() -> None:
    check_lars(configured)


def broken_groups(change: dict[str, Any]) -> Callable[[nn.Module], list[dict[str, Any]]]:
    def groups(model: nn.Module) -> list[dict[str, Any]]:
        weights, vectors = configured(model)
        return [weights, {**vectors, **change}]

    return groups


class DecayAfterAdaptation(LARS):
    def _update(self, w: nn.Parameter, g: torch.Tensor, group: dict[str, Any]) -> None:
        decay = group["weight_decay"]
        if group["adapt"]:
            g = g * (group["eta"] * w.norm() / g.norm())
        super()._update(w, g + decay * w, {**group, "weight_decay": 0, "adapt": False})


@pytest.mark.parametrize("change", [{"adapt": True}, {"weight_decay": 0.02}, {"base_lr": 0.6}])
def test_the_check_rejects_biases_treated_as_weights(change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_lars(broken_groups(change))


def test_the_check_rejects_decay_after_adaptation() -> None:
    with pytest.raises(AssertionError):
        check_lars(configured, DecayAfterAdaptation)


def test_lars_leaves_zero_weights_movable_and_zero_gradients_harmless() -> None:
    w, v = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    lars = LARS([w, v], lr=0.1)
    w.grad, v.grad = torch.ones(2, 2), torch.zeros(2, 2)
    lars.step()
    torch.testing.assert_close(w.detach(), torch.full((2, 2), -0.1))
    torch.testing.assert_close(v.detach(), torch.ones(2, 2))


def test_groups_hold_every_trained_parameter_once_with_rates_for_the_batch() -> None:
    model = network()
    model[2].bias.requires_grad_(False)
    weights, vectors = parameter_groups(model, OptimizerConfig(), batch_size=1024)
    assert {p.ndim for p in weights["params"]} == {2}
    assert [tuple(p.shape) for p in vectors["params"]] == [(4,), (4,), (4,)]
    assert weights["lr"] == pytest.approx(0.8)
    assert vectors["lr"] == pytest.approx(0.0192)
    assert (weights["weight_decay"], vectors["weight_decay"]) == (1e-6, 0.0)
    unscaled = OptimizerConfig(scale_lr=False, lr_bias=None)
    assert [g["lr"] for g in parameter_groups(model, unscaled, 1024)] == [0.2, 0.2]


@pytest.mark.parametrize("kind", ["lars", "sgd", "adamw"])
def test_every_optimizer_lowers_a_loss(kind: str) -> None:
    model, x = network(), torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    config = OptimizerConfig(kind=kind, lr=0.01, lr_bias=None, scale_lr=False, eta=1.0)
    optimizer = build_optimizer(model, config, 16)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


EPOCHS, STEPS_PER_EPOCH = 20, 13


def barlow_twins_rate(step: int) -> float:
    """The published schedule: a tenth of the epochs of linear warm-up, then a cosine to a thousandth."""
    max_steps, warmup_steps = EPOCHS * STEPS_PER_EPOCH, EPOCHS // 10 * STEPS_PER_EPOCH
    if step < warmup_steps:
        return step / warmup_steps
    q = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (max_steps - warmup_steps)))
    return q + 0.001 * (1 - q)


def check_schedule(factor: Callable[[int, int], float]) -> None:
    total = EPOCHS * STEPS_PER_EPOCH
    for step in range(total):
        assert factor(step, total) == pytest.approx(barlow_twins_rate(step), abs=1e-12)


def test_schedule_is_the_published_one() -> None:
    check_schedule(lambda step, total: schedule_factor(step, total, ScheduleConfig()))


BROKEN_SCHEDULE = {
    "fed the step inside the epoch": lambda s, n: schedule_factor(s % STEPS_PER_EPOCH, n, ScheduleConfig()),
    "one step late": lambda s, n: schedule_factor(max(s - 1, 0), n, ScheduleConfig()),
    "without warm-up": lambda s, n: schedule_factor(s, n, ScheduleConfig(warmup=0)),
    "to zero": lambda s, n: schedule_factor(s, n, ScheduleConfig(final=0)),
}


@pytest.mark.parametrize("name", list(BROKEN_SCHEDULE))
def test_the_check_rejects_a_broken_schedule(name: str) -> None:
    with pytest.raises(AssertionError):
        check_schedule(BROKEN_SCHEDULE[name])


def test_constant_schedule_and_edges() -> None:
    constant = ScheduleConfig(kind="constant", warmup=0.5)
    assert [schedule_factor(s, 4, constant) for s in range(4)] == [0, 0.5, 1, 1]
    assert schedule_factor(0, 1, ScheduleConfig()) == 1.0
    assert schedule_factor(0, 1, ScheduleConfig(warmup=1.0)) == 0.0
