"""BatchNorm and dropout over the whole batch of all processes; a method made fit for several processes.

``torch.nn.SyncBatchNorm`` runs on accelerators only and is used there. On the CPU its place is taken by
:class:`GlobalBatchNorm`, which computes the same.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from pretrain.distributed.world import World

if TYPE_CHECKING:
    from pretrain.methods import Method

__all__ = ["GlobalBatchNorm", "GlobalDropout", "spread_out", "synchronise"]


class GlobalBatchNorm(_BatchNorm):
    """``nn.BatchNorm1d`` and ``2d`` of the rows of all processes: forward, backward and running statistics."""

    def __init__(self, like: _BatchNorm, world: World) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        self.world = world
        self.weight, self.bias = like.weight, like.bias  # the same parameters: their names and values stay
        for name, buffer in like.named_buffers():
            self.register_buffer(name, buffer)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"expected at least 2 dimensions, got {x.ndim}")

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, ...) floating, this process's n >= 1 rows."""
        if not self.training:
            return super().forward(x)
        y, mean, variance, count = self.world.batch_norm_with_statistics(x, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean), momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var), momentum)
        return y


class GlobalDropout(nn.Dropout):
    """``nn.Dropout`` with this process's rows of the mask that one process would draw for the whole batch.

    (Where the processes have different numbers of rows, each draws as if all had its own.)
    """

    def __init__(self, p: float, world: World) -> None:
        super().__init__(p)
        self.world = world

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        mask = torch.empty(self.world.size * len(x), *x.shape[1:], dtype=x.dtype, device=x.device)
        return x * self.world.part(mask.bernoulli_(1 - self.p).div_(1 - self.p))


def spread_out(method: Method, world: World, device: torch.device) -> DistributedDataParallel:
    """``method``, synchronised, as a module to call for a step: gradients are averaged over the processes.

    Its buffers are computed alike everywhere and need not be sent at every step.
    """
    method.world = world
    synchronise(method, world, device)
    newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
    name = "forward_sync_buffers" if newer else "broadcast_buffers"
    options = {"device_ids": [device] if device.type == "cuda" else None, name: False}
    return DistributedDataParallel(method, **options)


def synchronise(module: nn.Module, world: World, device: torch.device) -> None:
    """Replaces every BatchNorm and dropout below ``module``, in place; parameters, their names and modes stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, GlobalDropout(child.p, world).train(child.training))
        elif isinstance(child, _BatchNorm):
            on_cpu = device.type == "cpu"
            swapped = GlobalBatchNorm(child, world) if on_cpu else nn.SyncBatchNorm.convert_sync_batchnorm(child)
            setattr(module, name, swapped.train(child.training))
        else:
            synchronise(child, world, device)
