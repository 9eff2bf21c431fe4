"""Command lines: wrong usage, numbers out of range, names that are paths, models that cannot be."""

from __future__ import annotations

import random
from pathlib import Path

from tests.zoo.cases import HARMFUL, HARMLESS, OPEN, USAGE, WRONG, Case, Change, Expectation
from tests.zoo.routes import (
    BARE,
    COMPARE,
    CONVERT,
    DOWNLOAD,
    EMBED,
    FINETUNE,
    MODEL,
    PACK,
    PREPARE,
    PRETRAIN,
    REPORT,
    RUN,
    SCORE,
    STANDINGS,
    TABLES,
)

__all__ = ["cases"]

COMMANDS = ("demo", "embed", "score", "run", "doctor", "pretrain", "pack", "tasks", "prepare", "convert", "ablate", "download",
            "validate", "finetune", "tables", "compare", "report", "submit", "standings")  # fmt: skip

BARE_LINES: tuple[tuple[str, Expectation], ...] = (
    ("", OPEN),
    ("--version", HARMLESS),
    ("--help", HARMLESS),
    ("-h", HARMLESS),
    ("--nonsense", USAGE),
    ("nonsense", USAGE),
    ("embedd", USAGE),
    ("--version nonsense", OPEN),
    *((f"{command} --help", HARMLESS) for command in COMMANDS),
    *((f"{command} --nonsense", USAGE) for command in COMMANDS),
    ("embed", USAGE),
    ("score", USAGE),
    ("run", USAGE),
    ("pretrain", USAGE),
    ("pretrain --data in/corpus", USAGE),
    ("pack", USAGE),
    ("pack --out out/p", WRONG),
    ("prepare", USAGE),
    ("convert", USAGE),
    ("convert in/model.safetensors", USAGE),
    ("download", USAGE),
    ("compare in", USAGE),
    ("report in", USAGE),
    ("submit in", USAGE),
    ("validate", WRONG),
    ("tasks", HARMLESS),
    ("tasks --json", HARMLESS),
    ("tasks nonsense", WRONG),
    ("tasks --suite nonsense", WRONG),
    ("tasks esc50 --long", HARMLESS),
    ("tasks ../esc50", WRONG),
    ("prepare nonsense", WRONG),
    ("prepare ../x --source in/corpus/labels.csv --out out", WRONG),
    ("prepare a/b --source in/corpus/labels.csv --out out", WRONG),
    ("prepare .. --source in/corpus/labels.csv --out out", WRONG),
    ("prepare . --source in/corpus/labels.csv --out out", WRONG),
    ("prepare esc50 --source in/corpus --out out", WRONG),
    ("prepare esc50 --source in/corpus/labels.csv --out out", WRONG),
    ("prepare toy --source in/nowhere --out out", WRONG),
    ("prepare toy --source /dev/null --out out", WRONG),
    ("prepare toy --source in/corpus/labels.csv --audio in/nowhere --out out", WRONG),
    ("download nonsense --out out", WRONG),
    ("download esc50 --record-url nonsense --out out", WRONG),
    ("download esc50 --record-url file:///etc/passwd --out out", WRONG),
    ("download esc50 --record-url http://127.0.0.1:1/ --attempts 1 --timeout 1 --out out", WRONG),
    ("download demo_timbre --out out", WRONG),
    ("validate nonsense_module", WRONG),
    ("validate ..", WRONG),
    ("validate ''", WRONG),
    ("validate 'a b'", WRONG),
    ("validate in/corpus", WRONG),
    ("validate json --json out/nowhere/x.json", WRONG),
    ("validate --explain nonsense", WRONG),
    ("validate --explain all", HARMLESS),
    ("tables in/nowhere", WRONG),
    ("tables in/corpus", WRONG),
    ("compare in/corpus in/corpus", WRONG),
    ("report in/corpus --out out/x.html", WRONG),
    ("submit in/corpus --name x --url y --out out/s", WRONG),
    ("standings in/corpus", WRONG),
    ("standings in/nowhere", WRONG),
    ("score in/nowhere --results out/r", WRONG),
    ("score in/corpus --results out/r", WRONG),
    ("score in/tiny.yaml --results out/r", WRONG),
    ("score '' --results out/r", WRONG),
    ("convert in/nowhere out/x.safetensors", WRONG),
    ("convert in/corpus out/x.safetensors", WRONG),
    ("convert in/tiny.yaml out/x.safetensors", WRONG),
    ("pretrain --data in/nowhere --out out/run", WRONG),
    ("pretrain --data in/tiny.yaml --out out/run", WRONG),
    ("pretrain --data 'in/{0..99999999999}.tar' --out out/run", WRONG),
    ("pretrain --data 'in/{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}.tar' --out out/run", WRONG),
    ("pretrain --data 'in/{9..0}.tar' --out out/run", WRONG),
    ("pretrain --data 'in/{000..1e9}.tar' --out out/run", WRONG),
    ("pretrain --data 'in/{a..z}.tar' --out out/run", WRONG),
    ("pretrain --data 'in/{.tar' --out out/run", WRONG),
    ("pretrain --data 'in/{{{{{{{{0..1}.tar' --out out/run", WRONG),
    ("pretrain --data in/{corpus,nowhere}.tar --out out/run", WRONG),
    ("pretrain --data in/corpus --out out/run --preset nonsense", WRONG),
    ("pretrain --data in/corpus --out out/run --preset ../tiny", WRONG),
    ("pretrain --data in/corpus --out out/run --preset /etc/passwd", WRONG),
    ("pack --data in/nowhere --out out/pack", WRONG),
    ("pack --out out/nowhere --verify", WRONG),
    ("run nonsense_module --tasks-dir in/task --out out/runs", WRONG),
    ("run @in/nowhere --tasks-dir in/task --out out/runs", WRONG),
    ("run @in/corpus --tasks-dir in/task --out out/runs", WRONG),
    ("run @/dev/null --tasks-dir in/task --out out/runs", WRONG),
    ("ablate 'a: steps=2' --data in/nowhere --out out/a --tasks-dir in/task", WRONG),
)

#: Options after a whole command line of a route; the last of one name counts.
NUMBERS: dict[str, tuple[tuple[str, ...], Expectation]] = {
    "--batch-seconds": (("inf", "nan", "-1", "0", "-inf", "x", "1e400"), WRONG),
    "--device": (("tpu", "cuda:99", "", "cuda:-1", "cpu:x"), WRONG),
    "--task": (("nonsense", "../toy", "", "/etc"), WRONG),
    "--tasks-dir": (("in/nowhere", "in/model.safetensors", ""), WRONG),
}
MORE: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("score", ("--seed",), "-1 1.5 x 100000000000000000000000 nan"),
    ("score", ("--seeds",), "0 -1 x 1e3"),
    ("score", ("--shots",), "0 -1 x"),
    ("score", ("--protocol",), "nonsense Hear"),
    ("score", ("--grid-points",), "0 -1 x"),
    ("prepare", ("--sample-rate",), "0 -1 1 x 1.5 nan 99999999999 2147483647"),
    ("prepare", ("--duration",), "0 -1 nan inf x 0.00001 1e-300 1e9 1_0"),
    ("pack", ("--shard-mb",), "0 -1 x 1e3"),
    ("pack", ("--content",), "nonsense"),
    ("pretrain", ("--probe-every",), "0 -1 x"),
    ("pretrain", ("--probe",), "in/nowhere in/corpus"),
    ("download", ("--timeout",), "0 -1 nan inf x 1e-300 1e300"),
    ("download", ("--attempts",), "0 -1 x"),
    ("download", ("--sample-rate",), "0 -1 x 12345"),
    ("finetune", ("--lr",), "0 -1 nan inf x"),
    ("finetune", ("--batch-size",), "0 -1 x"),
    ("finetune", ("--epochs",), "0 -1 x"),
    ("finetune", ("--patience",), "-1 x"),
    ("finetune", ("--crop-seconds",), "0 -1 nan inf x 1e-9"),
    ("finetune", ("--seed",), "-1 x 100000000000000000000000"),
    ("run", ("--jobs",), "0 -1 x"),
    ("run", ("--seed",), "-1 x 100000000000000000000000"),
    ("run", ("--suite",), "nonsense"),
    ("run", ("--scheduler",), "nonsense tcp:// tcp://127.0.0.1:x"),
    ("convert", ("--mean",), "nan inf x"),
    ("convert", ("--std",), "0 -1 nan inf x"),
    ("convert", ("--frontend",), "nonsense ''"),
    ("tables", ("--format",), "pdf ''"),
    ("tables", ("--paper",), "nonsense"),
    ("tables", ("--task",), "nonsense"),
    ("compare", ("--protocol",), "nonsense"),
)
ROUTES = {
    route.name: route
    for route in (SCORE, PREPARE, PACK, PRETRAIN, DOWNLOAD, FINETUNE, RUN, CONVERT, TABLES, COMPARE, STANDINGS)
}

#: Models that cannot be: ``[LABEL=]MODEL[@WEIGHTS][?option=value&...]``.
MODELS = (
    "", "=", "@", "?", "x=", "=hear_delores", "..=hear_delores", "../../precious=hear_delores", "a/b=hear_delores", "a b=hear_delores",
    "nonsense", "hear_delores.nonsense", "..", ".", "hear_delores@in/nowhere", "hear_delores@in/corpus", "hear_delores@in/tiny.yaml",
    "hear_delores?x", "hear_delores?x=1", "hear_delores?scene=nonsense", "hear_delores??", "hear_delores?x=1&x=2",
    "hear_delores?=1", "hear_delores?1x=1", "hear_delores?scene=%zz", "json", "os", "this", "benchmarks.cli", "pretrain.config",
    "random?embedding_size=0", "random?embedding_size=-1",
    "random?embedding_size=x", "random?embedding_size=1_6",
    "random?embedding_size=nan",     "random?seed=99999999999999999999999", "random?seed=1.5",
    "hear_delores@in/model.safetensors@in/model.safetensors", "a=b=hear_delores", "x" * 300 + "=hear_delores",
    "\u0661=hear_delores", "-x=hear_delores", "hear_delores@in/model.safetensors?device=cuda",
)  # fmt: skip

#: Modules that end, hang on to memory, or answer nonsense. Each is one failure among others, exit 1.
FOREIGN = {
    "exits at import": "import sys; sys.exit(0)",
    "exits with a text at import": "import sys; sys.exit('bye')",
    "raises at import": "raise RuntimeError('two\\nlines')",
    "recurses at import": "def f(): return f()\nf()",
    "raises MemoryError at import": "raise MemoryError",
    "does not parse": "def (",
    "is not UTF-8": "x = '\udce9'",
    "has a nul": "x = 1\0",
    "prints at import": "import sys; print('hello'); raise ValueError",
    "has no functions": "x = 1",
    "exits in load_model": "import sys\ndef load_model(*a): sys.exit(0)\nget_scene_embeddings = get_timestamp_embeddings = None",
    "exits in its scene": "import sys\n{model}def get_scene_embeddings(audio, model): sys.exit(0)\n",
    "recurses in its scene": "{model}def get_scene_embeddings(audio, model): return get_scene_embeddings(audio, model)\n",
    "runs out of memory in its scene": "{model}def get_scene_embeddings(audio, model): raise MemoryError\n",
    "returns NaN": "{model}def get_scene_embeddings(audio, model): return torch.full((len(audio), 4), float('nan'))\n",
    "returns None": "{model}def get_scene_embeddings(audio, model): return None\n",
    "returns another size": "{model}def get_scene_embeddings(audio, model): return torch.zeros(len(audio), 5)\n",
    "returns integers": "{model}def get_scene_embeddings(audio, model): return torch.zeros(len(audio), 4).int()\n",
    "raises an exception group": "{model}def get_scene_embeddings(audio, model): raise BaseException('odd')\n",
    "raises StopIteration": "{model}def get_scene_embeddings(audio, model): raise StopIteration\n",
    "raises an error without a text": "class Odd(Exception):\n    def __str__(self): raise ValueError\n{model}def get_scene_embeddings(audio, model): raise Odd\n",
}  # fmt: skip
PARTS = """import torch
class Model(torch.nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 4, 4
def load_model(path=''): return Model()
def get_timestamp_embeddings(audio, model): return torch.zeros(len(audio), 1, 4), torch.zeros(len(audio), 1)
"""

#: Places to write to that are none. The command refuses, or writes through; it never replaces.
PLACES = ("precious/keep.txt/x", "/dev/null/x", "/proc/zoo", "out/" + "x" * 300)


def _written_module(text: str) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        (work / "foreign_zoo.py").write_bytes(text.replace("{model}", PARTS).encode("utf-8", "surrogateescape"))

    return change


def _link(name: str, target: str) -> Change:
    def change(work: Path, rng: random.Random) -> None:
        (work / "out" / name).symlink_to(target)

    return change


def _replaced(words: tuple[str, ...], option: str, value: str) -> tuple[str, ...]:
    at = words.index(option) + 1
    return (*words[:at], value, *words[at + 1 :])


def _split(line: str) -> tuple[str, ...]:
    import shlex

    return tuple(shlex.split(line))


def cases() -> list[Case]:
    """All of this kind."""
    found = [Case("arguments", line or "(nothing)", BARE, expect, words=_split(line)) for line, expect in BARE_LINES]
    for option, (values, expect) in NUMBERS.items():
        found += [
            Case("arguments", f"embed {option} {value!r}", EMBED, expect, words=(*EMBED.words, option, value))
            for value in values
        ]
    for name, (option,), values in MORE:
        route = ROUTES[name]
        found += [
            Case("arguments", f"{name} {option} {value!r}", route, WRONG, words=(*route.words, f"{option}={value}"))
            for value in _split(values)
        ]
    for model in MODELS:
        words = tuple(model if word == MODEL else word for word in EMBED.words)
        found.append(Case("arguments", f"embed model {model[:60]!r}", EMBED, WRONG, words=words))
    for name, text in FOREIGN.items():
        for route in (EMBED, RUN):
            words = tuple("foreign_zoo" if word == MODEL else word for word in route.words)
            found.append(
                Case(
                    "arguments",
                    f"{route.name}: a model that {name}",
                    route,
                    HARMFUL,
                    _written_module(text),
                    words=words,
                )
            )
    for route, option in (
        (REPORT, "--out"),
        (PRETRAIN, "--out"),
        (PREPARE, "--out"),
        (SCORE, "--results"),
        (PACK, "--out"),
        (EMBED, "--embeddings-dir"),
    ):
        found += [Case("arguments", f"{route.name} {option} {place[:20]!r}", route, WRONG, words=_replaced(route.words, option, place))
                  for place in PLACES]  # fmt: skip
    found += _links()
    return found


def _links() -> list[Case]:
    """An output that is a link or a device is written through or refused, never replaced."""
    page = _replaced(REPORT.words, "--out", "out/page.html")
    return [
        Case(
            "arguments",
            "report to a link to a file",
            REPORT,
            OPEN,
            _link("page.html", "precious/keep2.txt"),
            words=page,
        ),
        Case("arguments", "report to a link to nowhere", REPORT, OPEN, _link("page.html", "nowhere/x"), words=page),
        Case("arguments", "report to a folder", REPORT, WRONG, words=_replaced(REPORT.words, "--out", "out/precious")),
        Case(
            "arguments",
            "convert to a folder",
            CONVERT,
            WRONG,
            words=("convert", "in/foreign/byola.pth", "out/precious"),
        ),
        Case(
            "arguments",
            "prepare into a file",
            PREPARE,
            WRONG,
            words=_replaced(PREPARE.words, "--out", "in/corpus/labels.csv"),
        ),
    ]
