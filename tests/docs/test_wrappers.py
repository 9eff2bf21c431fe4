"""The wrappers of docs/examples/wrappers pass every check; `tox -e adapters` asks for it by DELORES_WRAPPERS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.validate.model_report import validate_model

if not os.environ.get("DELORES_WRAPPERS"):
    pytest.skip("the wrappers' packages are installed by `tox -e adapters`", allow_module_level=True)

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "wrappers"
PACKAGES = {"pesto": "pesto", "resemblyzer": "resemblyzer", "silero": "silero_vad", "torchcrepe": "torchcrepe"}


def test_each_wrapper_is_of_a_package() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == [f"{name}_wrapper" for name in PACKAGES]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wrapper_passes(name: str) -> None:
    pytest.importorskip(PACKAGES[name])
    report = validate_model(str(FOLDER / f"{name}_wrapper.py"), device="cpu")
    assert report.passed, str(report)
    assert {outcome.check.name for outcome in report.of("skip")} == {"long-audio"}
