"""Training heads, embedding and pre-training on a GPU against what the device does of the same work alone.

    python -m benchmarks.perf.gpu --out gpu.md
    python -m benchmarks.perf.gpu --device cpu --size tiny

Heads: a grid's heads of one depth as one stack against the sequential trainer, then a point on several folds, against
the rate at which the device makes the same matrix products. Embedding: our encoder and a transformer as ``delores
embed`` calls them, audio copied there and embeddings back, against the bare forward on audio that lies there.
Pre-training: a whole step of DeLoRes-S and DeLoRes-M from log-mel inputs that lie on the device (views, forward,
backward, update) against forward and backward alone. Every figure is the median of runs after a warm-up, each
between two synchronisations; memory is the most that was allocated in them. Reading audio is not in it.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.scoring.fitting import as_device
from benchmarks.scoring.fold import Fold
from benchmarks.scoring.hear.grid import HeadConfig
from benchmarks.scoring.hear.heads import HeadJob, batch_bounds, train_sequentially
from benchmarks.scoring.hear.stacked import train_stack
from benchmarks.scoring.rows import Rows
from hear_delores.files import atomic_path
from pretrain.augment import Augmenter
from pretrain.config import PretrainConfig, load_config
from pretrain.methods import build_method
from pretrain.training.optim import build_optimizer

__all__ = ["SIZES", "Line", "Size", "embedding_lines", "head_lines", "main", "markdown", "pretraining_lines"]


@dataclass(frozen=True)
class Size:
    """How much is measured. ``rows``, ``dims``, ``labels``, ``width``, ``epochs`` are of heads."""

    rows: int
    dims: tuple[int, ...]
    labels: int
    width: int
    epochs: int
    folds: int
    clips: int
    seconds: float
    transformer: str
    pretraining: tuple[str, ...]
    compiled: tuple[bool, ...]
    repeats: int


SIZES = {
    "full": Size(
        rows=16384, dims=(512, 2048), labels=50, width=1024, epochs=12, folds=5, clips=64, seconds=10.0,
        transformer="", pretraining=(), compiled=(False, True), repeats=5,
    ),
    "tiny": Size(
        rows=64, dims=(8,), labels=3, width=8, epochs=3, folds=2, clips=2, seconds=0.5,
        transformer="?layers=1&width=16&heads=2",
        pretraining=("batch_size=4", "projector.widths=[16,16]", "moco.queue=16", "augment.mixup_memory=8",
                     "encoder.channels=4", "encoder.embedding_size=16"),
        compiled=(False,), repeats=1,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One measured thing and its reference: median seconds of both, and the peak memory of the first, if known."""

    what: str
    against: str
    seconds: float
    reference: float
    peak_bytes: int | None

    @property
    def ratio(self) -> float:
        """How many times as long as the reference it takes."""
        return self.seconds / self.reference


def measure(function: Callable[[], Any], device: torch.device, repeats: int) -> tuple[float, int | None]:
    """Median seconds of ``function`` after one call that does not count, and the most bytes allocated in it."""
    cuda = device.type == "cuda"
    function()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(repeats):
        _synchronise(device)
        began = time.perf_counter()
        function()
        _synchronise(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times), torch.cuda.max_memory_allocated(device) if cuda else None


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- heads


def head_lines(size: Size, device: torch.device) -> Iterator[Line]:
    """Stacks of heads against the sequential trainer and against their products."""
    for dim, layers in itertools.product(size.dims, (1, 2)):
        config = HeadConfig(hidden_layers=layers, hidden_dim=size.width, max_epochs=size.epochs, patience=size.epochs)
        fold = _fold(size, dim, device, 0)
        rates = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
        jobs = [_job(replace(config, lr=lr), fold, seed) for seed, lr in enumerate((*rates, *rates))]
        what = f"{len(jobs)} heads, {dim} dimensions, {layers} hidden, {size.epochs} epochs"
        yield from _against_both(what, [jobs], size, device)
        folds = [[_job(config, _fold(size, dim, device, number), number)] for number in range(size.folds)]
        yield from _against_both(
            f"a point on {size.folds} folds, {dim} dimensions, {layers} hidden", folds, size, device
        )


def _against_both(what: str, stacks: Sequence[Sequence[HeadJob]], size: Size, device: torch.device) -> Iterator[Line]:
    def train() -> None:
        for jobs in stacks:
            list(train_stack(jobs, accelerated=True))

    seconds, peak = measure(train, device, size.repeats)
    every = [job for jobs in stacks for job in jobs]
    one_by_one, _ = measure(lambda: list(train_sequentially(every)), device, size.repeats)
    floor, _ = measure(lambda: _products(stacks, device), device, size.repeats)
    yield Line(what, "the sequential trainer", seconds, one_by_one, peak)
    yield Line(what, "its matrix products", seconds, floor, peak)


def _products(stacks: Sequence[Sequence[HeadJob]], device: torch.device) -> None:
    """The matrix products of training some stacks alone, with none of validation."""
    for jobs in stacks:
        _products_of(jobs, device)


def _products_of(jobs: Sequence[HeadJob], device: torch.device) -> None:
    """Of one stack: forward, and both gradients of each layer; none for the input of the first."""
    config, train, heads = jobs[0].config, jobs[0].fold.train, len(jobs)
    sizes = [*[config.hidden_dim] * config.hidden_layers, train.targets.shape[1]]
    dim = train.embeddings(0, 1).shape[1]
    first = torch.zeros(dim, heads * sizes[0], device=device)
    others = [torch.zeros(heads, one, two, device=device) for one, two in itertools.pairwise(sizes)]
    for start, stop in batch_bounds(len(train), config) * config.max_epochs:
        rows = train.embeddings(start, stop)
        own = [(rows @ first).view(len(rows), heads, -1).transpose(0, 1)]
        for weight in others:
            own.append(torch.bmm(own[-1], weight))
        for values, result, weight in zip(own[:-1], own[1:], others, strict=True):
            torch.bmm(values.mT, result)
            torch.bmm(result, weight.mT)
        rows.T @ own[0].transpose(0, 1).flatten(1)


class _Accuracy:
    """What a fold's validation is scored by."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth

    def select(self, probabilities: np.ndarray) -> tuple[float, dict[str, Any]]:
        return float((probabilities.argmax(axis=1) == self.truth).mean()), {}


def _fold(size: Size, dim: int, device: torch.device, number: int) -> Fold[Rows]:
    """Gaussian classes, as many rows for training as for validation and test together."""
    rng = np.random.default_rng(number)
    splits = {}
    for name, count in (("train", size.rows), ("valid", size.rows // 2)):
        truth = rng.integers(0, size.labels, count)
        rows = rng.standard_normal((count, dim), dtype=np.float32) + truth[:, None].astype(np.float32)
        targets = np.eye(size.labels, dtype=np.float32)[truth]
        files = [f"{name}-{row}" for row in range(count)]
        splits[name] = SimpleNamespace(embeddings=rows, targets=targets, files=files)
    task: Any = SimpleNamespace(splits=splits, is_event=False)
    train, valid = (Rows(task, [name], device) for name in splits)
    validator: Any = _Accuracy(splits["valid"].targets.argmax(axis=1))
    names = {role: [role] for role in splits}
    return Fold(number, names, train, valid, valid, validator, validator, "multiclass", device)


def _job(config: HeadConfig, fold: Fold[Rows], seed: int) -> HeadJob:
    return HeadJob(f"head-{seed}", config, fold, seed, "multiclass", maximise=True)


# --- embedding


def embedding_lines(size: Size, device: torch.device) -> Iterator[Line]:
    """Our encoder and a transformer: a batch from the processor's memory and back, against the bare forward."""
    models = {"our encoder": "benchmarks.encoders.random_encoder",
              "transformer": f"benchmarks.perf.transformer{size.transformer}"}  # fmt: skip
    for name, spec in models.items():
        model = load_model(spec, str(device))
        samples = round(size.seconds * model.sample_rate)
        audio = np.random.default_rng(0).uniform(-0.1, 0.1, (size.clips, samples)).astype(np.float32)
        yield _embedding_line(name, model, audio, size, device)


def _embedding_line(name: str, model: LoadedModel, audio: np.ndarray, size: Size, device: torch.device) -> Line:
    resident = torch.from_numpy(audio).to(device)

    @torch.no_grad()
    def bare() -> None:
        model.module.get_scene_embeddings(resident, model.model)

    seconds, peak = measure(lambda: model.scene(audio), device, size.repeats)
    floor, _ = measure(bare, device, size.repeats)
    return Line(f"{name}, {size.clips} clips of {size.seconds:g} s", "the bare forward", seconds, floor, peak)


# --- pre-training


def pretraining_lines(size: Size, device: torch.device) -> Iterator[Line]:
    """A step of both methods at the paper's scale, in each number format and memory format, compiled or not."""
    for preset, precision, last, compiled in itertools.product(
        ("delores-s-paper", "delores-m-released"), ("float32", "bfloat16"), (False, True), size.compiled
    ):
        wanted = [*size.pretraining, f"precision={precision}", f"channels_last={str(last).lower()}"]
        config = load_config(preset, wanted)
        yield _step_line(preset, config, compiled, size, device)


def _step_line(preset: str, config: PretrainConfig, compiled: bool, size: Size, device: torch.device) -> Line:
    torch.manual_seed(0)
    shape = config.frontend.n_mels, config.segment_frames
    method = build_method(config).to(device).train()
    if config.channels_last:
        method = method.to(memory_format=torch.channels_last)
    step = torch.compile(method) if compiled else method
    augmenter = Augmenter(config.augment, *shape, 0.0, 1.0).to(device)
    optimizer = build_optimizer(method, config.optimizer, config.batch_size)
    generator = torch.Generator().manual_seed(0)
    mel = torch.randn(config.batch_size, *shape, device=device)
    fixed = [view[:, None] for view in augmenter(mel, generator)]

    def forward_backward(view1: torch.Tensor, view2: torch.Tensor) -> None:
        reduced = config.precision == "bfloat16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced):
            loss, _ = step(view1, view2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()

    def whole() -> None:
        with torch.no_grad():
            views = [view[:, None] for view in augmenter(mel, generator)]
        forward_backward(*views)
        optimizer.step()

    seconds, peak = measure(whole, device, size.repeats)
    floor, _ = measure(lambda: forward_backward(fixed[0], fixed[1]), device, size.repeats)
    words = [config.precision, "channels_last" if config.channels_last else "contiguous"]
    what = ", ".join([f"step of {preset}, {config.batch_size} clips", *words, *["compiled"][: int(compiled)]])
    return Line(what, "forward and backward", seconds, floor, peak)


# --- the table


def markdown(lines: Sequence[Line], device: torch.device) -> str:
    """The device's name and a table of all lines."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} processor"
    rows = [
        f"{name}, torch {torch.__version__}\n",
        "| what | ms | against | ms | ratio | peak GB |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for line in lines:
        peak = "" if line.peak_bytes is None else f"{line.peak_bytes / 1e9:.2f}"
        times = f"{1e3 * line.seconds:.2f} | {line.against} | {1e3 * line.reference:.2f}"
        rows.append(f"| {line.what} | {times} | {line.ratio:.2f} | {peak} |")
    return "\n".join(rows) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures everything, printing each line when it is there, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--out", type=Path, help="the Markdown file to write")
    chosen = parser.parse_args(arguments)
    size, device = SIZES[chosen.size], as_device(chosen.device)
    lines = []
    for part in (head_lines, embedding_lines, pretraining_lines):
        for line in part(size, device):
            print(f"{line.what}: {line.ratio:.2f} of {line.against}", flush=True)
            lines.append(line)
    text = markdown(lines, device)
    if chosen.out:
        with atomic_path(chosen.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
