"""The configuration of a pre-training run: one frozen, validated tree, presets that hold only what differs.

The defaults are DeLoRes-S as the paper (Ghosh et al. 2022, arXiv 2203.13628) states it. A preset is a YAML
file under ``presets/``; a user's own file may begin with ``base: <preset>`` and hold the difference alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import pydantic
import yaml
from pydantic import Field

from hear_delores.encoder import EncoderConfig
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.frontend import FrontendConfig
from hear_delores.pooling import DECORRELATED, check_scene, check_timestamp
from hear_delores.settings import LARGEST, shown
from pretrain.inputs.schema import Schema
from pretrain.inputs.yaml_file import parse_yaml, read_yaml

__all__ = [
    "SOUND_FAMILIES",
    "AugmentConfig",
    "DataConfig",
    "LossConfig",
    "MocoConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "ProjectorConfig",
    "ScheduleConfig",
    "SynthesisConfig",
    "ViewsConfig",
    "config_to_dict",
    "config_to_yaml",
    "differences",
    "list_presets",
    "load_config",
]

PRESETS = Path(__file__).parent / "presets"
POOLINGS = 3  # AudioNTT halves time three times
SOUND_FAMILIES = ("voice", "impact", "texture", "speech", "rhythm", "call")

# Bounds of numbers that have no closer ones of their own: what lies above is a slip, and overflows further down.
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Width = Annotated[int, Field(ge=1, le=2**20)]
Weight = Annotated[float, Field(ge=0, le=1e6)]  # of a term of the loss
Rate = Annotated[float, Field(gt=0, le=1e6)]


class Section(Schema, pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AugmentConfig(Section):
    """How the two views of a crop are made."""

    mixup: bool = True
    mixup_ratio: float = Field(default=0.4, ge=0, lt=1)  # share of the past input: ratio * u, u ~ U(0, 1)
    mixup_memory: Count = 2048  # past inputs kept, first in, first out
    # "normalized": log((1 - a) exp(x) + a exp(z)) of normalised inputs, as every published result was made;
    # "log_mel": of the log-mel itself, where exp(x) is a power
    mixup_domain: Literal["normalized", "log_mel"] = "normalized"
    crop: bool = True
    canvas_freq: float = Field(default=1.0, ge=1, le=100)  # the virtual canvas, in heights and widths of the input
    canvas_time: float = Field(default=1.5, ge=1, le=100)
    crop_freq: tuple[float, float] = (0.6, 1.5)  # clipped to the canvas
    crop_time: tuple[float, float] = (0.6, 1.5)
    # a level and a smooth equaliser of each view, before it is mixed: gains U(-level_db, level_db) of the whole, and
    # U(-equaliser_db, equaliser_db) at equaliser_nodes mel bands, linear in between (FilterAugment, arXiv 2110.03282)
    level_db: float = Field(default=0.0, ge=0, le=200)
    equaliser_db: float = Field(default=0.0, ge=0, le=200)
    equaliser_nodes: int = Field(default=4, ge=2, le=1024)
    # each view of a batch once more to mean 0 and deviation 1: the post-normalization of BYOL-A (arXiv 2103.06695)
    post_norm: bool = False

    @pydantic.field_validator("crop_freq", "crop_time")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 100:
            raise ValueError(f"expected [low, high] with 0 < low <= high <= 100, got {list(value)}")
        return value


class ViewsConfig(Section):
    """What the two views of a clip are made of, before they are augmented."""

    # the noise that moves a synthetic clip's parameters, for each view ("Audio Doppelgängers", arXiv 2406.05923)
    delta: float = Field(default=0.25, ge=0, le=1)
    # the probability that a recording's second view is of another clip of its group, the manifest's column; 0: one crop
    renditions: float = Field(default=0.0, ge=0, le=1)


class SynthesisConfig(Section):
    """The sounds of ``--data synthetic`` and ``--data synthetic+POOL``."""

    share: float = Field(default=0.5, gt=0, lt=1)  # of the clips of a batch that are synthetic, beside a pool
    families: tuple[str, ...] = Field(default=SOUND_FAMILIES, min_length=1, max_length=64)  # twice: twice as often
    epoch_clips: Count = 10_000  # an epoch of a stream that has no end

    @pydantic.field_validator("families")
    @classmethod
    def _known_families(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in SOUND_FAMILIES:
                raise ValueError(f"there is no family {name!r}. {did_you_mean(name, SOUND_FAMILIES)}")
        return value


class ProjectorConfig(Section):
    """Dropout, then linears without bias of these output widths, BatchNorm and ReLU between them."""

    widths: tuple[Width, ...] = Field(default=(8192, 8192), min_length=1, max_length=64)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class LossConfig(Section):
    """scale * (diagonal * sum_i (1 - C_ii)^2 + lambd * sum_{i != j} C_ij^2).

    DeLoRes-M: contrastive * InfoNCE, plus one such term for each of ``layers``.
    """

    lambd: Weight = 0.0051
    diagonal: Weight = 1.0
    scale: Weight = 1.0  # 0: DeLoRes-M without its decorrelation loss
    contrastive: Weight = 1.0  # of DeLoRes-M alone; 0: without it
    layers: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)  # of DeLoRes-M: which poolings, 1 to 3

    @pydantic.field_validator("layers")
    @classmethod
    def _poolings(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value) & set(range(1, POOLINGS + 1))):
            raise ValueError(f"expected some of 1, 2, 3 in this order, got {list(value)}")
        return value


class MocoConfig(Section):
    """The contrastive half of DeLoRes-M (MoCo v1); DeLoRes-S does not use it."""

    dim: Width = 128
    queue: Count = 65536
    momentum: float = Field(default=0.999, ge=0, le=1)
    temperature: float = Field(default=0.07, ge=1e-4, le=1e4)


class OptimizerConfig(Section):
    """Biases and norms (all of one dimension): no weight decay, no LARS adaptation, rate ``lr_bias``."""

    kind: Literal["lars", "sgd", "adamw"] = "lars"
    lr: Rate = 0.2
    lr_bias: Rate | None = 0.0048  # null: the same as lr
    scale_lr: bool = True  # both rates are for a batch of 256 and grow with it
    momentum: float = Field(default=0.9, ge=0, lt=1)  # beta_1 of adamw
    weight_decay: float = Field(default=1e-6, ge=0, le=1e3)
    eta: Rate = 1e-3  # the trust coefficient of lars


class ScheduleConfig(Section):
    """The learning rate over the steps of a run: a linear warm-up, then a cosine or a constant."""

    kind: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, le=1)  # share of all steps: 10 of 100 epochs
    final: float = Field(default=1e-3, ge=0, le=1)  # the cosine ends at this multiple of the base rate


class DataConfig(Section):
    """How the audio is read, cached and cut, and what its statistics are measured on."""

    threads: int = Field(default=2, ge=0, le=1024)  # background decoding; 0 decodes in the training thread
    prefetch: int = Field(default=4, ge=1, le=1024)  # batches made ahead
    cache_mb: int = Field(default=1024, ge=0, le=LARGEST)  # decoded audio kept in memory, 16 bit
    piece_s: float = Field(default=30.0, ge=0.05, le=86_400)  # longer recordings count as several clips
    statistics_clips: Count = 4096  # crops that mean and std are measured on
    splits: tuple[str, ...] | None = None  # of a task folder; null: train, or all folds


class DecorrelationConfig(Section):
    """How the maps of the scene's parts "<name>_decorrelated" are learnt when training has ended."""

    clips: int = Field(default=4096, ge=2, le=LARGEST)  # that two views of are compared, each at most once
    shrinkage: Rate = 1.0  # of the covariance within clips, in its mean variances
    dims: dict[str, Count] = {}  # of a part, by its plain name, at most so many dimensions

    @pydantic.field_validator("dims")
    @classmethod
    def _known_names(cls, value: dict[str, int]) -> dict[str, int]:
        if value:
            check_scene([name + DECORRELATED for name in value])
        return value


class PretrainConfig(Section):
    """Everything that decides the result of a run, and a few settings that change its speed only."""

    method: Literal["delores-s", "delores-m"] = "delores-s"
    frontend: FrontendConfig = FrontendConfig()
    encoder: EncoderConfig = EncoderConfig()
    segment_s: float = Field(default=0.95, gt=0, le=3600)
    # what the encoder is shown: (x - mean) / std with the statistics of the pre-training audio, or x as it is
    normalization: Literal["corpus", "none"] = "corpus"
    views: ViewsConfig = ViewsConfig()
    augment: AugmentConfig = AugmentConfig()
    projector: ProjectorConfig = ProjectorConfig()
    loss: LossConfig = LossConfig()
    moco: MocoConfig = MocoConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    data: DataConfig = DataConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    decorrelation: DecorrelationConfig = DecorrelationConfig()
    batch_size: int = Field(default=1024, ge=2, le=LARGEST)
    epochs: float = Field(default=100, gt=0, le=1e9)
    steps: Count | None = None  # when given, it takes the place of epochs
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    scene: tuple[str, ...] = ("pooled",)  # what the checkpoint's scene embedding is made of
    timestamp: tuple[str, ...] = ("frames",)  # and its timestamp embeddings
    # "auto": bfloat16 autocast where a product timed at the start is faster in it, else float32
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    channels_last: bool = True
    device: str = "auto"
    log_every: Count = 10  # steps per line of log.jsonl
    save_every: Count = 200  # steps between training states

    @pydantic.field_validator("scene", "timestamp")
    @classmethod
    def _known_parts(cls, value: tuple[str, ...], info: pydantic.ValidationInfo) -> tuple[str, ...]:
        return check_scene(value) if info.field_name == "scene" else check_timestamp(value)

    @pydantic.model_validator(mode="after")
    def _fits(self) -> PretrainConfig:
        if self.encoder.n_mels != self.frontend.n_mels:
            raise ValueError(
                f"encoder.n_mels is {self.encoder.n_mels} and frontend.n_mels {self.frontend.n_mels}: "
                "set both to one value"
            )
        if self.segment_frames < 2**POOLINGS:
            raise ValueError(f"segment_s of {self.segment_s} s is too short: expected at least 8 mel frames")
        decorrelates = self.loss.scale * (self.loss.diagonal + self.loss.lambd) > 0
        if not decorrelates and (self.method == "delores-s" or not self.loss.contrastive):
            raise ValueError("every term of the loss has the weight 0: raise one of loss.*")
        return self

    @property
    def segment_samples(self) -> int:
        return round(self.segment_s * self.frontend.sample_rate)

    @property
    def segment_frames(self) -> int:
        return 1 + self.segment_samples // self.frontend.hop_length

    def total_steps(self, n_clips: int) -> int:
        """Steps of the whole run over a corpus of ``n_clips``."""
        return self.steps or max(1, math.ceil(self.epochs * n_clips / self.batch_size))


def list_presets() -> list[str]:
    """The names of the bundled presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(preset: str | Path, overrides: Iterable[str] = ()) -> PretrainConfig:
    """The validated configuration of a preset or a YAML file, with ``key.sub=value`` overrides applied.

    Raises:
        DeloresError: unknown preset or key (with a suggestion), or a value that does not fit.
    """
    values = _read(_find(preset))
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise DeloresError(f"expected an override of the form key.sub=value, got {override!r}")
        _set(values, key.strip().split("."), parse_yaml(text, f"the value of {key}"))
    return _build(values)


def config_to_dict(config: PretrainConfig) -> dict[str, Any]:
    """The configuration as plain dicts, lists, numbers and strings; feeding it back gives the same one."""
    return config.model_dump(mode="json")


def config_to_yaml(config: PretrainConfig) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads."""
    return yaml.safe_dump(config_to_dict(config), sort_keys=False, default_flow_style=None, width=110)


def differences(config: PretrainConfig | Mapping[str, Any], base: PretrainConfig | Mapping[str, Any]) -> dict[str, Any]:
    """{key.sub: its value in ``config``} wherever that is not the one of ``base``, in the order of the sections.

    Either may be the dict that another version stored. A key that an older one lacks has its default, for new keys
    come with defaults that change no existing run; one that only a newer ``base`` has is None here.
    """
    now, then = _flat(config), _flat(base)
    return {key: now.get(key) for key in now | then if now.get(key) != then.get(key)}


def _flat(config: PretrainConfig | Mapping[str, Any]) -> dict[str, Any]:
    """{key.sub: value}, JSON values, of every key there is."""
    values = config_to_dict(config) if isinstance(config, PretrainConfig) else config
    return dict(_leaves(_merge(config_to_dict(PretrainConfig()), dict(values)), ""))


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _find(preset: str | Path) -> Path:
    text = str(preset)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        path = Path(preset)
        if not path.is_file():
            raise DeloresError(f"there is no configuration file {path}: give a YAML file or a preset's name")
        return path
    if text not in list_presets():
        raise DeloresError(f"there is no preset {text!r}. {did_you_mean(text, list_presets())}")
    return PRESETS / f"{text}.yaml"


def _read(path: Path, depth: int = 0) -> dict[str, Any]:
    """The values of a file over those of its ``base``, if it names one."""
    values = read_yaml(path)
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise DeloresError(f"{path}: expected keys and values, got {type(values).__name__}")
    base = values.pop("base", None)
    if base is None:
        return values
    if depth > 8:
        raise DeloresError(f"{path}: its base configurations form a circle")
    return _merge(_read(_find(str(base)), depth + 1), values)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise DeloresError(f"{'.'.join(keys)}: {key} is a value, not a section")
    values[keys[-1]] = value


def _build(values: dict[str, Any]) -> PretrainConfig:
    _check_keys(values, PretrainConfig, "")
    try:
        return PretrainConfig(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        # A check of the whole tree (no place) names its keys itself, and its input is the whole tree.
        message = first["msg"].removeprefix("Value error, ")
        said = not where or isinstance(first["input"], dict) or " got " in message
        got = "" if said else f", got {shown(first['input'])}"
        raise DeloresError(f"configuration{' ' + where if where else ''}: {message}{got}") from None


def _check_keys(values: Mapping[str, Any], section: Any, prefix: str) -> None:
    """Raises at the first key that ``section`` (a pydantic model or a dataclass) does not have."""
    for key, value in values.items():
        inner = _sections(section).get(str(key), _MISSING)
        if inner is _MISSING:
            hint = did_you_mean(str(key), _sections(section))
            raise DeloresError(f"unknown configuration key {prefix + str(key)!r}. {hint}")
        if inner is None:
            continue
        if not isinstance(value, Mapping):
            raise DeloresError(f"configuration {prefix}{key}: expected a section of keys, got {value!r}")
        _check_keys(value, inner, f"{prefix}{key}.")


_MISSING = object()


def _sections(section: Any) -> dict[str, Any]:
    """Key -> the class of the section below it, or None for a plain value."""
    if dataclasses.is_dataclass(section):
        return dict.fromkeys(field.name for field in dataclasses.fields(section))
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        kind = field.annotation
        plain = isinstance(kind, type) and get_origin(kind) is None  # to 3.10, dict[str, int] is a type
        nested = plain and (issubclass(kind, Section) or dataclasses.is_dataclass(kind))
        found[name] = kind if nested else None
    return found
