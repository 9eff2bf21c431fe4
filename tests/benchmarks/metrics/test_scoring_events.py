"""Event scores against sed_eval's golden numbers and sed_eval itself, events against heareval's and scipy."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter

from benchmarks.metrics import decode
from benchmarks.metrics import events as module
from benchmarks.metrics.decode import FrameIndex, events_from_frames
from benchmarks.metrics.events import EventTable, event_based_scores
from benchmarks.metrics.registry import METRICS
from hear_delores.errors import DeloresError

GOLDEN = json.loads(Path(__file__).with_name("event_golden.json").read_text())
LABELS = GOLDEN["labels"]


def table(events):
    return EventTable.from_events(events, LABELS)


def assert_equals_golden(case):
    """All event metrics of a golden case, all files scored and heareval's way, to 1e-12."""
    for which, missing in (("every", True), ("predicted", False)):
        for name, expected in case["scores"][which].items():
            found = METRICS[name].function(table(case["predicted"]), table(case["target"]), score_missing_files=missing)
            for part, value in expected.items():
                assert found[part] == pytest.approx(value, abs=1e-12, rel=1e-12, nan_ok=True), (name, part)


@pytest.mark.parametrize("case", GOLDEN["scores"], ids=lambda case: case["name"])
def test_scores_equal_sed_eval_golden(case):
    assert GOLDEN["made_by"]["sed_eval"] == "0.2.1"
    assert_equals_golden(case)


@pytest.mark.parametrize("case", GOLDEN["frames"], ids=range(len(GOLDEN["frames"])))
def test_events_equal_heareval_golden(case):
    assert_events_equal_golden(case)


def assert_events_equal_golden(case):
    found = events_from_frames(
        np.array(case["probabilities"], dtype=np.float32),
        np.array(case["timestamps_ms"]),
        LABELS,
        median_filter_ms=case["median_filter_ms"],
        min_duration=case["min_duration"],
    )
    assert found == case["events"]


def test_the_golden_numbers_tell_cases_apart():
    """A golden file in which everything is perfect, or nothing ever found, would prove nothing."""
    values = {name: [] for name in METRICS if METRICS[name].kind == "event"}
    for case in GOLDEN["scores"]:
        for name, parts in case["scores"]["every"].items():
            values[name].append(next(iter(parts.values())))
    for name, found in values.items():
        inner = [v for v in found if 0 < v < 1]
        assert len(set(inner)) >= 4, name
    by_name = {case["name"]: case["scores"] for case in GOLDEN["scores"]}
    assert by_name["on the collar"]["every"]["event_onset_200ms_fms"]["f_measure"] == 1.0
    assert by_name["past the collar"]["every"]["event_onset_200ms_fms"]["f_measure"] == 0.0
    assert np.isnan(by_name["no estimate"]["every"]["event_onset_200ms_fms"]["f_measure"])
    missing = by_name["missing file"]
    assert missing["every"]["event_onset_200ms_fms"] != missing["predicted"]["event_onset_200ms_fms"]
    assert sum(len(case["events"]) for case in GOLDEN["frames"]) > 40


def test_an_onset_off_by_one_hop_is_noticed(monkeypatch):
    """Deliberately broken: every event starts one frame late."""
    whole = decode._runs

    def late(active):
        label, start, end = whole(active)
        return label, np.minimum(start + 1, end), end

    monkeypatch.setattr(decode, "_runs", late)
    case = max(GOLDEN["frames"], key=lambda case: len(case["events"]))
    with pytest.raises(AssertionError):
        assert_events_equal_golden(case)


def test_onsets_moved_by_one_hop_change_the_golden_scores():
    """Deliberately broken: estimates 50 ms late in the scores."""
    for case in GOLDEN["scores"][:2]:
        late = {
            file: [{**event, "start": event["start"] + 50.0, "end": event["end"] + 50.0} for event in events]
            for file, events in case["predicted"].items()
        }
        with pytest.raises(AssertionError):
            assert_equals_golden({**case, "predicted": late})


@pytest.mark.official
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_sed_eval_itself(seed):
    pytest.importorskip("sed_eval")
    import make_event_golden

    rng = np.random.default_rng(100 + seed)
    truth = {f"f{i}": make_event_golden.random_events(rng, 12, 20.0) for i in range(3)}
    case = {
        "target": truth,
        "predicted": {f: make_event_golden.shifted(rng, e, 20.0) for f, e in truth.items()},
    }
    files = list(truth)
    scores = make_event_golden.sed_eval_scores(case, files)
    assert_equals_golden({**case, "scores": {"every": scores, "predicted": scores}})


# --- matching against brute force


def best_matching(ref, est, fits):
    """The largest matching, by trying every assignment of references to distinct estimates."""
    best = 0
    for choice in itertools.product([None, *range(len(est))], repeat=len(ref)):
        used = [j for j in choice if j is not None]
        if len(set(used)) == len(used) and all(j is None or fits(ref[i], est[j]) for i, j in enumerate(choice)):
            best = max(best, len(used))
    return best


@pytest.mark.parametrize("evaluate_offset", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_matching_is_optimal(seed, evaluate_offset):
    rng = np.random.default_rng(seed)

    def some(count):
        starts = rng.integers(0, 12, count) * 100.0
        return [
            {"label": LABELS[k], "start": float(a), "end": float(a + d)}
            for a, d, k in zip(starts, rng.integers(1, 9, count) * 50.0, rng.integers(0, 2, count), strict=True)
        ]

    ref, est = some(5), some(5)

    def fits(r, e):
        near = abs(r["start"] / 1000 - e["start"] / 1000) <= 0.2
        limit = max(0.2, 0.5 * (r["end"] / 1000 - r["start"] / 1000))
        end = not evaluate_offset or abs(r["end"] / 1000 - e["end"] / 1000) <= limit
        return r["label"] == e["label"] and near and end

    scores = event_based_scores(table({"f": est}), table({"f": ref}), evaluate_offset=evaluate_offset)
    assert scores["recall"] * 5 == pytest.approx(best_matching(ref, est, fits))


# --- frames


def mirrored_median(probabilities, width):
    """scipy's median filter over frames, one window after another: the value of rank width // 2."""
    ends = (width // 2, width - width // 2 - 1)
    padded = np.pad(probabilities, (ends, (0, 0)), mode="symmetric")
    windows = [np.sort(padded[t : t + width], axis=0) for t in range(len(probabilities))]
    return np.stack([window[width // 2] for window in windows])


def brute_force_events(probabilities, times, median_ms, least):
    """heareval's definition, one frame after another."""
    order = np.argsort(times, kind="stable")
    times, probabilities = times[order], probabilities[order]
    width = round(median_ms / np.mean(np.diff(times))) if median_ms else 0
    if width:
        probabilities = mirrored_median(probabilities, width)
    found = []
    for k, label in enumerate(LABELS):
        start = None
        for t in range(len(times) + 1):
            active = t < len(times) and probabilities[t, k] > 0.5
            if active and start is None:
                start = t
            if not active and start is not None:
                if times[t - 1] - times[start] >= least:
                    found.append({"label": label, "start": times[start], "end": times[t - 1]})
                start = None
    return sorted(found, key=lambda event: event["start"])


WIDTHS = [1, 2, 3, 4, 5, 8, 13, 40, 100]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_median_filter_of_the_tests_is_that_of_scipy(width):
    # From 8 times the clip's length on, scipy 1.17 reads beyond the memory that holds its mirrored frames.
    for frames in (frames for frames in (5, 7, 60) if width < 8 * frames):
        probabilities = np.random.default_rng(width).random((frames, 3)).astype(np.float32)
        scipys = median_filter(probabilities, size=(width, 1))
        np.testing.assert_array_equal(mirrored_median(probabilities, width), scipys)


@pytest.mark.parametrize("width", WIDTHS)
def test_events_equal_a_scalar_version_at_any_filter_width(width):
    rng = np.random.default_rng(width)
    for frames in (5, 7, 60):
        probabilities = rng.random((frames, 3)).astype(np.float32)
        probabilities[rng.random((frames, 3)) < 0.1] = 0.5
        times = rng.permutation(np.arange(frames) * 50.0)
        found = events_from_frames(probabilities, times, LABELS, median_filter_ms=50.0 * width, min_duration=40)
        assert found == brute_force_events(probabilities, times, 50.0 * width, 40)


def test_exactly_half_is_inactive_and_the_end_is_the_last_active_timestamp():
    p = np.array([[0.5], [0.51], [0.6], [0.5]], dtype=np.float32)
    found = events_from_frames(p, np.arange(4) * 100.0, ["x"], median_filter_ms=0, min_duration=100)
    assert found == [{"label": "x", "start": 100.0, "end": 200.0}]
    assert events_from_frames(p, np.arange(4) * 100.0, ["x"], median_filter_ms=0, min_duration=100.1) == []


def test_one_frame_has_no_hop_and_needs_no_filter():
    one = events_from_frames(np.ones((1, 1)), np.array([0.0]), ["x"], median_filter_ms=250, min_duration=0)
    assert one == [{"label": "x", "start": 0.0, "end": 0.0}]


def test_many_files_equal_each_alone_and_the_later_of_two_equal_timestamps_counts():
    rng = np.random.default_rng(0)
    sizes = {"a": 30, "b": 50, "c": 1, "d": 12}
    index = np.repeat(np.arange(4), list(sizes.values()))
    times = np.concatenate([np.arange(n) * (40.0 + i) for i, n in enumerate(sizes.values())])
    p = rng.random((len(index), 3)).astype(np.float32)
    shuffled = rng.permutation(len(index))
    frames = FrameIndex(list(sizes), index[shuffled], times[shuffled])
    together = frames.events(p[shuffled], LABELS, median_filter_ms=100, min_duration=0).to_events()
    for i, name in enumerate(sizes):
        own = index == i
        alone = events_from_frames(p[own], times[own], LABELS, median_filter_ms=100, min_duration=0)
        assert together[name] == alone
    double = events_from_frames(
        np.array([[0.9], [0.1], [0.9]]), np.array([0.0, 0.0, 50.0]), ["x"], median_filter_ms=0, min_duration=0
    )
    assert double == [{"label": "x", "start": 50.0, "end": 50.0}]


def test_a_label_outside_the_vocabulary():
    with pytest.raises(DeloresError, match=r"'dgo' is not in the vocabulary\. Did you mean 'dog'"):
        table({"f.wav": [{"label": "dgo", "start": 0, "end": 1}]})


def test_the_round_trip_of_events_keeps_empty_files():
    events = {"a": [], "b": [{"label": "dog", "start": 1.5, "end": 2.25}]}
    assert table(events).to_events() == events


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"label": "a", "start": 0, "end": float("inf")}, "milliseconds, got inf"),
        ({"label": "a", "start": float("nan"), "end": 1}, "milliseconds, got nan"),
        ({"label": "a", "start": 0, "end": 1e15}, "later than a day"),
        ({"label": "a", "start": 0, "end": 1e9}, "later than a day"),
        ({"label": "a", "start": 5, "end": 1}, "ends .1 ms. before it starts"),
        ({"label": "a", "start": -5, "end": 1}, "starts before the clip"),
        ({"label": "a", "start": "0", "end": 1}, "milliseconds, got '0'"),
        ({"label": "a", "start": 0, "end": True}, "milliseconds, got True"),
        ({"label": "a", "start": 0}, "expected events with label, start and end"),
    ],
)
def test_what_is_no_event_is_not_scored(event, message):
    with pytest.raises(DeloresError, match=f"x.wav: .*{message}"):
        EventTable.from_events({"x.wav": [event]}, ["a"])


def test_segments_are_scored_in_parts_of_the_files_with_the_same_result(monkeypatch):
    rng = np.random.default_rng(3)

    def some(n):
        starts = np.sort(rng.uniform(0, 30_000, n))
        return [{"label": "ab"[i % 2], "start": s, "end": s + rng.uniform(1, 9000)} for i, s in enumerate(starts)]

    target = EventTable.from_events({f"{i}.wav": some(i % 5) for i in range(23)}, ["a", "b"])
    found = EventTable.from_events({f"{i}.wav": some(4) for i in range(1, 25)}, ["a", "b"])
    whole = module.segment_based_scores(found, target)
    for limit in (1, 100, 500):
        monkeypatch.setattr(module, "SEGMENTS_AT_ONCE", limit)
        assert module.segment_based_scores(found, target) == whole


@pytest.mark.parametrize("width", [2, 3, 9, 10, 11, 19, 20, 21, 39, 41, 100, 1001, 10**12])
def test_a_filter_wider_than_the_clip_counts_the_mirrored_clip(width):
    active = np.random.default_rng(width % 97).random((10, 4)) < 0.5
    before = width // 2
    if width < 10_000:
        padded = np.pad(active, ((before, width - before - 1), (0, 0)), mode="symmetric")
        want = np.stack([padded[i : i + width].sum(axis=0) >= width - before for i in range(10)])
        np.testing.assert_array_equal(decode._median_active(active, width), want)
    else:
        share = active.mean(axis=0)
        for column in np.flatnonzero(share != 0.5):
            assert (decode._median_active(active, width)[:, column] == (share[column] > 0.5)).all()
