"""A gallery of faulty models, one fault each: the validator names that fault and no other."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks import validate

GOOD = """
import torch

class Model(torch.nn.Module):
    sample_rate = 16000
    scene_embedding_size = 4
    timestamp_embedding_size = 4
    hop = 640

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(4))
        self.register_buffer("calls", torch.zeros(1))

    def frames(self, audio):
        n = 1 + audio.shape[1] // self.hop
        audio = torch.nn.functional.pad(audio, (0, n * self.hop - audio.shape[1]))
        blocks = audio[:, : n * self.hop].unflatten(1, (n, self.hop))
        parts = [blocks.mean(2), blocks.abs().mean(2), blocks.amax(2), blocks.pow(2).mean(2)]
        return torch.stack(parts, dim=2) * self.scale

def times(audio, frames, hop_ms=40.0):
    t = torch.arange(frames.shape[1], dtype=torch.float64) * hop_ms
    return t.float().to(audio.device).expand(len(audio), -1)

def load_model(model_file_path=""):
    return Model().eval()

def get_scene_embeddings(audio, model):
    with torch.no_grad():
        return model.frames(audio).mean(1)

def get_timestamp_embeddings(audio, model):
    with torch.no_grad():
        frames = model.frames(audio)
        return frames, times(audio, frames)
"""


def replaced(*pairs: tuple[str, str]) -> str:
    text = GOOD
    for old, new in pairs:
        assert old in text, f"the gallery no longer holds {old!r}"
        text = text.replace(old, new)
    return text


FRAMES_LINE = "return torch.stack(parts, dim=2) * self.scale"
TIMES_LINE = "return frames, times(audio, frames)"
SCENE_LINE = "return model.frames(audio).mean(1)"

#: fault -> (source, the check that names it, verdict)
GALLERY = {
    "does not import": ("raise RuntimeError('no such luck')\n" + GOOD, "import", "fail"),
    "no load_model": (replaced(("def load_model", "def load_modell")), "functions", "fail"),
    "no timestamp function": (
        replaced(("def get_timestamp_embeddings", "def get_timestamps")),
        "functions",
        "fail",
    ),
    "load_model raises": (
        replaced(("return Model().eval()", "raise OSError('weights not found')")),
        "load",
        "fail",
    ),
    "not a module": (replaced(("return Model().eval()", "return object()")), "load", "fail"),
    "sample rate not allowed": (
        replaced(("sample_rate = 16000", "sample_rate = 8000")),
        "sample-rate",
        "fail",
    ),
    "no sample rate": (replaced(("sample_rate = 16000", "rate = 16000")), "sample-rate", "fail"),
    "size is a float": (
        replaced(("scene_embedding_size = 4\n", "scene_embedding_size = 4.0\n")),
        "embedding-sizes",
        "fail",
    ),
    "timestamp size is wrong": (
        replaced(("timestamp_embedding_size = 4", "timestamp_embedding_size = 5")),
        "timestamp-embeddings",
        "fail",
    ),
    "scene size is wrong": (
        replaced((SCENE_LINE, "return model.frames(audio).mean(1)[:, :3]")),
        "scene-embeddings",
        "fail",
    ),
    "scene embeddings are float64": (
        replaced((SCENE_LINE, SCENE_LINE + ".double()")),
        "scene-embeddings",
        "fail",
    ),
    "timestamp embeddings are float64": (
        replaced((TIMES_LINE, "return frames.double(), times(audio, frames)")),
        "timestamp-embeddings",
        "fail",
    ),
    "timestamps have another shape": (
        replaced((TIMES_LINE, "return frames, times(audio, frames)[0]")),
        "timestamp-embeddings",
        "fail",
    ),
    "irregular timestamps": (
        replaced((TIMES_LINE, "t = times(audio, frames).clone(); t[:, 3] += 3; return frames, t")),
        "timestamps",
        "fail",
    ),
    "past the end": (
        replaced((TIMES_LINE, "return frames, times(audio, frames) + 60")),
        "timestamps",
        "fail",
    ),
    "late start": (
        replaced(("return frames, times(audio, frames)", "return frames[:, 3:], times(audio, frames)[:, 3:]")),
        "timestamps",
        "warn",
    ),
    "early end": (
        replaced((TIMES_LINE, "return frames[:, :-4], times(audio, frames)[:, :-4]")),
        "timestamps",
        "warn",
    ),
    "sparse": (
        replaced(("hop = 640", "hop = 960"), ("hop_ms=40.0", "hop_ms=60.0")),
        "timestamps",
        "warn",
    ),
    "seconds": (replaced(("hop_ms=40.0", "hop_ms=0.04")), "timestamp-unit", "fail"),
    "timestamps are float64": (
        replaced((TIMES_LINE, "return frames, times(audio, frames).double()")),
        "timestamp-dtype",
        "warn",
    ),
    "negative timestamp": (
        replaced((TIMES_LINE, "return frames, times(audio, frames) - 10")),
        "timestamp-order",
        "fail",
    ),
    "drift of a rounded hop": (replaced(("hop_ms=40.0", "hop_ms=39.96")), "timestamp-drift", "fail"),
    "NaN": (
        replaced((SCENE_LINE, "x = model.frames(audio).mean(1); x[0, 0] = float('nan'); return x")),
        "finite",
        "fail",
    ),
    "infinity at silence": (
        replaced((SCENE_LINE, "x = model.frames(audio).mean(1); return x / x.abs().amax(1, keepdim=True)")),
        "silence",
        "fail",
    ),
    "two calls differ": (
        replaced((FRAMES_LINE, "x = torch.stack(parts, dim=2) * self.scale; return x + 1e-3 * torch.randn_like(x)")),
        "deterministic",
        "fail",
    ),
    "state changes": (
        replaced((FRAMES_LINE, "self.calls += 1; return torch.stack(parts, dim=2) * self.scale")),
        "training-mode",
        "fail",
    ),
    "left in training mode": (replaced(("return Model().eval()", "return Model()")), "training-mode", "warn"),
    "depends on the batch": (
        replaced((FRAMES_LINE, "x = torch.stack(parts, dim=2) * self.scale; return x - x.mean(0)")),
        "batch-independence",
        "fail",
    ),
    "gradients kept": (
        replaced(("with torch.no_grad():\n        return", "with torch.enable_grad():\n        return")),
        "gradients",
        "warn",
    ),
    "short clips raise": (
        replaced((FRAMES_LINE, "assert n > 3, 'too short'\n        return torch.stack(parts, dim=2) * self.scale")),
        "lengths",
        "fail",
    ),
    "one sample raises": (
        replaced((FRAMES_LINE, "assert audio.abs().gt(0).sum(1).ne(1).all(), 'one sample'\n        " + FRAMES_LINE)),
        "single-sample",
        "warn",
    ),
    "import changes the default dtype": (
        replaced(("class Model", "torch.set_default_dtype(torch.float16)\nclass Model"))
        .replace("torch.ones(4)", "torch.ones(4, dtype=torch.float32)")
        .replace("torch.zeros(1)", "torch.zeros(1, dtype=torch.float32)"),
        "import-side-effects",
        "fail",
    ),
    "import seeds": (
        replaced(("class Model", "torch.manual_seed(0)\nclass Model")),
        "import-side-effects",
        "fail",
    ),
    "import sets threads": (
        replaced(("class Model", "torch.set_num_threads(torch.get_num_threads() + 1)\nclass Model")),
        "import-side-effects",
        "fail",
    ),
}


def outcomes_of(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, validate.Outcome]:
    import torch

    (folder / "gallery_model.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    sys.modules.pop("gallery_model", None)
    importlib.invalidate_caches()
    threads, dtype, state = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state()
    try:
        return {outcome.check.name: outcome for outcome in validate.validate("gallery_model", device="cpu")}
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)
        sys.modules.pop("gallery_model", None)


def test_a_good_model_passes_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes_of(GOOD, tmp_path, monkeypatch)
    assert {name: o.findings for name, o in found.items() if o.verdict not in ("pass", "skip")} == {}
    assert [name for name, o in found.items() if o.verdict == "skip"] == ["long-audio"]


@pytest.mark.parametrize("fault", GALLERY)
def test_a_fault_is_named_and_no_other(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, check, verdict = GALLERY[fault]
    found = outcomes_of(source, tmp_path, monkeypatch)
    assert found[check].verdict == verdict, found[check].findings
    assert len(found[check].findings) >= 1
    others = {name: o.findings for name, o in found.items() if name != check and o.verdict in ("fail", "warn")}
    assert others == {}


def test_every_check_explains_itself_and_unknown_names_get_help() -> None:
    validate.validate("gallery_model_that_is_not_there")
    for name in validate.CHECKS:
        assert len(validate.explain(name)) > 40
    with pytest.raises(ValueError, match="Did you mean 'silence'"):
        validate.explain("silense")


def test_reports_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xml.etree.ElementTree as ElementTree

    outcomes = list(outcomes_of(GALLERY["seconds"][0], tmp_path, monkeypatch).values())
    report = validate.to_json("gallery_model", outcomes)
    assert report["passed"] is False
    failed = [item["name"] for item in report["checks"] if item["verdict"] == "fail"]
    assert failed == ["timestamp-unit"]
    suite = ElementTree.fromstring(validate.to_junit("gallery_model", outcomes))
    assert suite.get("failures") == "1"
    assert suite.get("tests") == str(len(outcomes))
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["timestamp-unit"]
