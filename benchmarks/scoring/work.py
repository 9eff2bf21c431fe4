"""What a protocol has fitted, and the folder that keeps it while a run may still be interrupted."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from benchmarks.results.record import WORK_MARK, remove_work
from hear_delores.documents import parse_json
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path, remove_leftovers

__all__ = ["Fitted", "WorkFolder"]

OUTPUTS = "logits"  # the name of kept outputs in a file
IN_TENSORS = ("state", "outputs", "model")  # fields that a file holds as tensors, or not at all


@dataclass
class Fitted:
    """What a protocol learnt on one fold: its best epoch (0-based), how it scored there, and its weights then.

    Attributes:
        key: the fold's, or that of a point of a grid; names the file that keeps it.
        trace: (epoch, validation score) of every validation.
        seconds: that fitting took; 0 is measured by the loop.
        state: the weights; ``predict`` needs nothing else, but for the fold, of a head from an earlier run.
        outputs: of the test rows, kept in place of the weights by a protocol that says ``keeps_outputs``.
        model: what ``predict`` of such a protocol uses, in memory alone.
    """

    key: str
    epoch: int = 0
    validation_score: float = math.nan
    postprocessing: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    epochs_run: int = 0
    trace: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    state: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    outputs: torch.Tensor | None = field(default=None, repr=False)
    model: Any = field(default=None, repr=False)


class WorkFolder:
    """Finished heads of a run that may be interrupted: one file a head, whole or absent.

    ``path`` None keeps nothing. A folder of another run (``fingerprint``) is emptied first.
    """

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self.path = path
        if path is None:
            return
        mark = path / WORK_MARK
        if not mark.exists() or mark.read_text(encoding="utf-8") != fingerprint:
            self.remove()
        remove_leftovers(path)
        with atomic_path(mark) as temporary:
            temporary.write_text(fingerprint, encoding="utf-8")

    def load(self, key: str) -> Fitted | None:
        """The finished head of that key, None when there is none."""
        if self.path is None or not (file := self.path / f"{key}.safetensors").exists():
            return None
        try:
            with safe_open(file, framework="pt") as stream:
                kept = parse_json(stream.metadata()["head"], file, nan=True)
                state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DeloresError(f"{file}: damaged ({error}); delete {self.path}") from None
        kept["trace"] = [(epoch, score) for epoch, score in kept["trace"]]
        return Fitted(**kept, outputs=state.pop(OUTPUTS, None), state=state)

    def save(self, fitted: Fitted) -> None:
        """Keeps a finished head, and of an unfinished training of it nothing more."""
        if self.path is None:
            return
        values = {item.name: getattr(fitted, item.name) for item in fields(fitted) if item.name not in IN_TENSORS}
        tensors = fitted.state if fitted.outputs is None else {OUTPUTS: fitted.outputs}
        with atomic_path(self.path / f"{fitted.key}.safetensors", "the finished head ") as temporary:
            save_file(tensors, temporary, metadata={"head": json.dumps(values)})
        self.unfinished(fitted.key).unlink(missing_ok=True)

    def unfinished(self, key: str) -> Path:
        """Where the training of a head may keep what it needs to go on."""
        assert self.path is not None
        return self.path / f"{key}.state.pt"

    @contextlib.contextmanager
    def begun(self) -> Iterator[WorkFolder]:
        """The folder for a run, deleted again if that fails before there is anything that it could go on from."""
        try:
            yield self
        except BaseException:
            if self.path is not None and not any((*self.path.glob("*.safetensors"), *self.path.glob("*.pt"))):
                self.remove()
            raise

    def remove(self) -> None:
        """Deletes the folder, and nothing in it that no run has made: the run's record is written."""
        if self.path is not None:
            remove_work(self.path)
