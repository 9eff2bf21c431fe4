"""Checkpoints of ours: round trip, strictness, and one-line errors for whatever can be wrong with a file."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hear_delores.checkpoint import load_checkpoint, read_header, save_checkpoint, weights_hash
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig
from hear_delores.model import HearModel

INFO = {
    "method": "delores-s",
    "config": {"optimizer": {"lr": 5e-5}},
    "data": {"clips": 600},
    "step": 1234,
    "metrics": {"loss": 1.5},
}


@pytest.fixture
def model() -> HearModel:
    torch.manual_seed(0)
    encoder = AudioNTT(EncoderConfig(channels=8, embedding_size=24, dropout=0.1))
    encoder.train()(torch.randn(4, 1, 64, 32))  # running statistics of its own
    frontend = FrontendConfig(f_max=7000.0, mel_norm=None)
    return HearModel(encoder, frontend, -5.25, 4.5, ("pooled", "layer3_std"), INFO).eval()


@pytest.fixture
def path(model: HearModel, tmp_path: Path) -> Path:
    path = tmp_path / "new folder" / "model.safetensors"
    save_checkpoint(path, model)
    return path


def error_of(action: Callable[[], Any]) -> str:
    with pytest.raises(DeloresError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_round_trip(model: HearModel, path: Path) -> None:
    loaded = load_checkpoint(path)
    audio = 0.1 * torch.randn(2, 9000)
    assert torch.equal(loaded.scene_embeddings(audio), model.scene_embeddings(audio))
    assert torch.equal(loaded.timestamp_embeddings(audio)[0], model.timestamp_embeddings(audio)[0])
    assert loaded.encoder.config == model.encoder.config
    assert loaded.frontend.config == model.frontend.config
    assert (loaded.mean, loaded.std, loaded.scene, loaded.info) == (-5.25, 4.5, model.scene, INFO)
    assert not any(module.training for module in loaded.modules())
    assert weights_hash(loaded) == weights_hash(model)
    assert os.listdir(path.parent) == [path.name]  # no temporary file left


def test_saved_again_is_the_same_file(model: HearModel, path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, load_checkpoint(path))
    assert again.read_bytes() == path.read_bytes()


def test_loaded_model_can_be_trained(path: Path) -> None:
    encoder = load_checkpoint(str(path)).encoder.train()
    encoder(torch.randn(2, 1, 64, 16)).pooled.sum().backward()
    assert encoder.blocks[0].conv.weight.grad is not None
    assert int(encoder.blocks[0].norm.num_batches_tracked) == 1


def test_loaded_tensors_do_not_view_the_file(path: Path) -> None:
    loaded = load_checkpoint(path)
    before = loaded.encoder.fc[0].weight.clone()
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(loaded.encoder.fc[0].weight, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_storage(model: HearModel, path: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, model, dtype=dtype)
    assert half.stat().st_size < 0.75 * path.stat().st_size
    stored = load_file(half)
    assert stored["encoder.fc.0.weight"].dtype == dtype
    assert stored["encoder.blocks.0.norm.running_var"].dtype == torch.float32
    loaded = load_checkpoint(half)
    assert all(value.dtype in (torch.float32, torch.int64) for value in loaded.state_dict().values())
    audio = 0.1 * torch.randn(1, 9000)
    torch.testing.assert_close(loaded.scene_embeddings(audio), model.scene_embeddings(audio), rtol=0.05, atol=0.05)
    assert weights_hash(loaded) == weights_hash(load_checkpoint(half)) != weights_hash(model)


def test_header_is_readable_json(path: Path) -> None:
    header = read_header(path)
    assert header["format_version"] == 1
    assert header["normalization"] == {"mean": -5.25, "std": 4.5}
    assert header["scene"] == ["pooled", "layer3_std"]
    assert {key: header[key] for key in INFO} == INFO
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    assert list(json.loads(raw[8 : 8 + length])["__metadata__"]) == ["hear_delores"]


def test_random_state_and_default_dtype_untouched(path: Path) -> None:
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load_checkpoint(path)
        assert torch.get_default_dtype() == torch.float64
        assert loaded.scene_embeddings(torch.zeros(1, 100)).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)


STABLE_HASH = "84e582b901bbf27a195612744c0542c9138448e320b63fd69e44d75f70486039"


class TestWeightsHash:
    def test_depends_on_every_tensor(self, model: HearModel) -> None:
        seen = {weights_hash(model)}
        with torch.no_grad():
            for name, value in model.encoder.state_dict().items():
                if not name.endswith("num_batches_tracked"):
                    value.view(-1)[0] += 1e-3
                    seen.add(weights_hash(model))
        assert len(seen) == 1 + 3 * 6 + 4

    def test_depends_on_settings_but_not_on_provenance_or_mode(self, model: HearModel) -> None:
        def other(**changes: Any) -> str:
            values = {
                "encoder": model.encoder,
                "frontend_config": model.frontend.config,
                "mean": model.mean,
                "std": model.std,
                "scene": model.scene,
            }
            return weights_hash(HearModel(**{**values, **changes}))

        expected = weights_hash(model)
        assert other(info={"step": 7}) == expected
        model.train()
        assert other() == expected
        hashes = {
            other(mean=-5.0),
            other(std=4.0),
            other(scene=("pooled",)),
            other(timestamp=("layer3",)),
            other(frontend_config=FrontendConfig()),
        }
        assert len(hashes | {expected}) == 6

    def test_is_stable_across_versions_of_the_code(self) -> None:
        """Cached embeddings and result records are keyed by it: it must not change by accident."""
        encoder = AudioNTT(EncoderConfig(n_mels=8, channels=2, embedding_size=4))
        with torch.no_grad():
            for value in encoder.state_dict().values():
                if value.is_floating_point():
                    value.copy_(torch.arange(value.numel()).reshape(value.shape) / 64)
        model = HearModel(encoder, FrontendConfig(n_mels=8), 0.0, 1.0)
        assert weights_hash(model) == STABLE_HASH


class TestSaving:
    def test_the_parts_of_the_embeddings_are_kept(self, model: HearModel, tmp_path: Path) -> None:
        path = tmp_path / "parts.safetensors"
        model.set_parts(("layer3_std", "pooled"), ("layer3", "frames"))
        save_checkpoint(path, model)
        loaded = load_checkpoint(path)
        assert (loaded.scene, loaded.timestamp) == (("layer3_std", "pooled"), ("layer3", "frames"))
        assert weights_hash(loaded) == weights_hash(model)
        model.set_parts(timestamp=["frames"])  # the papers': in no header, as before there was a choice
        save_checkpoint(path, model)
        assert "timestamp" not in read_header(path)
        assert load_checkpoint(path).timestamp == ("frames",)

    def test_weights_that_are_not_finite(self, model: HearModel, path: Path) -> None:
        before = path.read_bytes()
        with torch.no_grad():
            model.encoder.fc[3].bias[2] = float("nan")
        assert "fc.3.bias holds NaN" in error_of(lambda: save_checkpoint(path, model))
        assert path.read_bytes() == before

    def test_overflow_of_half_precision(self, model: HearModel, path: Path) -> None:
        with torch.no_grad():
            model.encoder.fc[3].weight[0, 0] = 1e6
        assert "fc.3.weight holds" in error_of(lambda: save_checkpoint(path, model, dtype=torch.float16))

    def test_info_without_a_place(self, model: HearModel, path: Path) -> None:
        model.info["stepp"] = 1
        assert "Did you mean 'step'" in error_of(lambda: save_checkpoint(path, model))

    def test_info_that_is_not_json(self, model: HearModel, path: Path) -> None:
        model.info["data"] = {"path": Path("x")}
        assert "plain JSON" in error_of(lambda: save_checkpoint(path, model))

    def test_other_dtype(self, model: HearModel, path: Path) -> None:
        assert "dtype" in error_of(lambda: save_checkpoint(path, model, dtype=torch.int8))

    def test_place_that_cannot_be_written(self, model: HearModel, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert "cannot write the checkpoint" in error_of(
            lambda: save_checkpoint(tmp_path / "file" / "model.safetensors", model)
        )


class TestBadFiles:
    def test_absent(self, tmp_path: Path) -> None:
        assert "no such file" in error_of(lambda: load_checkpoint(tmp_path / "absent.safetensors"))

    def test_folder(self, tmp_path: Path) -> None:
        assert "it is a folder" in error_of(lambda: load_checkpoint(tmp_path))

    @pytest.mark.parametrize("size", [0, 1, 8, 9, 100, 1000, -1000, -1])
    def test_truncated(self, path: Path, size: int) -> None:
        path.write_bytes(path.read_bytes()[:size])
        message = error_of(lambda: load_checkpoint(path))
        assert str(path) in message
        assert "damaged" in message

    def test_trailing_bytes(self, path: Path) -> None:
        path.write_bytes(path.read_bytes() + b"\0\0\0\0")
        assert "damaged" in error_of(lambda: load_checkpoint(path))

    @pytest.mark.parametrize("content", [b"hello world, this is no checkpoint", b"RIFF\0\0\0\0WAVEfmt ", b"\x80\x02"])
    def test_something_else(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        assert "unknown format" in error_of(lambda: load_checkpoint(path))

    def test_pickle_with_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        witness = tmp_path / "witness"

        class Evil:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(witness),)

        raw = tmp_path / "raw.pkl"
        raw.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
        zipped = tmp_path / "zipped.pth"
        torch.save({"state_dict": Evil()}, zipped)
        for file in (raw, zipped):
            assert "could run code" in error_of(lambda file=file: load_checkpoint(file))
        assert not witness.exists()

    def test_safetensors_of_another_program(self, path: Path) -> None:
        save_file({f"layer{number}.weight": torch.zeros(3) for number in range(5)}, path)
        message = error_of(lambda: load_checkpoint(path))
        assert "another program" in message
        assert "5 tensors: layer0.weight, layer1.weight, layer2.weight (and 2 more)" in message

    def test_front_end_given_for_a_file_that_holds_one(self, path: Path) -> None:
        assert "holds its own" in error_of(lambda: load_checkpoint(path, mean=0.0, std=1.0))


def rewrite(
    path: Path, *, tensors: Callable[[dict[str, Any]], Any] = dict, header: Callable[[Any], Any] = dict
) -> None:
    """The same file with its tensors and its header changed by the given functions, in place."""
    values, content = load_file(path), read_header(path)
    values, content = tensors(values) or values, header(content) or content
    save_file(values, path, metadata={"hear_delores": json.dumps(content)})


class TestBadContent:
    @pytest.mark.parametrize("name", ["encoder.fc.3.weight", "encoder.blocks.1.norm.running_var"])
    def test_missing_tensor(self, path: Path, name: str) -> None:
        rewrite(path, tensors=lambda values: {k: v for k, v in values.items() if k != name})
        message = error_of(lambda: load_checkpoint(path))
        assert name.removeprefix("encoder.") in message
        assert "is missing" in message

    @pytest.mark.parametrize("name", ["encoder.fc.6.weight", "projector.weight"])
    def test_extra_tensor(self, path: Path, name: str) -> None:
        rewrite(path, tensors=lambda values: {**values, name: torch.zeros(2)})
        message = error_of(lambda: load_checkpoint(path))
        assert name.removeprefix("encoder.") in message
        assert "architecture" in message

    def test_other_architecture(self, path: Path) -> None:
        rewrite(path, header=lambda h: {**h, "encoder": {**h["encoder"], "embedding_size": 32}})
        message = error_of(lambda: load_checkpoint(path))
        assert "shape (32, " in message
        assert "architecture" in message

    def test_nan_weights(self, path: Path) -> None:
        rewrite(
            path,
            tensors=lambda values: values["encoder.blocks.2.conv.weight"].view(-1)[5].fill_(np.nan) and None,
        )
        assert "blocks.2.conv.weight holds NaN" in error_of(lambda: load_checkpoint(path))

    def test_negative_variance(self, path: Path) -> None:
        name = "encoder.blocks.0.norm.running_var"
        values = load_file(path)
        assert name in values, sorted(values)
        rewrite(path, tensors=lambda v: {**v, name: -v[name] - 1})
        assert "norm.running_var holds a negative one" in error_of(lambda: load_checkpoint(path))

    def test_a_tensor_that_the_header_names_twice(self, path: Path) -> None:
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        double = b'{"encoder.fc.0.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' + data[9:end]
        path.write_bytes(len(double).to_bytes(8, "little") + double + data[end:])
        assert "the key 'encoder.fc.0.bias' occurs twice" in error_of(lambda: load_checkpoint(path))

    def test_integer_weights(self, path: Path) -> None:
        rewrite(path, tensors=lambda v: {**v, "encoder.fc.0.bias": v["encoder.fc.0.bias"].to(torch.int32)})
        assert "floating point" in error_of(lambda: load_checkpoint(path))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda h: {**h, "format_version": 2}, "update hear-delores"),
            (lambda h: {k: v for k, v in h.items() if k != "format_version"}, "format 1"),
            (lambda h: {k: v for k, v in h.items() if k != "frontend"}, "lacks frontend"),
            (lambda h: {**h, "frontend": {**h["frontend"], "pad": 1}}, "no setting 'pad'"),
            (lambda h: {**h, "encoder": {**h["encoder"], "chanels": 1}}, "Did you mean 'channels'"),
            (lambda h: {**h, "encoder": {**h["encoder"], "n_mels": 128}}, "architecture"),
            (lambda h: {**h, "encoder": []}, "expected encoder to be an object"),
            (lambda h: {**h, "encoder": {}}, "n_mels, channels, embedding_size, dropout is missing"),
            (lambda h: {**h, "frontend": {}}, "sample_rate, n_fft"),
            (lambda h: {**h, "frontend": {**h["frontend"], "f_max": None}}, "`f_max`"),
            (lambda h: {**h, "frontend": {k: v for k, v in h["frontend"].items() if k != "eps"}}, "eps is missing"),
            (lambda h: {**h, "frontend": {**h["frontend"], "n_fft": 10**12}}, "at most 65536"),
            (lambda h: {**h, "frontend": {**h["frontend"], "sample_rate": 10**39}}, "an integer of 130 bits"),
            (lambda h: {**h, "frontend": {**h["frontend"], "sample_rate": 10**400}}, "a number of 401 digits"),
            (lambda h: {**h, "encoder": {**h["encoder"], "channels": 10**30}}, "at most 8192"),
            (lambda h: {**h, "normalization": {"mean": 10**39, "std": 1.0}}, "`mean` to be at most"),
            (lambda h: {**h, "normalization": {"mean": 0.0, "std": 1e-300}}, "`std`"),
            (lambda h: {**h, "normalization": {"mean": 0.0, "std": 1.0, "var": 1.0}}, "mean and std"),
            (lambda h: {**h, "frontend": None}, "expected frontend to be an object"),
            (lambda h: {**h, "scene": None}, "expected scene to be a list"),
            (lambda h: {**h, "scene": "pooled"}, "expected scene to be a list"),
            (lambda h: {**h, "scene": []}, "part"),
            (lambda h: {**h, "timestamp": None}, "expected timestamp to be a list"),
            (lambda h: {**h, "timestmap": ["layer3"]}, "Did you mean 'timestamp'"),
            (lambda h: {**h, "metrics": None}, "expected metrics to be an object"),
            (lambda h: {**h, "method": None}, "expected method to be text"),
            (lambda h: {**h, "config": 3}, "expected config to be an object"),
            (lambda h: {**h, "step": True}, "expected step to be a whole number"),
            (lambda h: {**h, "step": -1}, "expected step to be a whole number"),
            (lambda h: {k: v for k, v in h.items() if k != "step"}, "lacks step"),
            (lambda h: {**h, "format_version": True}, "format 1"),
            (lambda h: {**h, "normalization": {"mean": 0.0}}, "mean and std"),
            (lambda h: {**h, "normalization": {"mean": 0.0, "std": 0.0}}, "std"),
            (lambda h: {**h, "normalization": None}, "expected normalization to be an object with mean and std"),
            (lambda h: {**h, "scene": ["x"]}, "Unknown scene part"),
            (lambda h: {**h, "scene": [["x"]]}, "Unknown scene part"),
            (lambda h: [h], "expected an object, got a list"),
        ],
    )
    def test_bad_header(self, path: Path, change: Callable[[Any], Any], message: str) -> None:
        rewrite(path, header=change)
        got = error_of(lambda: load_checkpoint(path))
        assert message in got
        assert path.name in got

    def test_header_that_is_no_json(self, path: Path) -> None:
        save_file(load_file(path), path, metadata={"hear_delores": "{"})
        assert "not JSON" in error_of(lambda: load_checkpoint(path))
        save_file(load_file(path), path, metadata={"hear_delores": "[" * 100_000})
        assert "nested deeper" in error_of(lambda: load_checkpoint(path))

    def test_null_is_not_written_either(self, model: HearModel, path: Path) -> None:
        model.info["metrics"] = None
        assert "expected metrics to be an object" in error_of(lambda: save_checkpoint(path, model))

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
    @pytest.mark.parametrize("outside", [True, False])
    def test_what_wrapped_the_model_is_taken_off(
        self, model: HearModel, path: Path, prefix: str, outside: bool
    ) -> None:
        def wrapped(name: str) -> str:
            return prefix + name if outside else f"encoder.{prefix}{name.removeprefix('encoder.')}"

        rewrite(path, tensors=lambda values: {wrapped(name): value for name, value in values.items()})
        assert weights_hash(load_checkpoint(path)) == weights_hash(model)
        rewrite(path, tensors=lambda v: {**v, f"{'' if outside else 'encoder.'}fc.6.weight": torch.zeros(2)})
        assert "architecture" in error_of(lambda: load_checkpoint(path))

    def test_claims_of_the_file_header(self, path: Path) -> None:
        raw = path.read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
        huge = {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2**62]}
        for content in (
            json.dumps({**header, "encoder.fc.0.weight": huge}).encode(),
            b'{"a":' * 100_000,
            json.dumps({**header, "__metadata__": {"hear_delores": 3}}).encode(),
        ):
            path.write_bytes(struct.pack("<Q", len(content)) + content + body)
            assert "damaged" in error_of(lambda: load_checkpoint(path))
        path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
        assert "damaged" in error_of(lambda: load_checkpoint(path))
