"""``delores validate``: what it prints, writes and returns; the pytest plugin and the GitHub Action with it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import typer
import yaml
from faulty_models import GALLERY, GOOD, forked
from typer.testing import CliRunner

from benchmarks.validate import CHECKS
from benchmarks.validate.checks import side_effects
from benchmarks.validate.command import validate

ROOT = Path(__file__).resolve().parents[3]
NAME = "gallery_model"
app = typer.Typer()
app.command()(validate)


@pytest.fixture
def model(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(model_folder)
    monkeypatch.setattr("benchmarks.validate.command.PATIENCE_S", 600)  # a busy machine takes its time
    monkeypatch.setattr(side_effects, "in_fresh_process", forked)
    (model_folder / f"{NAME}.py").write_text(GOOD)
    return model_folder / f"{NAME}.py"


def run(*words: object) -> tuple[int, str, str]:
    ran = CliRunner().invoke(app, list(map(str, words)))
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    sys.modules.pop(NAME, None)
    return ran.exit_code, ran.stdout, ran.stderr


def test_a_good_model_is_shown_check_by_check_and_code_0(model: Path, tmp_path: Path) -> None:
    code, out, err = run(NAME, "--device", "cpu", "--json", tmp_path / "a.json", "--junit", tmp_path / "a.xml")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == list(CHECKS)
    assert lines[-1] == f"{len(CHECKS) - 1} pass, 1 skip"
    assert json.loads((tmp_path / "a.json").read_text())["passed"] is True
    assert ElementTree.parse(tmp_path / "a.xml").getroot().get("failures") == "0"


def test_a_failure_is_code_1_and_a_warning_is_not(model: Path) -> None:
    model.write_text(GALLERY["seconds"][0])
    code, out, err = run(NAME, "--quiet")
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "fail timestamp-unit         the last timestamp of 4 s of audio is 4: in seconds; expected milliseconds"
    ]
    model.write_text(GALLERY["gradients kept"][0])
    code, out, _ = run(NAME)
    assert code == 0
    assert "warn gradients" in out
    assert "--explain gradients" in out


def test_json_on_standard_output_is_json_alone(model: Path) -> None:
    model.write_text(GOOD.replace("import torch\n", "import torch\nprint('hello from the model')\n", 1))
    code, out, err = run(NAME, "--json", "-")
    assert code == 0
    assert json.loads(out)["module"] == NAME
    assert "pass import" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no_such_module_xyz"], "no module is called 'no_such_module_xyz'"),
        ([], "expected a module to validate"),
        ([NAME, "--json", "nowhere/a.json"], "its folder does not exist"),
        (["--explain", "silense"], "Did you mean 'silence'"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_code_2(words: list[str], message: str, model: Path) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_check_explains_itself() -> None:
    code, out, _ = run("--explain", "timestamp-drift")
    assert code == 0
    assert out.startswith("timestamp-drift (not in hear-validator; runs after timestamp-unit,")
    assert "1102.5 samples" in out
    code, out, _ = run("--explain", "all")
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == list(CHECKS)


def test_the_hint_names_a_failure_before_a_warning(model: Path) -> None:
    source = GALLERY["gradients kept"][0].replace("hop = 640", "hop = 960").replace("hop_ms=40.0", "hop_ms=0.06")
    model.write_text(source)
    code, out, _ = run(NAME, "--fast")
    assert code == 1
    assert out.index("warn gradients") < out.index("fail timestamp-unit")
    assert out.splitlines()[-1].endswith("--explain timestamp-unit")


def test_a_slow_check_is_named_under_quiet(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.validate.command.PATIENCE_S", 0.05)
    model.write_text(
        GOOD.replace("    return Model().eval()", "    import time; time.sleep(0.5); return Model().eval()")
    )
    code, out, err = run(f"slow={NAME}", "--fast", "--quiet")
    assert (code, out) == (0, "")
    assert f"load (3 of {len(CHECKS)}): running for 0.05 s" in err.splitlines()


def test_findings_are_annotations_in_a_job_of_github(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(model.parent))
    model.write_text(GALLERY["load_model raises"][0].replace("weights not found", "100 %, or\\nnot"))
    _, out, err = run(f"./{NAME}.py", "--fast", "--json", "-")
    assert json.loads(out)["passed"] is False
    [line] = [line for line in err.splitlines() if line.startswith("::")]
    # GitHub reads %25, %3A, %2C and %0A as the marks that separate.
    assert line == f"::error file={NAME}.py,title=HEAR API%3A load::raised OSError: 100 %25, or"


def test_validate_needs_five_packages(model: Path) -> None:
    """What is installed by requirements-validate.txt beside torch, and what these packages need, and no other."""
    lines = (ROOT / "docs" / "examples" / "requirements-validate.txt").read_text().splitlines()
    listed = {re.split(r"[>=]", line)[0] for line in lines if line and not line.startswith("#")} | {"torch"}
    assert listed == {"torch", "numpy", "safetensors", "typer", "rich"}
    text = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [")[2].partition("\n]")[0]
    declared = set(re.findall(r'^ +"([A-Za-z-]+)', text, flags=re.M))
    brought = {
        re.split(r"[ ;<>=!~\[(]", need)[0].lower()
        for name in listed
        for need in importlib.metadata.requires(name) or ()
        if "extra ==" not in need
    }
    imports = {"scikit-learn": "sklearn", "PyYAML": "yaml"}
    blocked = {imports.get(name, name) for name in declared - listed if name.lower() not in brought}
    assert {"pandas", "scipy", "torchaudio", "soundfile"} <= blocked
    code = (
        f"import sys\nfor name in {sorted(blocked)!r}: sys.modules[name] = None\n"
        f"sys.argv = ['delores', 'validate', './{NAME}.py', '--fast']\n"
        "from benchmarks.cli import main\nmain()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=model.parent, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "fail" not in ran.stdout


# The plugin


PLUGIN = "hear_delores.pytest_plugin"


def pytest_with(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # An installed project is found by its entry point, and pytest refuses to load a plugin twice.
    installed = any(point.value == PLUGIN for point in importlib.metadata.entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", PLUGIN]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def test_the_plugin_adds_a_test_for_each_check(model: Path) -> None:
    (model.parent / "test_own.py").write_text("import torch\ndef test_own(): assert torch.is_grad_enabled()\n")
    model.write_text(GALLERY["load_model switches gradients off"][0])
    ran = pytest_with(model.parent, "--hear-model", NAME, "--hear-fast", "-rA", "--junitxml", "x.xml")
    counts = re.search(r"(\d+) failed, (\d+) passed, (\d+) skipped", ran.stdout)
    assert ran.returncode == 1
    assert counts is not None, ran.stdout
    assert sum(map(int, counts.groups())) == len(CHECKS) + 1
    assert counts.group(1) == "1"  # and test_own passed: gradients are on again after the checks
    assert f"FAILED hear:{NAME}::call-side-effects" in ran.stdout
    assert "fail: load_model changes the gradient mode" in ran.stdout
    assert "Use torch.random.fork_rng()" in ran.stdout  # the explanation
    assert "Traceback" not in ran.stdout
    names = [case.get("name") for case in ElementTree.parse(model.parent / "x.xml").iter("testcase")]
    assert names == [*CHECKS, "test_own"]


def test_the_plugin_hands_over_weights_warns_and_is_chosen_from(model: Path) -> None:
    (model.parent / "test_own.py").write_text("def test_own(): assert False\n")
    model.write_text(
        GALLERY["sparse"][0].replace('model_file_path=""):', "path=''):\n    assert open(path).read() == 'w'")
    )
    (model.parent / "w.pt").write_text("w")
    ran = pytest_with(
        model.parent,
        "--hear-model",
        NAME,
        "--hear-weights",
        "w.pt",
        "-m",
        "hear_model",
        "-k",
        "timestamps or sample-rate",
    )
    assert ran.returncode == 0, ran.stdout
    assert "HearModelWarning: timestamps: the interval between timestamps is above 50 ms" in ran.stdout
    assert "2 passed" in ran.stdout


def test_the_plugin_costs_nothing_when_it_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import sys\ndef test_own():\n    assert 'hear_delores.pytest_plugin' in sys.modules\n"
        "    assert not {'torch', 'numpy', 'typer', 'rich', 'benchmarks', 'pretrain'} & set(sys.modules)\n"
    )
    ran = pytest_with(tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout
    ran = pytest_with(tmp_path, "--hear-weights", "w.pt")
    assert ran.returncode == 4
    assert "--hear-weights needs --hear-model" in ran.stderr


# The GitHub Action


def test_the_action_runs_the_same_command(model: Path, tmp_path: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    [step] = [step for step in action["runs"]["steps"] if "delores validate" in step.get("run", "")]
    assert "${{" not in step["run"], "an input in the script is a way to run foreign code: pass it as a variable"
    model.write_text(GALLERY["seconds"][0])
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "delores").write_text(
        f"#!{sys.executable}\nimport sys, typer\nfrom benchmarks.validate.command import validate\n"
        "assert sys.argv.pop(1) == 'validate'\ntyper.run(validate)\n"
    )
    (tools / "delores").chmod(0o755)
    given = {name: {"default": "", **options}["default"] for name, options in action["inputs"].items()}
    given |= {"model": NAME, "device": "cpu", "fast": "true", "junit": "report with space.xml"}
    summary = tmp_path / "summary.md"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        **{
            name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: str(given[match[1]]), value)
            for name, value in step["env"].items()
        },
    }
    for source, code in (("seconds", 1), ("gradients kept", 0)):
        model.write_text(GALLERY[source][0])
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=model.parent, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ran.returncode == code, ran.stdout + ran.stderr
    assert ElementTree.parse(model.parent / "report with space.xml").getroot().get("failures") == "0"
    assert "timestamp-unit" in summary.read_text()


def test_the_example_workflow_gives_the_action_inputs_that_it_has() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    workflow = yaml.safe_load((ROOT / "docs" / "examples" / "validate.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    [ours] = [step for step in steps if "hear-delores" in step.get("uses", "")]
    assert set(ours["with"]) <= set(inputs)
    assert {name for name, options in inputs.items() if options.get("required")} <= set(ours["with"])
