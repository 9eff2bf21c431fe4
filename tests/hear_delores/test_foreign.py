"""Checkpoints of other programs, built here from random tensors under their published names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hear_delores.checkpoint import load_checkpoint, save_checkpoint, weights_hash
from hear_delores.encoder import EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig

D = 32
HTK = FrontendConfig(mel_scale="htk", mel_norm=None)


PRODUCERS = ["BYOL-A", "DeLoRes", "LAPE DeLoRes-M", "LAPE DeLoRes-S", "older DeLoRes-M"]


def encoder_keys(content: dict[str, Any], producer: str) -> dict[str, Tensor]:
    return content if producer == "BYOL-A" else content["state_dict"]


@pytest.mark.parametrize("producer", PRODUCERS)
def test_every_format(published: Any, tmp_path: Path, producer: str) -> None:
    path = tmp_path / "foreign.pth"
    torch.save(published.content[producer], path)
    model = load_checkpoint(path, mean=-5.0, std=4.0)
    x = torch.randn(2, 1, 64, 40)
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(x).frames, published.frames(x), rtol=1e-5, atol=1e-5)
    assert model.encoder.config == EncoderConfig(embedding_size=D)
    assert model.info["method"] == producer
    assert model.frontend.config == (HTK if producer == "BYOL-A" else FrontendConfig())
    assert (model.mean, model.std, model.scene) == (-5.0, 4.0, ("pooled",))
    ours = tmp_path / "ours.safetensors"
    save_checkpoint(ours, model)
    assert weights_hash(load_checkpoint(ours)) == weights_hash(model)


def test_bare_state_dict_of_the_older_code(published: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    torch.save(published.content["older DeLoRes-M"]["state_dict"], path)
    assert load_checkpoint(path, mean=-5.0, std=4.0).info["method"] == "older DeLoRes-M"


def test_legacy_file_of_torch_before_1_6(published: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    torch.save(published.content["BYOL-A"], path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path, mean=-5.0, std=4.0).info["method"] == "BYOL-A"


@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize("tensor", ["0.weight", "fc.3.bias", "running_mean"])
def test_missing_tensor(published: Any, tmp_path: Path, producer: str, tensor: str) -> None:
    """Every encoder tensor must be found: none may keep its random values."""
    content = dict(published.content[producer])
    keys = dict(encoder_keys(content, producer))
    gone = [
        name
        for name in keys
        if name.endswith(tensor) and "fc_2" not in name and "_k." not in name and "projector" not in name
    ][-1]
    del keys[gone]
    path = tmp_path / "foreign.ckpt"
    torch.save(keys if producer == "BYOL-A" else {**content, "state_dict": keys}, path)
    with pytest.raises(DeloresError, match=r"missing|architecture|damaged") as caught:
        load_checkpoint(path, mean=-5.0, std=4.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("producer", "prefix"), [("BYOL-A", ""), ("DeLoRes", "module."), ("LAPE DeLoRes-S", "encoder.encoder.")]
)
def test_extra_tensor(published: Any, tmp_path: Path, producer: str, prefix: str) -> None:
    content = dict(published.content[producer])
    keys = {**encoder_keys(content, producer), f"{prefix}fc.6.weight": torch.zeros(2)}
    path = tmp_path / "foreign.ckpt"
    torch.save(keys if producer == "BYOL-A" else {**content, "state_dict": keys}, path)
    with pytest.raises(DeloresError, match=r"fc\.6\.weight besides"):
        load_checkpoint(path, mean=-5.0, std=4.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": torch.zeros(2)}, "architecture"),
        ({"state_dict": {"conv1.weight": torch.zeros(2)}}, "architecture"),
        ({}, "found nothing"),
        ([torch.zeros(2)], "but got list"),
        (torch.zeros(2), "but got Tensor"),
        ({"features.0.weight": torch.zeros(64, 1, 3, 3)}, "fc.0.weight"),
    ],
)
def test_other_content(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "foreign.pth"
    torch.save(content, path)
    with pytest.raises(DeloresError, match=message):
        load_checkpoint(path, mean=-5.0, std=4.0)


def test_nan_and_wrong_shape(published: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    keys = dict(published.content["BYOL-A"])
    torch.save({**keys, "fc.3.bias": torch.full((D,), float("nan"))}, path)
    with pytest.raises(DeloresError, match="holds NaN"):
        load_checkpoint(path, mean=-5.0, std=4.0)
    torch.save({**keys, "fc.3.bias": torch.zeros(D + 1)}, path)
    with pytest.raises(DeloresError, match="of shape"):
        load_checkpoint(path, mean=-5.0, std=4.0)


class TestStatistics:
    """They are in no foreign file, and are not invented."""

    @pytest.fixture
    def path(self, published: Any, tmp_path: Path) -> Path:
        path = tmp_path / "foreign.pth"
        torch.save(published.content["BYOL-A"], path)
        return path

    def test_must_be_given(self, path: Path) -> None:
        for given in ({}, {"mean": -5.0}, {"std": 4.0}):
            with pytest.raises(DeloresError, match=r"normalisation statistics.*foreign\.pth\.json"):
                load_checkpoint(path, **given)

    def test_beside_the_file(self, path: Path) -> None:
        settings = {"mean": -5.5, "std": 5.0, "frontend": {"f_max": 7000.0}}
        path.with_name("foreign.pth.json").write_text(json.dumps(settings))
        model = load_checkpoint(path)
        assert (model.mean, model.std) == (-5.5, 5.0)
        assert model.frontend.config == FrontendConfig(f_max=7000.0)

    def test_given_ones_win(self, path: Path) -> None:
        path.with_name("foreign.pth.json").write_text('{"mean": 1.0, "std": 2.0}')
        model = load_checkpoint(path, mean=-5.0, std=4.0, frontend=FrontendConfig(eps=1e-6))
        assert (model.mean, model.std, model.frontend.config.eps) == (-5.0, 4.0, 1e-6)

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            '{"men": 1, "std": 1}',
            '{"mean": "a", "std": 1}',
            '{"mean": 0, "std": 1, "frontend": 3}',
        ],
    )
    def test_bad_file_beside(self, path: Path, text: str) -> None:
        path.with_name("foreign.pth.json").write_text(text)
        with pytest.raises(DeloresError) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
