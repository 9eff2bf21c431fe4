"""The maps of decorrelated scene parts: learnt at the end of a run, the same however it got there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hear_delores.checkpoint import load_checkpoint
from hear_delores.decorrelation import fit_decorrelation
from hear_delores.errors import DeloresError
from pretrain import decorrelate
from pretrain.augment import Augmenter
from pretrain.config import PretrainConfig, load_config
from pretrain.training import loop
from pretrain.training.start import pretrain
from pretrain.training.state import load_state

SCENE = ["layer3_std_decorrelated", "pooled", "layer2_thirds_decorrelated"]
TINY = ["steps=3", "batch_size=4", "encoder.channels=4", "encoder.embedding_size=16", "projector.widths=[8,8]"]


def configuration(*overrides: str) -> PretrainConfig:
    return load_config("demo-m", [*TINY, f"scene=[{','.join(SCENE)}]", *overrides])


def train(config: PretrainConfig, data: Path, out: Path, **options: Any) -> Path:
    return pretrain(config, data, out, quiet=True, **options)


def test_a_run_learns_the_maps_of_its_scene_and_they_change_nothing_else(clips: Path, tmp_path: Path) -> None:
    learnt = load_checkpoint(train(configuration(), clips, tmp_path / "learnt"))
    assert set(learnt.decorrelation) == {"layer3_std", "layer2_thirds"}
    assert learnt.scene == tuple(SCENE)
    plain = load_checkpoint(train(configuration("scene=[pooled]"), clips, tmp_path / "plain"))
    for name, value in plain.encoder.state_dict().items():
        assert torch.equal(value, learnt.encoder.state_dict()[name])
    state, other = (load_state(tmp_path / name / "state.pt") for name in ("learnt", "plain"))
    assert torch.equal(state["augmenter"]["memory.ring"], other["augmenter"]["memory.ring"])


def test_views_of_a_clip_differ_less_after_the_map(clips: Path, tmp_path: Path) -> None:
    """Of the variance of all views, a smaller share is within clips: what the map is for."""
    shares: list[float] = []

    def watched(first: torch.Tensor, second: torch.Tensor, shrinkage: float, dimensions: int | None) -> Any:
        found = fit_decorrelation(first, second, shrinkage, dimensions)
        both = torch.stack([first, second])
        for values in ((both - both.mean((0, 1))) / both.std((0, 1)).clamp(min=1e-9), found(both.flatten(0, 1))):
            a, b = values.reshape(2, len(first), -1)
            within = (a - b).square().sum() / 2 / len(first)
            shares.append(float(within / values.reshape(2 * len(first), -1).var(0, unbiased=False).sum()))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decorrelate, "fit_decorrelation", watched)
        train(configuration(), clips, tmp_path / "run")
    assert len(shares) == 4
    assert shares[1] < shares[0]
    assert shares[3] < shares[2]


@pytest.mark.parametrize(("most", "batch"), [(7, 3), (8, 3), (6, 128), (9, 8), (5, 5)])
def test_every_crop_is_compared_and_batches_hardly_differ(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, batch: int
) -> None:
    found: list[int] = []
    sizes: list[int] = []

    def watched(first: torch.Tensor, second: torch.Tensor, *options: Any) -> Any:
        found.append(len(first))
        return fit_decorrelation(first, second, *options)

    def seen(augmenter: Augmenter, x: torch.Tensor, generator: torch.Generator, *other: torch.Tensor) -> Any:
        sizes.append(len(x))
        return forward(augmenter, x, generator, *other)

    forward = Augmenter.forward
    monkeypatch.setattr(Augmenter, "forward", seen)
    monkeypatch.setattr(decorrelate, "fit_decorrelation", watched)
    monkeypatch.setattr(decorrelate, "BATCH", batch)
    steps = 3
    train(configuration(f"decorrelation.clips={most}", "scene=[layer3_std_decorrelated]"), clips, tmp_path / "run")
    assert found == [most]
    *whole, last = sizes[steps:]
    assert sum(whole) + last == most
    assert all(last <= size <= batch and size - last <= len(whole) for size in whole)


def test_stopped_before_the_checkpoint_was_written_it_ends_in_the_same_file(clips: Path, tmp_path: Path) -> None:
    whole = train(configuration(), clips, tmp_path / "whole")

    def full(*_: Any) -> None:
        raise DeloresError("no room")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", full)
        with pytest.raises(DeloresError, match="no room"):
            train(configuration(), clips, tmp_path / "parts")
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()
    resumed = train(configuration(), clips, tmp_path / "parts", resume=True)
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_finished_run_is_given_another_scene(clips: Path, tmp_path: Path) -> None:
    """Without training again; the same command once more changes nothing."""
    other = "scene=[layer2_std_decorrelated]"
    whole = train(configuration(other), clips, tmp_path / "whole")
    path = train(configuration(), clips, tmp_path / "run")
    train(configuration(), clips, tmp_path / "run", resume=True)
    assert load_checkpoint(path).scene == tuple(SCENE)
    train(configuration(other), clips, tmp_path / "run", resume=True)
    assert path.read_bytes() == whole.read_bytes()
    written = path.stat().st_mtime_ns
    train(configuration(other), clips, tmp_path / "run", resume=True)
    assert path.stat().st_mtime_ns == written


def test_neither_threads_nor_a_smaller_cache_change_the_maps(clips: Path, tmp_path: Path) -> None:
    one = train(configuration("data.threads=0"), clips, tmp_path / "one")
    other = train(configuration("data.threads=3", "data.cache_mb=0"), clips, tmp_path / "other")
    assert torch.equal(
        load_checkpoint(one).decorrelation["layer3_std"].matrix,
        load_checkpoint(other).decorrelation["layer3_std"].matrix,
    )


def test_a_part_is_given_fewer_dimensions_each_third_alike(clips: Path, tmp_path: Path) -> None:
    """And a finished run still fewer, without training again."""
    config = configuration("decorrelation.dims={layer2_thirds: 5, layer3_std: 9999}")
    assert config.decorrelation.dims == {"layer2_thirds": 5, "layer3_std": 9999}
    path = train(config, clips, tmp_path / "run")
    model = load_checkpoint(path)
    assert model.decorrelation["layer3_std"].matrix.shape == (32, 32)
    assert model.decorrelation["layer2_thirds"].matrix.shape == (64, 5)
    assert model.scene_embedding_size == 32 + 16 + 3 * 5
    assert model.scene_embeddings(0.1 * torch.randn(2, 9000)).shape == (2, 63)
    train(configuration("decorrelation.dims.layer2_thirds=3"), clips, tmp_path / "run", resume=True)
    assert load_checkpoint(path).scene_embedding_size == 32 + 16 + 3 * 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("scene=[layer3_sdt_decorrelated]", r"layer3_sdt_decorrelated.*layer3_std_decorrelated"),
        ("decorrelation.dims={layer3_maen: 5}", r"decorrelation.dims.*layer3_maen.*layer3_mean"),
        ("decorrelation.dims={layer3_mean: 0}", r"decorrelation.dims.layer3_mean.*greater than or equal to 1"),
        ("decorrelation.dims=7", r"decorrelation.dims.*dictionary"),
    ],
)
def test_unknown_parts_and_sizes_are_refused_before_training(override: str, said: str) -> None:
    with pytest.raises(DeloresError, match=said):
        load_config("demo-m", [override])
