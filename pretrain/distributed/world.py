"""Several processes as one: collectives that keep loss, gradients and random numbers those of one process.

``torchrun`` starts W processes; each holds B / W consecutive rows of every batch of B. Two conventions make the
number of processes disappear from the result:

* **Gradients.** Every process computes the loss of the *whole* batch. A sum over the processes passes backward
  as the sum of their gradients, as if W equal losses were added up; DistributedDataParallel then divides by W,
  and what is left is the gradient of one process with the same batch.
* **Random numbers.** Every process draws those of the whole batch, from generators in the same state, and takes
  its own rows'. So the random states, the mixup memory and the queue are alike on all processes, one process's
  training state is everybody's, and a run can be resumed on another number of processes.

Small facts and messages travel through gloo on the CPU, also when tensors travel through NCCL.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from hear_delores.errors import DeloresError

__all__ = ["ALONE", "ReportedElsewhere", "World", "contact_lost", "join", "local_rank", "world_size"]

T = TypeVar("T")

TIMEOUT = timedelta(hours=2)  # the longest that the first process may be busy alone, say with a probe
_AS_BYTES = (torch.float16, torch.bfloat16)  # which not every version of gloo carries
_LOST = ("connection", "gloo", "nccl", "socket", "timed out", "timeout", "peer")


class ReportedElsewhere(DeloresError):
    """Another process of the run failed and says why; there is nothing to add to its message."""


class World:
    """The processes of a run as seen from one of them. ``World()`` is a process alone, and costs nothing.

    Attributes:
        rank, size: this process's number and how many there are; rank 0 logs, saves and shows progress.
    """

    def __init__(self, rank: int = 0, size: int = 1, control: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size = rank, size
        self._control = control
        self._order: Tensor | None = None  # the rows' numbers in the whole batch, while they are shuffled

    @property
    def leads(self) -> bool:
        return self.rank == 0

    # Rows -----------------------------------------------------------------------------------------------------

    def rows(self, batch: int) -> range:
        """The numbers of this process's rows in a whole batch of ``batch``.

        Raises:
            DeloresError: the batch cannot be divided among the processes.
        """
        if batch % self.size:
            near = max(batch // self.size, 1) * self.size
            raise DeloresError(
                f"a batch_size of {batch} cannot be divided among {self.size} processes: set batch_size to a "
                f"multiple of {self.size}, such as {near}, or start another number of processes"
            )
        share = batch // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def part(self, whole: Tensor) -> Tensor:
        """This process's rows of a tensor about the whole batch, alike on all processes."""
        if self.size == 1:
            return whole
        if self._order is not None:
            return whole[self._order.to(whole.device)]
        rows = self.rows(len(whole))
        return whole[rows.start : rows.stop]

    @torch.no_grad()
    def gather(self, x: Tensor) -> Tensor:
        """The rows of all processes in the order of the whole batch, (n, ...) -> (size * n, ...); no gradient."""
        if self.size == 1:
            return x
        x = x.detach().contiguous()
        sent = x.view(torch.uint8) if x.dtype in _AS_BYTES else x
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(parts, sent)
        return torch.cat(parts).view(x.dtype)

    @contextlib.contextmanager
    def shuffled(self, x: Tensor, seed: int) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
        """MoCo's shuffle: this process's rows of the batch in another order, and how to undo it for a result.

        No process then normalises the same clips for queries and keys. Yields the shuffled rows of ``x`` and a
        function that brings *any* tensor about them, (n, ...), back to the order of ``x``. The order is drawn
        from ``seed`` alone, alike on all processes. Neither carries a gradient.
        """
        if self.size == 1:
            yield x, lambda result: result
            return
        order = torch.from_numpy(np.random.default_rng(seed).permutation(self.size * len(x))).to(x.device)
        back = order.argsort()
        shuffled = self.gather(x)[self.part(order)]
        self._order = self.part(order)
        try:
            yield shuffled, lambda result: self._unshuffle(result, back)
        finally:
            self._order = None

    def _unshuffle(self, result: Tensor, back: Tensor) -> Tensor:
        rows = self.rows(len(back))
        return self.gather(result)[back[rows.start : rows.stop]]

    # Sums with gradients --------------------------------------------------------------------------------------

    def total(self, x: Tensor) -> Tensor:
        """The sum of ``x`` over the processes, each of which then computes the same loss from it.

        Backward, the equal gradients of all processes are summed without asking the others: times ``size``.
        """
        return x if self.size == 1 else _Total.apply(x, self.size)

    def mean(self, x: Tensor) -> Tensor:
        """As :meth:`total`, the mean: of per-process means over equally many rows, the whole batch's mean."""
        return x if self.size == 1 else _Total.apply(x, self.size) / self.size

    def batch_norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """``x`` (n, C, ...) normalised per channel with mean and biased variance of the whole batch."""
        if self.size == 1:
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
        return self.batch_norm_with_statistics(x, weight, bias, eps)[0]

    def batch_norm_with_statistics(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As :meth:`batch_norm`, with the mean, the biased variance and the number of values (C,), float32 at least.

        The processes may have different numbers of rows, but one at least.
        """
        with torch.no_grad():
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            variance, mean = torch.var_mean(wide, [d for d in range(x.ndim) if d != 1], correction=0)
            number = torch.full_like(mean, x.numel() // x.shape[1])
            means, variances, counts = self.gather(torch.stack([mean, variance, number])[None]).unbind(1)  # (size, C)
            count = counts.sum(0)
            part = counts / count
            mean = (part * means).sum(0)
            variance = (part * (variances + (means - mean).square())).sum(0)  # within and between the processes
        return _BatchNorm.apply(x, weight, bias, mean, variance, eps, count), mean, variance, count

    # Facts and messages ---------------------------------------------------------------------------------------

    def everybody(self, value: int) -> list[int]:
        """The value of each process, by rank."""
        if self.size == 1:
            return [value]
        values = torch.zeros(self.size, dtype=torch.long)
        values[self.rank] = value
        dist.all_reduce(values, group=self._control)
        return values.tolist()

    def collect(self, value: T) -> list[T]:
        """The picklable value of each process, by rank."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, group=self._control)
        return values

    def share(self, function: Callable[[], T]) -> T:
        """``function()`` on every process; fails on all of them when it fails on one.

        The first process that failed raises its own error, the others :class:`ReportedElsewhere`: the user sees
        one message.
        """
        error: Exception | None = None
        try:
            result = function()
        except Exception as caught:
            error = caught
        self.agree(error)
        return result

    def agree(self, error: Exception | None) -> None:
        """Raises on every process when any of them brings an error: see :meth:`share`."""
        failed = self.everybody(error is not None)
        if any(failed):
            first = failed.index(1)
            raise error if error is not None and first == self.rank else ReportedElsewhere(f"process {first} failed")

    def lead(self, function: Callable[[], T]) -> T | None:
        """``function()`` of the first process alone, None on the others; its error ends all."""
        return self.share(lambda: function() if self.leads else None)

    def from_leader(self, function: Callable[[], T]) -> T:
        """``function()`` of the first process alone, for every process; its error ends all."""
        values: list[Any] = [self.lead(function)]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, group=self._control)
        return values[0]


ALONE = World()


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size = size
        x = x.contiguous().clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * ctx.size, None


class _BatchNorm(torch.autograd.Function):
    """Batch normalisation with given statistics, which themselves depend on the rows of all processes.

    y = w (x - m) / s + b;  dx = w / s (dy - mean(dy) - x^ mean(dy x^)),  x^ = (x - m) / s, means over all rows
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.has_bias = eps, bias is not None
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, variance, count = ctx.saved_tensors
        shape = [1, -1, *[1] * (x.ndim - 2)]
        others = [d for d in range(x.ndim) if d != 1]
        inverse = torch.rsqrt(variance + ctx.eps)
        centred = (x - mean.view(shape)) * inverse.view(shape)
        dy = dy.to(centred.dtype)
        local = torch.stack([dy.sum(others), (dy * centred).sum(others)])  # (2, C): also db and dw
        whole = local.clone()
        dist.all_reduce(whole)
        whole /= count
        scale = inverse if weight is None else inverse * weight
        dx = scale.view(shape) * (dy - whole[0].view(shape) - centred * whole[1].view(shape))
        dw = None if weight is None else local[1].to(weight.dtype)
        db = local[0].to(mean.dtype) if ctx.has_bias else None
        return dx.to(x.dtype), dw, db, None, None, None, None


def world_size() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """This process's number on its machine, and so the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextlib.contextmanager
def join(device_type: str, go_on: str = "continue with --resume") -> Iterator[World]:
    """The world that ``torchrun`` started this process in (or the caller's process group), or ``ALONE``.

    Args:
        device_type: "cuda" for NCCL; all else communicates through gloo.
        go_on: what the user is told to do after contact was lost.

    Raises:
        DeloresError: the others cannot be reached, or contact with them was lost; in the latter case
            :class:`ReportedElsewhere` on all but the first process.
    """
    if world_size() == 1:
        yield ALONE
        return
    ours = not dist.is_initialized()
    if ours:
        _initialise("nccl" if device_type == "cuda" else "gloo")
    gloo = dist.get_backend() == "gloo"
    world = World(dist.get_rank(), dist.get_world_size(), None if gloo else dist.new_group(backend="gloo"))
    try:
        yield world
    except RuntimeError as error:
        if not contact_lost(error):
            raise
        if not world.leads:
            raise ReportedElsewhere("contact with the other processes was lost") from None
        raise DeloresError(
            f"contact with another of the {world.size} processes was lost: it failed, was killed (out of memory?) or "
            f"cannot be reached. The last saved state is kept: {go_on}"
        ) from None
    finally:
        if ours:
            gc.collect()  # what else holds the group, a DistributedDataParallel in a cycle, say
            world._control = None
            dist.destroy_process_group()


def contact_lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone: no fault of the code that was about to hear from it."""
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _LOST)


def _initialise(backend: str) -> None:
    # Imported while there is a group, as DistributedDataParallel does, it keeps that group for ever as its functions'
    # default argument. Gloo's threads then live on while the interpreter ends, where one that still holds a tensor
    # aborts the process ("terminate called without an active exception").
    importlib.import_module("torch.distributed.nn")
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        first = str(error).split("\n", 1)[0]
        raise DeloresError(
            f"WORLD_SIZE is {os.environ.get('WORLD_SIZE')}, but the processes cannot find each other ({first}): "
            "start them with torchrun --no-python --nproc-per-node N delores pretrain ... (or finetune ...), or unset "
            "WORLD_SIZE"
        ) from None
