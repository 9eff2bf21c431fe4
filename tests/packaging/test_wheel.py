"""The built archives, which ``tox -e wheel`` puts into the folder DELORES_DIST, and the wheel installed alone."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

if not os.environ.get("DELORES_DIST"):
    pytest.skip("the archives are built and looked at by `tox -e wheel`", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
[WHEEL] = Path(os.environ["DELORES_DIST"]).resolve().glob("*.whl")
[SOURCE] = Path(os.environ["DELORES_DIST"]).resolve().glob("*.tar.gz")
PACKAGES = ("hear_delores", "pretrain", "benchmarks")
HELLO = """
import hear_delores, torch
model = hear_delores.load_model()
print(hear_delores.__file__, tuple(hear_delores.get_scene_embeddings(torch.zeros(1, 16000), model).shape))
"""


def of_the_packages() -> set[str]:
    """Every file of the three packages in the checkout."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else() -> None:
    names = {name for name in zipfile.ZipFile(WHEEL).namelist() if ".dist-info/" not in name}
    assert names == of_the_packages()


def test_its_metadata() -> None:
    archive = zipfile.ZipFile(WHEEL)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])


def test_the_source_archive_holds_tests_and_documentation() -> None:
    with tarfile.open(SOURCE) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tox.ini", "CHANGELOG.md", "docs/conf.py", "docs/index.md", "tests/conftest.py"} <= names
    assert of_the_packages() <= names
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("docs/api/")]


@pytest.mark.timeout(3600)
def test_it_works_in_an_empty_environment(tmp_path: Path) -> None:
    def run(*command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    run(sys.executable, "-m", "venv", "alone")
    programs = tmp_path / "alone" / "bin"
    run(str(programs / "python"), "-m", "pip", "install", "--quiet", str(WHEEL))
    run(str(programs / "python"), "-m", "pip", "check")
    assert "delores" in run(str(programs / "delores"), "--help")
    said = run(str(programs / "python"), "-c", HELLO)
    assert str(tmp_path) in said
    assert "(1, " in said
    assert "esc50" in run(str(programs / "delores"), "tasks", "--json")
