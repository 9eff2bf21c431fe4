"""Models that try to end the process, or run out of its means: one failure among others, and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.embedding.foreign_code import ForeignExit, Terminated, contained
from benchmarks.results.record import load_records
from benchmarks.running.run import RunSummary
from hear_delores.errors import DeloresError

pytestmark = pytest.mark.timeout(300)
LOGMEL = "log-mel"
BASE = "from benchmarks.encoders.log_mel import *\nfrom benchmarks.encoders import log_mel as logmel\nimport sys\n"
PLACES = {
    "at_import": "WHAT\n",
    "at_loading": "def load_model(path=''):\n    WHAT\n",
    "at_embedding": "def get_scene_embeddings(audio, model):\n    WHAT\n",
    "at_an_attribute": "def load_model(path=''):\n    class Model(type(logmel.load_model())):\n"
    "        @property\n        def sample_rate(self):\n            WHAT\n    return Model.__new__(Model)\n",
}
DEEDS = {
    "sys.exit(0)": "it calls sys.exit(0)",
    "raise MemoryError": "memory",
    "f = lambda: f(); f()": "RecursionError",
    "raise type('Stop', (BaseException,), {})('enough')": "it raises Stop: enough",
    "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})": "Odd: (its message cannot be read)",
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("place", PLACES)
def test_it_is_one_failure_and_the_others_go_on(
    place: str, deed: str, measure: Callable[..., RunSummary], here: Path
) -> None:
    if place == "at_an_attribute" and "lambda" not in deed and "exit" not in deed:
        pytest.skip("the same path as the others")
    name = f"ends_{place}_{list(DEEDS).index(deed)}"
    (here / f"{name}.py").write_text(BASE + PLACES[place].replace("WHAT", deed))
    found = measure(here / "out", name, LOGMEL, tasks=("first",))
    [failure] = found.failures
    assert failure.model == name
    assert DEEDS[deed].lower() in failure.message.lower()
    assert "\n" not in failure.message
    assert {record.model.label for record in found.records} == {"log-mel"}


def test_side_by_side_too(measure: Callable[..., RunSummary], here: Path) -> None:
    (here / "leaves.py").write_text(BASE + PLACES["at_embedding"].replace("WHAT", "sys.exit(0)"))
    found = measure(here / "out", "leaves", LOGMEL, tasks=("first",), jobs=2)
    [failure] = found.failures
    assert "it calls sys.exit(0)" in failure.message
    assert {record.model.label for record in found.records} == {"log-mel"}


def test_the_command_exits_1(tasks_dir: Path, here: Path, warm: Any) -> None:
    (here / "leaves.py").write_text(BASE + "sys.exit(0)\n")
    words = ["run", "leaves", LOGMEL, "--tasks-dir", str(tasks_dir), "-t", "first", "-p", "knn", "--out", "out"]
    code = "import sys; sys.argv[0] = 'delores'\nfrom benchmarks.cli import main\nmain()"
    ran = warm.run(code, *words, cwd=here, env={"PYTHONPATH": str(here)})
    assert ran.returncode == 1
    assert "failed: leaves: model leaves: importing leaves failed: it calls sys.exit(0)" in ran.stderr
    assert "Traceback" not in ran.stderr
    [record] = load_records([here / "out" / "results"])
    assert record.model.label == "log-mel"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
def test_ctrl_c_and_being_told_to_end_still_stop_everything(stop: type[BaseException]) -> None:
    with pytest.raises(stop), contained():
        raise stop


def test_what_is_an_error_already_is_left_as_it_is() -> None:
    for error in (ValueError("x"), DeloresError("y")):
        with pytest.raises(type(error)) as caught, contained():
            raise error
        assert caught.value is error
    with pytest.raises(ForeignExit, match=r"it calls sys\.exit\('no \u00e4'\)"), contained():
        sys.exit("no ä")


def test_two_options_of_a_model_are_two_models(measure: Callable[..., RunSummary], here: Path) -> None:
    (here / "pools.py").write_text(
        BASE + "def load_model(path='', pool='mean'):\n    model = logmel.load_model()\n    model.pool = pool\n"
        "    return model\n"
        "def get_scene_embeddings(audio, model):\n    found = logmel.get_scene_embeddings(audio, model)\n"
        "    return found if model.pool == 'mean' else found.flip(0) * 0 + audio.abs().amax(1, keepdim=True)\n"
    )
    found = measure(here / "out", "pools?pool=mean", "pools?pool=max", tasks=("first",))
    assert found.failures == []
    assert [(r.model.label, r.seed) for r in found.records] == [
        (f"pools-pool={pool}", seed) for pool in ("mean", "max") for seed in (1, 2)
    ]
    assert len({record.folder for record in found.records}) == 4
    assert len(load_records([here / "out" / "results"])) == 4
    with pytest.raises(DeloresError, match=r"two models are called 'x': pools\?pool=mean and pools\?pool=max; give"):
        measure(here / "out", "x=pools?pool=mean", "x=pools?pool=max")
