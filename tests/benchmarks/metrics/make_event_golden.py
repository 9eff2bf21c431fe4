"""Writes event_golden.json: what sed_eval and heareval answer on made-up events, for the default tests.

    PYTHONPATH=<folder with sed_eval, heareval and what they need> python make_event_golden.py

Deterministic; run again only when a case is added. The file names the versions that made it.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ["bell", "dog", "NA"]
METRICS = [
    "event_onset_200ms_fms",
    "event_onset_50ms_fms",
    "event_onset_offset_50ms_20perc_fms",
    "segment_1s_er",
]
GOLDEN = Path(__file__).with_name("event_golden.json")


def random_events(rng: np.random.Generator, count: int, step_ms: float) -> list[dict[str, Any]]:
    """``count`` events on a grid of ``step_ms``, so that differences fall exactly on a collar."""
    starts = rng.integers(0, int(6000 / step_ms), count) * step_ms
    lengths = rng.integers(1, int(1500 / step_ms), count) * step_ms
    labels = rng.integers(0, len(LABELS), count)
    return [
        {"label": LABELS[k], "start": float(a), "end": float(a + d)}
        for k, a, d in zip(labels, starts, lengths, strict=True)
    ]


def shifted(rng: np.random.Generator, events: list[dict[str, Any]], step_ms: float) -> list[dict[str, Any]]:
    """Estimates near the truth: moved by a few steps, some left out, some of another label."""
    found = []
    for event in events:
        if rng.random() < 0.15:
            continue
        a, b = rng.integers(-5, 6, 2) * step_ms
        start = max(0.0, event["start"] + float(a))
        label = LABELS[int(rng.integers(len(LABELS)))] if rng.random() < 0.1 else event["label"]
        found.append({"label": label, "start": start, "end": max(start, event["end"] + float(b))})
    return found + random_events(rng, int(rng.integers(0, 3)), step_ms)


def score_cases() -> list[dict[str, Any]]:
    """{name: truth and estimates by file}: random ones, and the corners."""
    rng = np.random.default_rng(7)
    cases: list[dict[str, Any]] = []
    for number, step in enumerate([50.0, 50.0, 40.0, 10.0, 33.3, 0.1]):
        truth = {f"f{i}.wav": random_events(rng, int(rng.integers(0, 9)), step) for i in range(4)}
        found = {file: shifted(rng, events, step) for file, events in truth.items()}
        cases.append({"name": f"random-{number}", "target": truth, "predicted": found})
    dense = {"f.wav": random_events(rng, 60, 25.0)}
    cases.append({"name": "dense", "target": dense, "predicted": {"f.wav": shifted(rng, dense["f.wav"], 25.0)}})
    one = {"a.wav": [{"label": "dog", "start": 1000.0, "end": 2000.0}], "b.wav": []}
    late = {"a.wav": [{"label": "dog", "start": 1200.0, "end": 2200.0}], "b.wav": []}
    later = {"a.wav": [{"label": "dog", "start": 1200.1, "end": 2000.0}], "b.wav": []}
    nothing: dict[str, Any] = {"a.wav": [], "b.wav": []}
    cases += [
        {"name": "exact", "target": one, "predicted": one},
        {"name": "on the collar", "target": one, "predicted": late},
        {"name": "past the collar", "target": one, "predicted": later},
        {"name": "no estimate", "target": one, "predicted": nothing},
        {"name": "no truth", "target": nothing, "predicted": one},
        {"name": "nothing at all", "target": nothing, "predicted": nothing},
        {"name": "missing file", "target": {**one, "c.wav": random_events(rng, 4, 50.0)}, "predicted": late},
        {"name": "unknown file", "target": one, "predicted": {**late, "d.wav": random_events(rng, 4, 50.0)}},
    ]
    return cases


def sed_eval_scores(case: dict[str, Any], files: list[str]) -> dict[str, dict[str, float]]:
    """The scores of ``files``, one by one into sed_eval, as heareval does it."""
    import sed_eval
    from dcase_util.containers import MetaDataContainer

    def container(events: list[dict[str, Any]], file: str) -> Any:
        return MetaDataContainer(
            [
                {
                    "event_label": e["label"],
                    "event_onset": e["start"] / 1000.0,
                    "event_offset": e["end"] / 1000.0,
                    "file": file,
                }
                for e in events
            ]
        )

    event = sed_eval.sound_event.EventBasedMetrics
    scorers = {
        METRICS[0]: event(LABELS, evaluate_onset=True, evaluate_offset=False, t_collar=0.2),
        METRICS[1]: event(LABELS, evaluate_onset=True, evaluate_offset=False, t_collar=0.05),
        METRICS[2]: event(LABELS, evaluate_onset=True, evaluate_offset=True, t_collar=0.05, percentage_of_length=0.2),
        METRICS[3]: sed_eval.sound_event.SegmentBasedMetrics(LABELS, time_resolution=1.0),
    }
    found = {}
    for name, scorer in scorers.items():
        for file in files:
            target = container(case["target"].get(file, []), file)
            scorer.evaluate(target, container(case["predicted"].get(file, []), file))
        overall = scorer.results_overall_metrics()
        part = overall["error_rate"] if name == METRICS[3] else overall["f_measure"]
        found[name] = {key: float(value) for key, value in part.items()}
    return found


def frame_cases() -> list[dict[str, Any]]:
    """Frame probabilities, rounded so that the file stays small and some fall exactly on the threshold."""
    rng = np.random.default_rng(11)
    cases = []
    for frames, hop, median, least in [
        (60, 50.0, 250, 125),
        (60, 50.0, 250, 250),
        (60, 40.0, 150, 50),
        (60, 25.0, 250, 0),
        (60, 50.0, 0, 0),
        (60, 50.0, 200, 100),  # an even width
        (7, 50.0, 1000, 0),  # wider than the clip
        (60, 20.0, 10, 60),  # half a frame: no filter
        (60, 33.3, 100, 66.6),
    ]:
        smooth = np.cumsum(rng.standard_normal((frames, len(LABELS))), axis=0) * 0.2
        values = np.round(1 / (1 + np.exp(-smooth - 0.5 * rng.standard_normal(smooth.shape))), 2)
        values[rng.random(values.shape) < 0.05] = 0.5
        times = np.round(np.arange(frames) * hop + rng.uniform(0, 0.2, frames), 3)
        cases.append(
            {
                "probabilities": values.tolist(),
                "timestamps_ms": times.tolist(),
                "median_filter_ms": median,
                "min_duration": least,
            }
        )
    return cases


def heareval_events(case: dict[str, Any]) -> list[dict[str, Any]]:
    """heareval's events of a frame case."""
    import torch
    from heareval.predictions.task_predictions import create_events_from_prediction

    rows = torch.tensor(case["probabilities"], dtype=torch.float32)
    frames = dict(zip(case["timestamps_ms"], rows, strict=True))
    events = create_events_from_prediction(
        frames, dict(enumerate(LABELS)), 0.5, case["median_filter_ms"], case["min_duration"]
    )
    return [{"label": e["label"], "start": float(e["start"]), "end": float(e["end"])} for e in events]


def main() -> None:
    """Writes the golden file."""
    scores = score_cases()
    for case in scores:
        predicted = list(case["predicted"])
        every = list(dict.fromkeys([*predicted, *case["target"]]))
        case["scores"] = {
            "every": sed_eval_scores(case, every),
            "predicted": sed_eval_scores(case, predicted),
        }
    frames = frame_cases()
    for case in frames:
        case["events"] = heareval_events(case)
    try:
        kit = version("heareval")
    except PackageNotFoundError:
        kit = "2021.1.3"  # its unpacked source, which carries no metadata
    made_by = {"sed_eval": version("sed_eval"), "dcase_util": version("dcase_util"), "heareval": kit}
    golden = {"made_by": made_by, "labels": LABELS, "scores": scores, "frames": frames}
    GOLDEN.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
