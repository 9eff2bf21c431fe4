"""``pytest --hear-model MODULE [--hear-weights PATH]``: the validator's checks as test items.

Without the option it adds nothing and imports nothing beyond pytest. With it, the checks stand before the
other tests, with the marker ``hear_model``: ``-m hear_model`` runs them alone, ``-k NAME`` some of them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchmarks.validate.suite import Check, Validation

__all__ = ["HearModelWarning"]


class HearModelWarning(UserWarning):
    """A finding that the HEAR API allows and that costs something."""


class CheckFailed(Exception):
    """What a check found."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hear", "checks of a model against the HEAR common API")
    group.addoption("--hear-model", metavar="MODULE", help="check this module (adds one test for each check)")
    group.addoption("--hear-weights", metavar="PATH", default="", help="weights handed to its load_model")
    group.addoption("--hear-device", metavar="DEVICE", default=None, help="where the model is put")
    group.addoption("--hear-long", action="store_true", help="also 20 minutes of audio, within 16 GB")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hear_model: a check of the model that --hear-model names")
    if config.getoption("--hear-weights") and not config.getoption("--hear-model"):
        raise pytest.UsageError("--hear-weights needs --hear-model MODULE")


@pytest.hookimpl(tryfirst=True)  # before -m and -k choose
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    module = config.getoption("--hear-model")
    if not module:
        return
    from benchmarks.validate.suite import CHECKS, Validation

    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    validation = Validation(
        module,
        config.getoption("--hear-weights"),
        device=config.getoption("--hear-device"),
        long=config.getoption("--hear-long"),
    )
    collector = HearModel.from_parent(session, name=f"hear:{module}", nodeid=f"hear:{module}")
    items[:0] = [
        HearCheck.from_parent(collector, name=check.name, check=check, validation=validation)
        for check in CHECKS.values()
    ]


class HearModel(pytest.Collector):
    """The parent of all checks of one model. What they do to the process is undone after the last of them."""

    def setup(self) -> None:
        from benchmarks.validate.state import kept

        self._kept = contextlib.ExitStack()
        self._kept.enter_context(kept())

    def teardown(self) -> None:
        self._kept.close()

    def collect(self) -> Iterator[pytest.Item]:
        return iter(())


class HearCheck(pytest.Item):
    """One check as a test: it fails, warns, passes or is skipped as the check is."""

    def __init__(self, *, check: Check, validation: Validation, **options: Any) -> None:
        super().__init__(**options)
        self.check, self.validation = check, validation
        self.add_marker("hear_model")

    def runtest(self) -> None:
        outcome = self.validation.outcome(self.check.name)
        if outcome.verdict == "skip":
            pytest.skip(outcome.reason)
        messages = [f"{finding.level}: {finding.message}" for finding in outcome.findings]
        if outcome.verdict == "fail":
            raise CheckFailed("\n".join([*messages, "", self.check.explanation]))
        for message in messages:
            self.warn(HearModelWarning(f"{self.check.name}: {message.removeprefix('warn: ')}"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The findings and the explanation, without a traceback through the validator."""
        if isinstance(excinfo.value, CheckFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return (
            Path(f"hear:{self.validation.subject.module_name}"),
            0,
            f"{self.validation.subject.module_name}: {self.name}",
        )
