"""AudioNTT: three convolution blocks over a log-mel spectrogram, then a per-frame perceptron.

The network of the DeLoRes papers (arXiv 2203.13628, section 3), a wider relative of BYOL-A's. With ``dense``
it yields an embedding every 4 mel frames, where the plain network yields one every 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hear_delores import settings
from hear_delores.errors import DeloresError

__all__ = ["POOL", "AudioNTT", "ConvBlock", "EncoderConfig", "EncoderOutput"]

LAYERS = 3
LARGEST = {"n_mels": 1024, "channels": 8192, "embedding_size": 131072}  # far above all use
MOST_PARAMETERS = 10**9
POOL = 2**LAYERS
"""Mel frames per embedding frame (and mel bands per frequency row): each of three blocks halves both."""


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of AudioNTT; the defaults are the DeLoRes papers', 5,321,856 parameters.

    Raises:
        DeloresError: a value is of the wrong type or out of range.
    """

    n_mels: int = 64
    channels: int = 64
    embedding_size: int = 2048
    dropout: float = 0.3

    def __post_init__(self) -> None:
        owner = type(self).__name__
        for name, largest in LARGEST.items():
            settings.require_integer(owner, name, getattr(self, name), maximum=largest)
        settings.require_number(owner, "dropout", self.dropout, 0.0)
        if self.n_mels % POOL:
            raise DeloresError(f"{owner}: expected `n_mels` to be a multiple of {POOL}, but got {self.n_mels}.")
        if self.dropout >= 1:
            raise DeloresError(f"{owner}: expected `dropout` to be below 1, but got {self.dropout!r}.")
        if self.n_parameters > MOST_PARAMETERS:
            raise DeloresError(
                f"{owner}: expected at most {MOST_PARAMETERS:,} parameters, but {self.channels} `channels`, "
                f"{self.n_mels} `n_mels` and an `embedding_size` of {self.embedding_size} are {self.n_parameters:,}."
            )

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Sizes of the three layer outputs: channels x remaining mel rows, 2048, 1024 and 512 by default."""
        return tuple(self.channels * (self.n_mels >> (layer + 1)) for layer in range(LAYERS))

    @property
    def n_parameters(self) -> int:
        """Weights and biases of convolutions, normalisations and linear layers."""
        convolutions = 9 * self.channels * (1 + (LAYERS - 1) * self.channels) + LAYERS * 3 * self.channels
        return convolutions + self.embedding_size * (self.layer_sizes[-1] + self.embedding_size + 2)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, complete: bool = False) -> EncoderConfig:
        """The settings in ``values``; an unknown key (``complete``: a missing one, too) is a DeloresError."""
        return settings.from_dict(cls, values, complete=complete)


class EncoderOutput(NamedTuple):
    """What the encoder says about a batch of spectrograms.

    Attributes:
        frames: (B, T // 8, D), one embedding per 8 mel frames (dense: (B, T // 4 - 1, D)).
        layers: three tensors (B, channels * n_mels / 2^l), l = 1, 2, 3: the time means of the pooled block
            outputs, flattened channel by channel.
    """

    frames: Tensor
    layers: tuple[Tensor, ...]

    @property
    def pooled(self) -> Tensor:
        """The clip's embedding: maximum + mean of ``frames`` over time, (B, D)."""
        return self.frames.amax(1) + self.frames.mean(1)


class ConvBlock(nn.Module):
    """Conv 3x3, BatchNorm, ReLU, MaxPool 2x2 on (B, C, n_mels, T)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, *, time_stride: int = 2, frozen: bool = False) -> Tensor:
        """(B, out_channels, n_mels // 2, T // 2); with ``time_stride`` 1, T - 1 columns instead of T // 2."""
        if frozen:
            weight, bias = (value.to(x.dtype) for value in self._folded())
            if x.is_mkldnn:  # weights in oneDNN's own layout, as the input, the output and all between
                weight, bias = weight.contiguous().to_mkldnn(), bias.to_mkldnn()
            elif weight.device.type == "cpu":  # the convolution, its input and output follow; 1.6 times as fast
                weight = weight.to(memory_format=torch.channels_last)  # unlike contiguous(), for one channel too
            x = F.conv2d(x, weight, bias, padding=1)
        else:
            x = self.norm(self.conv(x))
        # ReLU and the maximum commute; after the pooling it touches a quarter of the values.
        return F.relu(F.max_pool2d(x, kernel_size=2, stride=(2, time_stride)))

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution with the normalisation by running statistics folded in."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert self.conv.bias is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return self.conv.weight * scale[:, None, None, None], (self.conv.bias - norm.running_mean) * scale + norm.bias


class AudioNTT(nn.Module):
    """The DeLoRes encoder: normalised log-mel -> frame embeddings and three layer outputs."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.blocks = nn.ModuleList(
            ConvBlock(1 if layer == 0 else config.channels, config.channels) for layer in range(LAYERS)
        )
        self.fc = nn.Sequential(
            nn.Linear(config.layer_sizes[-1], config.embedding_size),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.embedding_size, config.embedding_size),
            nn.ReLU(),
        )

    def forward(self, x: Tensor, *, dense: bool = False, frozen: bool = False) -> EncoderOutput:
        """Frame embeddings and layer outputs of a batch.

        Frame j sees the mel frames 8j - 7 .. 8j + 14, so it is centred on mel frame 8j + 3.5 (dense: frame k
        sees 4k - 7 .. 4k + 14). Zeros stand outside of the spectrogram. Mel frames beyond the last multiple
        of 8 (dense: of 4) are not seen.

        Args:
            x: (B, 1, n_mels, T) normalised log-mel, T >= 8. With ``frozen`` its type is that of all products.
            dense: the last pooling moves by 1 in time instead of 2. Away from the borders this equals
                interleaving the plain outputs for ``x`` and for ``x`` shifted by 4 mel frames.
            frozen: compute as in eval mode whatever mode the modules are in, without changing it.

        Raises:
            DeloresError: ``x`` has another shape.
        """
        maps = self.maps(x, dense=dense, frozen=frozen)
        return EncoderOutput(self.head(maps[-1], frozen=frozen), tuple(m.mean(-1).flatten(1) for m in maps))

    def maps(self, x: Tensor, *, dense: bool = False, frozen: bool = False) -> list[Tensor]:
        """The pooled block outputs (B, channels, n_mels / 2^l, T / 2^l) for l = 1, 2, 3. See ``forward``."""
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] != self.config.n_mels or x.shape[3] < POOL:
            raise DeloresError(
                f"Expected a spectrogram of shape (batch, 1, {self.config.n_mels}, at least {POOL} frames), "
                f"but got {tuple(x.shape)}."
            )
        if frozen and _onednn_takes(x):
            x = x.contiguous().to_mkldnn()
        maps: list[Tensor] = []
        for layer, block in enumerate(self.blocks):
            x = block(x, time_stride=1 if dense and layer == LAYERS - 1 else 2, frozen=frozen)
            maps.append(x)
        return [each.to_dense() if each.is_mkldnn else each for each in maps]

    def head(self, last_map: Tensor, *, frozen: bool = False) -> Tensor:
        """(B, T, D) frame embeddings of the last block's output (B, channels, n_mels / 8, T)."""
        x = last_map.permute(0, 3, 2, 1).flatten(2)  # (B, T, mel rows * channels): the order of published weights
        if not frozen:
            return self.fc(x)
        for layer in (self.fc[0], self.fc[3]):
            x = F.relu(F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype)))
        return x


def _onednn_takes(x: Tensor) -> bool:
    """Whether the blocks run in oneDNN's layout of channels: its pooling keeps no indices, which took longer."""
    inference = not torch.is_grad_enabled() and x.dtype == torch.float32 and len(x) > 0
    return (
        inference and x.device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    )
