"""Presets, overrides, and what a wrong configuration says."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig, config_to_dict, config_to_yaml, list_presets, load_config

PRESETS = [
    "delores-m-free",
    "delores-m-released",
    "delores-m-shipped",
    "delores-m-small",
    "delores-m-synthetic",
    "delores-s-paper",
    "delores-s-released",
    "delores-s-shipped",
    "delores-s-small",
    "delores-s-synthetic",
    "demo-m",
    "demo-s",
]


def test_the_presets_are_there() -> None:
    assert list_presets() == PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_survive_a_round_trip(preset: str, tmp_path: Path) -> None:
    config = load_config(preset)
    assert config.method == ("delores-m" if "-m" in preset else "delores-s")
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config))
    assert load_config(path) == config
    assert PretrainConfig(**config_to_dict(config)) == config


@pytest.mark.parametrize("text", ["5e-5", "5E-5", "5.e-5", "0.5e-4", ".5e-4", "+5e-5", "0.00005"])
def test_exponents_are_floats(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"loss: {{lambd: {text}}}\naugment: {{crop_time: [1e-1, 1e0]}}\n")
    for config in (load_config(path), load_config("demo-s", [f"loss.lambd={text}"])):
        assert type(config.loss.lambd) is float
        assert config.loss.lambd == pytest.approx(5e-5)
    assert load_config(path).augment.crop_time == (0.1, 1.0)


def test_names_that_look_like_exponents_stay_names(tmp_path: Path) -> None:
    assert load_config("demo-s", ["data.splits=[e5, 1e, fold01]"]).data.splits == ("e5", "1e", "fold01")


def test_overrides_reach_every_depth_and_leave_the_rest() -> None:
    config = load_config("delores-s-small", ["seed=7", "optimizer.lr=0.5", "frontend.mel_scale=htk", "steps=null"])
    assert (config.seed, config.optimizer.lr, config.frontend.mel_scale, config.steps) == (
        7,
        0.5,
        "htk",
        None,
    )
    assert config.optimizer.kind == load_config("delores-s-small").optimizer.kind


def test_a_file_may_build_on_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: demo-s\noptimizer: {lr: 2e-3}\n")
    config = load_config(path)
    assert config == load_config("demo-s", ["optimizer.lr=2e-3"])
    path.write_text(f"base: {path}\n")
    with pytest.raises(DeloresError, match="circle"):
        load_config(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr=1", "unknown configuration key 'optimiser'. Did you mean 'optimizer'"),
        ("optimizer.learning=1", "'optimizer.learning'. Available: eta, kind, lr"),
        ("optimizer.lrr=1", "Did you mean 'lr'"),
        ("encoder.embeding_size=5", "Did you mean 'embedding_size'"),
        ("batch_size=many", "batch_size: .* got 'many'"),
        ("batch_size=1", "batch_size: .*greater than or equal to 2"),
        ("method=delores-x", "method: .*'delores-s' or 'delores-m'"),
        ("optimizer.lr=.nan", "optimizer.lr: .*finite"),
        ("optimizer=3", "optimizer: expected a section of keys, got 3"),
        ("seed.deep=3", "seed"),
        ("seed", "expected an override of the form key.sub=value"),
        ("augment.crop_time=[1.5,0.6]", "low <= high"),
        ("encoder.n_mels=128", "n_mels is 128 and frontend.n_mels 64"),
        ("segment_s=0.01", "too short"),
        ("scene=[poled]", "configuration scene: .*Did you mean 'pooled'"),
        ("timestamp=[layer1]", "configuration timestamp: .*layer1.*Available: frames, .*layer3_std_5"),
        ("seed=[", "not YAML"),
        ("seed=100000000000000000000000", "seed: .*less than or equal to .* got an integer of 77 bits"),
        ("seed=-1", "seed: .*greater than or equal to 0, got -1"),
        ("seed=true", "seed: expected a number, got True"),
        ("batch_size='64'", "batch_size: expected a number, got '64'"),
        ("batch_size=10000000000", "batch_size: .*less than or equal to"),
        ("steps=true", "steps: expected a number"),
        ("optimizer.lr_bias=true", "optimizer.lr_bias: expected a number"),
        ("optimizer.lr=1e300", "optimizer.lr: .*less than or equal to"),
        ("projector.widths=[0]", r"projector.widths.0: .*greater than or equal to 1, got 0"),
        ("projector.widths=[8, -3]", r"projector.widths.1: .*got -3"),
        ("projector.widths=[true]", r"projector.widths: expected a number"),
        ("projector.widths=[]", r"projector.widths: "),
        ("decorrelation.dims={frames_mean: true}", "decorrelation.dims: expected a number"),
        ("segment_s=1e9", "segment_s: .*less than or equal to 3600"),
        ("epochs=.inf", "epochs: .*finite"),
        ("data.piece_s=1e-9", "data.piece_s: .*greater than or equal to 0.05"),
        ("augment.crop_time=[1, 1e9]", "high <= 100"),
        ("moco.temperature=1e-300", "moco.temperature: "),
        ("frontend.sample_rate=0", "`sample_rate`"),
        ("frontend.sample_rate=true", "expected sample_rate to be a number"),
        ("frontend.n_fft=1000000000000", "`n_fft` to be at most 65536"),
        ("frontend.f_max=.nan", "f_max"),
        ("frontend.f_min='60'", "expected f_min to be a number"),
        ("frontend.eps=1e9", "`eps` to be at most 1"),
        ("encoder.channels=0", "`channels`"),
        ("encoder.embedding_size=100000", "at most 1,000,000,000 parameters"),
        ("encoder.dropout=true", "expected dropout to be a number"),
    ],
)
def test_what_does_not_fit_is_one_line_with_its_key(override: str, message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        load_config("demo-s", [override])
    assert "\n" not in str(caught.value)


def test_every_number_has_a_largest_and_is_no_truth_value() -> None:
    """A new key without bounds would let 10^23 through, to overflow further down."""

    def numbers(section: type[pydantic.BaseModel], prefix: str = "") -> list[str]:
        found = []
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, pydantic.BaseModel):
                found += numbers(field.annotation, f"{prefix}{name}.")
            elif any(kind in repr(field.annotation) for kind in ("int", "float")):
                found.append(prefix + name)
        return found

    keys = [*numbers(PretrainConfig), *(f"frontend.{key}" for key in ("sample_rate", "n_fft", "hop_length", "eps"))]
    keys += [f"encoder.{key}" for key in ("channels", "embedding_size", "dropout")]
    assert len(keys) > 40
    for key in keys:
        for value in ("1" + "0" * 30, "-1", "true", "'3'"):
            for text in (value, f"[{value}]", f"[{value}, {value}]", f"{{frames_mean: {value}}}"):
                with pytest.raises(DeloresError):
                    load_config("demo-m", [f"{key}={text}"])


def test_unknown_presets_and_files() -> None:
    with pytest.raises(DeloresError, match="Did you mean 'delores-s-small'"):
        load_config("delores-s-smal")
    with pytest.raises(DeloresError, match="there is no configuration file"):
        load_config("nowhere/mine.yaml")


def test_configurations_are_frozen_and_count_steps() -> None:
    config = load_config("demo-s", ["steps=null", "epochs=2.5", "batch_size=64"])
    assert config.total_steps(100) == 4  # 250 clips in batches of 64
    assert load_config("demo-s", ["steps=9"]).total_steps(100) == 9
    with pytest.raises(pydantic.ValidationError):
        config.seed = 3  # type: ignore[misc]
