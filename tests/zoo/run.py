"""All of it in order: inputs, the untouched run of every route, then the cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.zoo.cases import HARMLESS, Case
from tests.zoo.inputs import make_inputs
from tests.zoo.runner import End, Runner, load_everything
from tests.zoo.server import serve
from tests.zoo.verdict import Verdict, judge

__all__ = ["run_zoo"]


def run_zoo(
    cases: Sequence[Case], root: Path, seed: int, *, workers: int = 2, keep: bool = False
) -> Iterator[tuple[End, Verdict]]:
    """Ends and verdicts, the untouched runs of the cases' routes first (kind "untouched")."""
    with serve(root) as url:
        load_everything()
        inputs = root / "inputs"
        make_inputs(inputs)
        runner = Runner(root, inputs, url, seed, workers=workers, keep=keep)
        routes = {case.route.name: case.route for case in cases if case.route.words and case.route.whole}
        digests: dict[str, str | None] = {}
        for end in runner.run([Case("untouched", route.name, route, HARMLESS) for route in routes.values()]):
            verdict, digest = judge(end, None)
            digests[end.case.route.name] = digest
            yield end, verdict
        for end in runner.run(cases):
            verdict, _ = judge(end, digests.get(end.case.route.name))
            yield end, verdict
