"""Optimisers and schedule: LARS, SGD, AdamW; warm-up and cosine, step by step over the whole run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from pretrain.config import OptimizerConfig, ScheduleConfig

__all__ = ["LARS", "build_optimizer", "parameter_groups", "schedule_factor", "set_learning_rate"]


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017), in the form that Barlow Twins trains with::

        g = grad + weight_decay w;  g = eta |w| / |g|  g (adapted groups; 1 when a norm is 0)
        m = momentum m + g;  w = w - lr m

    A group with ``adapt=False`` (biases and norms) takes the plain momentum step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 1e-3,
        adapt: bool = True,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "adapt": adapt}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates every parameter that has a gradient, in float32."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    self._update(w, w.grad.float(), group)
        return loss

    def _update(self, w: nn.Parameter, g: torch.Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            g = g.add(w, alpha=group["weight_decay"])
        if group["adapt"]:
            w_norm, g_norm = w.norm(), g.norm()
            trust = group["eta"] * w_norm / g_norm
            g = g * torch.where((w_norm > 0) & (g_norm > 0), trust, torch.ones_like(trust))
        state = self.state[w]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(w)
        state["momentum"].mul_(group["momentum"]).add_(g)
        w.add_(state["momentum"], alpha=-group["lr"])


def parameter_groups(model: nn.Module, config: OptimizerConfig, batch_size: int) -> list[dict[str, Any]]:
    """Two groups, weights and then biases with norms (all of one dimension), each with its ``base_lr``.

    The second group has no weight decay and no LARS adaptation. With ``scale_lr`` a rate is stated for a
    batch of 256 and grows in proportion to the batch.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    weights, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    scale = batch_size / 256 if config.scale_lr else 1.0
    lr, lr_bias = config.lr * scale, (config.lr if config.lr_bias is None else config.lr_bias) * scale
    return [
        {"params": weights, "lr": lr, "base_lr": lr, "weight_decay": config.weight_decay, "adapt": True},
        {"params": vectors, "lr": lr_bias, "base_lr": lr_bias, "weight_decay": 0.0, "adapt": False},
    ]


def build_optimizer(model: nn.Module, config: OptimizerConfig, batch_size: int) -> torch.optim.Optimizer:
    """The configured optimiser over the parameters of ``model`` that require a gradient."""
    groups = parameter_groups(model, config, batch_size)
    if config.kind == "lars":
        return LARS(groups, lr=config.lr, momentum=config.momentum, eta=config.eta)
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999))


def schedule_factor(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """What the base learning rate is multiplied by at ``step`` = 0 .. total_steps - 1 *of the whole run*.

    Linear from 0 over the first ``warmup`` share of the steps, then a cosine from 1 to ``final``, as in
    Barlow Twins; or 1 throughout after the warm-up with kind "constant".
    """
    warmup_steps = round(config.warmup * total_steps)
    if step < warmup_steps:
        return step / warmup_steps
    if config.kind == "constant":
        return 1.0
    q = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(total_steps - warmup_steps, 1)))
    return q + config.final * (1 - q)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets each group's rate to its base rate times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
