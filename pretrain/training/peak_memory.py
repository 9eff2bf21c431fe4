"""The memory that a run takes at its peak, counted before anything of it is allocated.

Two training steps are taken on torch's meta device, whose tensors have a shape and no content: forward, backward and
update, as the loop takes them. Every tensor's bytes count from when it is made to when nothing holds it any more, so
that what autograd keeps, gradients, the optimiser's averages and its temporary tensors are in the peak. What a library
allocates inside one operation is not; on the CPU, for convolutions, it is a measured multiple of their largest output.

:mod:`pretrain.training.footprint` bounds the same from below without taking a step; where that leaves room enough,
nothing is counted here.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hear_delores.errors import DeloresError
from hear_delores.memory import available_bytes
from pretrain.config import PretrainConfig
from pretrain.methods import Method, build_method
from pretrain.training.footprint import FLOAT, footprint
from pretrain.training.optim import build_optimizer

__all__ = ["PeakMemory", "StepCount", "check_peak_memory", "count_step", "peak_memory"]

ROOM = 4
"""A run whose least is this many times below what is free fits: no preset's peak is twice its least."""
COPIES = 3
"""Of the largest convolution's output, float32, that the CPU's library holds beside it while it computes. Measured by
``benchmarks/perf/pretraining_memory.py``: 2.4 for DeLoRes-M, 3 to 4 for DeLoRes-S."""
LARGEST_BATCH = 2**45
"""Bytes of one layer's output up to which batches are counted whole: no machine has as much, and shapes stay valid."""


class _Storages(TorchDispatchMode):
    """While active: the bytes of the meta tensors that are alive, their peak, and what operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.moved = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = list(_meta_tensors(out))
        new = [tensor for tensor in made if self._follow(tensor)]
        # A view moves nothing; an operation in place reads and writes what it was given.
        if new or func._schema.is_mutable:
            self.moved += sum(tensor.nbytes for tensor in (*_meta_tensors((args, kwargs)), *made))
        return out

    def _follow(self, tensor: Tensor) -> bool:
        """Counts the storage of a tensor until it ends; whether it was a new one."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self.alive:
            return False
        self.alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)
        return True

    def _forget(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def _meta_tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor) and value.is_meta)


@dataclass(frozen=True)
class StepCount:
    """Bytes of a training step with ``rows`` clips, in a run that has taken one already.

    Attributes:
        rows: clips of the counted step: those asked for, unless these are more than any machine could hold.
        parameters: weights and buffers, the key encoder's with them.
        gradients, optimizer: of the trained parameters.
        queue: the keys of past batches.
        activations: all else at the moment when most is alive: views, what autograd keeps, temporary tensors.
        moved: what the step's operations read and write, each operation alone.
    """

    rows: int
    parameters: int
    gradients: int
    optimizer: int
    queue: int
    activations: int
    moved: int


def count_step(config: PretrainConfig, rows: int) -> StepCount:
    """Counts a training step of a process that holds ``rows`` clips of every batch, on the meta device.

    In bfloat16, layers are made of it to count what they keep. Under autocast, their parameters stay float32, and the
    copies in bfloat16 belong to what is kept.
    """
    frames, mels = config.segment_frames, config.frontend.n_mels
    fewer = max(2, min(rows, LARGEST_BATCH // (FLOAT * config.encoder.channels * mels * frames)))
    reduced = config.precision == "bfloat16"
    counted = _Storages()
    with torch.random.fork_rng(devices=[]), torch.device("meta"), counted:
        method = build_method(config).train()
        optimizer = build_optimizer(method, config.optimizer, config.batch_size)
        trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
        buffers = dict(method.named_buffers())
        queue = buffers.pop("queue", torch.empty(0))
        sizes = {"parameters": _bytes([*method.parameters(), *buffers.values()]), "gradients": _bytes(trained)}
        if "pointer" in buffers:  # it is read
            method.pointer = torch.zeros((), dtype=torch.long, device="cpu")  # type: ignore[assignment]
        if reduced:
            _to_bfloat16(method)
        for _ in range(2):
            before = counted.moved
            _take_step(method, optimizer, torch.empty(2, fewer, 1, mels, frames))
        states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
        held = _bytes([*method.parameters(), *method.buffers(), *trained, *states])
    copies = sum(parameter.nbytes for parameter in method.parameters()) if reduced else 0
    state = FLOAT * sum(value.numel() for value in states)
    kept = max(0, counted.peak - held) + copies
    return StepCount(
        fewer, **sizes, optimizer=state, queue=queue.nbytes, activations=kept, moved=counted.moved - before
    )


def _to_bfloat16(method: Method) -> None:
    for module in method.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)):
            module.to(torch.bfloat16)


def _take_step(method: Method, optimizer: torch.optim.Optimizer, views: Tensor) -> None:
    """A step in the order of the loop's: the last step's gradients go after the forward pass."""
    kind = next(method.encoder.parameters()).dtype
    loss, _ = method(*views.to(kind).unbind())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


# --- against the machine


@dataclass(frozen=True)
class PeakMemory:
    """Bytes at the peak of a run.

    Attributes:
        inputs: past inputs, which views are mixed with.
        batches: audio made ahead, on the CPU.
        workspace: what convolutions take on the CPU while they run.
    """

    step: StepCount
    inputs: int
    batches: int
    workspace: int

    @property
    def on_device(self) -> int:
        """Bytes on the device that trains."""
        step = self.step
        return step.parameters + step.gradients + step.optimizer + step.queue + step.activations + self.inputs

    @property
    def total(self) -> int:
        """All bytes, where the device that trains is the CPU."""
        return self.on_device + self.batches + self.workspace

    def __str__(self) -> str:
        step = self.step
        parts = {
            "parameters": step.parameters,
            "gradients": step.gradients,
            "optimiser": step.optimizer,
            "queue and past inputs": step.queue + self.inputs,
            "batches made ahead": self.batches,
            "convolutions at work": self.workspace,
            f"activations of {step.rows:,} clips": step.activations,
        }
        return ", ".join(f"{name} {size / 1e9:,.2f} GB" for name, size in parts.items())


def peak_memory(config: PretrainConfig, rows: int) -> PeakMemory:
    """The estimate for a process that holds ``rows`` clips of every batch."""
    spectrogram = config.frontend.n_mels * config.segment_frames
    inputs = FLOAT * config.augment.mixup_memory * spectrogram if config.augment.mixup else 0
    ahead = config.data.prefetch + 1 if config.data.threads else 1
    layer = FLOAT * config.encoder.channels * spectrogram
    return PeakMemory(
        count_step(config, rows), inputs, 2 * ahead * rows * config.segment_samples, COPIES * rows * layer
    )


def check_peak_memory(config: PretrainConfig, rows: int, device: torch.device) -> None:
    """Raises DeloresError, with the numbers, when the estimated peak is more than what is free.

    Args:
        rows: clips of every batch that this process holds; others on the same CPU need as much again.
        device: the one that trains: its own memory counts, on the CPU the machine's or the container's.
    """
    on_cpu = device.type == "cpu"
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if on_cpu else 1
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    if free is None or ROOM * processes * footprint(config, rows).total <= free:
        return
    need = peak_memory(config, rows)
    each = need.total if on_cpu else need.on_device
    if processes * each <= free:
        return
    several = f" by each of {processes} processes" if processes > 1 else ""
    raise DeloresError(
        f"pre-training would take about {each / 1e9:,.2f} GB at its peak{several} ({need}), and {free / 1e9:,.2f} GB "
        f"are free: {_advice(need.step)}, or begin anyway with --force"
    )


def _advice(step: StepCount) -> str:
    weights = step.parameters + step.gradients + step.optimizer
    largest = max(
        (step.activations, "batch_size"), (weights, "projector.widths or encoder.*"), (step.queue, "moco.queue")
    )
    return f"lower {largest[1]}"
