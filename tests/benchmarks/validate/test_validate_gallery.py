"""The validator names each fault of the gallery, and no other; well-made models pass."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_models import GALLERY, GOOD, NAME, WELL_MADE, forked

from benchmarks import validate
from benchmarks.validate import process_state
from benchmarks.validate.checks import side_effects

Outcomes = dict[str, validate.Outcome]


@pytest.fixture
def outcomes_of(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcomes]:
    def run(source: str, **options: Any) -> Outcomes:
        (model_folder / f"{NAME}.py").write_text(source)
        sys.modules.pop(NAME, None)
        importlib.invalidate_caches()
        try:
            return {outcome.check.name: outcome for outcome in validate.validate(NAME, device="cpu", **options)}
        finally:
            sys.modules.pop(NAME, None)

    monkeypatch.setattr(side_effects, "in_fresh_process", forked)
    return run


def named(found: Outcomes) -> dict[str, list[str]]:
    return {
        name: [f"{finding.level}: {finding.message}" for finding in outcome.findings]
        for name, outcome in found.items()
        if outcome.verdict in ("fail", "warn")
    }


@pytest.mark.parametrize("model", WELL_MADE)
def test_a_well_made_model_passes_every_check(model: str, outcomes_of: Callable[..., Outcomes]) -> None:
    found = outcomes_of(WELL_MADE[model])
    assert named(found) == {}
    assert [name for name, o in found.items() if o.verdict == "skip"] == ["long-audio"]


@pytest.mark.parametrize("fault", GALLERY)
def test_a_fault_is_named_and_no_other(fault: str, outcomes_of: Callable[..., Outcomes]) -> None:
    source, check, verdict = GALLERY[fault]
    found = outcomes_of(source)
    assert list(named(found)) == [check], named(found)
    assert found[check].verdict == verdict, named(found)


def test_the_gallery_reaches_every_check() -> None:
    reached = {check for _, check, _ in GALLERY.values()}
    assert set(validate.CHECKS) - reached == {"long-audio"}  # its own test is below


def test_the_process_is_left_as_it_was(outcomes_of: Callable[..., Outcomes]) -> None:
    before = process_state.settings(), process_state.random_states()
    for fault in ("import changes the default dtype", "load_model switches gradients off", "a call seeds"):
        outcomes_of(GALLERY[fault][0])
        assert (process_state.settings(), process_state.random_states()) == before


def test_checks_are_run_once_and_only_with_what_they_need(model_folder: Path) -> None:
    (model_folder / f"{NAME}.py").write_text(GOOD)
    ran: list[str] = []
    validation = validate.Validation(NAME, device="cpu", progress=lambda check: ran.append(check.name))
    assert validation.outcome("sample-rate").verdict == "pass"
    assert validation.outcome("load").verdict == "pass"
    assert ran == ["import", "functions", "load", "sample-rate"]


def test_every_check_explains_itself_and_unknown_names_get_help() -> None:
    for name in validate.CHECKS:
        assert len(validate.explain(name)) > 40
    with pytest.raises(ValueError, match="Did you mean 'silence'"):
        validate.explain("silense")


def test_reports_for_programs(outcomes_of: Callable[..., Outcomes]) -> None:
    import xml.etree.ElementTree as ElementTree

    outcomes = list(outcomes_of(GALLERY["seconds"][0]).values())
    report = validate.to_json(NAME, outcomes)
    assert report["passed"] is False
    assert [item["name"] for item in report["checks"] if item["verdict"] == "fail"] == ["timestamp-unit"]
    suite = ElementTree.fromstring(validate.to_junit(NAME, outcomes))
    assert suite.get("failures") == "1"
    assert suite.get("tests") == str(len(outcomes))
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["timestamp-unit"]
