"""Every command line and Python block of README.md and docs/ works as it stands there; ``pages`` has the rules."""

from __future__ import annotations

import contextlib
import functools
import glob
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.tasks.demo import demo_tasks

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    """A module beside this file, which pytest's import mode does not put on the path."""
    spec = spec_from_file_location(f"tests_docs_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pages, make_commands = _load("pages"), _load("make_commands")
NAMES = [page.relative_to(pages.ROOT).as_posix() for page in pages.PAGES]


# --- what commands find when they run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """my_audio/ with labels.csv (24 clips of 1 s), and the my_module.py of docs/evaluate.md."""
    folder = tmp_path_factory.mktemp("prepared")
    random = np.random.default_rng(0)
    (folder / "my_audio").mkdir()
    lines = ["file,label,group,split"]
    for index in range(24):
        tone = np.sin(2 * np.pi * (300, 2000)[index % 2] * np.arange(16000) / 16000)
        clip = 0.2 * tone + 0.05 * random.standard_normal(16000)
        soundfile.write(folder / "my_audio" / f"clip{index:02d}.wav", clip, 16000, subtype="PCM_16")
        split = ("train", "train", "valid", "test")[index // 2 % 4]
        lines.append(f"clip{index:02d}.wav,{('low', 'high')[index % 2]},g{index},{split}")
    (folder / "my_audio" / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    [module] = [b for b in pages.blocks(pages.ROOT / "docs" / "evaluate.md") if b.rest == "my_module.py"]
    (folder / "my_module.py").write_text(module.text, encoding="utf-8")
    return folder


@pytest.fixture
def workplace(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_probe_sounds: None
) -> Iterator[Path]:
    """A folder of its own for a page, with what is prepared; modules imported from it are forgotten afterwards."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(demo_tasks, "PITCH_CLIPS", 1)
    monkeypatch.setattr(demo_tasks, "TIMBRE_CLIPS", {"train": 2, "valid": 1, "test": 2})
    yield tmp_path
    sys.modules.pop("my_module", None)


# --- checking and running


command_line = functools.cache(make_commands.command_line)


def parse(words: list[str], where: str) -> None:
    """Raises AssertionError unless the words are a command of ours with options and arguments that it has."""
    group = command_line()
    if words[0] != "delores":
        raise AssertionError(f"{where}: {words[0]} is none of the commands that a page may have parsed")
    context = group.context_class(group, info_name="delores")
    command = group.get_command(context, words[1])
    assert command is not None, f"{where}: there is no command 'delores {words[1]}'"
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            command.make_context(words[1], list(words[2:]), parent=context)
    except SystemExit:
        return  # --help and the like
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own family of errors, which typer carries under another name
            raise
        raise AssertionError(f"{where}: {' '.join(words)}: {error.format_message()}") from None


def run(words: list[str], where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a command in this process (pytest in one of its own); raises AssertionError unless it exits with 0."""
    words = [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]
    if words[0] == "pytest":
        plugin = any(entry.value == "hear_delores.pytest_plugin" for entry in entry_points(group="pytest11"))
        extra = [] if plugin else ["-p", "hear_delores.pytest_plugin"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(pages.ROOT), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *extra, *words[1:]], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, f"{where}: {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return
    from benchmarks.cli import main

    parse(words, where)
    monkeypatch.setattr(sys, "argv", words)
    code: Any = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert not code, f"{where}: {' '.join(words)}: exit code {code}: {said.err[-2000:]}{said.out[-2000:]}"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_one_of_ours_with_options_that_exist(name: str) -> None:
    for block in pages.blocks(pages.ROOT / name):
        if block.language != "python" and block.kind in ("run", "parse", "long"):
            for words in block.commands:
                if words[0] != "pytest":
                    parse(block.words(words) if block.kind == "run" else words, block.where)


def long_blocks(name: str) -> bool:
    return any(block.kind == "long" for block in pages.blocks(pages.ROOT / name))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [(name, ("run",)) for name in NAMES if name != "docs/commands.md"]
    + [pytest.param(name, ("run", "long"), marks=pytest.mark.long) for name in NAMES if long_blocks(name)],
)
def test_every_block_runs(
    name: str,
    kinds: tuple[str, ...],
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in pages.blocks(pages.ROOT / name):
        if block.kind == "file":
            (workplace / block.rest).write_text(block.text, encoding="utf-8")
        elif block.kind in kinds and block.language == "python":
            exec(compile(block.text, block.where, "exec"), names)
        elif block.kind in kinds:
            for words in block.commands:
                run(block.words(words) if block.kind == "run" else words, block.where, capsys, monkeypatch)


# --- that the test would see it


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("delores run hear_delores --tasks-dirs tasks", "--tasks-dirs"),
        ("delores score", "Missing argument"),
        ("delores score folder --protocol knm", "knm"),
        ("delores evaluate hear_delores", "no command"),
        ("delores doctor hear_delores", "hear_delores"),
        ("heareval hear_delores", "heareval"),
    ],
)
def test_what_does_not_exist_is_found(line: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        parse(line.split(), "docs/made-up.md:1")


def test_a_command_that_fails_is_found(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="no such folder of results"):
        run(["delores", "tables", "nowhere"], "docs/made-up.md:1", capsys, monkeypatch)


def test_blocks_and_markers_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text\n\n```sh\ndelores run a \\\n    b  # why\n\ndelores doctor\n```\n\n"
        "<!-- test: run with steps=2 'x y' -->\n```sh\ndelores pretrain\n```\n```python\n1\n```\n```csv\na\n```\n"
        "<!-- test: file a.csv -->\n```csv\na,b\n```\n"
    )
    shell, more, python, file = pages.blocks(page)
    assert shell.commands == [["delores", "run", "a", "b"], ["delores", "doctor"]]
    assert (shell.line, shell.kind, more.kind, python.language) == (3, "run", "run", "python")
    assert (more.rest, file.kind, file.rest, file.text) == ("steps=2 'x y'", "file", "a.csv", "a,b\n")
    for marker in ("parse", "never, so", "skip, it stands before no block -->\n\nText <!--"):
        page.write_text(f"<!-- test: {marker} -->\n```sh\nx\n```\n")
        with pytest.raises(ValueError, match="marker"):
            pages.blocks(page)


# --- the site


def test_the_workflow_is_the_example() -> None:
    text = (pages.ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert (pages.ROOT / "docs" / "examples" / "validate.yml").read_text(encoding="utf-8") in text


def test_the_reference_is_the_command_line() -> None:
    assert make_commands.PAGE.read_text(encoding="utf-8") == make_commands.page(), (
        "docs/commands.md is old: run python tests/docs/make_commands.py"
    )


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = pages.ROOT / name
    for target in pages.links(page):
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in pages.anchors(found), f"{name}: {target}: {sorted(pages.anchors(found))}"


def test_every_page_is_in_the_sites_navigation() -> None:
    index = (pages.ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", index, flags=re.M | re.S)
    listed = [name for tree in trees for name in re.findall(r"^(?:[^:\n]* <([\w/-]+)>|[\w/-]+)$", tree, flags=re.M)]
    here = [name.removesuffix(".md") for name in NAMES if name.startswith("docs/") and name != "docs/index.md"]
    here += [f"docs/notebooks/{path.stem}" for path in (pages.ROOT / "docs" / "notebooks").glob("*.ipynb")]
    assert sorted(f"docs/{name}" for name in listed) == sorted(here)
