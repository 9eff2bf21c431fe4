"""The audio encoders of ``transformers``, by families: where their frames lie, and how their input is made."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from benchmarks.encoders.frames import FrameEncoder, Layers
from benchmarks.encoders.geometry import Geometry, convolutions, measured
from hear_delores.errors import DeloresError

__all__ = ["AstFrames", "ClapFrames", "OtherFrames", "WaveformFrames", "WhisperFrames", "family_of"]

#: Options of every family: layer, pool, chunk_s, overlap_s.
Options = dict[str, Any]


def family_of(model: Any, config: Any, extractor: Any, options: Options) -> FrameEncoder:
    """A model of transformers as a HEAR model.

    Raises:
        DeloresError: it is no audio encoder, or an option is out of range.
    """
    rate = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate, int) or rate <= 0:
        raise DeloresError(
            f"its feature extractor, {type(extractor).__name__}, states no sampling_rate, so it is not an audio model"
        )
    kind = getattr(config, "model_type", "")
    convolves = hasattr(config, "conv_kernel") and hasattr(config, "conv_stride")
    squeezes = hasattr(config, "squeeze_factor")  # SEW's layers have fewer frames than its convolutions
    if convolves and not squeezes and "Wav2Vec2" in type(extractor).__name__:
        return WaveformFrames(model, config, extractor, options)
    if kind == "whisper":
        return WhisperFrames(model, config, extractor, options)
    if kind == "audio-spectrogram-transformer":
        return AstFrames(model, config, extractor, options)
    if kind in ("clap", "clap_audio_model"):
        return ClapFrames(model, config, extractor, options)
    return OtherFrames(model, config, extractor, options)


class _Transformer(FrameEncoder):
    """What the families share: a network, its feature extractor and the choice of a layer."""

    def __init__(
        self, network: Any, extractor: Any, geometry: Geometry, size: int, n_layers: int, options: Options, **more: Any
    ) -> None:
        layers = Layers(options["layer"], n_layers)
        kept = {key: value for key, value in options.items() if key != "layer"}
        super().__init__(geometry, extractor.sampling_rate, size * layers.parts, **kept, **more)
        self.network, self.layers = network, layers
        self.extractor = extractor

    def features(self, audio: Tensor, name: str, **more: Any) -> Tensor:
        """The library's features ``name`` of each sound, on the audio's device."""
        sounds = list(audio.cpu().numpy())
        found = self.extractor(sounds, sampling_rate=self.sample_rate, return_tensors="pt", **more)
        return found[name].to(audio.device)  # type: ignore[no-any-return]

    def chosen(self, answer: Any) -> Tensor:
        """The frames of the chosen layer."""
        return self.layers.choose(answer.hidden_states, answer.last_hidden_state)


class WaveformFrames(_Transformer):
    """Wav2Vec2, HuBERT, WavLM, data2vec, MERT and other models with convolutions on the waveform.

    All sounds of a pass have one length, so that nothing is padded, and no mask is needed. Sounds shorter than the
    receptive field are padded with zeros.
    """

    def __init__(self, model: Any, config: Any, extractor: Any, options: Options) -> None:
        geometry = convolutions(config.conv_kernel, config.conv_stride)
        super().__init__(
            model, extractor, geometry, config.hidden_size, config.num_hidden_layers, options,
            shortest=int(geometry.field),
        )  # fmt: skip
        self.normalised = bool(getattr(extractor, "do_normalize", False))

    def prepare(self, audio: Tensor) -> Tensor:
        """Each whole sound normalised to mean 0 and variance 1, as Wav2Vec2FeatureExtractor does."""
        if not self.normalised:
            return audio
        variance = audio.var(dim=1, keepdim=True, correction=0)
        return (audio - audio.mean(dim=1, keepdim=True)) / torch.sqrt(variance + 1e-7)

    def hidden(self, audio: Tensor) -> Tensor:
        return self.chosen(self.network(audio, output_hidden_states=True))


class WhisperFrames(_Transformer):
    """Whisper's encoder. It takes a fixed length (30 s): zeros are added, and their frames left out."""

    def __init__(self, model: Any, config: Any, extractor: Any, options: Options) -> None:
        hop = extractor.hop_length
        # A frame sees 5 columns of the spectrogram, by two convolutions of width 3, the second of stride 2. The Hann
        # window begins with a zero, so that a column sees n_fft - 1 samples.
        field = extractor.n_fft - 1 + 4 * hop
        geometry = Geometry(Fraction(2 * hop), Fraction(field), Fraction(-(field - 1), 2), padded=True)
        longest = 2 * config.max_source_positions * hop / extractor.sampling_rate
        super().__init__(
            model.get_encoder(), extractor, geometry, config.d_model, config.encoder_layers, options, longest_s=longest
        )

    def hidden(self, audio: Tensor) -> Tensor:
        return self.chosen(self.network(self.features(audio, "input_features"), output_hidden_states=True))


class AstFrames(_Transformer):
    """The Audio Spectrogram Transformer: a frame is the mean over frequency of the patches of one time.

    It takes a fixed length (10.24 s at 16 kHz by default): the feature extractor adds zeros, and their frames are left
    out.
    """

    def __init__(self, model: Any, config: Any, extractor: Any, options: Options) -> None:
        # Kaldi's filter bank has windows of 25 ms every 10 ms, none of which reaches beyond the audio.
        window, hop = extractor.sampling_rate * 25 // 1000, extractor.sampling_rate // 100
        field = window + (config.patch_size - 1) * hop
        geometry = Geometry(Fraction(config.time_stride * hop), Fraction(field), padded=True)
        columns = (config.max_length - config.patch_size) // config.time_stride + 1
        longest = (window + (extractor.max_length - 1) * hop) / extractor.sampling_rate
        super().__init__(
            model, extractor, geometry, config.hidden_size, config.num_hidden_layers, options, shortest=window,
            longest_s=longest,
        )  # fmt: skip
        self.columns = columns

    def hidden(self, audio: Tensor) -> Tensor:
        tokens = self.chosen(self.network(self.features(audio, "input_values"), output_hidden_states=True))
        # Two class tokens come first, then the patches: all times of one frequency after another.
        return tokens[:, 2:].unflatten(1, (-1, self.columns)).mean(dim=1)


class ClapFrames(_Transformer):
    """CLAP's audio tower (HTS-AT): a frame is the mean over frequency of the last stage at one time.

    It takes a fixed length (10 s). The spectrogram is stretched, so that its columns are not on a grid of whole
    samples: the timestamps of a pass are right to a sixtieth of a column (5 ms of 312). Layers other than the last have
    other sizes, and are refused.
    """

    def __init__(self, model: Any, config: Any, extractor: Any, options: Options) -> None:
        if options["layer"] != -1:
            raise DeloresError(f"expected layer to be -1: CLAP's stages differ in size; got {options['layer']!r}")
        audio = getattr(config, "audio_config", config)
        length = extractor.nb_max_samples
        columns = audio.spec_size // audio.patch_stride[1] // 2 ** (len(audio.depths) - 1)
        columns *= audio.spec_size // audio.num_mel_bins  # the spectrogram is folded into so many strips
        stride = Fraction(length // columns)
        # By attention a column sees others, too; its time is that of the patches that were merged into it.
        geometry = Geometry(stride, stride, padded=True)
        super().__init__(
            getattr(model, "audio_model", model), extractor, geometry, audio.hidden_size, 0, options,
            longest_s=length / extractor.sampling_rate,
        )  # fmt: skip

    def hidden(self, audio: Tensor) -> Tensor:
        features = self.features(audio, "input_features", padding="pad")
        # The extractor marks a random sound of a batch of short ones as longer than the model's input: none is.
        longer = torch.zeros(len(audio), 1, dtype=torch.bool, device=audio.device)
        return self.network(features, is_longer=longer).last_hidden_state.mean(dim=2).transpose(1, 2)  # type: ignore[no-any-return]


class OtherFrames(_Transformer):
    """Any other model with a feature extractor and hidden states (n_sounds, n_frames, size).

    The hop and the receptive field are found from the number of frames of audio of several lengths.
    """

    def __init__(self, model: Any, config: Any, extractor: Any, options: Options) -> None:
        network = model.get_encoder() if getattr(config, "is_encoder_decoder", False) else model
        network.eval()

        def states(n_samples: int) -> tuple[Sequence[Tensor], Tensor | None]:
            with torch.no_grad():
                answer = network(**_inputs(extractor, torch.zeros(1, n_samples)), output_hidden_states=True)
            return _states(answer, type(model).__name__)

        def count(n_samples: int) -> int:
            try:
                return states(n_samples)[0][-1].shape[1]
            except DeloresError:
                raise
            except Exception:  # too short for it
                return 0

        found, _ = states(extractor.sampling_rate)
        geometry = measured(count, 4 * extractor.sampling_rate)
        super().__init__(
            network, extractor, geometry, found[-1].shape[2], len(found) - 1, options, shortest=int(geometry.field)
        )

    def hidden(self, audio: Tensor) -> Tensor:
        inputs = {key: value.to(audio.device) for key, value in _inputs(self.extractor, audio).items()}
        return self.layers.choose(*_states(self.network(**inputs, output_hidden_states=True), "the model"))


def _inputs(extractor: Any, audio: Tensor) -> dict[str, Tensor]:
    sounds = list(audio.cpu().numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the deviation of a sound of one frame is not defined
        return dict(extractor(sounds, sampling_rate=extractor.sampling_rate, return_tensors="pt"))


def _states(answer: Any, name: str) -> tuple[Sequence[Tensor], Tensor | None]:
    """The hidden states of a model's answer, (n_sounds, n_frames, size) each, and its output if it has one."""
    states, output = getattr(answer, "hidden_states", None), getattr(answer, "last_hidden_state", None)
    if not states and output is not None:
        states = (output,)
    if not states or any(state.ndim != 3 for state in states):
        raise DeloresError(f"{name} returns no hidden states (n_sounds, n_frames, size): no adapter is written for it")
    return states, output
