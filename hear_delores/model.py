"""HearModel: scene and timestamp embeddings of audio of any length, in bounded memory.

Long audio goes through the encoder in pieces that overlap by its receptive field, many clips in groups; the
result is that of the whole clip alone, to rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hear_delores import settings
from hear_delores.audio_check import check_audio
from hear_delores.decorrelation import Decorrelation
from hear_delores.encoder import POOL, AudioNTT
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig, LogMel
from hear_delores.pooling import (
    DECORRELATED,
    SOURCES,
    RunningStatistics,
    check_scene,
    check_timestamp,
    part_width,
    plain_part,
    scene_size,
    scene_source,
    timestamp_size,
    timestamp_window,
    window_statistic,
)
from hear_delores.workers import side_by_side

__all__ = ["HearModel"]

PRECISIONS = ("float32", "bfloat16")
DENSE = POOL // 2  # mel frames between two timestamps
# Frames of the encoder's output that a cut spoils before and after it, at stride 8 and at stride 4 ("dense"):
# the first frames of a piece see convolution padding in place of their neighbours, and so do its last.
MARGIN = (1, 1)
DENSE_MARGIN = (2, 2)
LEAST_FRAMES = 512  # mel frames in a pass of one of several workers: fewer cost more in margins than a core gives
FARTHEST = 1e6  # of a mean or deviation of log-mel values, which lie within some 40 of 0


class HearModel(nn.Module):
    """A front-end, its normalisation and an encoder as a model of the HEAR common API.

    Args:
        encoder: of normalised log-mel spectrograms.
        frontend_config: settings of the log-mel front-end that the encoder was trained with.
        mean, std: of the log-mel values of the pre-training data; the encoder sees (x - mean) / std.
        scene: parts of the scene embedding, concatenated in this order; see ``pooling.SCENE_PARTS``.
        timestamp: parts of the timestamp embeddings, likewise; see ``pooling.TIMESTAMP_PARTS``.
        info: provenance kept in checkpoints: method, config, data, step, metrics.
        decorrelation: the maps of the parts "<name>_decorrelated" that ``scene`` may name, by <name>.
        chunk_frames: mel frames in one pass of the encoder, all clips of the pass together; bounds the memory
            (about 100 kB per frame). None: 2048 on the CPU, 32768 elsewhere.
        precision: of the encoder's products for embeddings: "float32", or "bfloat16", which is faster where the
            processor has such instructions, and moves them by about 2 % (docs/performance.md). Weights, front-end and
            statistics stay as they are.

    Attributes:
        sample_rate, scene_embedding_size, timestamp_embedding_size: ints, as the common API asks.

    Raises:
        DeloresError: the parts do not fit each other, or a value is out of range.
    """

    scene: tuple[str, ...]
    timestamp: tuple[str, ...]

    def __init__(
        self,
        encoder: AudioNTT,
        frontend_config: FrontendConfig,
        mean: float,
        std: float,
        scene: Sequence[str] = ("pooled",),
        info: Mapping[str, Any] | None = None,
        *,
        timestamp: Sequence[str] = ("frames",),
        decorrelation: Mapping[str, Decorrelation] | None = None,
        chunk_frames: int | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        settings.require_number("HearModel", "mean", mean, maximum=FARTHEST)
        settings.require_number("HearModel", "std", std, 1 / FARTHEST, maximum=FARTHEST)
        if chunk_frames is not None:
            settings.require_integer("HearModel", "chunk_frames", chunk_frames)
        if frontend_config.n_mels != encoder.config.n_mels:
            raise DeloresError(
                f"Expected a front-end of {encoder.config.n_mels} mel bands, as the encoder has, "
                f"but got {frontend_config.n_mels}."
            )
        self.encoder = encoder
        self.frontend = LogMel(frontend_config)
        self.mean = float(mean)
        self.std = float(std)
        self.info: dict[str, Any] = dict(info or {})
        self.decorrelation = nn.ModuleDict(dict(decorrelation or {}))
        self.chunk_frames = chunk_frames
        self.set_precision(precision)
        self.sample_rate: int = frontend_config.sample_rate
        self.set_parts(scene, timestamp)

    def set_precision(self, precision: str) -> None:
        """Makes the embeddings with products in "float32" or "bfloat16".

        Raises:
            DeloresError: another one.
        """
        if precision not in PRECISIONS:
            raise DeloresError(f"Expected `precision` to be one of {PRECISIONS}, but got {precision!r}.")
        self.precision = precision

    def set_parts(self, scene: Sequence[str] | None = None, timestamp: Sequence[str] | None = None) -> None:
        """Makes the embeddings of other parts, named in order; None leaves what is.

        Raises:
            DeloresError: no part, an unknown one, or a decorrelated one that the model has no map for; the model
                is left as it was.
        """
        chosen_scene = self.scene if scene is None else check_scene(scene)
        for part in chosen_scene:
            if part.endswith(DECORRELATED) and plain_part(part) not in self.decorrelation:
                known = ", ".join(name + DECORRELATED for name in self.decorrelation) or "none"
                raise DeloresError(
                    f"These weights hold no map for {part} (they have: {known}): use {plain_part(part)}."
                )
        chosen_timestamp = self.timestamp if timestamp is None else check_timestamp(timestamp)
        self.scene, self.timestamp = chosen_scene, chosen_timestamp
        mapped = {name: own.matrix.shape[1] for name, own in self.decorrelation.items()}
        self.scene_embedding_size: int = scene_size(chosen_scene, self.encoder.config, mapped)
        self.timestamp_embedding_size: int = timestamp_size(chosen_timestamp, self.encoder.config)
        self._windows = [timestamp_window(part) for part in chosen_timestamp]

    def forward(self, audio: Tensor) -> Tensor:
        """The scene embeddings of ``audio``."""
        return self.scene_embeddings(audio)

    @torch.no_grad()
    def scene_embeddings(self, audio: Tensor) -> Tensor:
        """One embedding per clip, (n_sounds, scene_embedding_size) float32 on the model's device.

        The clip's mel frames, extended to a whole multiple of 8 by zeros (after normalisation: what stands around
        a clip in the convolutions and in random resize crop), go through the encoder; the parts named in ``scene``
        are statistics over all of its output frames. Computed in eval mode and without gradients, whatever mode
        the model is in; that mode is left as it is.

        Args:
            audio: (n_sounds, n_samples) floating point in [-1, 1], at ``sample_rate``, n_samples >= 1.

        Raises:
            DeloresError: ``audio`` has another shape or type, holds NaN or infinity, or is far too loud.
        """
        check_audio(audio)
        n_frames = -(-_mel_frames(audio, self.frontend.config) // POOL)
        output = audio.new_empty((len(audio), self.scene_embedding_size), dtype=torch.float32, device=self._device)
        workers = self._workers(len(audio))

        def embed(clips: slice) -> Tensor:
            with torch.no_grad(), self._float32():
                statistics = self._statistics(n_frames)
                for first, stop in self._spans(n_frames, POOL, workers):
                    self._accumulate(statistics, audio[clips], first, stop, n_frames)
                return self._scene(statistics)

        groups = self._groups(len(audio), n_frames, POOL, workers)
        for clips, scene in zip(groups, side_by_side(embed, groups, workers), strict=True):
            output[clips] = scene
        return output

    def differentiable_scene(self, audio: Tensor) -> Tensor:
        """The scene embeddings with gradients, in the mode the model is in: what fine-tuning trains through.

        In eval mode the values of ``scene_embeddings``, to rounding. In training mode BatchNorm normalises by the
        batch and dropout drops; a caller's autocast holds for the encoder, the front-end stays in float32.
        Gradients reach every parameter of the encoder, not the audio. The whole batch goes through at once: memory
        grows with its length, about 1 MB for 10 mel frames.

        Args:
            audio: (n_sounds, n_samples) floating point in [-1, 1], at ``sample_rate``, n_samples >= 1.

        Raises:
            DeloresError: as ``scene_embeddings``.
        """
        check_audio(audio)
        n_mel = _mel_frames(audio, self.frontend.config)
        with torch.no_grad(), self._float32():
            mel = self._log_mel(audio, 0, POOL * -(-n_mel // POOL), 0).to(self._weights_dtype)
            mel[..., n_mel:] = 0
        return self._scene(self._whole_statistics(mel))

    @torch.no_grad()
    def scene_parts(self, parts: Sequence[str], mel: Tensor) -> list[Tensor]:
        """Parts of the scene embedding, not decorrelated, of log-mel spectrograms: what their maps are learnt from.

        Args:
            parts: names out of ``pooling.SCENE_PARTS``.
            mel: (B, 1, n_mels, T) float32, normalised, T a multiple of 8 or the rest is not seen.

        Returns:
            (B, k, D) float32 each; k is 3 for a part of thirds, else 1.
        """
        with self._float32():
            statistics = self._whole_statistics(mel, frozen=True, parts=parts)
        values = ((part, statistics[scene_source(part)].part(part)) for part in parts)
        return [value.unflatten(1, (-1, part_width(part, self.encoder.config))) for part, value in values]

    @torch.no_grad()
    def timestamp_embeddings(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings every 4 hops (40 ms by default) from the start of the clip to its end.

        Embedding k is centred on time t_k = 4 k hops, k = 0, 1, ... for all t_k <= duration: the centre of
        what it sees, 22 mel frames, lies exactly there, silence standing before and after the clip. The part
        "layer3_std_5" sees 4 such steps, 16 mel frames, more; at the ends of the clip its window is cut. Eval mode
        and gradients as in ``scene_embeddings``.

        Args:
            audio: (n_sounds, n_samples) floating point in [-1, 1], at ``sample_rate``, n_samples >= 1.

        Returns:
            embeddings: (n_sounds, n_timestamps, timestamp_embedding_size) float32;
            timestamps: (n_sounds, n_timestamps) float32, milliseconds, from exact sample positions.

        Raises:
            DeloresError: as ``scene_embeddings``.
        """
        check_audio(audio)
        device = self._device
        times, shift = timestamps(audio.shape[1], self.frontend.config)
        count = len(times)
        size = self.timestamp_embedding_size
        output = audio.new_empty((len(audio), count, size), dtype=torch.float32, device=device)
        workers = self._workers(len(audio))
        half = max(width for _, _, width in self._windows) // 2

        def embed(clips: slice) -> None:
            with torch.no_grad(), self._float32():
                for first, stop in self._spans(count, DENSE, workers):
                    low, high = max(0, first - half), min(count, stop + half)  # the outputs that windows reach
                    before = min(low, DENSE_MARGIN[0])
                    after = min(count - high, DENSE_MARGIN[1])
                    # Dense output k lies on the mel frames 4k .. 4k + 7.
                    begin, end = DENSE * (low - before), DENSE * (high + after + 1)
                    mel = self._features(audio[clips], begin, end, shift)
                    last_map = self.encoder.maps(mel, dense=True, frozen=True)[-1]
                    parts = self._timestamp_parts(last_map[..., before : before + high - low])[:, first - low :]
                    parts = parts[:, : stop - first]
                    with torch.inference_mode(output.is_inference()):  # its caller's, which ends with the thread
                        output[clips, first:stop] = parts

        for _ in side_by_side(embed, self._groups(len(audio), count, DENSE, workers), workers):
            pass  # waits, and raises what was raised
        return output, times.to(device).repeat(len(audio), 1)

    def _timestamp_parts(self, last_map: Tensor) -> Tensor:
        """The timestamp embeddings (B, T, timestamp_embedding_size) of the last block's output at T times."""
        sources: dict[str, Tensor] = {}
        for source in {source for source, _, _ in self._windows}:
            frames = self.encoder.head(last_map, frozen=True) if source == "frames" else _columns(last_map)
            sources[source] = frames.float()
        return torch.cat([window_statistic(sources[source], name, width) for source, name, width in self._windows], 2)

    def _statistics(self, n_frames: int, parts: Sequence[str] | None = None) -> dict[str, RunningStatistics]:
        """Empty statistics of every source of the parts (of the scene's by default), of n_frames output frames."""
        parts = self.scene if parts is None else parts
        found: dict[str, RunningStatistics] = {}
        for source in sorted({scene_source(part) for part in parts}):
            own = [part for part in parts if scene_source(part) == source]
            found[source] = RunningStatistics(own, n_frames * _columns_per_frame(source))
        return found

    def _whole_statistics(
        self, mel: Tensor, *, frozen: bool = False, parts: Sequence[str] | None = None
    ) -> dict[str, RunningStatistics]:
        """The statistics of spectrograms (B, 1, n_mels, T) that go through the encoder at once."""
        maps = self.encoder.maps(mel, frozen=frozen)
        statistics = self._statistics(maps[-1].shape[-1], parts)
        for source, running in statistics.items():
            layer = SOURCES.index(source)
            running.update(self.encoder.head(maps[-1], frozen=frozen) if layer == 0 else _columns(maps[layer - 1]))
        return statistics

    def _scene(self, statistics: Mapping[str, RunningStatistics]) -> Tensor:
        """The scene embeddings (B, scene_embedding_size) of finished statistics."""
        parts = []
        for part in self.scene:
            value = statistics[scene_source(part)].part(part)
            parts.append(self.decorrelation[plain_part(part)](value) if part.endswith(DECORRELATED) else value)
        return torch.cat(parts, dim=1)

    def _accumulate(
        self, statistics: dict[str, RunningStatistics], audio: Tensor, first: int, stop: int, n_frames: int
    ) -> None:
        """Adds the output frames first .. stop - 1 of a clip of n_frames to the statistics of each source."""
        before = min(first, MARGIN[0])
        after = min(n_frames - stop, MARGIN[1])
        begin, end = POOL * (first - before), POOL * (stop + after)
        mel = self._features(audio, begin, end, 0)
        mel[..., max(0, _mel_frames(audio, self.frontend.config) - begin) :] = 0
        maps = self.encoder.maps(mel, frozen=True)
        for source, running in statistics.items():
            layer = SOURCES.index(source)  # 0 for frames, which are made of the last map
            scale = _columns_per_frame(source)
            kept = maps[layer - 1][..., scale * before : scale * (before + stop - first)]
            running.update(self.encoder.head(kept, frozen=True) if layer == 0 else _columns(kept))

    def _features(self, audio: Tensor, first: int, stop: int, shift: int) -> Tensor:
        """``_log_mel`` in the type of the encoder's products."""
        chosen = torch.bfloat16 if self.precision == "bfloat16" else self._weights_dtype
        return self._log_mel(audio, first, stop, shift).to(chosen)

    def _log_mel(self, audio: Tensor, first: int, stop: int, shift: int) -> Tensor:
        """Normalised log-mel (n, 1, n_mels, stop - first) float32; frame i is centred on sample hop * i - shift.

        The audio is silent before its first sample and after its last.
        """
        config = self.frontend.config
        begin = config.hop_length * first - shift - config.n_fft // 2
        end = begin + config.hop_length * (stop - first - 1) + config.n_fft
        left, low, high = max(0, -begin), max(0, begin), max(0, end)
        piece = audio[:, low:high].to(self._device, torch.float32)
        piece = F.pad(piece, (left, end - begin - left - piece.shape[1]))
        return self.frontend.uncentred(piece).sub_(self.mean).div_(self.std)[:, None]

    def _workers(self, n_clips: int) -> int:
        """How many groups of clips are computed side by side, within the one bound of ``chunk_frames``."""
        if self._device.type != "cpu":
            return 1
        return max(1, min(n_clips, torch.get_num_threads(), self._chunk_frames // LEAST_FRAMES))

    def _groups(self, n_clips: int, n_frames: int, stride: int, workers: int) -> list[slice]:
        """Slices of clips that go through the encoder together: several when they are short."""
        size = max(1, self._chunk_frames // workers // (stride * n_frames))
        size = max(1, min(size, -(-n_clips // workers)))  # something to do for each worker
        return [slice(first, min(first + size, n_clips)) for first in range(0, n_clips, size)]

    def _spans(self, n_frames: int, stride: int, workers: int) -> Iterator[tuple[int, int]]:
        """(first, stop) of the output frames of one clip that are computed together: all when it is short."""
        size = max(1, self._chunk_frames // workers // stride)
        return ((first, min(first + size, n_frames)) for first in range(0, n_frames, size))

    @property
    def _device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    @property
    def _weights_dtype(self) -> torch.dtype:
        return next(self.encoder.parameters()).dtype

    @property
    def _chunk_frames(self) -> int:
        return self.chunk_frames or (2048 if self._device.type == "cpu" else 32768)

    def _float32(self) -> contextlib.AbstractContextManager[Any]:
        """Switches a caller's autocast off: the common API promises float32, and caches rely on it."""
        return torch.autocast(self._device.type, enabled=False)


def timestamps(n_samples: int, config: FrontendConfig) -> tuple[Tensor, int]:
    """Times of the timestamp embeddings of a clip, and the shift of the mel grid that puts them there.

    Returns:
        times: (n_timestamps,) float32, milliseconds: 4 hops apart, from 0 to at most the duration, computed
            from integer positions in float64. (With an odd hop they lie half a sample later: 7 half hops are
            no whole number of samples.)
        shift: samples of silence put before the clip, so that mel frame i is centred on sample hop * i -
            shift.
    """
    half_samples = (POOL - 1) * config.hop_length  # 3.5 hops, counted in half samples
    shift, rest = divmod(half_samples, 2)
    step = 2 * DENSE * config.hop_length
    count = 1 + (2 * n_samples - rest) // step
    positions = torch.arange(count, dtype=torch.int64, device="cpu") * step + rest
    times = positions.to(torch.float64) * 1000.0 / (2 * config.sample_rate)
    return times.to(torch.float32), shift


def _columns_per_frame(source: str) -> int:
    """Columns of what a source is computed from per output frame of the encoder."""
    layer = SOURCES.index(source)  # 0 for the output frames themselves
    return 1 if layer == 0 else POOL >> layer


def _columns(layer_map: Tensor) -> Tensor:
    """(B, C, F, T) -> (B, T, C * F), flattened channel by channel as ``EncoderOutput.layers`` are."""
    return layer_map.flatten(1, 2).transpose(1, 2)


def _mel_frames(audio: Tensor, config: FrontendConfig) -> int:
    return 1 + audio.shape[1] // config.hop_length
