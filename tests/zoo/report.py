"""Verdicts counted by kind, and the failing cases with what one needs to see them again."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.zoo.runner import End
from tests.zoo.verdict import PASSES, Verdict

__all__ = ["Tally"]


@dataclass
class Tally:
    """What came of the cases so far."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, end: End, verdict: Verdict) -> None:
        """Counts one case."""
        self.counts[end.case.kind, verdict.word] += 1
        entry = {
            "kind": end.case.kind, "case": end.case.name, "verdict": verdict.word, "why": verdict.why,
            "expected": end.case.expect.name, "command": shlex.join(("delores", *end.case.command)),
            "agree": end.case.agree, "code": end.code, "seconds": round(end.seconds, 2), "stderr": end.err[-1500:],
        }  # fmt: skip
        self.entries.append(entry)
        if not verdict.passes:
            self.failures.append(entry)

    def disagreements(self) -> None:
        """Adds a failure for each format that one reader takes and another refuses."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for entry in self.entries:
            if entry["agree"] and entry["code"] in (0, 1):
                groups.setdefault((entry["kind"], entry["agree"]), []).append(entry)
        for (kind, name), entries in groups.items():
            taken = [entry for entry in entries if entry["code"] == 0]
            refused = [entry for entry in entries if entry["code"] == 1]
            if not taken or not refused:
                continue
            self.counts["readers", "disagree"] += 1
            readers = [", ".join(entry["case"].partition(": ")[0] for entry in part) for part in (taken, refused)]
            self.failures.append({
                "kind": "readers", "case": f"{kind}: {name}", "verdict": "disagree", "expected": "all readers alike",
                "why": f"taken by {readers[0]}; refused by {readers[1]}", "command": refused[0]["command"],
            })  # fmt: skip

    @property
    def failed(self) -> int:
        """How many cases failed."""
        return len(self.failures)

    def table(self, seconds: float) -> str:
        """Kinds x verdicts, as text."""
        words = [*PASSES, *sorted({word for _, word in self.counts} - set(PASSES))]
        kinds = list(dict.fromkeys(kind for kind, _ in self.counts))
        rows = [["kind", *words, "all"]]
        for kind in kinds:
            own = [self.counts[kind, word] for word in words]
            rows.append([kind, *(str(count or ".") for count in own), str(sum(own))])
        totals = [sum(self.counts[kind, word] for kind in kinds) for word in words]
        rows.append(["all", *map(str, totals), str(sum(totals))])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, f"{sum(totals)} cases in {seconds:.0f} s, {self.failed} failed"])

    def failures_text(self) -> str:
        """The failing cases by kind, as Markdown."""
        lines = []
        for kind in dict.fromkeys(entry["kind"] for entry in self.failures):
            lines.append(f"\n## {kind}\n")
            for entry in (entry for entry in self.failures if entry["kind"] == kind):
                lines.append(
                    f"- **{entry['verdict']}** {entry['case']} (expected: {entry['expected']}): {entry['why']}"
                )
                lines.append(f"  `{entry['command']}`")
        return "\n".join(lines) + "\n"

    def to_json(self, seconds: float) -> dict[str, Any]:
        """Everything, for the tests."""
        return {"seconds": seconds, "cases": self.entries, "failures": self.failures}
