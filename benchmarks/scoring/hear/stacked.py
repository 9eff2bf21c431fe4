"""The classifier's heads trained side by side: stacked into one network, and spread over the processor's cores.

Equal to :mod:`~benchmarks.scoring.hear.heads` up to rounding when dropout is off, and in distribution when it is on.

On an accelerator the heads of one fold and depth are one :class:`HeadStack`, whose first layer is one matrix
product for all of them. On a processor that would gain nothing, since its products are as fast one by one:
each head is a stack of its own, and as many as there are cores are trained at once, each on one thread.
What else a step costs is kept small: dropout from raw random words, no DataLoader, no copies of rows.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.func import stack_module_state
from torch.nn import functional as F

from benchmarks.scoring.fitting import cuda_devices, derive_seed
from benchmarks.scoring.hear.heads import BestOfHead, Head, HeadJob, batch_bounds, initial_head, judge
from benchmarks.scoring.hear.stack_adam import StackAdam
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError

__all__ = ["PRECISIONS", "HeadStack", "has_bfloat16", "train_batched", "train_stack"]

PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")


def train_batched(jobs: Iterable[HeadJob], n_jobs: int, precision: str = "float32") -> Iterator[Fitted]:
    """Trains jobs side by side and yields each head when it is finished.

    On a processor jobs are taken from the iterable as cores fall free, so that no more folds are held than are
    trained. ``n_jobs`` decides how many threads a head has: the last bit of its result may depend on it.

    Raises:
        DeloresError: for bfloat16 on a device that has no such products.
    """
    pulled = iter(jobs)
    first = next(pulled, None)
    if first is None:
        return
    device = first.fold.train.device
    _check_precision(precision, device)
    pulled = itertools.chain([first], pulled)
    if device.type == "cpu":
        yield from _train_on_cores(pulled, n_jobs, precision)
        return
    for _, same_fold in itertools.groupby(pulled, key=lambda job: job.fold.number):
        by_shape = sorted(same_fold, key=_shape)
        for _, group in itertools.groupby(by_shape, key=_shape):
            yield from train_stack(list(group), precision=precision)


def _shape(job: HeadJob) -> tuple[Any, ...]:
    """What heads of one stack share."""
    own = ("initialization", "lr", "patience")
    return tuple(value for name, value in job.config.to_dict().items() if name not in own)


def _train_on_cores(jobs: Iterator[HeadJob], n_jobs: int, precision: str) -> Iterator[Fitted]:
    cores = torch.get_num_threads()
    threads = max(1, cores // max(n_jobs, 1))
    workers = max(1, cores // threads)
    stop = threading.Event()

    def work(job: HeadJob, head: Head) -> Fitted:
        torch.get_num_threads()  # a thread takes the default when it first asks, and would take it later
        torch.set_num_threads(threads)  # of this thread
        torch.set_flush_denormal(True)  # gradients of units that are done learning: slow, and nothing to Adam
        [trained] = train_stack([job], [head], precision=precision, stop=stop)
        return trained

    pool = ThreadPoolExecutor(workers, thread_name_prefix="head")
    running: set[Future[Fitted]] = set()
    try:
        while True:
            for job in itertools.islice(jobs, workers - len(running)):
                running.add(pool.submit(work, job, _first_head(job)))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(cores)


def _first_head(job: HeadJob) -> Head:
    """The first weights, drawn in the calling thread: torch's random state is one for all threads."""
    with torch.random.fork_rng(cuda_devices(job.fold.train.device)):
        return initial_head(job)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device makes bfloat16 products at all, fast or not."""
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _check_precision(precision: str, device: torch.device) -> None:
    if precision == "bfloat16" and not has_bfloat16(device):
        raise DeloresError(f"precision: this {device.type} has no bfloat16 matrix products; use float32")


class _Stopped(Exception):
    """The caller wants no more heads."""


def train_stack(
    jobs: Sequence[HeadJob],
    heads: Sequence[Head] | None = None,
    *,
    precision: str = "float32",
    stop: threading.Event | None = None,
    accelerated: bool | None = None,
) -> Iterator[Fitted]:
    """Trains jobs of one fold and shape as one network and yields each head when its early stopping ends it.

    ``heads`` are the first weights, drawn from the jobs' seeds when None. A finished head leaves the stack.
    The seconds of a head are those of the stack from its start, divided by the heads that it had.
    """
    began = time.perf_counter()
    config, fold = jobs[0].config, jobs[0].fold
    train = fold.train
    stack = HeadStack(jobs, heads or [_first_head(job) for job in jobs], precision, accelerated=accelerated)
    prediction_type = jobs[0].prediction_type
    targets = train.targets.argmax(dim=1) if prediction_type == "multiclass" else train.targets
    batches = batch_bounds(len(train), config, jobs[0].single_row_batch)
    running = [BestOfHead(job) for job in jobs]
    for epoch in range(config.max_epochs):
        with contextlib.closing(train.batches(batches)) as read:
            for (start, end), embeddings in zip(batches, read, strict=True):
                if stop is not None and stop.is_set():
                    raise _Stopped
                stack.step(embeddings, targets[start:end], prediction_type)
        last = epoch + 1 == config.max_epochs
        if (epoch + 1) % config.check_val_every_n_epoch == 0:
            for number, (head, logits) in enumerate(zip(running, stack.predict(fold.valid), strict=True)):
                head.update(epoch, *judge(head.job, logits), partial(stack.state, number))
        going_on = [] if last else [number for number, head in enumerate(running) if not head.best.stop]
        for number, head in enumerate(running):
            if number not in going_on:
                yield head.fitted(epoch + 1, (time.perf_counter() - began) / len(jobs))
        if not going_on:
            return
        if len(going_on) < len(running):
            stack.keep(going_on)
            running = [running[number] for number in going_on]


class HeadStack:
    """B heads of one shape as one network: each tensor of :class:`~benchmarks.scoring.hear.heads.Head`, with B first.

    In bfloat16 the first layer's inputs are rounded without the mean of the training rows, which is added again
    as a constant: W x + b = W (x - c) + (W c + b). Weights, normalisation, loss and Adam stay in float32.

    ``accelerated`` takes the step of an accelerator, by default on one: it waits for nothing and loops over no
    heads; dropout is drawn there, from one generator for the stack.
    """

    def __init__(
        self,
        jobs: Sequence[HeadJob],
        heads: Sequence[Head],
        precision: str = "float32",
        *,
        accelerated: bool | None = None,
    ) -> None:
        self.config = jobs[0].config
        parameters, buffers = stack_module_state(list(heads))
        self.tensors = {name: value.detach() for name, value in {**parameters, **buffers}.items()}
        self.parameters = list(parameters)
        device = self.tensors["projection.bias"].device
        self.accelerated = device.type != "cpu" if accelerated is None else accelerated
        self.random = [] if self.accelerated else [_DropoutMask(self.config.dropout, job.seed) for job in jobs]
        self.generator = torch.Generator(device).manual_seed(derive_seed(*(job.seed for job in jobs)))
        self.centre = jobs[0].fold.train.mean().float() if precision == "bfloat16" else None
        self.adam = StackAdam(self._parameters(), [job.config.lr for job in jobs], accelerated=self.accelerated)
        for parameter in self._parameters():
            parameter.requires_grad_()

    def _parameters(self) -> list[torch.Tensor]:
        return [self.tensors[name] for name in self.parameters]

    def __len__(self) -> int:
        return len(self.tensors["projection.bias"])

    def step(self, embeddings: torch.Tensor, targets: torch.Tensor, prediction_type: str) -> None:
        """One step of Adam on rows (n, d) with targets (n,) int64 classes, or (n, n_labels) 0/1 for multilabel."""
        logits = self._logits(embeddings, training=True)
        # Each head's loss is its own mean; their sum has each head's own gradient.
        if prediction_type == "multiclass":
            losses = F.cross_entropy(logits.flatten(0, 1), targets.repeat(len(self)), reduction="sum") / len(targets)
        else:
            losses = F.binary_cross_entropy_with_logits(logits, targets.expand_as(logits), reduction="sum")
            losses = losses / targets.numel()
        self.adam.step(self._parameters(), torch.autograd.grad(losses, self._parameters()))

    @torch.no_grad()
    def predict(self, rows: Rows) -> torch.Tensor:
        """Logits (B, n, n_labels) of all rows with the running statistics."""
        parts = [self._logits(rows.embeddings(start, end), training=False) for start, end in rows.blocks()]
        return torch.cat(parts, dim=1)

    def state(self, number: int) -> dict[str, torch.Tensor]:
        """A copy of one head's state, on the CPU, under the names of Head."""
        return {name: value[number].detach().to("cpu", copy=True) for name, value in self.tensors.items()}

    def keep(self, numbers: Sequence[int]) -> None:
        """Drops every other head, with what Adam knows of it."""
        chosen = torch.tensor(numbers, dtype=torch.int64).to(self.tensors["projection.bias"].device)
        self.tensors = {name: value.detach()[chosen] for name, value in self.tensors.items()}
        self.adam.keep(chosen)
        self.random = [self.random[number] for number in numbers if self.random]
        for parameter in self._parameters():
            parameter.requires_grad_()

    def _logits(self, embeddings: torch.Tensor, training: bool) -> torch.Tensor:
        """(n, d) -> (B, n, n_labels)."""
        own, flat = self.tensors, embeddings
        for layer in range(self.config.hidden_layers):
            norm = f"hidden.{4 * layer + 1}"
            flat = F.batch_norm(
                self._linear(flat, f"hidden.{4 * layer}", shared=layer == 0),
                own[f"{norm}.running_mean"].flatten(),
                own[f"{norm}.running_var"].flatten(),
                own[f"{norm}.weight"].flatten(),
                own[f"{norm}.bias"].flatten(),
                training,
            )
            if training:
                own[f"{norm}.num_batches_tracked"] += 1
            flat = self._dropout_relu(flat) if training and self.config.dropout else F.relu(flat)
        flat = self._linear(flat, "projection", shared=self.config.hidden_layers == 0)
        return flat.view(len(flat), len(self), -1).transpose(0, 1)

    def _linear(self, inputs: torch.Tensor, name: str, shared: bool) -> torch.Tensor:
        """Rows that all heads share (n, d), or each head's own (n, B * d), through each: (n, B * width)."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        if not shared and len(self) > 1:
            rows = inputs.view(len(inputs), len(self), -1).transpose(0, 1)
            if self.centre is None:
                product = torch.baddbmm(bias.unsqueeze(1), rows, weight.mT)
            else:
                product = torch.bmm(rows.bfloat16(), weight.bfloat16().mT).float() + bias.unsqueeze(1)
            return product.transpose(0, 1).flatten(1)
        weight, bias = weight.flatten(0, 1), bias.flatten()
        if self.centre is None:
            return F.linear(inputs, weight, bias)
        if shared:  # W x + b = W (x - c) + (W c + b)
            # Under BatchNorm the constant has no gradient, so that its outer product is not made.
            fixed = weight.detach() if self.config.hidden_layers else weight
            inputs, bias = inputs - self.centre, bias + fixed @ self.centre
        return F.linear(inputs.bfloat16(), weight.bfloat16()).float() + bias

    def _dropout_relu(self, flat: torch.Tensor) -> torch.Tensor:
        """relu(dropout(x)) of (n, B * width), on a processor each head's dropout from its own random numbers."""
        if self.accelerated:
            kept = 1 - self.config.dropout
            return F.relu(flat) * torch.empty_like(flat).bernoulli_(kept, generator=self.generator).div_(kept)
        n, width = len(flat), flat.shape[1] // len(self)
        masks = [mask.draw(n, width).to(flat.dtype) for mask in self.random]
        mask = masks[0] if len(masks) == 1 else torch.cat(masks, dim=1)
        return F.relu(flat) * mask


class _DropoutMask:
    """Factors 0 or 1 / keep from raw 16-bit words: several times as fast as torch's generator on a processor.

    The probability is a multiple of 2**-16 (0.1 becomes 0.10001), and the factor is that of the multiple.
    """

    def __init__(self, dropout: float, seed: int) -> None:
        self.words = np.random.SFC64(seed)
        self.dropped = round(dropout * 2**16)

    def draw(self, n: int, width: int) -> torch.Tensor:
        """(n, width) float32."""
        raw = self.words.random_raw(-(-n * width // 4)).view(np.int16)[: n * width]
        mask = torch.empty(n * width)
        torch.ge(torch.from_numpy(raw), self.dropped - 2**15, out=mask)
        return mask.mul_(2**16 / (2**16 - self.dropped)).view(n, width)
