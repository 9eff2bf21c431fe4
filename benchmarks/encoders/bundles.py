"""The pre-trained encoders of ``torchaudio.pipelines`` as HEAR models: ``torchaudio:BUNDLE``.

Their weights are downloaded into torch's own cache (``TORCH_HOME``).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from benchmarks.encoders.frames import FrameEncoder, Layers, get_scene_embeddings, get_timestamp_embeddings
from benchmarks.encoders.geometry import convolutions
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import require_integer

__all__ = ["BundleFrames", "bundles", "get_scene_embeddings", "get_timestamp_embeddings", "load_model"]


class BundleFrames(FrameEncoder):
    """A Wav2Vec2, HuBERT or WavLM encoder of torchaudio.

    torchaudio's pipelines that normalise the waveform do so over the whole batch (``layer_norm`` over both dimensions):
    a sound's embedding would depend on the others. Here each sound is normalised by itself.
    """

    def __init__(self, network: Any, rate: int, normalised: bool, options: dict[str, Any]) -> None:
        transformer = network.encoder.transformer
        layers = Layers(options.pop("layer"), len(transformer.layers))
        convs = [block.conv for block in network.feature_extractor.conv_layers]
        geometry = convolutions([conv.kernel_size[0] for conv in convs], [conv.stride[0] for conv in convs])
        size = network.encoder.feature_projection.projection.out_features
        super().__init__(geometry, rate, size * layers.parts, shortest=int(geometry.field), **options)
        self.network, self.layers, self.normalised = network, layers, normalised

    def prepare(self, audio: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(audio, audio.shape[1:]) if self.normalised else audio

    def hidden(self, audio: Tensor) -> Tensor:
        with _recorded_states(self.network.encoder.transformer) as states:
            features, _ = self.network.feature_extractor(audio, None)
            output = self.network.encoder(features, None)
        return self.layers.choose(states, output)


@contextmanager
def _recorded_states(transformer: Any) -> Iterator[list[Tensor]]:
    """Collects the input of the first layer and the output of every layer, while the transformer runs."""
    states: list[Tensor] = []

    def enters(module: Any, arguments: Any) -> None:
        states.append(arguments[0])

    def leaves(module: Any, arguments: Any, answer: Any) -> None:
        states.append(answer[0] if isinstance(answer, tuple) else answer)

    handles = [transformer.layers[0].register_forward_pre_hook(enters)]
    handles += [layer.register_forward_hook(leaves) for layer in transformer.layers]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def bundles() -> dict[str, Any]:
    """name -> pipeline of the installed torchaudio, for those that are encoders of frames."""
    try:
        from torchaudio import pipelines
    except ModuleNotFoundError as error:
        raise DeloresError(f"torchaudio: models need the package {error.name!r}: pip install torchaudio") from None
    found = {name: getattr(pipelines, name) for name in dir(pipelines) if name.isupper()}
    return {name: bundle for name, bundle in found.items() if isinstance(bundle, pipelines.Wav2Vec2Bundle)}


def load_model(
    target: str = "",
    weights: str = "",
    layer: int | str = -1,
    pool: str = "mean",
    chunk_s: float | None = None,
    overlap_s: float | None = None,
    seed: int | None = None,
) -> FrameEncoder:
    """A pipeline of torchaudio as a HEAR model.

    Args:
        target: the name of the bundle, such as WAV2VEC2_BASE.
        weights: a file with the state dict of the bundle's ``get_model()``; "" downloads the published weights.
        layer, pool, chunk_s, overlap_s: as in :func:`benchmarks.encoders.hub.load_model`.
        seed: takes the architecture alone, with random weights of this seed.

    Raises:
        DeloresError: there is no such bundle, its weights cannot be downloaded or read, or an option is out of range.
    """
    known = bundles()
    if target not in known:
        gone = " torchaudio no longer has VGGISH (nor torchaudio.prototype)." if target.upper() == "VGGISH" else ""
        raise DeloresError(f"torchaudio has no encoder called {target!r}.{gone} {did_you_mean(target, known)}")
    if seed is not None and weights:
        raise DeloresError(f"expected weights or a seed, got both ({weights} and {seed}); leave one out")
    bundle = known[target]
    network = _random(bundle, seed) if seed is not None else _trained(bundle, target, weights)
    options = {"layer": layer, "pool": pool, "chunk_s": chunk_s, "overlap_s": overlap_s}
    model = BundleFrames(network, int(bundle.sample_rate), bool(bundle._normalize_waveform), options)
    return model.eval()


def _random(bundle: Any, seed: int) -> Any:
    """The bundle's architecture with random weights; torchaudio has no public function for it."""
    from torchaudio.models import wav2vec2_model, wavlm_model

    require_integer("torchaudio", "seed", seed, 0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (wavlm_model if bundle._model_type == "WavLM" else wav2vec2_model)(**bundle._params)


def _trained(bundle: Any, target: str, weights: str) -> Any:
    if not weights:
        try:
            network = bundle.get_model()
        except (URLError, OSError, RuntimeError) as error:
            raise DeloresError(
                f"the weights of {target} are not in {torch.hub.get_dir()}, and cannot be downloaded "
                f"({' '.join(str(error).split())}); go online once, or name a file: torchaudio:{target}@FILE"
            ) from error
        return getattr(network, "model", network)  # without what normalises a whole batch
    path = Path(weights).expanduser()
    if not path.is_file():
        raise DeloresError(f"expected a file of weights after @, but there is no {weights}; check the path")
    network = _random(bundle, 0)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    except (RuntimeError, pickle.UnpicklingError, AttributeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DeloresError(f"{weights} does not hold the weights of {target}: {reason}") from None
    return network
