"""What is customary for a suite beside its tasks, as ``suites.yaml`` states it: data only."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from benchmarks.tasks.metadata import validated
from pretrain.inputs.yaml_file import read_yaml

__all__ = ["SuiteSpec", "find_suite"]

SUITES_FILE = Path(__file__).parent / "suites.yaml"


class SuiteSpec(BaseModel):
    """How a suite is run where nothing else is asked for.

    ``seeds`` counts the seeds of the classifier; ``over_seeds`` says that tables show intervals over seeds and the
    overall scores that papers compare models by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: StrictStr = ""
    source: StrictStr = ""
    seeds: int = Field(default=1, gt=0)
    over_seeds: bool = False


def find_suite(name: str | None) -> SuiteSpec:
    """What is customary for the suite of that name; nothing special for None, and for one that is not in the file."""
    return _suites().get(name or "", SuiteSpec())


@functools.lru_cache(maxsize=1)
def _suites() -> dict[str, SuiteSpec]:
    return {name: validated(SuiteSpec, values, SUITES_FILE) for name, values in read_yaml(SUITES_FILE).items()}
