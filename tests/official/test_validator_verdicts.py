"""hearvalidator and we agree wherever both look; its own baseline models pass ours (run by `tox -e heareval`)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

pytest.importorskip("hearvalidator", reason="hearvalidator is installed by `tox -e heareval`")
pytestmark = pytest.mark.official

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "validator-verdicts.md"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE / "stubs"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=1500,
    )  # fmt: skip


def test_both_validators_agree_where_both_look_and_the_page_says_so(tmp_path: Path) -> None:
    ran = python(str(HERE / "make_verdicts.py"), str(tmp_path / "page.md"), str(tmp_path / "rows.json"))
    assert ran.returncode == 0, ran.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) > 80
    differ = [row for row in rows if row["ours_official_fails"] != (row["official"] == "rejects")]
    assert differ == []
    assert [row["model"] for row in rows if not row["ours"] and row["official"] != "accepts"] == []
    without_numbers = [page.read_text().split("| model |")[0] for page in (tmp_path / "page.md", PAGE)]
    assert without_numbers[0] == without_numbers[1], "run tests/official/make_verdicts.py again"


@pytest.mark.parametrize("module", ["hearbaseline", "hearbaseline.torchcrepe"])
def test_the_benchmarks_own_models_pass_our_validator(module: str, tmp_path: Path) -> None:
    """hearbaseline needs librosa < 0.10, whose mel() takes the rate by position; torchcrepe takes minutes."""
    import librosa

    if Version(librosa.__version__) >= Version("0.10") and module == "hearbaseline":
        pytest.skip("hearbaseline's mel() call needs librosa < 0.10")
    if module.endswith("torchcrepe") and importlib.util.find_spec("torchcrepe") is None:
        pytest.skip("torchcrepe is not installed")
    report = tmp_path / "report.json"
    ran = python("-m", "benchmarks", "validate", module, "--device", "cpu", "--json", str(report))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    warned = {item["name"] for item in json.loads(report.read_text())["checks"] if item["verdict"] == "warn"}
    assert warned == {"hearbaseline": {"reload"}, "hearbaseline.torchcrepe": {"timestamp-dtype"}}[module]
