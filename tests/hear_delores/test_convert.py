"""``convert``: the same embeddings from a file of ours, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import hear_delores
from hear_delores.checkpoint import load_checkpoint, read_header, save_checkpoint, weights_hash
from hear_delores.convert import convert
from hear_delores.errors import DeloresError
from hear_delores.foreign import FRONTENDS
from hear_delores.frontend import FrontendConfig

PRODUCERS = ["BYOL-A", "DeLoRes", "LAPE DeLoRes-M", "LAPE DeLoRes-S", "older DeLoRes-M"]
UNUSED = {
    "BYOL-A": {},
    "DeLoRes": {"epoch": 0, "optimizer": 0},
    "LAPE DeLoRes-M": {"encoder_q.fc": 2, "encoder_k": 22, "queue": 1, "queue_ptr": 1},
    "LAPE DeLoRes-S": {"projector": 1, "global_step": 0},
    "older DeLoRes-M": {"encoder_q.fc_2": 2, "queue": 1, "queue_ptr": 1},
}


@pytest.fixture
def foreign(published: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The checkpoint of the producer that the test is parametrised with, or else of BYOL-A."""
    path = tmp_path / "foreign.ckpt"
    torch.save(published.content[getattr(request, "param", "BYOL-A")], path)
    return path


def assert_same_embeddings(a: Any, b: Any) -> None:
    audio = torch.rand(3, 20000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    scenes = [hear_delores.get_scene_embeddings(audio, model) for model in (a, b)]
    frames = [hear_delores.get_timestamp_embeddings(audio, model) for model in (a, b)]
    assert torch.equal(*scenes)
    assert torch.equal(frames[0][0], frames[1][0])
    assert torch.equal(frames[0][1], frames[1][1])
    assert float(scenes[0].abs().sum()) > 0


@pytest.mark.parametrize(("foreign", "producer"), [(name, name) for name in PRODUCERS], indirect=["foreign"])
def test_the_embeddings_are_those_of_the_foreign_file_bit_for_bit(foreign: Path, producer: str, tmp_path: Path) -> None:
    foreign.with_name("foreign.ckpt.json").write_text('{"mean": -5.5, "std": 4.25}')
    target = tmp_path / "new" / "ours.safetensors"
    model = convert(foreign, target)
    assert_same_embeddings(hear_delores.load_model(foreign), hear_delores.load_model(target))
    header = read_header(target)
    assert header["method"] == producer
    assert header["config"] == {"imported_from": "foreign.ckpt", "unused": UNUSED[producer]}
    assert header["normalization"] == {"mean": -5.5, "std": 4.25}
    assert FrontendConfig.from_dict(header["frontend"]) == FRONTENDS["byol-a" if producer == "BYOL-A" else "delores"]
    assert weights_hash(model) == weights_hash(load_checkpoint(target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_too(published: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in published.content["BYOL-A"].items()}
    torch.save(tensors, tmp_path / "half.pth")
    convert(tmp_path / "half.pth", tmp_path / "ours.safetensors", mean=-5.0, std=4.0)
    foreign = load_checkpoint(tmp_path / "half.pth", mean=-5.0, std=4.0)
    assert_same_embeddings(foreign, load_checkpoint(tmp_path / "ours.safetensors"))


def test_a_file_of_ours_is_written_again(foreign: Path, tmp_path: Path) -> None:
    model = load_checkpoint(foreign, mean=-5.0, std=4.0)
    model.scene = ("pooled", "layer3_std")
    model.scene_embedding_size = 32 + 512
    save_checkpoint(tmp_path / "half.safetensors", model, dtype=torch.float16)
    convert(tmp_path / "half.safetensors", tmp_path / "again.safetensors")
    assert_same_embeddings(*(load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("half", "again")))
    with pytest.raises(DeloresError, match="holds its own front-end"):
        convert(tmp_path / "half.safetensors", tmp_path / "b.safetensors", mean=0.0, std=1.0)


def test_what_the_file_cannot_say_is_given(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(DeloresError, match=r"normalisation statistics .*--mean and --std"):
        convert(foreign, tmp_path / "a.safetensors")
    with pytest.raises(DeloresError, match=r"no front-end 'byola'\. Did you mean 'byol-a'"):
        convert(foreign, tmp_path / "a.safetensors", frontend="byola", mean=-5.0, std=4.0)
    convert(foreign, tmp_path / "a.safetensors", frontend="delores", mean=-5.0, std=4.0)
    model = load_checkpoint(tmp_path / "a.safetensors")
    assert (model.frontend.config, model.mean, model.std) == (FrontendConfig(), -5.0, 4.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "foreign.ckpt"]


def test_nothing_is_overwritten_unless_asked_and_nothing_half_written(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, given = tmp_path / "ours.safetensors", {"mean": -5.0, "std": 4.0}
    target.write_bytes(b"precious")
    with pytest.raises(DeloresError, match="exists: choose another name, or replace it with --force"):
        convert(foreign, target, **given)
    with pytest.raises(DeloresError, match="is a folder"):
        convert(foreign, tmp_path, **given)
    with pytest.raises(DeloresError, match="is the file to be converted"):
        convert(foreign, foreign, force=True, **given)

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hear_delores.checkpoint.save_file", full)
        with pytest.raises(DeloresError, match="No space left"):
            convert(foreign, target, force=True, **given)
    assert target.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.ckpt", "ours.safetensors"]
    convert(foreign, target, force=True, **given)
    assert_same_embeddings(load_checkpoint(target), load_checkpoint(foreign, **given))


def test_strict_and_safe_as_load_is(published: Any, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    tensors = dict(published.content["BYOL-A"])
    torch.save({**tensors, "trap": Trap()}, tmp_path / "trap.pth")
    torch.save({name: value for name, value in tensors.items() if name != "fc.3.bias"}, tmp_path / "missing.pth")
    torch.save({**tensors, "fc.6.weight": torch.zeros(2)}, tmp_path / "extra.pth")
    (tmp_path / "wrong.pth.json").write_text(json.dumps({"men": 1}))
    torch.save(tensors, tmp_path / "wrong.pth")
    for name, message, given in (
        ("trap", "could run code", {"mean": -5.0, "std": 4.0}),
        ("missing", r"fc\.3\.bias is missing", {"mean": -5.0, "std": 4.0}),
        ("extra", r"fc\.6\.weight besides", {"mean": -5.0, "std": 4.0}),
        ("wrong", "expected", {}),
        ("absent", "there is no such file", {"mean": -5.0, "std": 4.0}),
    ):
        with pytest.raises(DeloresError, match=f"(?i){message}") as caught:
            convert(tmp_path / f"{name}.pth", tmp_path / "ours.safetensors", **given)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "ours.safetensors").exists()
