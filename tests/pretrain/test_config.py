"""Presets, overrides, and what a wrong configuration says."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig, config_to_dict, config_to_yaml, list_presets, load_config

PRESETS = [
    "delores-m-released",
    "delores-m-shipped",
    "delores-m-small",
    "delores-s-paper",
    "delores-s-released",
    "delores-s-shipped",
    "delores-s-small",
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
        ("timestamp=[layer1]", "configuration timestamp: .*layer1.*Available: frames, layer3"),
        ("seed=[", "not YAML"),
    ],
)
def test_what_does_not_fit_is_one_line_with_its_key(override: str, message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        load_config("demo-s", [override])
    assert "\n" not in str(caught.value)


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
