"""The checks on one model from Python, and what they found: ``benchmarks.validate("hear_delores")``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.embedding.spec import ModelSpec
from benchmarks.validate.check import Check, Outcome
from benchmarks.validate.outcome_files import to_json
from benchmarks.validate.process_state import kept
from benchmarks.validate.validation import Validation

__all__ = ["ModelReport", "validate_model"]


@dataclass(frozen=True)
class ModelReport:
    """What the checks found.

    Attributes:
        model: as it was called.
        outcomes: of every check, in order.
    """

    model: str
    outcomes: list[Outcome]

    @property
    def passed(self) -> bool:
        """Whether no check failed; there may be warnings."""
        return not self.failed

    @property
    def failed(self) -> list[Outcome]:
        """Of the checks that failed."""
        return self.of("fail")

    def of(self, verdict: str) -> list[Outcome]:
        """The outcomes of one verdict: ``pass``, ``warn``, ``fail`` or ``skip``."""
        return [outcome for outcome in self.outcomes if outcome.verdict == verdict]

    def to_json(self) -> dict[str, Any]:
        """As ``delores validate --json`` writes it."""
        return to_json(self.model, self.outcomes)

    def __str__(self) -> str:
        """A line for each check that found something, and the counts."""
        lines = [
            f"{outcome.verdict:5}{outcome.check.name:22} {'; '.join(item.message for item in outcome.findings)}"
            for outcome in self.outcomes
            if outcome.findings
        ]
        counts = {verdict: len(self.of(verdict)) for verdict in ("pass", "warn", "fail", "skip")}
        return "\n".join([*lines, ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)])


def validate_model(
    model: ModelSpec | str,
    *,
    device: str | None = None,
    long: bool = False,
    fast: bool = False,
    progress: Callable[[Check], None] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> ModelReport:
    """The report of every check of the HEAR common API on a model. torch's settings and random state are put back.

    Args:
        model: as on the command line, such as ``my_module@weights.pt``.
        device: where it runs. Default: where its ``load_model`` puts it.
        long: also embed 20 minutes of audio.
        fast: leave out the checks that take longest, and audio of more than 5 seconds.
        progress: called with each check before it runs.
        on_outcome: called with each outcome as soon as there is one.

    Raises:
        DeloresError: the model is not written as one is.
    """
    outcomes: list[Outcome] = []
    with kept():
        for outcome in Validation(str(model), device=device, long=long, fast=fast, progress=progress):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return ModelReport(str(model), outcomes)
