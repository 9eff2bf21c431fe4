"""The worked examples of CONTRIBUTING.md, each as the one new file that it says it is."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from benchmarks import validate
from benchmarks.tasks import corpora, registry
from benchmarks.tasks.corpora.raw_corpus import prepare_corpus
from benchmarks.validate import check, checks
from hear_delores.errors import DeloresError

ROOT = Path(__file__).resolve().parents[2]
GOOD = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "validate" / "faulty_models.py"))["GOOD"]


def example(path: str) -> str:
    """The block of CONTRIBUTING.md whose first line names the file ``path``."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [found] = re.findall(rf"^```\w+\n(# {re.escape(path)}\n.*?)^```$", text, re.M | re.S)
    assert not (ROOT / path).exists(), "the example is about a file that is not there yet"
    return str(found)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules belong to the packages of checks and of corpora while the test runs."""
    folder = tmp_path / "added"
    folder.mkdir()
    before = set(sys.modules)
    for package in (checks, corpora):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    importlib.invalidate_caches()
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


# --- a check


def test_a_check_is_one_new_file(added: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = list(checks.all_checks())
    (added / "loudness.py").write_text(example("benchmarks/validate/checks/loudness.py"), encoding="utf-8")
    assert list(checks.all_checks()) == [*own, "quiet"]
    assert validate.explain("quiet").startswith("Noise at -80 dB")
    gate = "        audio = torch.where(audio.abs() < 1e-3, 0.0, audio)\n"
    models = {"bells_good": GOOD, "bells_gated": GOOD.replace("(self, audio):\n", f"(self, audio):\n{gate}")}
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {}
    for name, source in models.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        outcome = validate.Validation(name, device="cpu").outcome("quiet")
        found[name] = (outcome.verdict, [finding.message for finding in outcome.findings])
    same = "embeddings of noise at -80 dB are those of silence"
    assert found == {"bells_good": ("pass", []), "bells_gated": ("warn", [f"scene {same}", f"timestamp {same}"])}


def test_the_order_of_checks_does_not_depend_on_what_was_imported_first() -> None:
    names = [check.name for check in validate.CHECKS.values()]
    assert names[0] == "import"
    assert names == list(validate.CHECKS)
    places = [names.index(name) for name in ("import", "import-side-effects", "finite", "lengths", "timestamp-unit")]
    assert places == sorted(places)


def test_two_checks_of_one_name_are_refused(added: Path) -> None:
    source = example("benchmarks/validate/checks/loudness.py")
    (added / "loudness.py").write_text(source.replace('"quiet"', '"silence"'), encoding="utf-8")
    with pytest.raises(DeloresError, match=r"duplicate check .silence. in .*loudness; give it another name"):
        checks.all_checks()


def test_every_need_is_a_check() -> None:
    for item in checks.all_checks().values():
        assert isinstance(item, check.Check)
        assert set(item.needs) <= set(checks.all_checks())


# --- a corpus


def test_a_corpus_is_one_new_file_and_a_task_that_names_it(added: Path, tmp_path: Path) -> None:
    (added / "bells.py").write_text(example("benchmarks/tasks/corpora/bells.py"), encoding="utf-8")
    (tmp_path / "bells.yaml").write_text(example("benchmarks/tasks/mine/bells.yaml"), encoding="utf-8")
    spec = registry.read_spec(tmp_path / "bells.yaml")
    assert "bells" not in [task.name for task in registry.list_tasks()]
    corpus = tmp_path / "download" / "bells"
    corpus.mkdir(parents=True)
    rows = ["file,kind,tower,split"]
    for number in range(6):
        kind, split = ("church", "hand")[number % 2], ("train", "valid", "test")[number // 2]
        soundfile.write(corpus / f"{number}.wav", np.sin(np.arange(16000) * (number + 1) / 20) / 2, 16000)
        rows.append(f"{number}.wav,{kind},tower {split},{split}")
    (corpus / "bells.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    report = prepare_corpus(spec, tmp_path / "download", tmp_path / "tasks")
    assert report.task.path.name == "bells-v1-full"
    assert report.clips_by_split == {"train": 2, "valid": 2, "test": 2}
    assert report.clips_by_label == {"church": 3, "hand": 3}
    (corpus / "5.wav").unlink()
    with pytest.raises(DeloresError, match=r"not the whole corpus of bells: 5 of 6 recordings; .*5\.wav"):
        prepare_corpus(spec, tmp_path / "download", tmp_path / "more")


def test_the_example_of_a_task_is_yaml_that_says_where_its_figures_come_from() -> None:
    assert set(yaml.safe_load(example("benchmarks/tasks/mine/bells.yaml"))["cited"]) == {"task", "licence"}
