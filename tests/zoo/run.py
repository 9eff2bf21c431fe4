"""All of it in order: inputs, the untouched run of every route, then the cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.zoo.cases import HARMLESS, OPEN, Case
from tests.zoo.inputs import make_inputs
from tests.zoo.results import Result
from tests.zoo.runner import End, Runner, load_everything
from tests.zoo.server import serve
from tests.zoo.verdict import Verdict, judge

__all__ = ["run_zoo"]


def run_zoo(
    cases: Sequence[Case], root: Path, seed: int, *, workers: int = 2, keep: bool = False
) -> Iterator[tuple[End, Verdict]]:
    """Ends and verdicts, the untouched runs of the cases' routes first (kind "untouched"), then those that
    show what is right after a change (kind "fresh")."""
    with serve(root) as url:
        load_everything()
        inputs = root / "inputs"
        make_inputs(inputs)
        runner = Runner(root, inputs, url, seed, workers=workers, keep=keep)
        routes = {case.route.name: case.route for case in cases if case.route.words and case.route.whole}
        right: dict[str, Result | None] = {}
        for end in runner.run([Case("untouched", route.name, route, HARMLESS) for route in routes.values()]):
            verdict, right[end.case.route.name] = judge(end, None)
            yield end, verdict
        again = [case for case in cases if case.first is not None]
        fresh: dict[str, Result | None] = {}
        for end in runner.run([replace(case, kind="fresh", first=None, expect=OPEN) for case in again]):
            verdict, fresh[end.case.name] = judge(end, None)
            yield end, verdict
        for end in runner.run(cases):
            known = fresh if end.case.first is not None else right
            verdict, _ = judge(end, known.get(end.case.name if end.case.first is not None else end.case.route.name))
            yield end, verdict
