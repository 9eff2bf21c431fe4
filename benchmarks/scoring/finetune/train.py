"""Fine-tuning on one fold: every weight of a HEAR model and a linear layer, best validation epoch, resumable."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.embedding.foreign_code import contained, one_line
from benchmarks.embedding.model import LoadedModel
from benchmarks.scoring.finetune.clips import Clips, training_batches, whole_batches
from benchmarks.scoring.fitting import ScoreOrLoss, activate, derive_seed, logit_loss, snapshot
from benchmarks.scoring.fold import Fold
from benchmarks.scoring.protocol import Protocol
from benchmarks.scoring.work import Fitted
from hear_delores.errors import DeloresError
from hear_delores.files import THEN
from hear_delores.settings import require_integer, require_number
from pretrain.distributed.synchronised import synchronise
from pretrain.distributed.world import ALONE, World, contact_lost
from pretrain.training.device import exact_cudnn
from pretrain.training.state import load_state, save_state

__all__ = ["FineTuned", "Finetune", "FinetuneFold"]


@dataclass(frozen=True)
class FinetuneFold(Fold[Clips]):
    """A fold of audio, and what is trained on it.

    Attributes:
        fresh: the model, loaded anew each time.
        state_file: where an unfinished training is kept; None on processes that do not write.
        report: told of each epoch.
        world: the processes that train together.
    """

    fresh: Callable[[], LoadedModel] = field(kw_only=True)
    state_file: Path | None = field(kw_only=True)
    report: Callable[[int, str], None] = field(kw_only=True)
    world: World = field(kw_only=True)


@dataclass(frozen=True)
class Finetune(Protocol[Clips]):
    """The papers' settings (arXiv 2203.13628, section 4): as the linear evaluation, with everything trained.

    Attributes:
        lr: of Adam, for the encoder and the linear layer alike.
        batch_size: clips per step.
        max_epochs: at most so many.
        patience: stop after so many validations in a row without a better one.
        crop_seconds: length of the random crops; None is the mean duration of the fold's training clips.
        shots: train on so many clips per class, drawn by ``seed``; None takes all.
        amp: autocast of the training steps: bfloat16, or float16 with loss scaling on a CUDA device that
            lacks it. Scores are always computed in float32.
        control: ``shuffled`` permutes the labels within training, validation and test by ``seed``; None keeps them.
    """

    name = "finetune"
    takes_events = False
    keeps_outputs = True  # of an encoder's weights each fold would keep gigabytes

    lr: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    patience: int = 20
    crop_seconds: float | None = None
    shots: int | None = None
    amp: bool = False
    seed: int = 42
    control: str | None = field(default=None, metadata={"added": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("finetune protocol", "lr", self.lr, 0.0, above=True, maximum=1e3)
        for name in ("batch_size", "max_epochs", "patience"):
            require_integer("finetune protocol", name, getattr(self, name))
        if self.crop_seconds is not None:
            require_number("finetune protocol", "crop_seconds", self.crop_seconds, 0.01, maximum=86_400.0)

    def fit(self, fold: Fold[Clips]) -> Fitted:
        """The model of the best validation epoch.

        The state is saved after every epoch; each epoch draws its random numbers from (seed, fold, epoch), so that a
        training that was killed and begun again ends in the same bits (on one CPU; on CUDA as far as its kernels do).
        Several processes take the steps of one, to rounding: each computes its rows of every batch, BatchNorm
        normalises by all rows, and the gradients are summed.
        """
        assert isinstance(fold, FinetuneFold)
        world, file = fold.world, fold.state_file
        with exact_cudnn():
            loaded = world.share(fold.fresh)
            state = world.from_leader(lambda: load_state(file) if file is not None and file.exists() else None)
            model = world.share(lambda: FineTuned(loaded, fold.train.targets.shape[1], world))
            training = world.share(lambda: _Training(model, fold, self, state))
            while not training.finished:
                torch.manual_seed(derive_seed(self.seed, fold.number, training.epoch + 1))
                training.advance()
                epoch, score = training.best.trace[-1]
                fold.report(training.epoch, f"{fold.key}: {score:.4f} at epoch {epoch}")
            return training.fitted()

    def predict(self, fitted: Fitted, rows: Clips, fold: Fold[Clips]) -> Tensor:
        """Logits (n, n_labels) on the CPU, of whole clips."""
        model, n_samples = fitted.model
        with exact_cudnn():
            return model.logits(rows, n_samples)  # type: ignore[no-any-return]


class FineTuned(nn.Module):
    """A HEAR model and a linear layer on its scene embeddings: audio (n_sounds, n_samples) -> logits, with gradients.

    What computes embeddings with gradients: the model's method ``differentiable_scene(audio)`` where it has one
    (ours do), else its module's ``get_scene_embeddings``, which must then not work under ``no_grad``.

    Raises:
        DeloresError: no parameter can be trained, or gradients do not reach one.
    """

    def __init__(self, loaded: LoadedModel, n_labels: int, world: World = ALONE) -> None:
        super().__init__()
        self.loaded, self.world = loaded, world
        self.encoder: nn.Module = loaded.model
        self.classifier = nn.Linear(loaded.scene_embedding_size, n_labels).to(loaded.device)
        self._check_gradients()
        if world.size > 1:
            synchronise(self, world, torch.device(loaded.device))

    def forward(self, audio: Tensor) -> Tensor:
        """Logits (n_sounds, n_labels)."""
        return self.classifier(self._embed(audio))

    @torch.no_grad()
    def logits(self, clips: Clips, least_samples: int) -> Tensor:
        """Logits (n, n_labels) float32 on the CPU of whole clips: ``get_scene_embeddings`` and the linear layer.

        Several processes share the clips, and all of them have all logits.
        """
        self.eval()
        found = torch.empty(len(clips), self.classifier.out_features)
        for batches in self.world.collect(self.world.share(lambda: self._own_logits(clips, least_samples))):
            for rows, logits in batches:
                found[rows] = logits
        return found

    def _own_logits(self, clips: Clips, least_samples: int) -> list[tuple[list[int], Tensor]]:
        found = []
        for rows, audio in whole_batches(clips, least_samples, self.world):
            embeddings = torch.from_numpy(self.loaded.scene(audio)).to(self.loaded.device)
            found.append((rows, self.classifier(embeddings).float().cpu()))
        return found

    def trained(self) -> list[nn.Parameter]:
        """The parameters that training changes: all but those that the model itself keeps fixed."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _embed(self, audio: Tensor) -> Tensor:
        own = getattr(self.encoder, "differentiable_scene", None)
        try:
            with contained():
                return (
                    own(audio) if callable(own) else self.loaded.function("get_scene_embeddings")(audio, self.encoder)
                )
        except DeloresError:
            raise
        except Exception as error:  # foreign code may raise anything; the cause stays attached
            if self.world.size > 1 and contact_lost(error):
                raise
            name = "differentiable_scene" if callable(own) else "get_scene_embeddings"
            raise DeloresError(f"model {self.loaded.spec.label}: {name} failed: {one_line(error)}") from error

    def _check_gradients(self) -> None:
        """In eval mode, which leaves the running statistics of BatchNorm as they are."""
        label, parameters = self.loaded.spec.label, [p for p in self.encoder.parameters() if p.requires_grad]
        if not parameters:
            raise DeloresError(f"model {label}: none of its parameters can be trained (requires_grad is False)")
        self.encoder.eval()
        generator = torch.Generator().manual_seed(0)
        audio = 0.1 * torch.randn(2, self.loaded.sample_rate, generator=generator).to(self.loaded.device)
        with torch.enable_grad():
            embeddings = self._embed(audio)
            reached = embeddings.requires_grad and any(
                gradient is not None
                for gradient in torch.autograd.grad(embeddings.float().sum(), parameters, allow_unused=True)
            )
        if not reached:
            raise DeloresError(
                f"model {label}: get_scene_embeddings keeps no gradients, so it cannot be fine-tuned; give the model "
                "a method differentiable_scene(audio) that returns (n_sounds, scene_embedding_size) with gradients"
            )


class _Training:
    """Everything that changes from epoch to epoch, and how it is kept."""

    def __init__(self, model: FineTuned, fold: FinetuneFold, options: Finetune, state: dict[str, Any] | None) -> None:
        self.model, self.fold, self.options, self.world = model, fold, options, model.world
        self.device = torch.device(model.loaded.device)
        rate = fold.train.sample_rate
        seconds = options.crop_seconds or float(fold.train.lengths().mean()) / rate
        self.n_samples = max(1, round(seconds * rate))
        lacks_bfloat16 = self.device.type == "cuda" and not torch.cuda.is_bf16_supported()
        reduced = torch.float16 if lacks_bfloat16 else torch.bfloat16
        self.dtype = reduced if options.amp else torch.float32
        self.optimizer = torch.optim.Adam(model.trained(), lr=options.lr)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.best = ScoreOrLoss(fold.maximise, options.patience, options.max_epochs)
        self.epoch, self.seconds = 0, 0.0
        if state is not None:
            self._restore(state)

    @property
    def finished(self) -> bool:
        """Whether all epochs were run, or enough of them without a better one."""
        return self.epoch >= self.options.max_epochs or self.best.finished

    def advance(self) -> None:
        """One epoch, its validation, and the state to go on from."""
        began = time.perf_counter()
        self._train_epoch()
        logits = self.model.logits(self.fold.valid, self.n_samples)
        probabilities = activate(logits, self.fold.prediction_type)
        score, _ = self.world.from_leader(lambda: self.fold.validator.select(probabilities))
        loss = float(logit_loss(logits, torch.from_numpy(self.fold.valid.targets), self.fold.prediction_type))
        self.best.update(self.epoch, score, loss, lambda: snapshot(self.model))
        self.epoch += 1
        self.seconds += time.perf_counter() - began
        self.world.share(self._save)

    def fitted(self) -> Fitted:
        """What was learnt, with the weights of the best epoch."""
        epoch, score, weights = self.best.best()
        self.model.load_state_dict(weights)
        return Fitted(
            key=self.fold.key,
            epoch=epoch,
            validation_score=score,
            hyperparameters={
                **{name: getattr(self.options, name) for name in ("lr", "batch_size", "max_epochs", "patience")},
                "crop_seconds": self.n_samples / self.fold.train.sample_rate,
                "precision": str(self.dtype).removeprefix("torch."),
                "n_trained_parameters": sum(parameter.numel() for parameter in self.model.trained()),
            },
            epochs_run=self.epoch,
            trace=self.best.trace,
            seconds=self.seconds,
            model=(self.model, self.n_samples),
        )

    def _train_epoch(self) -> None:
        """One pass over random crops of all training clips, in a new random order (torch's generator)."""
        train = self.fold.train
        order = torch.randperm(len(train))
        positions = torch.rand(len(train), dtype=torch.float64)
        self.model.train()
        batches = training_batches(train, order, positions, self.options.batch_size, self.n_samples, self.world)
        with contextlib.closing(batches):  # type: ignore[type-var]
            while (batch := self.world.share(lambda: next(batches, None))) is not None:
                audio, targets = batch
                self._step(audio.to(self.device), targets.to(self.device))

    def _step(self, audio: Tensor, targets: Tensor) -> None:
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.options.amp):
            logits = self.model(audio)
        # The processes' terms add up to the mean over the whole batch, however many rows each of them has.
        share = len(targets) / sum(self.world.everybody(len(targets)))
        loss = share * logit_loss(logits.float(), targets, self.fold.prediction_type)
        whole = self.world.total(loss.detach()).item()
        if not math.isfinite(whole):
            message = f"the loss of {self.fold.key} is {whole} in epoch {self.epoch}: lower lr (now {self.options.lr})"
            self.world.agree(DeloresError(message))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.world.size > 1:
            _sum_gradients(self.model.trained())
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _save(self) -> None:
        if not self.world.leads or self.fold.state_file is None:
            return
        state = {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "trackers": {name: dict(vars(tracker)) for name, tracker in self.best.trackers.items()},
            "kept": self.best.kept,
            "trace": self.best.trace,
        }
        save_state(self.fold.state_file, state, then=THEN)

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name, tracker in self.best.trackers.items():
            vars(tracker).update(state["trackers"][name])
        self.best.kept, self.epoch, self.seconds = state["kept"], state["epoch"], state["seconds"]
        self.best.trace = [(epoch, score) for epoch, score in state["trace"]]


def _sum_gradients(parameters: list[nn.Parameter]) -> None:
    """Sums the gradients over the processes; a parameter that none of them used keeps None.

    In place of DistributedDataParallel, which gathers gradients only for calls of a module, and the embeddings of a
    HEAR model come from a function beside it.
    """
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([used, *(grad.flatten() for grad in grads)])
    dist.all_reduce(flat)
    by_parameter = flat[len(parameters) :].split([p.numel() for p in parameters])
    for parameter, is_used, total in zip(parameters, flat[: len(parameters)].tolist(), by_parameter, strict=True):
        parameter.grad = total.view_as(parameter).to(parameter.dtype) if is_used else None
