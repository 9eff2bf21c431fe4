"""``pytest --hear-model MODEL [--hear-weights PATH]``: the validator's checks as test items.

Without the option it adds nothing and imports nothing beyond pytest. With it, the checks stand before the
other tests, with the marker ``hear_model``: ``-m hear_model`` runs them alone, ``-k NAME`` some of them.

The checks run in a process of their own. The tests of a repository may have a ``benchmarks`` of their own, which must
stay what they import, and what a model does to its process must not reach them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["HearModelWarning"]


class HearModelWarning(UserWarning):
    """A finding that the HEAR API allows, but that has a cost."""


class CheckFailed(Exception):
    """What a check found."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hear", "checks of a model against the HEAR common API")
    group.addoption("--hear-model", metavar="MODEL", help="check this model: a module, a .py file, hf:ORG/NAME ...")
    group.addoption("--hear-weights", metavar="PATH", default="", help="weights handed to its load_model")
    group.addoption("--hear-device", metavar="DEVICE", default=None, help="where the model is put")
    group.addoption("--hear-long", action="store_true", help="also 20 minutes of audio, within 16 GB")
    group.addoption("--hear-fast", action="store_true", help="leave out what takes longest")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hear_model: a check of the model that --hear-model names")
    if config.getoption("--hear-weights") and not config.getoption("--hear-model"):
        raise pytest.UsageError("--hear-weights needs --hear-model MODEL")
    if config.getoption("--hear-long") and config.getoption("--hear-fast"):
        raise pytest.UsageError("--hear-long and --hear-fast exclude each other; choose one")


@pytest.hookimpl(tryfirst=True)  # before -m and -k choose
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    module = config.getoption("--hear-model")
    if not module:
        return
    options = [config.getoption(f"--hear-{name}") for name in ("weights", "device", "long", "fast")]
    validator = Validator(module, *options)
    config.add_cleanup(validator.end)
    collector = HearModel.from_parent(session, name=f"hear:{module}", nodeid=f"hear:{module}")
    items[:0] = [
        HearCheck.from_parent(collector, name=name, explanation=explanation, validator=validator)
        for name, explanation in validator.checks
    ]


class Validator:
    """The process that checks the model. It imports this project's ``benchmarks``, whatever has that name here."""

    def __init__(self, module: str, model_path: str, device: str | None, long: bool, fast: bool) -> None:
        from hear_delores.spawned import Spawned

        self.module = module
        arguments = (module, model_path, device, long, fast)
        self._child = Spawned("benchmarks.validate.validation", "serve", *arguments, name="hear-model")
        try:
            self.checks: list[tuple[str, str]] = self._child.connection.recv()
        except (EOFError, OSError):
            raise pytest.UsageError(f"--hear-model {module}: the process of the checks {self.end()}") from None

    def outcome(self, name: str) -> tuple[str, list[tuple[str, str]], str]:
        """(verdict, findings, reason) of the check ``name``; a process that has died fails it."""
        try:
            self._child.connection.send(name)
            return self._child.connection.recv()
        except (EOFError, OSError):
            return "fail", [("fail", f"the process of the checks {self.end()}")], ""

    def end(self) -> str:
        """Ends the process, and says how it ended."""
        return f"ended with exit code {self._child.end()}"


class HearModel(pytest.Collector):
    """The parent of all checks of one model."""

    def collect(self) -> Iterator[pytest.Item]:
        return iter(())


class HearCheck(pytest.Item):
    """One check as a test: it fails, warns, passes or is skipped as the check is."""

    def __init__(self, *, explanation: str, validator: Validator, **options: Any) -> None:
        super().__init__(**options)
        self.explanation, self.validator = explanation, validator
        self.add_marker("hear_model")

    def runtest(self) -> None:
        verdict, findings, reason = self.validator.outcome(self.name)
        if verdict == "skip":
            pytest.skip(reason)
        if verdict == "fail":
            lines = [f"{level}: {message}" for level, message in findings]
            raise CheckFailed("\n".join([*lines, "", self.explanation]))
        for _, message in findings:
            self.warn(HearModelWarning(f"{self.name}: {message}"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The findings and the explanation, without a traceback through the validator."""
        if isinstance(excinfo.value, CheckFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return Path(f"hear:{self.validator.module}"), 0, f"{self.validator.module}: {self.name}"
