"""One pre-training run, step by step: its state, its log and its display."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hear_delores.checkpoint import read_header, save_checkpoint
from hear_delores.decorrelation import Decorrelation
from hear_delores.errors import DeloresError
from hear_delores.files import WriteError, atomic_path
from hear_delores.frontend import LogMel
from hear_delores.model import HearModel
from pretrain.augment import Augmenter
from pretrain.config import PretrainConfig, config_to_dict, config_to_yaml, differences
from pretrain.data.batches import Batch, batches
from pretrain.data.corpus import Corpus
from pretrain.data.data_hashes import Contents
from pretrain.data.listening import Listener, measure_statistics, open_sampler
from pretrain.decorrelate import learn_decorrelation
from pretrain.distributed.synchronised import spread_out
from pretrain.distributed.world import ALONE, World
from pretrain.methods import Metrics, build_method
from pretrain.training.optim import build_optimizer, schedule_factor, set_learning_rate
from pretrain.training.state import concerns_parts, save_state
from pretrain.training.stopping import stop_requests
from pretrain.watching.collapse import Watcher
from pretrain.watching.online_probe import Probe
from pretrain.watching.picture import draw, read_log
from pretrain.watching.progress import GO_ON, Display, Means, RunLog
from pretrain.watching.tensorboard import Board

__all__ = ["Run", "Watching"]

UNREAD = 10  # steps whose numbers an accelerator may owe
STATEFUL = ("method", "optimizer", "augmenter", "means", "watcher")  # parts of a run with a ``state_dict``


@dataclass(frozen=True)
class Watching:
    """How to watch a run besides its log. None of this changes the result.

    Attributes:
        picture: draw ``training.png`` at the end.
        tensorboard: write the log's numbers to ``tensorboard/``, too.
        probe: the folder of a HEAR task that the encoder is put to.
        probe_every: steps between two probes; there is one before the first step and one after the last.
    """

    picture: bool = False
    tensorboard: bool = False
    probe: Path | None = None
    probe_every: int = 200


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
        world: World = ALONE,
        watching: Watching | None = None,
        probe: Probe | None = None,
        contents: Contents | None = None,
    ) -> None:
        self.config, self.corpus, self.out, self.device, self.display = config, corpus, out, device, display
        self.world, self.watching, self.probe, self.contents = world, watching or Watching(), probe, contents
        self.checkpoint = out / "checkpoint.safetensors"
        self.total = config.total_steps(len(corpus))
        rows = world.rows(config.batch_size)
        self.sampler = open_sampler(corpus, config, config.batch_size, rows=rows)
        # float32: what it moves is far less than what a bfloat16 network, or a pack in half precision, rounds away
        self.logmel = LogMel(config.frontend, torch.float32).to(device)
        self.listen = Listener(config, self.logmel, device)
        if state is None:
            self.mean, self.std = world.from_leader(
                lambda: measure_statistics(corpus, self.logmel, config, device, display.phase)
            )
        else:
            self.mean, self.std = state["mean"], state["std"]
        n_mels, n_frames = config.frontend.n_mels, config.segment_frames
        self.method = build_method(config).to(device)
        if config.channels_last:
            self.method = self.method.to(memory_format=torch.channels_last)
        self.augmenter = Augmenter(config.augment, n_mels, n_frames, self.mean, self.std, world).to(device)
        self.watcher = Watcher(world)
        self.probed: float | None = None
        self.board: Board | None = None
        self.trained: nn.Module = self.method
        self.optimizer = build_optimizer(self.method, config.optimizer, config.batch_size)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.means = Means()
        self.unread: list[Metrics] = []  # of the last steps
        self.last: dict[str, float] = {}
        self.reported: set[str] = {name for name, _ in corpus.skipped}
        self.step = 0
        self._elapsed, self._began = 0.0, time.monotonic()
        self.log = RunLog(out / "log.jsonl" if world.leads else None, self.seconds)
        if state is not None:
            self._restore(state)
        self.began = self.showed = self.step
        self.shown = math.nan  # the last loss that was read
        if world.size > 1:  # around what was restored
            self.trained = spread_out(self.method, world, device)

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
        if self.world.size > 1:
            lines.append(f"processes: {self.world.size}, each with {len(self.sampler.rows)} clips of every batch")
        skipped = self.corpus.skipped
        if skipped:
            lines.insert(1, f"skipped: {len(skipped)} bad files, listed in {self.log.path}")
        lines += [f"note: {note}" for note in self.corpus.notes]
        return "\n".join(lines)

    def train(self) -> Path:
        """Runs the steps that are left and writes the checkpoint."""
        self.world.lead(self._open)
        made = batches(self.sampler, self.step, self.total, self.config.data.threads, self.config.data.prefetch)
        self.display.resume_clock()
        with contextlib.closing(made), stop_requests(patient=self.world.size > 1) as stopping:  # type: ignore[type-var]
            while self.step < self.total:
                self._advance(self._next(made))
                if number := max(self.world.everybody(stopping.number)):
                    self._save_together()
                    self.display.say(f"stopped after step {self.step}, state saved: continue with --resume")
                    stopping.obey(number)
                if self.step % self.config.save_every == 0 and self.step < self.total:
                    self._save_together()
        self.world.lead(self._finish)
        return self.checkpoint

    def _next(self, made: Iterator[Batch]) -> Batch:
        """The next batch; a bad file that is not to be skipped, met by any process, ends all, saved first."""
        try:
            batch = self.world.share(lambda: next(made))
        except DeloresError:
            self._save_together()  # a bad file can be fixed and the run resumed
            raise
        return batch._replace(bad=self._everybodys_bad(batch.bad))

    def _everybodys_bad(self, bad: list[int]) -> list[int]:
        """The bad clips that any process met in this batch, in the order of its rows."""
        if not self.corpus.skip_bad or not any(self.world.everybody(len(bad))):
            return bad
        met = [pair for pairs in self.world.collect([(i, self.corpus.reason(i)) for i in bad]) for pair in pairs]
        for clip, reason in met:
            self.corpus.learn(clip, reason)
        return [clip for clip, _ in met]

    def _advance(self, batch: Batch) -> None:
        """One step: its batch is number ``self.step`` of the whole run, and so is its learning rate."""
        set_learning_rate(self.optimizer, schedule_factor(self.step, self.total, self.config.schedule))
        logged = (self.step + 1) % self.config.log_every == 0 or self.step + 1 == self.total
        self.method.observing = logged or self.step == 0
        views = self.views(batch)
        self.unread.append(self._optimize(*views))
        self.step += 1
        # A processor's numbers are there; an accelerator is waited for when they are wanted, and now and then.
        if logged or self.device.type == "cpu" or len(self.unread) >= UNREAD:
            self._read_metrics()
        self._report_bad(batch.bad)
        self._watch()
        self._show()
        if logged:
            self._write_line()
        if self.step % self.watching.probe_every == 0 or self.step == self.total:
            self._probe()

    @torch.no_grad()
    def views(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Two augmented views (B, 1, n_mels, n_frames) float32 of a batch's clips."""
        first, second = self.listen(batch)
        view1, view2 = self.augmenter(first, self.generator, second)
        return view1[:, None], view2[:, None]

    def _optimize(self, view1: Tensor, view2: Tensor) -> Metrics:
        """Forward, backward and update; the metrics, which on an accelerator are still being computed."""
        self.method.train()
        reduced = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced):
            loss, metrics = self.trained(view1, view2)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return metrics

    def _read_metrics(self) -> None:
        """Takes the numbers of the steps since the last call; raises if a loss is not finite."""
        unread, self.unread = self.unread, []
        for step, metrics in enumerate(unread, self.step - len(unread) + 1):
            values = dict(zip(metrics, torch.stack([v.float() for v in metrics.values()]).tolist(), strict=True))
            loss = values["loss"]
            if not math.isfinite(loss):
                self.world.agree(  # the loss of the whole batch: the same on all processes
                    DeloresError(
                        f"the loss is {loss} at step {step}: lower optimizer.lr (now "
                        f"{self.config.optimizer.lr}); the last saved state is in {self.out}"
                    )
                )
            self.means.add(values)
            self.shown = loss

    def _show(self) -> None:
        """Shows the steps whose numbers were read."""
        done = self.step - len(self.unread)
        if done > self.showed:
            clips = (done - self.showed) * self.config.batch_size
            self.display.step(done, self.total, self.shown, clips, self._note())
            self.showed = done

    def _save_together(self) -> None:
        """Saves the state, by one process; none is saved after a loss that is not finite."""
        self._read_metrics()
        self.world.lead(self.save)

    def _watch(self) -> None:
        """Looks at what the method left to look at, if it did, and warns of collapse."""
        observed, self.method.observed = self.method.observed, None
        warning = self.watcher.look(observed) if observed is not None else None
        if warning is not None:
            self._record({"event": "warning", "step": self.step, "message": warning})
            self.display.say(f"warning: step {self.step}: {warning}")

    def _note(self) -> str:
        """The latest figures, for the progress bar."""
        figures = self.watcher.figures
        if not figures:
            return ""
        note = f"  C {figures['mean_diagonal']:.2f} / {figures['mean_abs_off_diagonal']:.3f}"
        note += f"  rank {figures['rank_embedding']:.1f}"
        return note if self.probed is None else f"{note}  probe {100 * self.probed:.1f}%"

    def _probe(self) -> None:
        """Puts the encoder to the probe, if there is one. The time it takes is no training time."""
        if self.probe is None:
            return
        began = time.monotonic()
        accuracy = self.probe.score(self.method.encoder, self.mean, self.std)
        self._began += time.monotonic() - began
        self.display.resume_clock()
        self.probed = accuracy if math.isfinite(accuracy) else None
        line = {"event": "probe", "step": self.step, "task": self.probe.name}
        self._record({**line, "accuracy": None if self.probed is None else round(accuracy, 6)})

    def _record(self, line: dict[str, Any]) -> None:
        """Writes a line to the log, and its numbers to TensorBoard."""
        self.log.write(line)
        if self.board is not None:
            self.board.write(line)

    def _report_bad(self, bad: list[int]) -> None:
        """Logs bad clips in the order in which training met them, which no thread can change."""
        for clip in bad:
            name = self.corpus.pieces[clip].name
            if name not in self.reported:
                self.reported.add(name)
                reason = dict(self.corpus.skipped)[name]
                self.log.write({"event": "skipped", "step": self.step, "file": name, "reason": reason})

    def _write_line(self) -> None:
        self.last = {**self.means.take(), **self.watcher.figures}
        clips = self.step * self.config.batch_size
        line = {"step": self.step, "epoch": round(clips / len(self.corpus), 4), "clips": clips}
        self._record({**line, **self.last, "lr": float(f"{self.optimizer.param_groups[0]['lr']:.6g}")})

    def _open(self) -> None:
        """Prepares the folder: the resolved configuration, and the log up to where this run begins."""
        with atomic_path(self.out / "config.yaml", then=GO_ON) as temporary:
            temporary.write_text(config_to_yaml(self.config), encoding="utf-8")
        self.log.restart(self.step if self.began else None)
        if not self.began:
            skipped = [{"file": name, "reason": reason} for name, reason in self.corpus.skipped]
            statistics = {"mean": self.mean, "std": self.std}
            head = {"event": "start", "step": 0, "steps": self.total, "method": self.config.method}
            self.log.write({**head, "data": self.corpus.summary(), **statistics, "skipped": skipped})
        if self.watching.tensorboard:
            self.board = Board(self.out / "tensorboard", self.step)
        if not self.began:
            self._probe()

    def save(self) -> None:
        """Saves the training state after the last finished step. It is the same on every process."""
        state = {
            "config": config_to_dict(self.config),
            "fingerprint": self.corpus.fingerprint(),
            "n_clips": len(self.corpus),
            "mean": self.mean,
            "std": self.std,
            "step": self.step,
            "seconds": self.seconds(),
            **{name: getattr(self, name).state_dict() for name in STATEFUL},
            "generator": self.generator.get_state(),
            "rng": torch.get_rng_state(),
            "last": self.last,
            "reported": sorted(self.reported),
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        save_state(self.out / "state.pt", state)
        if self.contents is not None:
            self.contents.save()

    def _restore(self, state: dict[str, Any]) -> None:
        for name in STATEFUL:
            if name in state:  # a run begun by version 0.1.0 has no watcher
                getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.last, self.reported = dict(state["last"]), set(state["reported"])
        self.step, self._elapsed = state["step"], state["seconds"]

    def _finish(self) -> None:
        """Saves the last state and then the checkpoint: killed in between, a resumed run still writes it."""
        if self.began == self.total and self._is_written():
            return  # resumed after its end
        self.save()
        info = {
            "method": self.config.method,
            "config": config_to_dict(self.config),
            "data": {**self.corpus.summary(), "skipped": len(self.reported)},
            "step": self.step,
            "metrics": self.last,
        }
        encoder, maps = self.method.encoder.eval(), self._decorrelation()
        model = HearModel(
            encoder.cpu(),
            self.config.frontend,
            self.mean,
            self.std,
            self.config.scene,
            info,
            timestamp=self.config.timestamp,
            decorrelation=maps,
        )
        save_checkpoint(self.checkpoint, model)
        if self.board is not None:
            self.board.close()
        if self.watching.picture:
            self._draw()

    def _is_written(self) -> bool:
        """Whether the checkpoint is there, with embeddings of the parts that are now asked for."""
        if not self.checkpoint.is_file():
            return False
        return not any(map(concerns_parts, differences(self.config, read_header(self.checkpoint)["config"])))

    def _decorrelation(self) -> dict[str, Decorrelation]:
        """The maps of the scene's decorrelated parts; the state is left as it was."""
        shape = self.config.frontend.n_mels, self.config.segment_frames
        augmenter = Augmenter(self.config.augment, *shape, self.mean, self.std).to(self.device)
        augmenter.load_state_dict(self.augmenter.state_dict())
        model = HearModel(self.method.encoder, self.config.frontend, self.mean, self.std)
        return learn_decorrelation(model, self.config, self.corpus, augmenter, self.listen, self.display.phase)

    def _draw(self) -> None:
        """The picture of the run; the checkpoint is whole without it."""
        clips = self.step * self.config.batch_size
        title = f"{self.config.method}: {self.step} steps, {clips:,} clips of {self.corpus.name}"
        try:
            lines = read_log(self.out / "log.jsonl")
            draw(self.out / "training.png", title, lines, self.watcher.before, self.watcher.after)
        except (OSError, WriteError) as error:
            self.display.say(f"warning: no picture: {error}")
