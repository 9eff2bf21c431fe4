"""The papers' ablations as configuration keys: each is there, changes the training, and at its default changes none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hear_delores.checkpoint import load_checkpoint
from hear_delores.errors import DeloresError
from hear_delores.frontend import LogMel
from pretrain.augment import Augmenter
from pretrain.config import AugmentConfig, config_to_dict, differences, load_config
from pretrain.data.corpus import Corpus
from pretrain.data.listening import measure_statistics
from pretrain.methods import build_method
from pretrain.training.loop import Run
from pretrain.training.start import pretrain
from pretrain.training.state import load_state

TINY = ["encoder.channels=8", "encoder.embedding_size=16", "projector.widths=[24,24]", "projector.dropout=0"]
TINY += ["encoder.dropout=0", "augment.mixup_memory=20", "moco.queue=20", "moco.dim=8", "segment_s=0.3"]
TINY += ["batch_size=8", "steps=2", "log_every=1", "precision=float32"]
TINY += ["augment.level_db=0", "augment.equaliser_db=0", "scene=[pooled]"]

SWITCHES = {
    "each augmentation off": ["augment.mixup=false", "augment.crop=false"],
    "a level and an equaliser": ["augment.level_db=6", "augment.equaliser_db=6"],
    "projector width and depth": ["projector.widths=[12,24]", "projector.widths=[24]", "projector.widths=[24,24,24]"],
    "lambda": ["loss.lambd=5e-5"],
    "which layers carry the decorrelation loss": ["loss.layers=[1]", "loss.layers=[2,3]"],
    "queue size": ["moco.queue=40"],
    "momentum": ["moco.momentum=0.5"],
    "temperature": ["moco.temperature=0.5"],
    "normalisation": ["normalization=none", "augment.post_norm=true", "augment.mixup_domain=log_mel"],
    "segment length": ["segment_s=0.5"],
    "width of the encoder": ["encoder.embedding_size=24", "encoder.channels=4"],
    "both terms' weights": ["loss.contrastive=0.5", "loss.contrastive=0", "loss.scale=0.1", "loss.scale=0"],
    "diagonal against off-diagonal": ["loss.diagonal=0.5"],
}
OF_M_ALONE = ("moco.", "loss.layers", "loss.contrastive", "loss.scale=0")
CASES = [(m, switch) for m in "sm" for switches in SWITCHES.values() for switch in switches
         if m == "m" or not switch.startswith(OF_M_ALONE) or switch == "loss.scale=0.1"]  # fmt: skip


@pytest.fixture(scope="module")
def bases(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    return {m: losses(load_config(f"demo-{m}", TINY), clips, tmp_path_factory.mktemp(m)) for m in "sm"}


def losses(config: Any, clips: Path, out: Path) -> list[float]:
    """The training losses of two steps. The second follows an update and a filled mixup memory."""
    torch.set_num_threads(1)
    pretrain(config, clips, out / "run", quiet=True)
    lines = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize(("method", "switch"), CASES)
def test_a_switch_changes_the_training(
    method: str, switch: str, bases: dict[str, list[float]], clips: Path, tmp_path: Path
) -> None:
    config = load_config(f"demo-{method}", [*TINY, switch])
    assert len(differences(config, load_config(f"demo-{method}", TINY))) == 1
    found = losses(config, clips, tmp_path)
    assert all(loss == loss for loss in found)
    assert found != bases[method]


@pytest.mark.parametrize(
    ("method", "overrides", "message"),
    [
        ("s", ["loss.scale=0"], "every term of the loss has the weight 0"),
        ("s", ["loss.diagonal=0", "loss.lambd=0"], "every term of the loss has the weight 0"),
        ("m", ["loss.scale=0", "loss.contrastive=0"], "every term of the loss has the weight 0"),
        ("m", ["loss.layers=[]"], "loss.layers: .*at least 1 item"),
        ("m", ["loss.layers=[4]"], "loss.layers: expected some of 1, 2, 3 in this order"),
        ("m", ["loss.layers=[2,1]"], "loss.layers: expected some of 1, 2, 3 in this order"),
        ("m", ["loss.layers=[1,1]"], "loss.layers: expected some of 1, 2, 3 in this order"),
        ("m", ["loss.contrastive=-1"], "loss.contrastive: .*greater than or equal to 0"),
        ("s", ["normalization=batch"], "normalization: .*'corpus' or 'none'"),
    ],
)
def test_a_switch_that_cannot_be_is_one_line(method: str, overrides: list[str], message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        load_config(f"demo-{method}", overrides)
    assert "\n" not in str(caught.value)


def test_without_the_contrast_or_the_layers_the_loss_is_the_other_half() -> None:
    view = torch.randn(2, 6, 1, 64, 16, generator=torch.Generator().manual_seed(0))
    found = {}
    for switch in ("loss.contrastive=1", "loss.contrastive=0", "loss.scale=0"):
        torch.manual_seed(0)
        loss, metrics = build_method(load_config("demo-m", [*TINY, switch]))(*view)
        found[switch] = loss.item(), {name: value.item() for name, value in metrics.items()}
    whole, layers, contrast = found.values()
    assert whole[0] == pytest.approx(layers[0] + contrast[0])
    assert contrast[0] == whole[1]["info_nce"] == layers[1]["info_nce"]  # watched all the same
    assert layers[0] == pytest.approx(sum(whole[1][f"layer{i}"] for i in (1, 2, 3)))


def test_without_normalisation_the_checkpoint_hears_the_log_mel_itself(clips: Path, tmp_path: Path) -> None:
    config = load_config("demo-s", [*TINY, "normalization=none"])
    assert measure_statistics(Corpus.from_path(clips), LogMel(), config) == (0.0, 1.0)
    model = load_checkpoint(pretrain(config, clips, tmp_path / "run", quiet=True))
    assert (model.mean, model.std) == (0.0, 1.0)


def test_post_norm_gives_each_view_mean_0_and_deviation_1() -> None:
    x = 5 * torch.randn(6, 64, 32, generator=torch.Generator().manual_seed(0)) - 9
    plain, normed = (
        Augmenter(AugmentConfig(post_norm=on), 64, 32, -9.0, 4.0)(x, torch.Generator().manual_seed(1))
        for on in (False, True)
    )
    for a, b in zip(plain, normed, strict=True):
        assert float(b.mean()) == pytest.approx(0, abs=1e-5)
        assert float(b.std(correction=0)) == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(b, (a - a.mean()) / a.std(correction=0), rtol=1e-4, atol=1e-5)
    silent = Augmenter(AugmentConfig(post_norm=True), 64, 32, 0.0, 1.0)(torch.zeros(2, 64, 32), torch.Generator())
    assert all(bool(torch.isfinite(view).all()) for view in silent)


def test_a_state_from_before_a_switch_was_there_is_resumed(clips: Path, tmp_path: Path) -> None:
    config = load_config("demo-m", [*TINY, "save_every=1"])
    whole = pretrain(config, clips, tmp_path / "whole", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_finish", lambda self: self.out)
        patch.setattr(Run, "save", _save_the_first(Run.save))
        pretrain(config, clips, tmp_path / "parts", quiet=True)
    path = tmp_path / "parts" / "state.pt"
    state = load_state(path)
    assert state["step"] == 1
    old = state["config"]
    new = {"loss": ("diagonal", "layers", "contrastive"), "augment": ("post_norm", "level_db", "equaliser_db")}
    for section, keys in new.items():
        for key in keys:
            del old[section][key]
    del old["normalization"]
    torch.save(state, path)
    other = load_config("demo-m", [*TINY, "loss.layers=[1,2]"])
    with pytest.raises(DeloresError, match=r"loss\.layers is \[1, 2\] now and was \[1, 2, 3\]"):
        pretrain(other, clips, tmp_path / "parts", resume=True, quiet=True)
    parts = pretrain(config, clips, tmp_path / "parts", resume=True, quiet=True)
    assert parts.read_bytes() == whole.read_bytes()


def _save_the_first(save: Any) -> Any:
    return lambda self: save(self) if self.step == 1 else None


def test_a_key_of_a_newer_version_is_a_difference() -> None:
    config = load_config("demo-s")
    newer = config_to_dict(config)
    assert differences(config, newer) == {}
    newer["loss"]["sharpness"] = 2
    assert differences(newer, config) == {"loss.sharpness": 2}
    assert differences(config, newer) == {"loss.sharpness": None}
