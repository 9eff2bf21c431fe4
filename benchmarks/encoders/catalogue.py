"""The encoders with short names, and the adapters: what each needs, and what it gives. It imports none of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ADAPTERS", "CURRENT_NAMES", "READY", "Adapter", "Ready", "current_name"]


@dataclass(frozen=True)
class Ready:
    """An encoder with a short name.

    Attributes:
        module: the HEAR module behind the name.
        rate: its sample rate in Hz.
        scene, timestamp: the default sizes of its embeddings.
        licence: of its code and weights.
        weights: the path given to its ``load_model`` where the user gives none; "" gives none.
        needs: what has to be installed beside this package.
        options: the options of its ``load_model``, as a user writes them.
    """

    name: str
    module: str
    description: str
    rate: int
    scene: int
    timestamp: int
    licence: str
    weights: str = ""
    needs: str = ""
    options: str = ""


@dataclass(frozen=True)
class Adapter:
    """A family of encoders of another library: ``NAME:TARGET``.

    Attributes:
        module: its ``load_model(target, weights, **options)`` makes a HEAR model of what TARGET names. For X-ARES, the
            module and the name of the class take the place of TARGET.
        form: how a user writes such a model.
        sizes, rate: what decides the size of a frame, and the sample rate.
    """

    name: str
    module: str
    form: str
    description: str
    needs: str
    sizes: str
    rate: str
    licence: str
    options: str = ""


_FRAMES = "layer=-1|0..L|mean|all, pool=mean|max|mean+std|stats, chunk_s=, overlap_s="
_OURS = "Apache-2.0"

READY = {
    each.name: each
    for each in (
        Ready(
            "delores-m-1024", "hear_delores", "the shipped DeLoRes-M, the default of hear_delores", 16000, 1792, 1536,
            _OURS, weights="delores-m-1024", options="scene=, timestamp=, precision=float32",
        ),
        Ready(
            "delores-m-free", "hear_delores", "a DeLoRes-M like the shipped one, of audio that anyone can have", 16000,
            1792, 1536, _OURS, weights="delores-m-free", options="scene=, timestamp=, precision=float32",
        ),
        Ready(
            "delores-s-1024", "hear_delores", "the shipped DeLoRes-S", 16000, 1792, 1536,
            _OURS, weights="delores-s-1024", options="scene=, timestamp=, precision=float32",
        ),
        Ready(
            "log-mel", "benchmarks.encoders.log_mel", "mean and deviation of the log-mel spectrogram, nothing learnt",
            16000, 128, 128, _OURS,
        ),
        Ready(
            "random", "benchmarks.encoders.random_encoder",
            "the DeLoRes encoder with random weights, of the shape of @WEIGHTS", 16000, 2048, 1536, _OURS,
            options="seed=0, embedding_size=, scene=, timestamp=, precision=",
        ),
        Ready(
            "mfcc", "benchmarks.encoders.mfcc", "20 MFCCs and their deltas: mean and deviation (torchaudio)",
            16000, 80, 80, _OURS, options="coefficients=20, rate=16000",
        ),
        Ready(
            "opensmile", "benchmarks.encoders.opensmile", "openSMILE's functionals and low-level descriptors",
            16000, 6373, 130, "audEERING's openSMILE licence: research and education",
            needs="pip install 'hear-delores[opensmile]'", options="set=ComParE_2016|eGeMAPSv02",
        ),
    )
}  # fmt: skip

ADAPTERS = {
    each.name: each
    for each in (
        Adapter(
            "hf", "benchmarks.encoders.hub", "hf:ORG/NAME[@REVISION] or hf:./folder",
            "an encoder of the Hugging Face Hub or of a folder, through transformers",
            "pip install 'hear-delores[hf]'", "the hidden size", "the feature extractor's", "the model's",
            options=f"{_FRAMES}, seed= (random weights), trust_remote_code=false",
        ),
        Adapter(
            "torchaudio", "benchmarks.encoders.bundles", "torchaudio:BUNDLE[@WEIGHTS]",
            "a pipeline of torchaudio: WAV2VEC2_*, HUBERT_*, WAVLM_*, VOXPOPULI_*, MMS_FA",
            "", "768 to 1920", "16000", "the model's", options=f"{_FRAMES}, seed= (random weights)",
        ),
        Adapter(
            "xares", "benchmarks.encoders.xares", "xares:MODULE:CLASS or xares:FILE.py:CLASS",
            "an encoder written for X-ARES: sampling_rate, output_dim, hop_size_in_ms, forward",
            "the package that MODULE is in", "output_dim", "sampling_rate", "the model's",
            options="pool=mean|max|mean+std|stats, chunk_s=, overlap_s=, and those of CLASS",
        ),
    )
}  # fmt: skip

#: Former name -> current name of a model: records and embeddings under either are of the same model.
CURRENT_NAMES = {
    "benchmarks.baselines.logmel": "log-mel",
    "benchmarks.baselines.random_encoder": "random",
    **{each.module: each.name for each in READY.values() if each.module.startswith("benchmarks.")},
}


def current_name(model: str) -> str:
    """The current name of a model, given any name that it has or had.

    >>> current_name("benchmarks.baselines.logmel"), current_name("my_module")
    ('log-mel', 'my_module')
    """
    return CURRENT_NAMES.get(model, model)
