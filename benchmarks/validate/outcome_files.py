"""A validation's outcome for programs: JSON and JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from benchmarks.validate.check import Outcome

__all__ = ["to_json", "to_junit"]


def to_json(module: str, outcomes: list[Outcome]) -> dict[str, Any]:
    """{module, passed, checks: [{name, official, verdict, seconds, findings, reason}]}."""
    return {
        "module": module,
        "passed": not any(outcome.verdict == "fail" for outcome in outcomes),
        "checks": [
            {
                "name": outcome.check.name,
                "official": outcome.check.official,
                "verdict": outcome.verdict,
                "seconds": round(outcome.seconds, 3),
                "findings": [{"level": f.level, "message": f.message} for f in outcome.findings],
                "reason": outcome.reason,
            }
            for outcome in outcomes
        ],
    }


def to_junit(module: str, outcomes: list[Outcome]) -> str:
    """JUnit XML as continuous-integration servers read it: one test case per check."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"HEAR API of {module}",
        tests=str(len(outcomes)),
        failures=str(sum(outcome.verdict == "fail" for outcome in outcomes)),
        skipped=str(sum(outcome.verdict == "skip" for outcome in outcomes)),
        time=f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite, "testcase", classname=module, name=outcome.check.name, time=f"{outcome.seconds:.3f}"
        )
        if outcome.verdict == "skip":
            ElementTree.SubElement(case, "skipped", message=outcome.reason)
        text = "\n".join(f"{finding.level}: {finding.message}" for finding in outcome.findings)
        if outcome.verdict == "fail":
            ElementTree.SubElement(case, "failure", message=text).text = outcome.check.explanation
        elif text:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)
