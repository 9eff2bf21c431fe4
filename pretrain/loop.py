"""The pre-training loop: crops -> log-mel -> two views -> loss -> step, logged, saved and resumable.

A run's folder holds ``config.yaml`` (resolved), ``log.jsonl``, ``state.pt`` (to resume from) and, at the end,
``checkpoint.safetensors``. Everything random is drawn from the seed, so that a run which was killed and
resumed ends in the same bits as one that was not.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from hear_delores.checkpoint import save_checkpoint
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path
from hear_delores.frontend import LogMel
from hear_delores.memory import keep_freed_memory
from hear_delores.model import HearModel
from pretrain.augment import Augmenter
from pretrain.config import PretrainConfig, config_to_dict, config_to_yaml
from pretrain.data import Corpus
from pretrain.methods import build_method
from pretrain.optim import build_optimizer, schedule_factor, set_learning_rate
from pretrain.report import Display, Means, RunLog
from pretrain.sampling import Batch, Sampler, batches, measure_statistics, to_float
from pretrain.state import check_resumable, load_state, save_state

__all__ = ["Run", "pretrain"]


def pretrain(
    config: PretrainConfig,
    data: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    skip_bad: bool = False,
    progress: bool = True,
    quiet: bool = False,
) -> Path:
    """Trains on the audio in ``data`` and returns the path of the final checkpoint, in ``out``.

    Args:
        config: from :func:`pretrain.config.load_config`.
        data: a folder, a CSV manifest (column ``file``; optional ``start`` and ``duration`` in seconds) or a
            HEAR task folder.
        out: the run's folder; it must not hold a run already, unless ``resume``.
        resume: go on from the last saved state, if there is one.
        skip_bad: count, list and pass over bad files rather than stop at the first one.
        progress, quiet: show progress bars; print nothing at all.

    Raises:
        DeloresError: bad data, a folder in use, another configuration on resuming, a loss not finite.
    """
    out = Path(out)
    _check_out(out, resume)
    keep_freed_memory()
    config = _resolved(config)
    device = _device(config)
    with Display(shown=progress and not quiet) as display:
        state = load_state(out / "state.pt") if resume and (out / "state.pt").is_file() else None
        corpus = Corpus.from_path(
            data,
            config.data,
            sample_rate=config.frontend.sample_rate,
            skip_bad=skip_bad,
            progress=display.phase,
        )
        if state is not None:
            check_resumable(state, config, corpus, out)
        if state is None or state["step"] < config.total_steps(len(corpus)):
            corpus.load()
        cuda = [device] if device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=cuda),
            _exact_cudnn(),
        ):
            torch.manual_seed(config.seed)
            run = Run(config, corpus, out, device, display, state)
            if not quiet:
                display.tell(config_to_yaml(config) + run.describe())
            return run.train()


class Run:
    """One pre-training run: everything that changes from step to step, and how it is saved."""

    def __init__(
        self,
        config: PretrainConfig,
        corpus: Corpus,
        out: Path,
        device: torch.device,
        display: Display,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.corpus, self.out, self.device, self.display = config, corpus, out, device, display
        self.total = config.total_steps(len(corpus))
        self.sampler = Sampler(corpus, config.segment_samples, config.batch_size, config.seed)
        self.logmel = LogMel(config.frontend).to(device)
        if state is None:
            self.mean, self.std = measure_statistics(corpus, self.logmel, config, device, display.phase)
        else:
            self.mean, self.std = state["mean"], state["std"]
        n_mels, n_frames = config.frontend.n_mels, config.segment_frames
        self.method = build_method(config).to(device)
        if config.channels_last:
            self.method = self.method.to(memory_format=torch.channels_last)
        self.augmenter = Augmenter(config.augment, n_mels, n_frames, self.mean, self.std).to(device)
        self.optimizer = build_optimizer(self.method, config.optimizer, config.batch_size)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.means = Means()
        self.last: dict[str, float] = {}
        self.reported: set[str] = {name for name, _ in corpus.skipped}
        self.step = 0
        self._elapsed, self._began = 0.0, time.monotonic()
        self.log = RunLog(out / "log.jsonl", self.seconds)
        if state is not None:
            self._restore(state)
        self.began = self.step

    def seconds(self) -> float:
        """Seconds of training so far, over all parts of the run."""
        return self._elapsed + time.monotonic() - self._began

    def describe(self) -> str:
        """The run in a few lines, for the start."""
        parameters = sum(p.numel() for p in self.method.parameters() if p.requires_grad)
        lines = [
            f"data: {len(self.corpus)} clips, {self.corpus.hours:.2f} h; log-mel mean {self.mean:.4f}, "
            f"std {self.std:.4f}",
            f"steps: {self.step} of {self.total} done, {self.total * self.config.batch_size} clips in all; "
            f"{parameters:,} trained parameters on {self.device}",
        ]
        skipped = self.corpus.skipped
        if skipped:
            lines.insert(1, f"skipped: {len(skipped)} bad files, listed in {self.log.path}")
        return "\n".join(lines)

    def train(self) -> Path:
        """Runs the steps that are left and writes the checkpoint."""
        self._open()
        made = batches(self.sampler, self.step, self.total, self.config.data.threads, self.config.data.prefetch)
        self.display.resume_clock()
        with contextlib.closing(made), _stop_requests() as stopping:  # type: ignore[type-var]
            while self.step < self.total:
                try:
                    batch = next(made)
                except DeloresError:
                    self.save()  # a bad file can be mended and the run resumed
                    raise
                self._advance(batch)
                if stopping:
                    self.save()
                    self.display.say(f"stopped after step {self.step}, state saved: go on with --resume")
                    stopping.pop()()
                if self.step % self.config.save_every == 0 and self.step < self.total:
                    self.save()
        return self._finish()

    def _advance(self, batch: Batch) -> None:
        """One step: its batch is number ``self.step`` of the whole run, and so is its learning rate."""
        set_learning_rate(self.optimizer, schedule_factor(self.step, self.total, self.config.schedule))
        views = self.views(batch.audio)
        values = self._optimize(*views)
        self.step += 1
        if not math.isfinite(values["loss"]):
            raise DeloresError(
                f"the loss is {values['loss']} at step {self.step}: lower optimizer.lr (now "
                f"{self.config.optimizer.lr}); the last saved state is in {self.out}"
            )
        self._report_bad(batch.bad)
        self.means.add(values)
        self.display.step(self.step, self.total, values["loss"], self.config.batch_size)
        if self.step % self.config.log_every == 0 or self.step == self.total:
            self._write_line()

    @torch.no_grad()
    def views(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Two augmented views (B, 1, n_mels, n_frames) float32 of crops (B, n_samples) int16."""
        x = self.logmel(to_float(audio.to(self.device, non_blocking=True)))
        view1, view2 = self.augmenter(x, self.generator)
        return view1[:, None], view2[:, None]

    def _optimize(self, view1: Tensor, view2: Tensor) -> dict[str, float]:
        """Forward, backward and update; the metrics as numbers."""
        self.method.train()
        reduced = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced):
            loss, metrics = self.method.training_step(view1, view2)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return dict(zip(metrics, torch.stack([v.float() for v in metrics.values()]).tolist(), strict=True))

    def _report_bad(self, bad: list[int]) -> None:
        """Logs bad clips in the order in which training met them, which no thread can change."""
        for clip in bad:
            name = self.corpus.pieces[clip].name
            if name not in self.reported:
                self.reported.add(name)
                reason = dict(self.corpus.skipped)[name]
                self.log.write({"event": "skipped", "step": self.step, "file": name, "reason": reason})

    def _write_line(self) -> None:
        self.last = self.means.take()
        clips = self.step * self.config.batch_size
        line = {"step": self.step, "epoch": round(clips / len(self.corpus), 4), "clips": clips}
        self.log.write({**line, **self.last, "lr": float(f"{self.optimizer.param_groups[0]['lr']:.6g}")})

    def _open(self) -> None:
        """Prepares the folder: the resolved configuration, and the log up to where this run begins."""
        self.out.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.out / "config.yaml") as temporary:
            temporary.write_text(config_to_yaml(self.config), encoding="utf-8")
        self.log.restart(self.step if self.began else None)
        if not self.began:
            skipped = [{"file": name, "reason": reason} for name, reason in self.corpus.skipped]
            statistics = {"mean": self.mean, "std": self.std}
            head = {"event": "start", "step": 0, "steps": self.total, "method": self.config.method}
            self.log.write({**head, "data": self.corpus.summary(), **statistics, "skipped": skipped})

    def save(self) -> None:
        """Saves the training state after the last finished step."""
        state = {
            "config": config_to_dict(self.config),
            "fingerprint": self.corpus.fingerprint(),
            "n_clips": len(self.corpus),
            "mean": self.mean,
            "std": self.std,
            "step": self.step,
            "seconds": self.seconds(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "augmenter": self.augmenter.state_dict(),
            "generator": self.generator.get_state(),
            "rng": torch.get_rng_state(),
            "means": self.means.state_dict(),
            "last": self.last,
            "reported": sorted(self.reported),
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        save_state(self.out / "state.pt", state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.augmenter.load_state_dict(state["augmenter"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.means.load_state_dict(state["means"])
        self.last, self.reported = dict(state["last"]), set(state["reported"])
        self.step, self._elapsed = state["step"], state["seconds"]

    def _finish(self) -> Path:
        """Saves the last state and then the checkpoint: killed in between, a resumed run still writes it."""
        path = self.out / "checkpoint.safetensors"
        if self.began == self.total and path.is_file():
            return path  # resumed after its end
        self.save()
        info = {
            "method": self.config.method,
            "config": config_to_dict(self.config),
            "data": {**self.corpus.summary(), "skipped": len(self.reported)},
            "step": self.step,
            "metrics": self.last,
        }
        model = HearModel(
            self.method.encoder.cpu().eval(),
            self.config.frontend,
            self.mean,
            self.std,
            self.config.scene,
            info,
        )
        save_checkpoint(path, model)
        return path


def _check_out(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DeloresError(f"{out}: expected a folder for the run, but it is a file")
    for name in ("state.pt", "checkpoint.safetensors"):
        if not resume and (out / name).exists():
            raise DeloresError(f"{out} already holds a run ({name}): go on with --resume, or choose another --out")


def _device(config: PretrainConfig) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(config.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).split("\n", 1)[0]
        raise DeloresError(f"device {config.device!r} cannot be used: {first}") from None
    return device


def _exact_cudnn() -> contextlib.AbstractContextManager[None]:
    """cuDNN with reproducible algorithms only. (``enabled`` must be named: left out, it switches cuDNN off.)"""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def _resolved(config: PretrainConfig) -> PretrainConfig:
    """The configuration with "auto" precision decided for this machine: checkpoints say what was done."""
    if config.precision != "auto":
        return config
    if _device(config).type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name for it so far
        native = bool(check and check())
    return config.model_copy(update={"precision": "bfloat16" if native else "float32"})


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[Any]]:
    """A list that fills when the process is asked to stop (Ctrl-C, SIGTERM); calling its entry does stop it.

    The step in flight is finished and saved first. A second request is not held back.
    """
    requests: list[Any] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: FrameType | None) -> None:
        for each, handler in old.items():
            signal.signal(each, handler)
        requests.append(lambda: signal.raise_signal(number))

    for number in old:
        signal.signal(number, request)
    try:
        yield requests
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
