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
from benchmarks.validate import process_state, validation
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
    checks = validate.Validation(NAME, device="cpu", progress=lambda check: ran.append(check.name))
    assert checks.outcome("sample-rate").verdict == "pass"
    assert checks.outcome("load").verdict == "pass"
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


# --- past a failure


@pytest.mark.parametrize(
    ("faults", "failed"),
    [
        (["sample rate not allowed, 24 kHz", "no size", "gradients kept"], ["sample-rate", "embedding-sizes"]),
        (["no timestamp function", "writes into the audio"], ["functions", "input-kept"]),
        (
            ["the timestamp function raises", "scene embeddings are float64"],
            ["timestamp-embeddings", "scene-embeddings"],
        ),
    ],
)
def test_a_failure_does_not_hide_the_next(
    faults: list[str], failed: list[str], outcomes_of: Callable[..., Outcomes]
) -> None:
    source = GOOD
    for fault in faults:  # the same changes of lines, one after the other
        source = apply(source, GALLERY[fault][0])
    found = outcomes_of(source, fast=True)
    assert [name for name, outcome in found.items() if outcome.verdict == "fail"] == failed
    assert (found["gradients"].verdict == "warn") == ("gradients kept" in faults)


def apply(source: str, faulty: str) -> str:
    """``source`` with the lines in which ``faulty`` differs from the good model."""
    import difflib

    good, lines = GOOD.splitlines(keepends=True), faulty.splitlines(keepends=True)
    for tag, a, b, c, d in difflib.SequenceMatcher(None, good, lines, autojunk=False).get_opcodes():
        if tag != "equal":
            before = "".join(good[a - 1 : b])
            assert before in source
            source = source.replace(before, good[a - 1] + "".join(lines[c:d]))
    return source


def test_a_skip_says_where_it_comes_from(outcomes_of: Callable[..., Outcomes]) -> None:
    found = outcomes_of(GALLERY["load_model raises"][0], fast=True)
    skipped = {name: outcome.reason for name, outcome in found.items() if outcome.verdict == "skip"}
    assert skipped["clipping"] == skipped["timestamp-order"] == "load failed"  # not the check in between
    assert skipped["long-audio"] == "run with --long"
    assert skipped["timestamp-drift"] == "left out by --fast"
    found = outcomes_of(GALLERY["no timestamp function"][0], fast=True)
    reason = "get_timestamp_embeddings cannot be used: functions failed"
    assert found["timestamp-embeddings"].reason == found["timestamp-order"].reason == reason
    assert found["deterministic"].verdict == found["scene-embeddings"].verdict == "pass"
    found = outcomes_of(GALLERY["not a module"][0], fast=True)
    assert "is not a torch.nn.Module" in found["state"].reason
    assert found["batch-independence"].verdict == "pass"
    found = outcomes_of(GALLERY["not a module"][0].replace("return Model()", "return object()"), fast=True)
    assert found["uses-audio"].reason == "sample-rate failed"


def test_fast_begins_nothing_when_its_time_is_over(
    outcomes_of: Callable[..., Outcomes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "FAST_S", 0.0)
    found = outcomes_of(GOOD, fast=True)
    assert {name for name, o in found.items() if o.verdict == "pass"} == {
        name for name, check in validate.CHECKS.items() if check.official
    }
    assert found["silence"].reason == "left out by --fast, whose 0 s are over"
    with pytest.raises(ValueError, match="long and fast exclude each other"):
        validate.Validation(NAME, long=True, fast=True)
