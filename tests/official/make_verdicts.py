"""Writes docs/validator-verdicts.md: hearvalidator's verdict on every model of the gallery, beside ours.

Run by hand in an environment that has hearvalidator 2021.0.6 (see tox.ini), from the top of the checkout:

    PYTHONPATH=tests/official/stubs:. python tests/official/make_verdicts.py docs/validator-verdicts.md [ROWS.json]
"""

from __future__ import annotations

import contextlib
import importlib
import io
import multiprocessing
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "validate"))
#: hearvalidator's one warning that every model gets.
ALWAYS = "IMPORTANT: A common bug"


@dataclass(frozen=True)
class Verdicts:
    """What both validators say of one model."""

    model: str
    ours: dict[str, tuple[str, str]]  # check -> (fail | warn, its first message)
    ours_official_fails: bool  # one of the checks that hearvalidator makes too fails
    official: str  # "accepts", "warns" or "rejects"
    official_word: str


def official_verdict(module: str) -> tuple[str, str]:
    """hearvalidator's verdict on ``module`` and its first word about it. What it draws is seeded."""
    import torch
    from hearvalidator.validate import ValidateModel

    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ValidateModel(module, "", device="cpu")()
        except BaseException as error:  # its own ModelError is a BaseException
            return "rejects", f"{type(error).__name__}: {error}"
    words = [str(item.message) for item in caught if item.filename.endswith("validate.py")]
    words = [word for word in words if ALWAYS not in word]
    return ("warns", words[0]) if words else ("accepts", "")


def _work(job: tuple[str, str]) -> Verdicts:
    """Both verdicts on one model, in a fork of its own: what one model does to the process no other sees."""
    from faulty_models import NAME, forked

    from benchmarks.validate import validate
    from benchmarks.validate.checks import side_effects

    side_effects.in_fresh_process = forked  # type: ignore[assignment]  # quick; the tests try the real one
    model, source = job
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{NAME}.py").write_text(source)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        outcomes = validate(NAME, device="cpu")
        sys.modules.pop(NAME, None)
        official, word = official_verdict(NAME)
    ours = {o.check.name: (o.verdict, o.findings[0].message) for o in outcomes if o.findings}
    fails = any(o.check.official and o.verdict == "fail" for o in outcomes)
    return Verdicts(model, ours, fails, official, " ".join(word.split()))


def all_verdicts() -> list[Verdicts]:
    """Both validators' verdicts on the whole gallery and on the well-made models."""
    import torch
    from faulty_models import GALLERY, WELL_MADE

    torch.set_num_threads(1)
    jobs = [(name, source) for name, (source, _, _) in GALLERY.items()] + list(WELL_MADE.items())
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return pool.map(_work, jobs, chunksize=1)


def to_markdown(rows: list[Verdicts]) -> str:
    """The page: a summary and the table."""
    faulty = [row for row in rows if row.ours]
    missed = [row for row in faulty if row.official == "accepts"]
    warned = [row for row in faulty if row.official == "warns"]
    lines = [
        "# hear-validator's verdicts beside ours",
        "",
        f"Each of {len(faulty)} models below has one fault; {len(rows) - len(faulty)} have none. `delores validate`"
        " names the fault and no other. hear-validator 2021.0.6, unmodified, rejects"
        f" {len(faulty) - len(missed) - len(warned)} of the faulty models, warns of {len(warned)} and accepts"
        f" {len(missed)} without a word (its general note on drift, which every model gets, is not counted).",
        "Where the fault is one that it looks for, both reject.",
        "",
        "This page is written by `tests/official/make_verdicts.py`.",
        "",
        "| model | ours | our check | what it says | hear-validator |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        official = {"accepts": "**accepts**" if row.ours else "accepts"}.get(row.official, row.official)
        cells = [("pass", "", "")] if not row.ours else [(v, f"`{c}`", m) for c, (v, m) in row.ours.items()]
        for verdict, check, message in cells:
            parts = [row.model, verdict, check, message.replace("|", "\\|"), official]
            lines.append("| " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from hear_delores.files import atomic_path, write_json

    verdicts = all_verdicts()
    with atomic_path(sys.argv[1]) as temporary:
        temporary.write_text(to_markdown(verdicts), encoding="utf-8")
    if len(sys.argv) > 2:
        write_json(sys.argv[2], [asdict(row) for row in verdicts])
