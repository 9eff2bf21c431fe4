"""Adam of heads that are stacked into one network, each at its own learning rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.scoring.fitting import adam_step

__all__ = ["StackAdam"]

BETAS = (0.9, 0.999)
EPS = 1e-8


class StackAdam:
    """torch's Adam for parameters (B, ...) of B heads that began together, rates (B,), in place.

    A single head on a processor takes torch's own fused step. A stack takes a few ``foreach`` operations for all
    parameters of all heads: nothing in them depends on B, and nothing is read back, so that an accelerator's queue
    never runs empty. The count of steps is a tensor on the device for the same reason.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Sequence[float], *, accelerated: bool) -> None:
        self.fused = len(rates) == 1 and not accelerated
        like = parameters[0]
        self.rate = rates[0]
        self.rates = torch.tensor(rates, dtype=like.dtype, device=like.device)
        self.first = [torch.zeros_like(parameter).detach() for parameter in parameters]
        self.second = [torch.zeros_like(parameter).detach() for parameter in parameters]
        # The fused step counts in a tensor for each parameter, the stack in one: float64, as torch's own in Python.
        shared = torch.zeros((), dtype=torch.float64, device=like.device)
        self.steps = [torch.zeros((), device=like.device) for _ in parameters] if self.fused else [shared]

    @torch.no_grad()
    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """One step on the stacked parameters."""
        if self.fused:
            parts = ([tensor.detach()[0] for tensor in group] for group in (parameters, gradients))
            own, slopes = parts
            first, second = ([tensor[0] for tensor in group] for group in (self.first, self.second))
            adam_step(own, slopes, first, second, self.steps, self.rate)
            return
        (count,) = self.steps
        count += 1
        slopes = list(gradients)
        torch._foreach_lerp_(self.first, slopes, 1 - BETAS[0])
        torch._foreach_mul_(self.second, BETAS[1])
        torch._foreach_addcmul_(self.second, slopes, slopes, 1 - BETAS[1])
        scale = (1 - BETAS[1] ** count).sqrt().to(self.rates.dtype)
        size = (-self.rates / (1 - BETAS[0] ** count)).to(self.rates.dtype)  # (B,)
        below = torch._foreach_sqrt(self.second)
        torch._foreach_div_(below, scale)
        torch._foreach_add_(below, EPS)
        change = torch._foreach_div(self.first, below)
        torch._foreach_mul_(change, [size.view(-1, *[1] * (each.ndim - 1)) for each in change])
        torch._foreach_add_([parameter.detach() for parameter in parameters], change)

    def keep(self, chosen: Tensor) -> None:
        """Drops every head whose number is not in ``chosen`` (m,) int64, on the device."""
        self.rates = self.rates[chosen]
        self.first = [each[chosen] for each in self.first]
        self.second = [each[chosen] for each in self.second]
