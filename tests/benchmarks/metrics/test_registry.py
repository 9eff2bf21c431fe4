"""What the registry says of each metric, and that terms by clip add up to the score."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.metrics.events import EventTable, event_counts, segment_counts
from benchmarks.metrics.registry import METRICS, metric_bounds, metric_scale

LABELS = ("a", "b")


def tables(seed: int) -> tuple[EventTable, EventTable]:
    """Predicted and true events of files; one file of each is in the other alone."""
    random = np.random.default_rng(seed)

    def some(files: range) -> EventTable:
        start = random.integers(0, 100, (60, 1)) * 50.0
        rows = np.concatenate([random.integers(0, [len(files), 2], (60, 2)), start, start + 300.0], axis=1)
        return EventTable.from_rows(rows, [f"{i}.wav" for i in files], LABELS)

    return some(range(6)), some(range(1, 7))


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.kind == "event"])
def test_terms_of_files_add_up_to_the_score(name: str, missing: bool) -> None:
    metric, (predicted, target) = METRICS[name], tables(3)
    above, below = metric.terms(predicted, target, score_missing_files=missing)
    assert len(above) == len(below) == (7 if missing else 6)
    expected = metric.scores(predicted, target, score_missing_files=missing)[name]
    assert expected > 0
    assert above.sum() / below.sum() == pytest.approx(expected, abs=1e-12)


def test_counts_of_files_are_those_of_each_file_alone() -> None:
    predicted, target = (table.to_events() for table in tables(5))
    files = [*predicted, *(file for file in target if file not in predicted)]

    def of(names: list[str]) -> tuple[EventTable, EventTable]:
        both = ({file: side.get(file, []) for file in names} for side in (predicted, target))
        first, second = (EventTable.from_events(side, LABELS) for side in both)
        return first, second

    for count in (event_counts, segment_counts):
        each = [count(*of([file]))[0] for file in files]
        np.testing.assert_array_equal(count(*of(files)), each)
        assert len(np.unique(each, axis=0)) > 3


def test_per_cent_and_ranges() -> None:
    assert [name for name in METRICS if metric_scale(name) == 1.0] == ["d_prime", "segment_1s_er"]
    assert metric_bounds("event_onset_50ms_fms_recall") == (0.0, 1.0)
    assert metric_bounds("segment_1s_er_error_rate") == (0.0, math.inf)
    assert metric_bounds("top1_accuracy") == (-math.inf, math.inf)  # another's metric
