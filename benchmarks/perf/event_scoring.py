"""Event scoring against sed_eval: the same numbers, and how much sooner.

    python benchmarks/perf/event_scoring.py            # needs sed_eval: the environment of `tox -e heareval`

Random reference and estimated events over many files go through sed_eval as heareval calls it, and through ours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import METRICS

COLLARS = {
    "event_onset_200ms_fms": {"evaluate_onset": True, "evaluate_offset": False, "t_collar": 0.2},
    "event_onset_50ms_fms": {"evaluate_onset": True, "evaluate_offset": False, "t_collar": 0.05},
    "event_onset_offset_50ms_20perc_fms": {
        "evaluate_onset": True, "evaluate_offset": True, "t_collar": 0.05, "percentage_of_length": 0.2,
    },
    "segment_1s_er": {"time_resolution": 1.0},
}  # fmt: skip

Events = dict[str, list[dict[str, Any]]]


def random_events(n_events: int, n_files: int, n_labels: int, seed: int) -> tuple[Events, Events]:
    """Reference events, and estimates: most near a reference event, some missed, some invented."""
    rng = np.random.default_rng(seed)
    reference: Events = {f"{i:04d}.wav": [] for i in range(n_files)}
    estimated: Events = {file: [] for file in reference}
    for _ in range(n_events):
        file = f"{rng.integers(n_files):04d}.wav"
        start = float(rng.uniform(0, 60_000))
        event = {"label": f"label{rng.integers(n_labels)}", "start": start, "end": start + float(rng.uniform(50, 2000))}
        reference[file].append(event)
        if rng.random() < 0.8:
            moved = max(0.0, start + float(rng.normal(0, 80)))
            estimated[file].append({**event, "start": moved, "end": moved + float(rng.uniform(50, 2000))})
        if rng.random() < 0.2:
            other = float(rng.uniform(0, 60_000))
            estimated[file].append({**event, "start": other, "end": other + 300.0})
    return reference, estimated


def by_sed_eval(reference: Events, estimated: Events, labels: list[str]) -> dict[str, float]:
    """heareval's scores: sed_eval's overall F-measure, and its overall error rate."""
    import sed_eval
    from dcase_util.containers import MetaDataContainer

    def listed(events: list[dict[str, Any]], file: str) -> Any:
        return MetaDataContainer(
            [
                {
                    "event_label": e["label"],
                    "event_onset": e["start"] / 1000,
                    "event_offset": e["end"] / 1000,
                    "file": file,
                }
                for e in events
            ]
        )

    found = {}
    for name, options in COLLARS.items():
        is_segment = name == "segment_1s_er"
        kind = sed_eval.sound_event.SegmentBasedMetrics if is_segment else sed_eval.sound_event.EventBasedMetrics
        metric = kind(event_label_list=labels, **options)
        for file in reference:
            metric.evaluate(
                reference_event_list=listed(reference[file], file), estimated_event_list=listed(estimated[file], file)
            )
        overall = metric.results_overall_metrics()
        found[name] = overall["error_rate"]["error_rate"] if is_segment else overall["f_measure"]["f_measure"]
    return found


def by_us(reference: Events, estimated: Events, labels: list[str]) -> dict[str, float]:
    """Our scores, the making of the tables included."""
    tables = EventTable.from_events(estimated, labels), EventTable.from_events(reference, labels)
    return {name: METRICS[name].scores(*tables)[name] for name in COLLARS}


def timed(function: Any, *arguments: Any) -> tuple[float, dict[str, float]]:
    """Seconds and scores."""
    began = time.perf_counter()
    found = function(*arguments)
    return time.perf_counter() - began, found


def main() -> None:
    """Prints the scores, the largest difference and the medians of interleaved runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    labels = [f"label{i}" for i in range(arguments.labels)]
    reference, estimated = random_events(arguments.events, arguments.files, arguments.labels, seed=0)
    seconds: dict[str, list[float]] = {"sed_eval": [], "ours": []}
    for _ in range(arguments.runs):
        theirs, expected = timed(by_sed_eval, reference, estimated, labels)
        own, found = timed(by_us, reference, estimated, labels)
        seconds["sed_eval"].append(theirs)
        seconds["ours"].append(own)
    for name, value in expected.items():
        print(f"{name:36} sed_eval {value:.15f}  ours {found[name]:.15f}")
    print(f"largest difference {max(abs(found[name] - value) for name, value in expected.items()):.1e}")
    medians = {tool: statistics.median(values) for tool, values in seconds.items()}
    ratio = statistics.median(a / b for a, b in zip(seconds["sed_eval"], seconds["ours"], strict=True))
    print(f"sed_eval {medians['sed_eval']:.2f} s, ours {medians['ours'] * 1000:.1f} ms: {ratio:.0f} times")


if __name__ == "__main__":
    main()
