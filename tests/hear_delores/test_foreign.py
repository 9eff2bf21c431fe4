"""Checkpoints of other programs, built here from random tensors under their published names."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
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
        ({0: torch.zeros(2), "a": torch.zeros(2)}, "got the key 0 of type int"),
        ({"state_dict": {("a", 1): torch.zeros(2)}}, "of type tuple"),
        ({"method": {}, "optimizer": {}, "augmenter": {}, "config": {}}, "training state"),
        ({"blocks.0.conv.weight": torch.zeros(2)}, "hear_delores' own encoder"),
        ({"module.encoder.blocks.0.conv.weight": torch.zeros(2)}, "hear_delores' own encoder"),
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


class TestWrapped:
    """Names that DistributedDataParallel or torch.compile put their own before."""

    @pytest.mark.parametrize("producer", [name for name in PRODUCERS if name != "BYOL-A"])
    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
    def test_is_read(self, published: Any, tmp_path: Path, producer: str, prefix: str) -> None:
        content = published.content[producer]
        path = tmp_path / "foreign.pth"
        torch.save({"state_dict": {prefix + name: v for name, v in content["state_dict"].items()}}, path)
        model = load_checkpoint(path, mean=-5.0, std=4.0)
        x = torch.randn(2, 1, 64, 40)
        with torch.no_grad():
            torch.testing.assert_close(model.encoder(x).frames, published.frames(x), rtol=1e-5, atol=1e-5)
        assert model.info["method"] == producer

    def test_of_byol_a_it_could_be_either(self, published: Any, tmp_path: Path) -> None:
        path = tmp_path / "foreign.pth"
        torch.save({f"module.{name}": value for name, value in published.content["BYOL-A"].items()}, path)
        with pytest.raises(DeloresError, match=r"BYOL-A's or DeLoRes' tensors, whose front-ends differ: save"):
            load_checkpoint(path, mean=-5.0, std=4.0)
        torch.save({"state_dict": published.content["BYOL-A"]}, path)
        with pytest.raises(DeloresError, match=r"without a 'state_dict' around them"):
            load_checkpoint(path, mean=-5.0, std=4.0)


def test_known_tensors_as_safetensors(published: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({name: value.contiguous() for name, value in published.content["BYOL-A"].items()}, path)
    model = load_checkpoint(path, mean=-5.0, std=4.0)
    torch.save(published.content["BYOL-A"], tmp_path / "foreign.pth")
    assert weights_hash(model) == weights_hash(load_checkpoint(tmp_path / "foreign.pth", mean=-5.0, std=4.0))


class TestOtherTensors:
    """Values that are no plain floating-point tensors of their own."""

    def read(self, published: Any, tmp_path: Path, changes: dict[str, Tensor]) -> Any:
        path = tmp_path / "foreign.pth"
        torch.save({**published.content["BYOL-A"], **changes}, path)
        return load_checkpoint(path, mean=-5.0, std=4.0)

    @pytest.mark.filterwarnings("ignore")  # torch warns where such tensors are made
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: x.to_sparse(), r"it is sparse: save it dense \(\.to_dense"),
            (lambda x: x.to_sparse_csr(), "it is sparse"),
            (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "it is quantised"),
            (lambda x: x.to(torch.complex64), "floating point"),
            (lambda x: x.to(torch.int8), "floating point"),
            (lambda x: torch.empty_like(x, device="meta"), "on the device meta"),
            (lambda x: torch.zeros(1).expand(10**7, 512), r"claim 20,48\d,\d{3},\d{3} bytes"),
            (lambda x: torch.zeros(1).expand(2**40, 512), r"claim 2,25\d,"),
        ],
    )
    def test_is_refused(self, published: Any, tmp_path: Path, change: Any, message: str) -> None:
        weight = published.content["BYOL-A"]["fc.0.weight"].detach()
        with pytest.raises(DeloresError, match=message) as caught:
            self.read(published, tmp_path, {"fc.0.weight": change(weight)})
        assert "\n" not in str(caught.value)

    def test_shared_memory_is_shared_no_more(self, published: Any, tmp_path: Path) -> None:
        bias = torch.randn(D)
        model = self.read(published, tmp_path, {"fc.0.bias": bias, "fc.3.bias": bias})
        save_checkpoint(tmp_path / "ours.safetensors", model)  # safetensors refuses shared memory
        with torch.no_grad():
            model.encoder.fc[0].bias.add_(1)
        assert torch.equal(model.encoder.fc[3].bias, bias)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1234567\n"


def other_files(folder: Path) -> dict[str, Path]:
    """Files that are often found under a checkpoint's name."""
    contents = {
        "lfs": LFS.encode(),
        "html": b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
        "json": b'{"error": "Repository not found"}',
        "text": b"Not Found: nothing here",
        "empty": b"",
        "gzip": gzip.compress(b"x" * 1000),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "noise": bytes(range(128, 256)) * 4,
        "tar": bytes(257) + b"ustar" + bytes(250),
    }
    found = {}
    for name, content in contents.items():
        found[name] = folder / f"{name}.pth"
        found[name].write_bytes(content)
    with zipfile.ZipFile(folder / "zip.pth", "w") as archive:
        archive.writestr("model.bin", "x")
    torch.save({"a": torch.zeros(3)}, folder / "stored.pth")
    with zipfile.ZipFile(folder / "stored.pth") as old, zipfile.ZipFile(folder / "bomb.pth", "w") as new:
        for item in old.namelist():
            new.writestr(item, old.read(item), compress_type=zipfile.ZIP_DEFLATED)
    found |= {"zip": folder / "zip.pth", "bomb": folder / "bomb.pth"}
    return found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lfs", r"Git LFS pointer to a file of 1,234,567 bytes.*git lfs pull"),
        ("html", "it is a web page"),
        ("json", r"it is JSON text.*Repository not found"),
        ("text", "it is a text file of an unknown format, which begins 'Not Found"),
        ("empty", "it is empty"),
        ("gzip", r"compressed by gzip: unpack it first \(gunzip\)"),
        ("hdf5", "an HDF5 file"),
        ("noise", "unknown format"),
        ("tar", "it is a tar archive"),
        ("zip", r"torch\.save did not make \(it holds model\.bin\)"),
        ("bomb", "compressed members"),
    ],
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_no_checkpoint_at_all(tmp_path: Path, name: str, message: str, ending: str) -> None:
    path = other_files(tmp_path)[name]
    path = path.rename(path.with_suffix(ending))
    with pytest.raises(DeloresError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeloresError, match="no regular file"):
        load_checkpoint(tmp_path / "pipe")
