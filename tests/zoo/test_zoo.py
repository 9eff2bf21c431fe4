"""The zoo as tests, one for each kind of input: ``tox -e zoo``. A failure names each case, its command and its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = (
    "untouched",
    "audio",
    "csv",
    "task",
    "embeddings",
    "record",
    "checkpoint",
    "config",
    "archive",
    "arguments",
    "again",
    "fresh",
    "readers",
)
LEAST = 600

pytestmark = [pytest.mark.zoo, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All verdicts. The zoo forks, so it runs in a process without pytest's threads."""
    file = tmp_path_factory.mktemp("zoo") / "verdicts.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.zoo", "--json", str(file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=3600,
    )
    print(done.stdout)
    assert file.exists(), "the zoo did not end"
    return json.loads(file.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_ends_right(outcome: dict[str, Any], kind: str) -> None:
    failures = [case for case in outcome["failures"] if case["kind"] == kind]
    lines = [f"{case['verdict']}: {case['case']}: {case['why']}\n    {case['command']}" for case in failures]
    assert not failures, f"{len(failures)} failed\n" + "\n".join(lines)


def test_enough_cases_and_every_kind(outcome: dict[str, Any]) -> None:
    kinds = {case["kind"] for case in outcome["cases"]}
    assert len(outcome["cases"]) >= LEAST
    assert kinds >= set(KINDS) - {"readers"}
