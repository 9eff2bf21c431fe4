"""From the end of a case to its verdict: right, one line, usage; or what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.zoo.results import READERS, Result
from tests.zoo.runner import End
from tests.zoo.snapshot import changes

__all__ = ["PASSES", "Verdict", "judge"]

PASSES = ("right", "line", "usage")
_ERROR = re.compile(r"error: \S")
_LEFT = re.compile(r"\.tmp$|\.tmp/|\.old(/|$)")
#: A command that goes on where it was stopped keeps its hidden work; others leave nothing.
_RESUMES = ("embed", "pretrain", "pack", "download", "run", "ablate", "finetune", "demo")
#: Several lines may precede the one of the error ("failed: ..."), one for each job; what others wrote is kept.
_LISTING = ("run", "ablate")
_WORK = re.compile(r"/\.[^/]*\.partial(/|$)|\.part$")


@dataclass(frozen=True)
class Verdict:
    """``word`` is one of ``PASSES`` or names a fault; ``why`` says what of it."""

    word: str
    why: str = ""

    @property
    def passes(self) -> bool:
        """Whether the case ended as it should."""
        return self.word in PASSES


def judge(end: End, right: Result | None) -> tuple[Verdict, Result | None]:
    """The verdict, and the result where there is one.

    ``right`` is the result of the route's untouched run, or of the same change in a fresh folder; None while that one
    is judged.
    """
    result: Result | None = None
    if end.stopped:
        return Verdict(end.stopped, f"stopped after {end.seconds:.0f} s at {end.peak_bytes >> 20} MiB"), None
    if end.code < 0:
        return Verdict("signal", f"died of signal {-end.code}"), None
    if "Traceback (most recent call last)" in end.err or "Traceback (most recent call last)" in end.out:
        return Verdict("traceback", _last_line(end.err) or _last_line(end.out)), None
    for word, why in _harm(end):
        return Verdict(word, why), None
    if end.code not in (0, 1, 2):
        return Verdict("code", f"exit code {end.code}: {_last_line(end.err)}"), None
    if end.code == 0:
        try:
            result = READERS[end.case.route.result](end.folder / "place" / "out", end.out)
        except Exception as error:  # whatever a reader of a format meets: the output is not of that format
            return Verdict("invalid", f"the output cannot be read: {type(error).__name__}: {error}"), None
        fault = _of_result(end, result, right)
        if fault is not None:
            return fault, result
    elif fault := _of_refusal(end):
        return fault, None
    if end.code not in end.case.expect.codes:
        return Verdict(
            _wrong_code(end), f"expected {end.case.expect.name}; got {_last_line(end.err or end.out)}"
        ), result
    return Verdict(("right", "line", "usage")[end.code]), result


def _wrong_code(end: End) -> str:
    return {0: "silent", 1: "refused" if 0 in end.case.expect.codes else "code", 2: "code"}[end.code]


def _of_result(end: End, result: Result, right: Result | None) -> Verdict | None:
    if 0 not in end.case.expect.codes:
        return None  # silent, whatever it wrote
    if result.faults:
        return Verdict("invalid", "; ".join(result.faults[:3]))
    if end.case.mention and end.case.mention not in end.out + end.err:
        return Verdict("silent", f"{end.case.mention!r} is not named")
    if end.case.first is not None and right is not None:
        if not right.parts <= result.parts or (not right.parts and right.digest != result.digest):
            return Verdict("silent", "exit code 0 with another result than a fresh folder gives")
    elif end.case.expect.same and right is not None and result.digest != right.digest:
        return Verdict("silent", "exit code 0 with another result than the untouched inputs give")
    return None


def _of_refusal(end: End) -> Verdict | None:
    lines = [line for line in end.err.splitlines() if line.strip()]
    if end.code == 1:
        if end.case.command[0] in _LISTING:
            lines = [line for line in lines if not line.startswith("failed: ")]
        if len(lines) != 1 or not _ERROR.match(lines[0]):
            return Verdict("lines", f"expected one line 'error: ...', got {len(lines)}: {' | '.join(lines)[:300]}")
        if len(lines[0]) > 10000:
            return Verdict("lines", f"a line of {len(lines[0])} characters")
    elif not lines and not end.out.strip():
        return Verdict("lines", "exit code 2 without a word")
    try:
        final = READERS[end.case.route.result](end.folder / "place" / "out", "").final
    except Exception as error:
        return Verdict("leftovers", f"what was left cannot be read: {type(error).__name__}: {error}")
    new = [name for name in final if f"place/out/{name}" not in end.before and name != "."]
    if (
        new
        and end.case.route.result in ("tasks", "record", "checkpoint", "text")
        and end.case.command[0] not in _LISTING
    ):
        return Verdict("leftovers", f"refused, but left {new[0]}")
    return None


def _harm(end: End) -> list[tuple[str, str]]:
    """Inputs that were changed, files outside of the output, and what should have been cleared away."""
    changed, gone, new = changes(end.before, end.after)
    own = re.compile(r"place/out/(?!precious)")
    found = [("changed", f"{name} was changed") for name in changed if not own.match(name)]
    found += [("changed", f"{name} is gone") for name in gone if not own.match(name)]
    found += [("elsewhere", f"{name} was written") for name in new if not name.startswith("place/out/")]
    found += [("leftovers", f"{name} was left") for name in new if _LEFT.search(name)]
    if end.case.command and end.case.command[0] not in _RESUMES:
        found += [("leftovers", f"{name} was left") for name in new if _WORK.search(name)]
    return [item for item in found if "__pycache__" not in item[1]]


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def work_folder(end: End) -> Path:
    """Where the command ran."""
    return end.folder / "place"
