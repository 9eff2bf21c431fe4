"""Waveform -> log-mel spectrogram, equal to librosa's to 1e-4 in log units.

The settings of the DeLoRes papers are the defaults. A configuration is stored in every checkpoint, so
that a model always hears through the front-end that it was trained with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hear_delores import settings
from hear_delores.errors import DeloresError

__all__ = ["FrontendConfig", "LogMel"]

MEL_SCALES = ("slaney", "htk")
MEL_NORMS = ("slaney", None)
LARGEST = {"sample_rate": 1_000_000, "n_fft": 65536, "win_length": 65536, "hop_length": 1_000_000, "n_mels": 1024}
"""Far above all use, and still within a few hundred megabytes: what a damaged header asks for must not be allocated."""

CACHED_SAMPLES = 96 * 1024  # of frames that are transformed together: in float64, with the spectrum, some 2 MB
BANDS_AT_ONCE = 16  # fewer leave out more bins that a band does not cover, and make smaller products


@dataclass(frozen=True)
class FrontendConfig:
    """Settings of the log-mel front-end; the defaults are those of arXiv 2203.13628.

    Attributes:
        sample_rate: of the audio, Hz.
        n_fft, win_length, hop_length: samples; ``n_fft`` is even. Periodic Hann window.
        n_mels: number of mel bands, a multiple of 8 (the encoder halves them three times).
        f_min, f_max: lowest and highest frequency of the bands, Hz.
        mel_scale: "slaney" (librosa's default) or "htk" (torchaudio's default).
        mel_norm: "slaney" (bands of equal area) or None.
        eps: added to the power before the logarithm.

    Raises:
        DeloresError: a value is of the wrong type or out of range.
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 160
    n_mels: int = 64
    f_min: float = 60.0
    f_max: float = 7800.0
    mel_scale: str = "slaney"
    mel_norm: str | None = "slaney"
    eps: float = float(torch.finfo(torch.float32).eps)

    def __post_init__(self) -> None:
        owner = type(self).__name__
        for name, largest in LARGEST.items():
            settings.require_integer(owner, name, getattr(self, name), maximum=largest)
        settings.require_number(owner, "f_min", self.f_min, 0.0)
        settings.require_number(owner, "f_max", self.f_max, self.f_min, above=True)
        settings.require_number(owner, "eps", self.eps, 0.0, above=True, maximum=1.0)
        if self.n_fft % 2 or self.win_length > self.n_fft:
            raise DeloresError(
                f"{owner}: expected an even `n_fft` of at least `win_length` = {self.win_length}, but got {self.n_fft}."
            )
        if self.n_mels % 8:
            raise DeloresError(f"{owner}: expected `n_mels` to be a multiple of 8, but got {self.n_mels}.")
        if self.f_max > self.sample_rate / 2:
            raise DeloresError(
                f"{owner}: expected `f_max` to be at most half the sample rate, {self.sample_rate / 2:g} Hz, "
                f"but got {self.f_max:g}."
            )
        if self.mel_scale not in MEL_SCALES:
            raise DeloresError(f"{owner}: expected `mel_scale` to be one of {MEL_SCALES}, but got {self.mel_scale!r}.")
        if self.mel_norm not in MEL_NORMS:
            raise DeloresError(f"{owner}: expected `mel_norm` to be one of {MEL_NORMS}, but got {self.mel_norm!r}.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, complete: bool = False) -> FrontendConfig:
        """The settings in ``values``; an unknown key (``complete``: a missing one, too) is a DeloresError."""
        return settings.from_dict(cls, values, complete=complete)


class LogMel(nn.Module):
    """log(mel power + eps) of a waveform: no parameters, and nothing in the state dict.

    Follows librosa.feature.melspectrogram(center=True, pad_mode="constant", power=2) and a logarithm. The
    Fourier transform is float64, as librosa's is: the rounding of float32 next to a loud tone lies above eps,
    and moves quiet bands of real recordings by up to 4e-4. ``precision`` float32 takes half the time, and far
    less on a GPU. The filters are float32 always, whatever ``.half()`` or ``.double()`` is called on a model that
    holds this module.
    """

    filters: Tensor

    def __init__(self, config: FrontendConfig | None = None, precision: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.config, self.precision = config or FrontendConfig(), precision
        self.register_buffer("filters", mel_filters(self.config), persistent=False)
        self._products: list[tuple[slice, Tensor]] | None = None  # the filters of a few bands each, on first use

    def forward(self, audio: Tensor) -> Tensor:
        """The log-mel spectrogram of whole clips.

        Args:
            audio: (..., n_samples) float32 in [-1, 1].

        Returns:
            (..., n_mels, n_frames) float32, natural logarithm of power; n_frames = 1 + n_samples // hop_length
            and frame i is centred on sample i * hop_length; zeros stand before and after the clip.
        """
        half = self.config.n_fft // 2
        return self.uncentred(nn.functional.pad(audio, (half, half)))

    def uncentred(self, audio: Tensor) -> Tensor:
        """The log-mel spectrogram of windows that lie wholly inside ``audio``.

        Args:
            audio: (..., n_samples) float32, n_samples >= n_fft.

        Returns:
            (..., n_mels, 1 + (n_samples - n_fft) // hop_length) float32; frame i starts at sample
            i * hop_length.
        """
        if audio.device.type == "cpu" and not torch.is_grad_enabled():
            return self._inferred(audio)
        # Apple's GPUs have no float64.
        precision = torch.float32 if audio.device.type == "mps" else self.precision
        spectrum = torch.stft(
            audio.reshape(-1, audio.shape[-1]).to(precision),
            n_fft=self.config.n_fft,
            hop_length=self.config.hop_length,
            win_length=self.config.win_length,
            window=torch.hann_window(self.config.win_length, dtype=precision, device=audio.device),
            center=False,
            return_complex=True,
        )  # (B, n_fft // 2 + 1, T)
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag).float()
        mel = torch.matmul(self.filters, power)  # (B, n_mels, T)
        return (mel + self.config.eps).log().reshape(*audio.shape[:-1], *mel.shape[-2:])

    def _inferred(self, audio: Tensor) -> Tensor:
        """``uncentred`` without gradients in two thirds of the time: some frames at a time, which a cache holds.

        The parts of the spectrum lie side by side and are squared where they lie; each has its bin's filter. A few
        bands at a time are one product with the bins that they cover.
        """
        config, precision = self.config, self.precision
        window = torch.hann_window(config.win_length, dtype=precision, device=audio.device)
        left = (config.n_fft - config.win_length) // 2  # as torch.stft centres a shorter window
        window = nn.functional.pad(window, (left, config.n_fft - config.win_length - left))
        clips = audio.reshape(-1, audio.shape[-1]).to(precision)
        frames = clips.unfold(-1, config.n_fft, config.hop_length)  # (B, T, n_fft), a view
        n_clips, n_frames = frames.shape[:2]
        mel = torch.empty(n_clips, n_frames, config.n_mels)
        at_once = max(1, CACHED_SAMPLES * torch.get_num_threads() // config.n_fft)
        step = max(1, at_once // n_frames)
        for clip in range(0, n_clips, step):
            for frame in range(0, n_frames, at_once):
                place = slice(clip, clip + step), slice(frame, frame + at_once)
                mel[place] = self._bands(frames[place] * window)
        mel = mel.add_(config.eps).log_().transpose(1, 2)
        return mel.reshape(*audio.shape[:-1], *mel.shape[-2:])

    def _bands(self, frames: Tensor) -> Tensor:
        """The mel powers (B, T, n_mels) float32 of windowed frames (B, T, n_fft)."""
        if self._products is None:
            self._products = _band_products(self.filters)
        squares = torch.view_as_real(torch.fft.rfft(frames)).flatten(-2).float().square_()  # (B, T, n_fft + 2)
        return torch.cat([squares[..., bins] @ filters for bins, filters in self._products], dim=-1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LogMel:
        super()._apply(fn, recurse)
        if self.filters.dtype != torch.float32:
            self.filters = mel_filters(self.config).to(self.filters.device)
        self._products = None
        return self


def _band_products(filters: Tensor) -> list[tuple[slice, Tensor]]:
    """For every few bands, the parts of the spectrum that they cover, and their filters (n_parts, n_bands)."""
    products = []
    for some in filters.split(BANDS_AT_ONCE):
        covered = some.any(0).nonzero().flatten().tolist() or [0]
        bins = slice(covered[0], covered[-1] + 1)
        products.append(
            (slice(2 * bins.start, 2 * bins.stop), some[:, bins].repeat_interleave(2, dim=1).T.contiguous())
        )
    return products


def mel_filters(config: FrontendConfig) -> Tensor:
    """The triangular mel filters (n_mels, n_fft // 2 + 1) float32, on the CPU.

    Equal to librosa.filters.mel. Designed in float64: torchaudio's are designed in float32, which moves the
    bands of real recordings by up to 2e-3 in log units.
    """
    options: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    bins = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1, **options)
    first, last = _to_mel(torch.tensor([config.f_min, config.f_max], **options), config.mel_scale).tolist()
    edges = _from_mel(torch.linspace(first, last, config.n_mels + 2, **options), config.mel_scale)  # Hz
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = torch.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).clamp(min=0)
    if config.mel_norm == "slaney":
        filters = filters * 2 / (upper - lower)
    return filters.float()


# Slaney's scale: linear up to 1000 Hz = 15 mel, then 27 mel per factor of 6.4 in frequency.
LINEAR_END_HZ, LINEAR_END_MEL, MEL_PER_E = 1000.0, 15.0, 27.0 / math.log(6.4)


def _to_mel(hz: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 2595.0 * torch.log10(1 + hz / 700.0)
    above = LINEAR_END_MEL + MEL_PER_E * torch.log(hz.clamp(min=LINEAR_END_HZ) / LINEAR_END_HZ)
    return torch.where(hz < LINEAR_END_HZ, hz * LINEAR_END_MEL / LINEAR_END_HZ, above)


def _from_mel(mel: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1)
    above = LINEAR_END_HZ * torch.exp((mel - LINEAR_END_MEL) / MEL_PER_E)
    return torch.where(mel < LINEAR_END_MEL, mel * LINEAR_END_HZ / LINEAR_END_MEL, above)
