"""Workflows, templates and hooks: they parse, their actions are pinned, and what they run is a tox environment."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini", encoding="utf-8")
ENVIRONMENTS = {"py"} | {name.partition(":")[2] for name in TOX.sections() if name.startswith("testenv:")}
INSTALLS_TOX = "python -m pip install tox"


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def check_command(line: str) -> None:
    """Raises AssertionError unless a step installs tox or runs environments that tox.ini has."""
    if line == INSTALLS_TOX:
        return
    words = shlex.split(line)
    assert words[:2] == ["tox", "-e"] and len(words) == 3, f"{line}: not a command that people run"  # noqa: PT018
    for name in words[2].split(","):
        assert name in ENVIRONMENTS, f"{line}: tox.ini has no environment {name}"


def test_there_are_workflows_for_all_that_is_promised() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "release", "tests"]
    run = {step["run"] for path in WORKFLOWS for step in steps(path) if "run" in step}
    assert run == {
        INSTALLS_TOX,
        "tox -e lint",
        "tox -e py",
        "tox -e long",
        "tox -e heareval",
        "tox -e adapters",
        "tox -e docs",
        "tox -e wheel",
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_step_is_a_tox_command_that_people_run(path: Path) -> None:
    for step in steps(path):
        if "run" in step:
            check_command(step["run"])


@pytest.mark.parametrize("line", ["tox -e documentation", "pytest -q", "tox"])
def test_another_command_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        check_command(line)


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / "docs" / "examples" / "validate.yml"], ids=lambda path: path.stem)
def test_actions_are_pinned_and_rights_are_few(path: Path) -> None:
    assert load(path)["permissions"] == {"contents": "read"}
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+(\.\d+\.\d+)?|release/v\d+)", step["uses"]), step["uses"]


def test_a_release_is_published_without_a_token() -> None:
    job = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["publish"]
    assert job["permissions"] == {"id-token": "write"}
    assert job["needs"] == "wheel"
    assert not [step for step in job["steps"] if "password" in step.get("with", {})]


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_have_what_a_form_needs(name: str) -> None:
    form = load(ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    for part in form["body"]:
        assert part["attributes"]["label"]


def test_the_pre_commit_hooks_use_the_linter_of_tox() -> None:
    hooks = load(ROOT / ".pre-commit-config.yaml")["repos"]
    [ruff] = [repo for repo in hooks if "ruff" in repo["repo"]]
    [pinned] = re.findall(r"ruff==(\d+\.\d+)\.\*", TOX["testenv:lint"]["deps"])
    assert ruff["rev"].startswith(f"v{pinned}.")


def test_tox_environments_that_pages_name_exist() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for name in re.findall(r"tox -e ([a-z]+)", path.read_text(encoding="utf-8")):
            assert name in ENVIRONMENTS, f"{path.name}: tox -e {name}"
