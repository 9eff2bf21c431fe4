"""Models by name: the spec, the hash, and every fault of a foreign model in one line."""

from __future__ import annotations

import pickle
import string
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.embedding.model import LoadedModel, ModelSpec, load_model, slug, timestamp_fault
from hear_delores.errors import DeloresError

AUDIO = np.random.default_rng(0).uniform(-1, 1, (3, 16000)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "label", "module", "path", "options"),
    [
        ("hear_delores", "hear_delores", "hear_delores", "", {}),
        ("a.b.c", "a.b.c", "a.b.c", "", {}),
        ("m@w/best.pt", "m-best", "m", "w/best.pt", {}),
        ("m@w/my model.pt", "m-my-model", "m", "w/my model.pt", {}),
        ("x=m@w=1/a@b.pt", "x", "m", "w=1/a@b.pt", {}),
        ("l=m?seed=3&width=2.5&norm=true&x=none&s=abc", "l", "m", "",
         {"seed": 3, "width": 2.5, "norm": True, "x": None, "s": "abc"}),
        ("my+model-1.0=m@p?a=b=c", "my+model-1.0", "m", "p", {"a": "b=c"}),
        ("m?a=1%262%3F&b=", "m-a=1-2-b=none", "m", "", {"a": "1&2?", "b": ""}),
        ("m?pool=mean", "m-pool=mean", "m", "", {"pool": "mean"}),
        ("m@runs/a/checkpoint.pt", "m-a-checkpoint", "m", "runs/a/checkpoint.pt", {}),
        ("m@checkpoint.pt", "m-checkpoint", "m", "checkpoint.pt", {}),
        ("hear_configs.mwmae_200_4x16-8h-4l", "hear_configs.mwmae_200_4x16-8h-4l",
         "hear_configs.mwmae_200_4x16-8h-4l", "", {}),
        ("hear_msm.80x208p16x16_x", "hear_msm.80x208p16x16_x", "hear_msm.80x208p16x16_x", "", {}),
        ("_own.é", "own", "_own.é", "", {}),
        ('l=m?a=1_2&b="true"&c="3"&d=\uff11&e=1e3&f=.5&g=nan&h=inf&i= 1&j=0x1', "l", "m", "",
         {"a": "1_2", "b": "true", "c": "3", "d": "\uff11", "e": 1e3, "f": 0.5, "g": "nan", "h": "inf", "i": " 1",
          "j": "0x1"}),
        ('l=m?a="b&c=d"&e=5"&f="', "l", "m", "", {"a": "b&c=d", "e": '5"', "f": '"'}),
    ],
)  # fmt: skip
def test_specs(text: str, label: str, module: str, path: str, options: dict[str, object]) -> None:
    spec = ModelSpec.parse(text)
    assert (spec.label, spec.module, spec.path, dict(spec.options)) == (label, module, path, options)
    assert pickle.loads(pickle.dumps(spec)) == spec  # a cluster hands specs to its workers
    assert hash(spec) == hash(ModelSpec.parse(text))
    again = ModelSpec.parse(f"{label}={spec}") if "=" not in label else ModelSpec.parse(str(spec))
    assert again == spec  # what a message shows can be typed
    assert all(type(value) is type(options[key]) for key, value in again.options.items())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=m",
        "a/b=m",
        "..=m",
        "-x=m",
        ".x=m",
        "a b=m",
        "m?seed",
        "m?a=1&a=2",
        "m?a b=1",
        "a..b",
        ".a",
        "a.",
        "a/b",
        "../a",
        "-a",
        "a b",
        "a=b=c",
        "m?a=1&",
        "m?&a=1",
        "m?a=1e999",
        "m?a=" + "9" * 5000,
        "@p",
        "hub:org/name",
        "hf:",
        "folder/model",
    ],
)
def test_faulty_specs_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(DeloresError) as caught:
        ModelSpec.parse(text)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_slugs_are_safe_names(text: str) -> None:
    got = slug(text)
    assert got
    assert set(got) <= set(string.ascii_letters + string.digits + "._+-")


def test_a_good_model_is_loaded_and_called(make_module: Callable[..., str]) -> None:
    model = load_model(make_module())
    assert (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size) == (16000, 5, 3)
    assert (model.kind, model.n_parameters, model.n_trainable) == ("torch", 1, 1)
    model.model.requires_grad_(False)
    assert (model.info().n_parameters, model.info().n_trainable) == (1, 0)
    scene = model.scene(AUDIO)
    assert (scene.shape, scene.dtype) == ((3, 5), np.float32)
    assert np.allclose(scene[:, 3], (AUDIO**2).mean(axis=1), atol=1e-6)
    embeddings, times = model.timestamps(AUDIO)
    assert embeddings.shape == (3, 26, 3)
    assert times[1].tolist() == [40.0 * k for k in range(26)]


def test_path_and_options_reach_load_model(make_module: Callable[..., str], tmp_path: Path) -> None:
    module = make_module()
    weights = tmp_path / "w.txt"
    weights.write_text("3.0", encoding="utf-8")
    plain = load_model(module).scene(AUDIO)
    assert np.allclose(load_model(f"{module}@{weights}?gain=2").scene(AUDIO), 6 * plain, atol=1e-5)


def test_the_model_is_put_in_eval_mode_and_keeps_no_gradients(make_module: Callable[..., str]) -> None:
    module = make_module(("return torch.stack(statistics(audio), dim=-1) * model.scale",
                          "assert not torch.is_grad_enabled()\n"
                          "    return torch.nn.functional.dropout(torch.stack(statistics(audio), -1),"
                          " 0.5, model.training)"))  # fmt: skip
    model = load_model(module)
    assert np.array_equal(model.scene(AUDIO), model.scene(AUDIO))


def test_hashes_tell_weights_apart_and_nothing_else(make_module: Callable[..., str], tmp_path: Path) -> None:
    module = make_module()
    one, same, other = tmp_path / "one.txt", tmp_path / "same.txt", tmp_path / "other.txt"
    one.write_text("2.0", encoding="utf-8")
    same.write_text("2.0", encoding="utf-8")
    other.write_text("2.0000005", encoding="utf-8")
    hashes = [load_model(f"x={module}@{path}").weights_hash for path in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 64
    assert load_model(module).weights_hash != hashes[0]


def test_a_checkpoint_that_lives_in_plain_attributes_counts_too(
    make_module: Callable[..., str], tmp_path: Path
) -> None:
    # The parameter stays 1: only the file says that these two are different models.
    module = make_module(("return Model(scale * gain)", "model = Model(1.0)\n    model.note = scale\n    return model"))
    folders = []
    for number in ("1.5", "2.5"):
        path = tmp_path / number / "w.txt"
        path.parent.mkdir()
        path.write_text(number, encoding="utf-8")
        folders.append(load_model(f"x={module}@{path}").folder_name)
    assert folders[0] != folders[1]


def test_buffers_types_and_directories_are_hashed(make_module: Callable[..., str], tmp_path: Path) -> None:
    def variant(line: str) -> str:
        extra = "self.scale = torch.nn.Parameter(torch.tensor(scale))"
        return load_model(make_module((extra, f"{extra}\n        {line}"))).weights_hash

    lines = [
        "pass",
        "self.register_buffer('b', torch.zeros(2))",
        "self.register_buffer('b', torch.zeros(2), persistent=False); self.b[1] = 1",
        "self.register_buffer('b', torch.zeros(1, 2))",
        "self.register_buffer('b', torch.zeros(2, dtype=torch.bfloat16))",
        "self.register_buffer('c', torch.zeros(2))",
        "self.register_buffer('b', torch.tensor(True))",
    ]
    assert len({variant(line) for line in lines}) == len(lines)

    module = make_module(("with open(model_file_path) as stream:\n            scale = float(stream.read())", "pass"))
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "part.bin").write_bytes(b"1")
    first = load_model(f"{module}@{weights}").weights_hash
    (weights / "part.bin").write_bytes(b"2")
    assert load_model(f"{module}@{weights}").weights_hash != first


def test_a_model_of_ours_is_known_by_its_whole_state(tmp_path: Path) -> None:
    from hear_delores.encoder import AudioNTT, EncoderConfig
    from hear_delores.frontend import FrontendConfig
    from hear_delores.model import HearModel

    encoder = AudioNTT(EncoderConfig(embedding_size=8))
    fake = types.ModuleType("fake_hear_ours")
    fake.get_scene_embeddings = fake.get_timestamp_embeddings = lambda audio, model: None  # type: ignore[attr-defined]
    hashes = set()
    try:
        sys.modules["fake_hear_ours"] = fake
        for mean, scene in ((0.0, ("pooled",)), (1.0, ("pooled",)), (0.0, ("frames_mean",))):
            model = HearModel(encoder, FrontendConfig(), mean, 1.0, scene)
            fake.load_model = lambda model=model: model  # type: ignore[attr-defined]
            hashes.add(load_model("fake_hear_ours").weights_hash)
    finally:
        del sys.modules["fake_hear_ours"]
    assert len(hashes) == 3


def test_folder_names_hold_label_options_and_hash(make_module: Callable[..., str]) -> None:
    module = make_module()
    model = load_model(f"mine={module}?gain=2.5")
    assert model.folder_name == f"mine-gain=2.5-{model.weights_hash[:8]}"
    assert load_model(module).folder_name.startswith(f"{module}-")


RETURN_SCENE = "return torch.stack(statistics(audio), dim=-1) * model.scale"
RETURN_TIMES = "return torch.stack(statistics(frames)[1:4], dim=-1) * model.scale, times.repeat(len(audio), 1)"
TIMES = "times = torch.arange(n, dtype=torch.float32) * 40.0"

LOAD_FAULTS = [
    (("def load_model", "def load_modl"), "has no function load_model"),
    (("def get_scene_embeddings", "def scene"), "has no function get_scene_embeddings"),
    (
        ("import torch\n", "import torch\nimport package_that_is_not_there\n"),
        "needs 'package_that_is_not_there'; install",
    ),
    (("import torch\n", "import torch\n1 / 0\n"), "failed: ZeroDivisionError"),
    (
        ("return Model(scale * gain)", "raise OSError('no\\nweights')"),
        "load_model failed: OSError: no weights",
    ),
    (("return Model(scale * gain)", "return {}"), "sample_rate must be a whole positive number, got None"),
    (
        ("scene_embedding_size = 5", "scene_embedding_size = 5.0"),
        "scene_embedding_size must be a whole .* got 5.0",
    ),
    (
        ("timestamp_embedding_size = 3", "timestamp_embedding_size = 0"),
        "timestamp_embedding_size must be .* got 0",
    ),
    (("sample_rate = 16000", "sample_rate = True"), "sample_rate must be a whole"),
]


@pytest.mark.parametrize(("change", "message"), LOAD_FAULTS)
def test_faults_at_loading(make_module: Callable[..., str], change: tuple[str, str], message: str) -> None:
    with pytest.raises(DeloresError, match=message) as caught:
        load_model(f"mine={make_module(change)}")
    assert str(caught.value).startswith("model mine: ")
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(DeloresError, match="no module named 'no_such_hear_module'"):
        load_model("no_such_hear_module")
    with pytest.raises(DeloresError, match=r"no module named 'hear_delores\.nothing'"):
        load_model("hear_delores.nothing")
    with pytest.raises(DeloresError, match=r"no module named 'logmel'.* Did you mean 'log-mel'\?"):
        load_model("logmel")


def test_an_unknown_device(make_module: Callable[..., str]) -> None:
    with pytest.raises(DeloresError, match="cannot use the device 'quantum'"):
        load_model(make_module(), device="quantum")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "return torch.zeros(len(audio), 4)",
            r"returned \(3, 4\); expected \(3, 5\) \(scene_embedding_size is 5\)",
        ),
        ("return torch.zeros(1, 5)", r"returned \(1, 5\); expected \(3, 5\)"),
        ("return torch.zeros(len(audio), 1, 5)", r"returned \(3, 1, 5\)"),
        ("return torch.full((len(audio), 5), float('nan'))", "15 values that are NaN or infinite"),
        ("return torch.zeros(len(audio), 5, dtype=torch.int64)", "int64; expected float32"),
        ("return None", "returned NoneType; expected a tensor"),
        ("raise RuntimeError('too\\nbad')", "failed on audio .3, 16000.: RuntimeError: too bad"),
    ],
)
def test_faults_of_scene_embeddings(make_module: Callable[..., str], answer: str, message: str) -> None:
    model = load_model(f"mine={make_module((RETURN_SCENE, answer))}")
    with pytest.raises(DeloresError, match=message) as caught:
        model.scene(AUDIO)
    assert str(caught.value).startswith("model mine: get_scene_embeddings ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            (TIMES, TIMES.replace("40.0", "0.04")),
            "the last timestamp is 1 for 1000 ms of audio: they must be in ms",
        ),
        ((TIMES, TIMES.replace("* 40.0", "* -40.0 + 1000")), "must increase"),
        ((TIMES, TIMES + " * 0"), "must increase"),
        ((TIMES, TIMES + " + 40"), "past the end of the audio, 1000 ms"),
        ((TIMES, TIMES + " - 20"), "must not be negative"),
        ((TIMES, TIMES + "; times[3] += 5"), "regular within 1 ms, but hops vary from 35 to 45"),
        ((TIMES, TIMES + "; times[3] = float('nan')"), "NaN"),
        (
            (RETURN_TIMES, "return torch.zeros(len(audio), n, 4), times.repeat(len(audio), 1)"),
            "timestamp_embedding_size is 3",
        ),
        (
            (RETURN_TIMES, "return torch.zeros(len(audio), n + 1, 3), times.repeat(len(audio), 1)"),
            "with timestamps",
        ),
        ((RETURN_TIMES, "return torch.zeros(len(audio), 0, 3), times[:0].repeat(len(audio), 1)"), "n > 0"),
        ((RETURN_TIMES, "return torch.zeros(len(audio), n, 3)"), "expected .embeddings, timestamps."),
        (
            (RETURN_TIMES, "return torch.zeros(len(audio), n, 3) / 0, times.repeat(len(audio), 1)"),
            "NaN or infinite",
        ),
    ],
)
def test_faults_of_timestamp_embeddings(make_module: Callable[..., str], change: tuple[str, str], message: str) -> None:
    model = load_model(f"mine={make_module(change)}")
    with pytest.raises(DeloresError, match=message) as caught:
        model.timestamps(AUDIO)
    assert str(caught.value).startswith("model mine: get_timestamp_embeddings")
    assert "\n" not in str(caught.value)


def test_timestamps_that_are_fine() -> None:
    assert timestamp_fault(np.array([[0.0]]), 0.0625) == ""  # one sample
    assert timestamp_fault(np.arange(0, 60, 20.0)[None], 50.0) == ""
    assert timestamp_fault((np.arange(51) * 20 + 0.9 * (np.arange(51) % 2))[None] * 0.99, 1000.0) == ""
    long = np.arange(30001, dtype=np.float32) * np.float32(40.0)  # 20 minutes, rounded to float32
    assert timestamp_fault(long[None], 1_200_000.0) == ""


def test_half_precision_is_widened(make_module: Callable[..., str]) -> None:
    model = load_model(make_module((RETURN_SCENE, RETURN_SCENE + ".bfloat16()")))
    assert model.scene(AUDIO).dtype == np.float32


def test_a_tensorflow_model_through_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorFlow itself is not among the dependencies: what is used of it is this.
    tensorflow = types.ModuleType("tensorflow")

    class Variable:
        def __init__(self, name: str, value: float) -> None:
            self.name, self.value = name, np.full((2, 2), value, np.float32)

        def numpy(self) -> np.ndarray:
            return self.value

    class Module:
        sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 2, 2

        def __init__(self, value: float) -> None:
            self.variables = [Variable("w", value)]

    tensorflow.Module, tensorflow.convert_to_tensor = Module, torch.from_numpy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)

    def loaded(value: float) -> LoadedModel:
        hear = types.ModuleType("fake_hear_tf")
        hear.load_model = lambda: Module(value)  # type: ignore[attr-defined]
        hear.get_scene_embeddings = lambda audio, model: audio[:, :2]  # type: ignore[attr-defined]
        hear.get_timestamp_embeddings = lambda audio, model: None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fake_hear_tf", hear)
        return load_model("fake_hear_tf")

    model = loaded(1.0)
    assert (model.kind, model.n_parameters, model.n_trainable) == ("tensorflow", 4, None)
    assert np.array_equal(model.scene(AUDIO), AUDIO[:, :2])
    assert loaded(1.0).weights_hash == model.weights_hash != loaded(2.0).weights_hash
