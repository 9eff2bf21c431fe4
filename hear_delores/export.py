"""A model as an ONNX graph: from audio at its sample rate to the embeddings, front-end included.

The graph is for deployment elsewhere: nothing in this project reads it.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path
from hear_delores.frontend import FrontendConfig, LogMel
from hear_delores.model import DENSE, HearModel
from hear_delores.pooling import (
    DECORRELATED,
    THIRDS,
    plain_part,
    scene_source,
    timestamp_window,
    window_statistic,
)

__all__ = ["OPSET", "export_onnx"]

OPSET = 20
"""The version of ONNX's operator set that the graph uses."""
NEEDS = ("onnx", "onnxscript")


def export_onnx(model: HearModel, path: str | os.PathLike[str], *, timestamps: bool = False) -> Path:
    """Writes an ONNX graph of the scene or the timestamp embeddings of ``model`` to ``path``, and returns the path.

    The input is ``audio``: (n_sounds, n_samples) float32 in [-1, 1] at the model's sample rate; both sizes are free.
    The output is ``scene_embeddings``: (n_sounds, scene_embedding_size) float32; or ``timestamp_embeddings``:
    (n_sounds, n_timestamps, timestamp_embedding_size) float32, and ``timestamps``: (n_sounds, n_timestamps) float32 in
    milliseconds. They equal the model's own up to rounding. The graph embeds the whole audio at once: it needs some
    6 MB of memory for each second of each clip.

    Args:
        path: of the file. It is written whole or not at all; its folder is made if it does not exist.
        timestamps: export the timestamp embeddings instead of the scene embeddings.

    Raises:
        DeloresError: a package that torch's exporter needs is not installed, or the file cannot be written.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise DeloresError(f"Exporting needs {' and '.join(missing)}: pip install 'hear-delores[onnx]'.")
    target = Path(path)
    model = copy.deepcopy(model).to("cpu", torch.float32).eval()
    graph: nn.Module = _Timestamps(model) if timestamps else _Scene(model)
    names = ["timestamp_embeddings", "timestamps"] if timestamps else ["scene_embeddings"]
    audio = torch.zeros(2, 3 * model.sample_rate // 2)
    free = {0: torch.export.Dim("n_sounds"), 1: torch.export.Dim("n_samples")}
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph.eval(), (audio,), dynamo=True, opset_version=OPSET, dynamic_shapes={"audio": free},
            input_names=["audio"], output_names=names, verbose=False,
        )  # fmt: skip
    assert program is not None
    with atomic_path(target) as temporary:
        program.save(temporary, external_data=False)
    return target


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's progress, and its warnings about its own parts."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(before)


class _Graph(nn.Module):
    """The front-end and the blocks of a model for audio of any length in one piece, in operations that ONNX has."""

    def __init__(self, model: HearModel) -> None:
        super().__init__()
        self.config: FrontendConfig = model.frontend.config
        self.mean, self.std = model.mean, model.std
        self.encoder = model.encoder
        self.register_buffer("transform", fourier_matrix(self.config))
        self.register_buffer("filters", LogMel(self.config).filters.repeat(1, 2).T.contiguous())
        self.transform: Tensor
        self.filters: Tensor

    def features(self, audio: Tensor, left: int, right: int, count: int) -> Tensor:
        """Normalised log-mel (n, 1, n_mels, count) of audio (n, n_samples) with ``left`` and ``right`` zeros around it.

        Frame i begins at sample hop * i of the padded audio.
        """
        config = self.config
        padded = F.pad(audio.double(), (left, right))
        starts = torch.arange(count, device=audio.device)[:, None] * config.hop_length
        frames = padded[:, starts + torch.arange(config.n_fft, device=audio.device)]  # (n, count, n_fft)
        power = (frames @ self.transform).float().square()  # (n, count, n_fft + 2): squared real, then imaginary parts
        mel = ((power @ self.filters + config.eps).log() - self.mean) / self.std
        return mel.transpose(1, 2)[:, None]

    def blocks(self, x: Tensor, dense: bool = False) -> list[Tensor]:
        """The map after each block; with ``dense``, the last one has a time stride of 1."""
        maps: list[Tensor] = []
        for number, block in enumerate(self.encoder.blocks, start=1):
            x = block(x, time_stride=1 if dense and number == len(self.encoder.blocks) else 2)
            maps.append(x)
        return maps


class _Scene(_Graph):
    def __init__(self, model: HearModel) -> None:
        super().__init__(model)
        self.parts: Sequence[str] = model.scene
        self.decorrelation = model.decorrelation

    def forward(self, audio: Tensor) -> Tensor:
        half = self.config.n_fft // 2
        count = 1 + audio.shape[1] // self.config.hop_length
        mel = self.features(audio, half, half, count)
        maps = self.blocks(F.pad(mel, (0, 7 - (count + 7) % 8)))  # padded to a multiple of 8 frames
        sources = {f"layer{number}": each.flatten(1, 2) for number, each in enumerate(maps, start=1)}
        sources["frames"] = self.encoder.head(maps[-1]).transpose(1, 2)
        values = []
        for part in self.parts:
            value = _statistic(plain_part(part), sources[scene_source(part)])
            values.append(self.decorrelation[plain_part(part)](value) if part.endswith(DECORRELATED) else value)
        return torch.cat(values, dim=1)


def _statistic(part: str, values: Tensor) -> Tensor:
    """The scene part of the values (B, D, T) of its source, as ``pooling.RunningStatistics`` defines it."""
    name = part.rpartition("_")[2]
    if name == "pooled":
        return values.amax(2) + values.mean(2)
    if name == "max":
        return values.amax(2)
    mean = values.mean(2)
    if name == "mean":
        return mean
    if name == "std":
        return (values - mean[:, :, None]).square().mean(2).sqrt()
    total = values.shape[2]
    position = torch.arange(total, device=values.device)
    shares = []
    for third in range(THIRDS):
        start = third * total // THIRDS
        inside = (position == start) | ((position > start) & (position < (third + 1) * total // THIRDS))
        shares.append((values * inside).sum(2) / inside.sum())
    return torch.cat(shares, dim=1)


class _Timestamps(_Graph):
    def __init__(self, model: HearModel) -> None:
        super().__init__(model)
        self.parts: Sequence[str] = model.timestamp

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        config = self.config
        # As in ``model.timestamps``: positions are in half samples, and 3.5 hops of silence precede the clip.
        shift, rest = divmod(7 * config.hop_length, 2)
        step = 2 * DENSE * config.hop_length
        count = 1 + (2 * audio.shape[1] - rest) // step
        positions = torch.arange(count, device=audio.device) * step + rest
        times = (positions.double() * 1000.0 / (2 * config.sample_rate)).float()
        frames = DENSE * (count + 1)
        mel = self.features(audio, shift + config.n_fft // 2, frames * config.hop_length + config.n_fft, frames)
        last_map = self.blocks(mel, dense=True)[-1]
        found = {"layer3": last_map.flatten(1, 2).transpose(1, 2), "frames": self.encoder.head(last_map)}
        windows = map(timestamp_window, self.parts)
        parts = [window_statistic(found[source], statistic, width) for source, statistic, width in windows]
        return torch.cat(parts, dim=2), times[None].expand(audio.shape[0], -1)


def fourier_matrix(config: FrontendConfig) -> Tensor:
    """The matrix of the windowed discrete Fourier transform of a frame: (n_fft, n_fft + 2) float64.

    Its columns are the real parts of the n_fft // 2 + 1 bins, then the imaginary parts. As in ``torch.stft``, the
    window is a periodic Hann window, in the middle of the frame if it is shorter.
    """
    size, bins = config.n_fft, config.n_fft // 2 + 1
    turns = (torch.arange(size)[:, None] * torch.arange(bins)) % size  # exact, before it becomes an angle
    angle = turns.double() * (2 * torch.pi / size)
    left = (size - config.win_length) // 2
    window = F.pad(torch.hann_window(config.win_length, dtype=torch.float64), (left, size - config.win_length - left))
    return torch.cat([angle.cos(), -angle.sin()], dim=1) * window[:, None]
