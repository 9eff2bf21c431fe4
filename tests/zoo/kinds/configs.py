"""Configurations: YAML presets, `key=value` on the command line, settings of an ablation."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

from tests.zoo.cases import EQUAL, HARMFUL, HARMLESS, OPEN, Case, Change, Expectation
from tests.zoo.kinds.common import byte_cases, place_cases, written
from tests.zoo.mutations import IN_PLACE, VALUES
from tests.zoo.routes import ABLATE, PACK, PRETRAIN

__all__ = ["cases"]

#: An empty file is a sound configuration: the paper's own, which needs more time and memory than a case has.
NOT_EMPTY = [what for what in IN_PLACE if what not in ("empty", "one newline", "empty device")]

PRESET = "in/tiny.yaml"
HUGE = 10**23

#: ``key=value`` words that no run may take.
WORDS = (
    "seed=-1", f"seed={HUGE}", "seed=1.5", "seed=true", "seed=nan", "seed=null", "seed=[1]", "seed=1:30",
    "steps=0", "steps=-1", "steps=1e3x", "steps=.inf", "steps=yes", "epochs=0", "epochs=-1", "epochs=.inf", "epochs=.nan",
    "batch_size=1", "batch_size=0", f"batch_size={HUGE}", "batch_size=2.5", "batch_size=1000000000000",
    "segment_s=0", "segment_s=-1", "segment_s=1e-9", "segment_s=.inf", "segment_s=.nan", "segment_s=1e12", "segment_s=text",
    "projector.widths=[0]", "projector.widths=[]", "projector.widths=[-1]", "projector.widths=[1000000000,1000000000]",
    "projector.widths=5", "projector.widths=[24,null]", "projector.widths=[24,1.5]", "projector.dropout=1", "projector.dropout=-0.1",
    "encoder.channels=0", "encoder.channels=-8", f"encoder.channels={HUGE}", "encoder.channels=1000000000", "encoder.embedding_size=0",
    "encoder.embedding_size=1000000000000", "encoder.n_mels=63", "encoder.n_mels=0", "encoder.dropout=2",
    "frontend.sample_rate=0", "frontend.sample_rate=-16000", "frontend.sample_rate=1", "frontend.sample_rate=16000.5",
    f"frontend.sample_rate={HUGE}", "frontend.hop_length=0", "frontend.n_fft=0", "frontend.n_fft=7", "frontend.f_max=0",
    "frontend.f_max=9000", "frontend.f_min=-1", "frontend.f_min=.nan", "frontend.eps=0", "frontend.eps=-1", "frontend.mel_scale=bark",
    "optimizer.lr=0", "optimizer.lr=-1", "optimizer.lr=.nan", "optimizer.lr=.inf", "optimizer.lr=fast", "optimizer.kind=adam",
    "optimizer.momentum=1", "optimizer.weight_decay=-1", "optimizer.eta=0", "schedule.warmup=2", "schedule.kind=linear",
    "schedule.final=-1", "loss.lambd=-1", "loss.lambd=.nan", "loss.layers=[4]", "loss.layers=[]", "loss.scale=0",
    "augment.mixup_ratio=1", "augment.mixup_memory=0",
    "augment.canvas_freq=0.5", "augment.canvas_time=.inf", "augment.crop_freq=[1,0]", "augment.crop_freq=[0.5]",
    "augment.crop_time=[-1,1]", "augment.level_db=-1", "augment.level_db=.inf", "augment.equaliser_nodes=1",
    "method=delores-x", "precision=float8", "device=tpu", "device=cuda:99", "device=", "data.threads=-1",
    "data.piece_s=0", "data.piece_s=.nan", "data.prefetch=0", "data.cache_mb=-1", "data.statistics_clips=0",
    "scene=[nonsense]", "scene=[]", "scene=pooled", "timestamp=[pooled]", "log_every=0", "save_every=0",
    "decorrelation.clips=1", "decorrelation.shrinkage=0", "decorrelation.dims={x: 1}",
    "normalization=z", "zoo=1", "encoder.zoo=1", "encoder", "=1", "encoder=", "encoder=5", "encoder=[1]", "steps.x=1", ".=1", "..x=1",
    "steps=[", "steps={", "steps=!!python/object:os.system {}", "steps=*a", "steps=&a 1 &b 2", "steps='", "a b=1", "steps==1", "\u0661=1",
    "method=", "base=demo-s",
)  # fmt: skip
#: Words that are fine, and must change nothing: they say what is so already.
SAME_WORDS = ("steps=2", "segment_s=3e-1", "segment_s=.3", "optimizer.scale_lr=false", "data.threads=0", "batch_size=4")
OPEN_WORDS = (
    "steps=", "augment.canvas_time=1e9", f"data.threads={HUGE}", "seed=1_0", "seed=0x10", "steps=0b10", f"augment.mixup_memory={HUGE}", "augment.mixup_memory=1000000000000",
    "optimizer.lr=1e300", "optimizer.lr=1e-300", "segment_s=0.08", "segment_s=30", "moco.temperature=1e-30", "loss.scale=1e38",
    "augment.level_db=1e6", "schedule.warmup=1", "frontend.sample_rate=8000", "frontend.sample_rate=192000", "data.piece_s=0.05",
    "data.piece_s=1e-5", "data.threads=3", "seed=9223372036854775807", "seed=9223372036854775808", "seed=18446744073709551616",
    "seed=4294967296", "epochs=1e-9", "method=delores-m", "batch_size=2", "batch_size=1000", "save_every=1000000", "encoder.dropout=0",
    "precision=bfloat16", "channels_last=false", "channels_last=maybe", "augment.post_norm=1", "frontend.n_fft=65536", "frontend.n_mels=8",
    "frontend.hop_length=1", "frontend.win_length=2", "frontend.f_min=7799.9", "scene=[pooled,pooled]", "augment.equaliser_nodes=100000",
)  # fmt: skip


def _yaml(change: dict[str, Any] | str, rest: str = "") -> Change:
    """The preset with some of it changed, or text before it."""

    def changed(work: Path, rng: random.Random) -> None:
        path = work / PRESET
        if isinstance(change, str):
            path.write_text(change + path.read_text() + rest)
        else:
            path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))

    return changed


def _laughs(levels: int) -> str:
    """Aliases of aliases: nine to the power of ``levels`` values from a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + f"\nscene: *a{levels - 1}\n"


TEXTS: dict[str, tuple[Change, Expectation]] = {
    "a key twice": (_yaml("", "steps: 3\n"), HARMFUL),
    "a key of a section twice": (_yaml("", "optimizer: {lr: 0.1, lr: 0.2}\n"), HARMFUL),
    "aliases that blow up": (_yaml(_laughs(9)), HARMFUL),
    "aliases that blow up in a known key": (written(PRESET, _laughs(8).replace("a0:", "scene:", 1)), HARMFUL),
    "an alias of itself": (_yaml("", "zoo: &a [*a]\n"), HARMFUL),
    "an alias of itself in a section": (_yaml("", "decorrelation: {dims: &a {mean: *a}}\n"), HARMFUL),
    "an alias, used well": (_yaml("x: &n 16\n"), HARMFUL),
    "an object of Python": (_yaml("", "zoo: !!python/object/apply:os.system ['touch out/precious/owned']\n"), HARMFUL),
    "an unknown tag": (_yaml("", "seed: !zoo 1\n"), HARMFUL),
    "a merge key": (_yaml("", "schedule: {<<: {warmup: 0.1}}\n"), OPEN),
    "two documents": (_yaml("", "---\nsteps: 3\n"), HARMFUL),
    "100,000 lists deep": (_yaml("", "zoo: " + "[" * 100000 + "]" * 100000 + "\n"), HARMFUL),
    "2,000 maps deep": (_yaml("", "zoo: " + "{a: " * 2000 + "1" + "}" * 2000 + "\n"), HARMFUL),
    "a number of 5,000 digits": (_yaml("", f"seed: {'1' * 5000}\n"), HARMFUL),
    "a float of 5,000 digits": (_yaml("", f"segment_s: 0.{'3' * 5000}\n"), OPEN),
    "a number in sixties": (_yaml("", "seed: 1:30\n"), HARMFUL),
    "a date": (_yaml("", "seed: 2026-01-31\n"), HARMFUL),
    "a key that is null": (_yaml("", "~: 1\n"), HARMFUL),
    "a key that is a number": (_yaml("", "5: 1\n"), HARMFUL),
    "a key that is a list": (_yaml("", "? [a]\n: 1\n"), HARMFUL),
    "tabs": (_yaml("", "schedule:\n\twarmup: 0.1\n"), HARMFUL),
    "a list": (written(PRESET, "- 1\n- 2\n"), HARMFUL),
    "a text": (written(PRESET, "hello\n"), HARMFUL),
    "a base in a circle": (_yaml("base: ./in/tiny.yaml\n# ", ""), HARMFUL),
    "a base that is nowhere": (written(PRESET, "base: ./in/nowhere.yaml\n"), HARMFUL),
    "a base that is a list": (written(PRESET, "base: [demo-s]\n"), HARMFUL),
    "a base that is a device": (written(PRESET, "base: /dev/null\n"), HARMFUL),
    "a base that is a folder": (written(PRESET, "base: ./in/corpus\n"), HARMFUL),
    "null in a section's place": (_yaml("", "schedule:\n"), OPEN),
    "comments": (_yaml("# a comment\n", "# another\n"), HARMLESS),
    "a byte order mark": (_yaml("\ufeff"), EQUAL),
    "the directive of YAML 1.1": (_yaml("%YAML 1.1\n---\n"), EQUAL),
}  # fmt: skip


def _values(place: tuple[str, ...], value: Any) -> Change:
    def changed(work: Path, rng: random.Random) -> None:
        path = work / PRESET
        config = yaml.safe_load(path.read_text())
        holder = config
        for key in place[:-1]:
            holder = holder.setdefault(key, {})
        holder[place[-1]] = value
        path.write_text(yaml.safe_dump(config))

    return changed


def _typed() -> list[Case]:
    """Wrong types at known keys."""
    found = []
    for place in (
        ("steps",),
        ("encoder",),
        ("optimizer", "lr"),
        ("projector", "widths"),
        ("device",),
        ("augment", "crop"),
        ("frontend", "n_mels"),
    ):
        for what in (
            "text",
            "negative",
            "nested list",
            "object",
            "nan",
            "infinity",
            "deep",
            "empty list",
            "empty text",
        ):
            if "\0" not in str(VALUES[what]):
                found.append(
                    Case(
                        "config",
                        f"pretrain: {'.'.join(place)} is {what}",
                        PRETRAIN,
                        HARMFUL,
                        _values(place, VALUES[what]),
                    )
                )
    return found


SETTINGS: dict[str, tuple[str, Expectation]] = {
    "not a map": ("- a\n", HARMFUL),
    "a name that leads out": ("../../precious: seed=1\n", HARMFUL),
    "a name with a slash": ("a/b: seed=1\n", HARMFUL),
    "a name twice": ("a: seed=1\na: seed=2\n", HARMFUL),
    "a name of no text": ("5: seed=1\n", OPEN),
    "an unknown key": ("a: zoo=1\n", HARMFUL),
    "the base itself": ("a: steps=2\n", HARMFUL),
    "a value that is null": ("a:\n", HARMFUL),
    "a value that is a number": ("a: 5\n", HARMFUL),
    "a value that is a map": ("a: {seed: 1}\n", HARMFUL),
    "a list in a list": ("a: [[seed=1]]\n", HARMFUL),
    "aliases that blow up": (_laughs(9), HARMFUL),
    "a quote": ("a: 'seed=''1'\n", HARMFUL),
    "a name of 300 letters": (f"{'a' * 300}: seed=1\n", HARMFUL),
    "empty": ("", HARMFUL),
    "not UTF-8": ("a: seed=1 # \udce9\n", HARMFUL),
}


def cases() -> list[Case]:
    """All of this kind."""
    found: list[Case] = []
    for words, expect in ((WORDS, HARMFUL), (SAME_WORDS, HARMLESS), (OPEN_WORDS, OPEN)):
        for word in dict.fromkeys(words):
            found.append(Case("config", f"pretrain {word}", PRETRAIN, expect, words=(*PRETRAIN.words, word)))
    # A pack depends on the front-end alone: what the rest asks for is no matter as long as it is well formed.
    found += [Case("config", f"pack {word}", PACK, OPEN, words=(*PACK.words, word)) for word in WORDS[::9]]
    found += [Case("config", f"pretrain: {name}", PRETRAIN, expect, do) for name, (do, expect) in TEXTS.items()]
    found += _typed()
    for name, (text, expect) in SETTINGS.items():
        data = text.encode("utf-8", "surrogateescape")
        found.append(Case("config", f"ablate: settings: {name}", ABLATE, expect, written("in/settings.yaml", data)))
    found += byte_cases("config", PRETRAIN, PRESET) + place_cases("config", PRETRAIN, PRESET, NOT_EMPTY)
    return found
