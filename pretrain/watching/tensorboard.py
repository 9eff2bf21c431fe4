"""The log's numbers for TensorBoard, in the run's folder ``tensorboard/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hear_delores.errors import DeloresError
from hear_delores.files import writing
from pretrain.watching.progress import GO_ON

__all__ = ["Board", "require_tensorboard"]


def require_tensorboard() -> Any:
    """torch's SummaryWriter.

    Raises:
        DeloresError: the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DeloresError(
            "--tensorboard needs the package tensorboard: pip install 'hear-delores[tensorboard]'"
        ) from None
    return SummaryWriter


class Board:
    """Writes every number of a log line as a scalar; on resuming, what lies beyond ``step`` is taken back."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        with writing(folder, then=GO_ON):
            self._writer = require_tensorboard()(log_dir=str(folder), purge_step=step + 1)

    def write(self, line: dict[str, Any]) -> None:
        """Takes the numbers of a line that has a ``step``; the probe's score is named after its task."""
        for name, value in line.items():
            if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool):
                kind = f"probe/{line['task']}" if line.get("event") == "probe" else f"training/{name}"
                with writing(self.folder, then=GO_ON):
                    self._writer.add_scalar(kind, value, line["step"])

    def close(self) -> None:
        with writing(self.folder, then=GO_ON):
            self._writer.close()
