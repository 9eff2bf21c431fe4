"""A gallery of faulty models, one fault each, as source text; and well-made ones that may look faulty."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable

#: The name under which a model of the gallery is imported.
NAME = "gallery_model"

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
        self.norm = torch.nn.BatchNorm1d(4)

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
EVAL = "return Model().eval()"


def frames_become(code: str) -> str:
    """The good model with ``x``, its frames (n, t, 4), passed through ``code``."""
    return replaced((FRAMES_LINE, f"x = torch.stack(parts, dim=2) * self.scale\n        {code}\n        return x"))


def times_become(code: str) -> str:
    """The good model with ``t``, its timestamps (n, t), passed through ``code``."""
    return replaced((TIMES_LINE, f"t = times(audio, frames).clone()\n        {code}\n        return frames, t"))


#: A tensor that says it is on a GPU, for machines without one.
ELSEWHERE = """
class Elsewhere(torch.Tensor):
    @property
    def device(self):
        return torch.device("cuda")
"""


def at_44_khz(times_ms: str, centres: str, keep: str = "centre <= audio.shape[1]") -> str:
    """The good model at 44.1 kHz: frame k is the 1102 samples around ``centres``, its time ``times_ms``."""
    start, end = GOOD.index("    def frames"), GOOD.index("def times")
    frames = f"""    def frames(self, audio):
        k = torch.arange(1 + audio.shape[1] // 1000)
        centre = {centres}
        centre = centre[{keep}]
        blocks = torch.nn.functional.pad(audio, (551, 1102))[:, centre[:, None] + torch.arange(1102)]
        parts = [blocks.mean(2), blocks.abs().mean(2), blocks.amax(2), blocks.pow(2).mean(2)]
        {FRAMES_LINE}

"""
    source = GOOD[:start] + frames + GOOD[end:]
    return source.replace("sample_rate = 16000", "sample_rate = 44100").replace(
        "t = torch.arange(frames.shape[1], dtype=torch.float64) * hop_ms",
        f"k = torch.arange(frames.shape[1], dtype=torch.float64)\n    t = {times_ms}",
    )


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
    "not a module": (
        replaced(
            ("Model(torch.nn.Module)", "Model"),
            ("        super().__init__()\n", ""),
            ("torch.nn.Parameter(torch.ones(4))", "torch.ones(4)"),
            ('        self.register_buffer("calls", torch.zeros(1))\n', ""),
            ("        self.norm = torch.nn.BatchNorm1d(4)\n", ""),
            (EVAL, "return Model()"),
        ),
        "load",
        "fail",
    ),
    "sample rate not allowed": (
        replaced(("sample_rate = 16000", "sample_rate = 8000"), ("hop = 640", "hop = 320")),
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
        replaced((TIMES_LINE, "t = times(audio, frames).clone(); t[:, 3:4] += 3; return frames, t")),
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
    "NaN at silence": (
        replaced((SCENE_LINE, "x = model.frames(audio).mean(1); return x / x.abs().amax(1, keepdim=True)")),
        "silence",
        "fail",
    ),
    "two calls differ": (
        replaced((FRAMES_LINE, "x = torch.stack(parts, dim=2) * self.scale; return x + 1e-3 * torch.randn_like(x)")),
        "deterministic",
        "fail",
    ),
    "a counter among the buffers": (frames_become("self.calls += 1"), "state", "fail"),
    "BatchNorm learns from the test audio": (
        replaced((FRAMES_LINE, "return self.norm(torch.stack(parts, dim=2).transpose(1, 2)).transpose(1, 2)")).replace(
            EVAL, "return Model()"
        ),
        "state",
        "fail",
    ),
    "a call switches to training mode": (frames_become("self.train()"), "training-mode", "fail"),
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
    "50 ms raise": (
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
        replaced(("class Model", "torch.set_default_dtype(torch.float64)\nclass Model"))
        .replace("torch.ones(4)", "torch.ones(4, dtype=torch.float32)")
        .replace("torch.zeros(1)", "torch.zeros(1, dtype=torch.float32)")
        .replace("def frames(self, audio):", "def frames(self, audio):\n        audio = audio.float()"),
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
    "size is a numpy integer": (
        replaced(("import torch\n", "import torch, numpy\n")).replace(
            "scene_embedding_size = 4\n", "scene_embedding_size = numpy.int64(4)\n", 1
        ),
        "embedding-sizes",
        "fail",
    ),
    "size is a tensor": (
        replaced(("timestamp_embedding_size = 4\n", "timestamp_embedding_size = torch.tensor(4)\n")),
        "embedding-sizes",
        "fail",
    ),
    "no size": (replaced(("    timestamp_embedding_size = 4\n", "")), "embedding-sizes", "fail"),
    "sample rate not allowed, 24 kHz": (
        replaced(("sample_rate = 16000", "sample_rate = 24000"), ("hop = 640", "hop = 960")),
        "sample-rate",
        "fail",
    ),
    "the timestamp function raises": (times_become("t.nothing()"), "timestamp-embeddings", "fail"),
    "scene embeddings are an array": (
        replaced((SCENE_LINE, SCENE_LINE + ".tolist()")),
        "scene-embeddings",
        "fail",
    ),
    "embeddings are bfloat16": (
        replaced((TIMES_LINE, "return frames.bfloat16(), times(audio, frames)")),
        "timestamp-embeddings",
        "fail",
    ),
    "infinity": (frames_become("x[:, -1, 0] = float('inf')"), "finite", "fail"),
    "a timestamp is NaN": (times_become("t[:, 5] = float('nan')"), "finite", "fail"),
    "timestamps are integers": (
        replaced((TIMES_LINE, "return frames, times(audio, frames).long()")),
        "timestamp-dtype",
        "warn",
    ),
    "timestamps on another device": (
        replaced(
            ("class Model", ELSEWHERE + "\nclass Model"),
            (TIMES_LINE, "return frames, times(audio, frames).as_subclass(Elsewhere)"),
        ),
        "timestamp-dtype",
        "fail",
    ),
    "timestamps shuffled": (times_become("t = t[:, torch.randperm(t.shape[1])]"), "timestamps", "fail"),
    "timestamps descend": (times_become("t = t.flip(1)"), "timestamp-order", "fail"),
    "timestamps are all zero": (times_become("t = t * 0"), "timestamp-order", "fail"),
    "timestamps differ by sound": (
        times_become("t = t - 5 * torch.arange(len(t))[:, None]"),
        "timestamp-order",
        "fail",
    ),
    "hop of 25 ms rounded at 44.1 kHz": (at_44_khz(times_ms="k * 25.0", centres="k * 1102"), "timestamp-drift", "fail"),
    "hop of 25 ms rounded up at 44.1 kHz": (
        at_44_khz(times_ms="k * 25.0", centres="k * 1103"),
        "timestamp-drift",
        "fail",
    ),
    "frames drift, timestamps do not": (
        at_44_khz(times_ms="k * 25.0", centres="k * 1102", keep="k * 1102.5 <= audio.shape[1]"),
        "timestamp-drift",
        "fail",
    ),
    "timestamps drift, frames do not": (
        at_44_khz(times_ms="k * (1102 / 44.1)", centres="(k * 1102.5).round().long()"),
        "timestamp-drift",
        "fail",
    ),
    "dropout left on": (
        replaced(
            (FRAMES_LINE, "return torch.nn.functional.dropout(torch.stack(parts, dim=2), 0.5, self.training)")
        ).replace(EVAL, "return Model()"),
        "deterministic",
        "fail",
    ),
    "random crop": (
        replaced((SCENE_LINE, "s = int(torch.randint(8000, ())); return model.frames(audio[:, s:]).mean(1)")),
        "deterministic",
        "fail",
    ),
    "a mean carried from call to call": (
        frames_become("self.mean = 0.9 * getattr(self, 'mean', 0.0) + 0.1 * x.mean(); x = x - self.mean"),
        "deterministic",
        "fail",
    ),
    "the last call shows": (
        frames_become("last, self.last = getattr(self, 'last', 0.0), x[0, 0, 0].item(); x = x + last"),
        "deterministic",
        "fail",
    ),
    "other weights on each load": (
        replaced(("torch.nn.Parameter(torch.ones(4))", "torch.nn.Parameter(torch.rand(4))")),
        "reload",
        "fail",
    ),
    "load_model seeds": (
        replaced((EVAL, "torch.manual_seed(0)\n    return Model().eval()")),
        "reload",
        "warn",
    ),
    "ignores the audio": (frames_become("x = torch.ones_like(x)"), "uses-audio", "fail"),
    "cached by shape": (
        frames_become("x = self.__dict__.setdefault('cache', {}).setdefault(x.shape, x)"),
        "uses-audio",
        "fail",
    ),
    "normalised over the batch": (
        frames_become("x = x / x.abs().amax(dim=(0, 1), keepdim=True).clamp(min=1e-6)"),
        "batch-independence",
        "fail",
    ),
    "only the first of a batch": (frames_become("x = x[:1].expand(len(x), -1, -1)"), "batch-independence", "fail"),
    "depends on its padding": (
        frames_become("x = x / (x.pow(2).mean(dim=(1, 2), keepdim=True).sqrt() + 1e-3)"),
        "padding",
        "warn",
    ),
    "30 s raise": (frames_become("assert audio.shape[1] < 20 * 16000, 'too long'"), "lengths", "fail"),
    "all after 10 s is dropped": (
        replaced(
            ("    def frames(self, audio):\n", "    def frames(self, audio):\n        audio = audio[:, :160000]\n")
        ),
        "lengths",
        "fail",
    ),
    "infinity at silence": (
        replaced((SCENE_LINE, "x = model.frames(audio).mean(1); return torch.cat([x[:, :3], x[:, 3:].log()], 1)")),
        "silence",
        "fail",
    ),
    "infinity at clipping": (
        frames_become("x = torch.cat([x[..., :3], torch.log1p(-x[..., 1:2])], 2)"),
        "clipping",
        "fail",
    ),
    "writes into the audio": (
        replaced((SCENE_LINE, "audio *= 0.5; return model.frames(audio).mean(1)")),
        "input-kept",
        "fail",
    ),
    "load_model takes no path": (
        replaced(('def load_model(model_file_path=""):', "def load_model():")),
        "signatures",
        "fail",
    ),
    "load_model takes a keyword only": (
        replaced(('def load_model(model_file_path=""):', 'def load_model(*, model_file_path=""):')),
        "signatures",
        "fail",
    ),
    "import seeds numpy": (
        replaced(("class Model", "import numpy; numpy.random.seed(0)\nclass Model")),
        "import-side-effects",
        "fail",
    ),
    "import seeds python": (
        replaced(("class Model", "import random; random.seed(0)\nclass Model")),
        "import-side-effects",
        "fail",
    ),
    "import switches gradients off": (
        replaced(("class Model", "torch.set_grad_enabled(False)\nclass Model")),
        "import-side-effects",
        "fail",
    ),
    "load_model sets threads": (
        replaced((EVAL, "torch.set_num_threads(torch.get_num_threads() + 1)\n    return Model().eval()")),
        "call-side-effects",
        "fail",
    ),
    "load_model switches gradients off": (
        replaced((EVAL, "torch.set_grad_enabled(False)\n    return Model().eval()")),
        "call-side-effects",
        "fail",
    ),
    "a call sets threads": (frames_become("torch.set_num_threads(7)"), "call-side-effects", "fail"),
    "a call switches gradients off": (
        replaced((SCENE_LINE, "pass\n    torch.set_grad_enabled(False)\n    " + SCENE_LINE)),
        "call-side-effects",
        "fail",
    ),
    "a call seeds": (
        frames_become("torch.manual_seed(0); x = x + 1e-9 * torch.rand(1)"),
        "call-side-effects",
        "fail",
    ),
    "a call seeds numpy": (
        replaced((SCENE_LINE, "import numpy; numpy.random.seed(1); " + SCENE_LINE)),
        "call-side-effects",
        "fail",
    ),
}

#: Models that are as they should be, though a rough check might not think so.
WELL_MADE = {
    "the good model": GOOD,
    "exact hop of 25 ms at 44.1 kHz": at_44_khz(times_ms="k * 25.0", centres="(k * 1102.5).round().long()"),
    "timestamps of whole-sample hops at 44.1 kHz": at_44_khz(times_ms="k * (1102 / 44.1)", centres="k * 1102"),
    "draws from the generator": frames_become("torch.rand(3)"),
    "eval() in the call": frames_become("self.eval()").replace(EVAL, "return Model()"),
    "a hop of 40 ms on a grid of 160 ms": replaced(
        (FRAMES_LINE, "x = torch.stack(parts, dim=2)\n        return x[:, ::4].repeat_interleave(4, 1)[:, :n]")
    ),
    "no parameters, no mode": replaced(
        ("self.scale = torch.nn.Parameter(torch.ones(4))", "self.scale = torch.ones(4)"),
        ("        self.norm = torch.nn.BatchNorm1d(4)\n", ""),
    ).replace(EVAL, "return Model()"),
}


def forked(function: Callable[..., object], *arguments: object, timeout: float | None = None) -> object:
    """``in_fresh_process`` in a fork, which starts in a moment: torch is loaded in this process already."""
    import torch

    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            sys.modules.pop(NAME, None)
            torch.set_default_dtype(torch.float32)  # what the import did here is not there in a fresh process
            torch.set_grad_enabled(True)
            os.write(write, repr(function(*arguments)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as stream:
        return ast.literal_eval(stream.read())
