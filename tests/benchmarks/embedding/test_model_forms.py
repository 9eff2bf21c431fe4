"""The forms of a MODEL: short names, adapters, modules and files; old names; and what is none of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.embedding.model import load_model
from benchmarks.embedding.spec import ModelSpec, tell_apart
from benchmarks.encoders.catalogue import ADAPTERS, READY
from benchmarks.results.identity import Models
from benchmarks.validate.subject import Subject
from hear_delores.errors import DeloresError

AUDIO = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 8000)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "label", "module", "path", "name"),
    [
        ("log-mel", "log-mel", "log-mel", "", "log-mel"),
        ("random@delores-s-1024?seed=2", "random-delores-s-1024-seed=2", "random", "delores-s-1024", "random"),
        ("delores-m-1024", "delores-m-1024", "hear_delores", "delores-m-1024", "hear_delores"),
        ("s=delores-s-1024", "s", "hear_delores", "delores-s-1024", "hear_delores"),
        # Old names, and the modules behind the names, are the same models.
        ("benchmarks.baselines.logmel", "benchmarks.baselines.logmel", "log-mel", "", "log-mel"),
        ("x=benchmarks.baselines.random_encoder@w.pt", "x", "random", "w.pt", "random"),
        ("benchmarks.encoders.log_mel", "benchmarks.encoders.log_mel", "log-mel", "", "log-mel"),
        ("hf:org/small-model", "small-model", "hf:org/small-model", "", "hf:org/small-model"),
        ("hf:org/small@v1.0?layer=mean", "small-v1.0-layer=mean", "hf:org/small", "v1.0", "hf:org/small"),
        ("hf:./models/small", "small", "hf:./models/small", "", "hf:small"),
        ("torchaudio:WAVLM_BASE", "WAVLM_BASE", "torchaudio:WAVLM_BASE", "", "torchaudio:WAVLM_BASE"),
        ("xares:pkg.mod:Encoder", "Encoder", "xares:pkg.mod:Encoder", "", "xares:pkg.mod:Encoder"),
        ("xares:./enc.py:Encoder", "Encoder", "xares:./enc.py:Encoder", "", "xares:enc.py:Encoder"),
        ("./my_wrapper.py", "my_wrapper", "./my_wrapper.py", "", "my_wrapper.py"),
        ("a/b c.py@w/best.pt?n=1", "b-c-best-n=1", "a/b c.py", "w/best.pt", "b c.py"),
        ("odd%40name.py", "odd-name", "odd@name.py", "", "odd@name.py"),
    ],
)  # fmt: skip
def test_every_form_is_read_and_can_be_typed_again(text: str, label: str, module: str, path: str, name: str) -> None:
    spec = ModelSpec.parse(text)
    assert (spec.label, spec.module, spec.path, spec.name) == (label, module, path, name)
    assert ModelSpec.parse(f"{label}={spec}") == spec if "=" not in label else ModelSpec.parse(str(spec)) == spec


def test_labels_are_told_apart_by_folders() -> None:
    def labels(*texts: str) -> list[str]:
        return [spec.label for spec in tell_apart([ModelSpec.parse(text) for text in texts])]

    assert labels("a/m.py", "b/m.py") == ["a-m", "b-m"]
    assert labels("hf:one/base", "hf:other/base") == ["one-base", "other-base"]
    assert labels("m.py@a/w.pt", "m.py@b/w.pt") == ["m-a-w", "m-b-w"]
    assert labels("log-mel", "benchmarks.baselines.logmel") == ["log-mel", "benchmarks.baselines.logmel"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub:org/name", "no adapter is called 'hub'. Available: hf, torchaudio, xares."),
        ("org/name", "for a model of the Hub, write hf:org/name"),
        ("some folder/x", "expected a short name, an adapter such as hf:ORG/NAME, a Python module's name or the path"),
        ("./no_such_file.py", "there is no file no_such_file.py; check the path"),
        ("logmel", "no module named 'logmel'; install it or check the name. Did you mean 'log-mel'?"),
        ("delores-m-1025", "install it or check the name. Did you mean 'delores-m-1024'"),
        ("hf:x?revision=a", "got multiple values for argument 'revision'"),
    ],
)
def test_what_is_none_of_them_is_one_line(text: str, message: str) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(DeloresError) as caught:
        load_model(text, "cpu")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_are_named_once() -> None:
    assert ModelSpec.parse("m?a=1", "w.pt") == ModelSpec.parse("m@w.pt?a=1")
    with pytest.raises(DeloresError, match=r"names weights, and so does --model other\.pt"):
        ModelSpec.parse("m@w.pt", "other.pt")


def test_records_of_the_old_name_are_of_the_same_model() -> None:
    model = load_model("log-mel", "cpu")
    old = load_model("log-mel=benchmarks.baselines.logmel", "cpu")
    assert (old.folder_name, old.info()) == (model.folder_name, model.info())
    # As the hash was made when the class lay in benchmarks.baselines: of its name and sizes, and of the filters.
    sizes = {"sample_rate": 16000, "scene_embedding_size": 128, "timestamp_embedding_size": 128}
    digest = hashlib.sha256(f"benchmarks.baselines.logmel.LogMelStatistics\0{sizes}\0".encode())
    for name, tensor in sorted(model.model.named_buffers()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode() + tensor.numpy().tobytes())
    assert model.weights_hash == digest.hexdigest()
    described = {"label": "log-mel", "weights_hash": model.weights_hash, "options": {}, "behaviour": None}
    records = [SimpleNamespace(module=name, **described) for name in ("benchmarks.baselines.logmel", "log-mel")]
    assert len(Models(records).names) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("name", READY)
def test_what_is_listed_of_a_short_name_is_so(name: str) -> None:
    if name == "opensmile":
        pytest.importorskip("opensmile")
    listed, model = READY[name], load_model(name, "cpu")
    sizes = (model.sample_rate, model.scene_embedding_size, model.timestamp_embedding_size)
    assert sizes == (listed.rate, listed.scene, listed.timestamp)
    assert model.spec.label == name
    assert not model.notes


def test_the_command_lists_them_without_any_library(delores: Callable[..., SimpleNamespace]) -> None:
    ran = delores("models")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= 80
    for entry in (*READY.values(), *ADAPTERS.values()):
        assert entry.description in " ".join(ran.out.split())
    listed = json.loads(delores("models", "--json").out)
    assert listed["models"] == [asdict(each) for each in READY.values()]
    assert [each["form"] for each in listed["adapters"]] == [each.form for each in ADAPTERS.values()]
    code = (
        "import sys; sys.argv = ['delores', 'models']\nfrom benchmarks.cli import main\ntry: main()\nfinally:\n"
        "    print(*[name for name in ('torch', 'numpy', 'transformers', 'torchaudio') if name in sys.modules])"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert fresh.stdout.splitlines()[-1] == "", fresh.stderr


# --- files

WRAPPER = """
import torch
from gains import GAIN

class Model(torch.nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 2, 2

def load_model(model_file_path="", gain=1.0):
    model = Model()
    model.gain = gain * GAIN
    return model

def get_scene_embeddings(audio, model):
    return model.gain * torch.stack([audio.mean(1), audio.amax(1)], dim=1)

def get_timestamp_embeddings(audio, model):
    return get_scene_embeddings(audio, model)[:, None], torch.zeros(len(audio), 1)
"""


def write(folder: Path, gain: float, name: str = "wrapper.py", source: str = WRAPPER) -> Path:
    folder.mkdir(exist_ok=True)
    module = f"gains_{folder.name}"
    (folder / f"{module}.py").write_text(f"GAIN = {gain}\n")
    (folder / name).write_text(source.replace("gains", module))
    return folder / name


def test_a_file_is_a_model_and_two_of_one_name_do_not_meet(tmp_path: Path) -> None:
    one, other = (load_model(str(write(tmp_path / name, gain)), "cpu") for name, gain in (("a", 1.0), ("b", 3.0)))
    np.testing.assert_allclose(other.scene(AUDIO), 3 * one.scene(AUDIO), rtol=1e-6)
    assert one.spec.name == other.spec.name == "wrapper.py"
    assert one.weights_hash == other.weights_hash  # they have none: their behaviour tells them apart
    assert one.behaviour != other.behaviour
    assert one.source_hash != other.source_hash
    options = load_model(f"{tmp_path / 'a' / 'wrapper.py'}?gain=2", "cpu")
    np.testing.assert_allclose(options.scene(AUDIO), 2 * one.scene(AUDIO), rtol=1e-6)
    # Wherever it lies, a copy is the same.
    copy = load_model(str(write(tmp_path / "c", 1.0)), "cpu")
    assert (copy.weights_hash, copy.behaviour) == (one.weights_hash, one.behaviour)


def test_the_validator_takes_the_same_forms(tmp_path: Path) -> None:
    file = write(tmp_path / "checked", 1.0)
    for subject in (Subject(f"mine={file}?gain=2"), Subject(f"{file}?gain=2", device="cpu")):
        subject.load()
        assert subject.model.gain == subject.again().model.gain == 2.0
    subject = Subject("random?embedding_size=32&timestamp=frames", "delores-s-1024")
    subject.load()
    assert subject.model.encoder.config.embedding_size == 32


def test_what_a_file_imports_from_beside_it_is_part_of_its_source(tmp_path: Path) -> None:
    file = write(tmp_path / "own", 1.0)
    first = load_model(str(file), "cpu")
    assert load_model(str(file), "cpu").source_hash == first.source_hash
    (tmp_path / "own" / "gains_own.py").write_text("GAIN = 5.0\n")
    with pytest.raises(DeloresError, match=r"was changed after this process had imported it; start Python again"):
        load_model(str(file), "cpu")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0\n", "failed: ZeroDivisionError"),
        ("import not_there_at_all\n", "needs 'not_there_at_all'; install it, or put it beside the file"),
        ("import sys\nsys.exit(3)\n", "it calls sys.exit(3)"),
        ("x = 1\n", "the module faulty.py has no function load_model"),
    ],
)
def test_a_faulty_file_is_one_line_each_time(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "faulty.py").write_text(source)
    for _ in range(2):
        with pytest.raises(DeloresError) as caught:
            load_model(str(tmp_path / "faulty.py"), "cpu")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
