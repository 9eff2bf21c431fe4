"""Writes small folders of embeddings in heareval's layout, from its description, for the tests here.

Independent of the project's own writer: the order of rows comes from the caller's shuffle below.
"""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = ("train", "valid", "test")


def _write_split(folder: Path, name: str, rows: np.ndarray, labels: list[list[str]]) -> None:
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    rows.tofile(folder / f"{name}.embeddings.npy")  # raw float32, not the npy format
    (folder / f"{name}.embedding-dimensions.json").write_text(json.dumps(list(rows.shape)))
    with open(folder / f"{name}.target-labels.pkl", "wb") as stream:
        pickle.dump(labels, stream)


def _write_head(folder: Path, metadata: dict[str, Any], labels: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task_metadata.json").write_text(json.dumps(metadata))
    lines = ["idx,label", *(f"{i},{label}" for i, label in enumerate(labels))]
    (folder / "labelvocabulary.csv").write_text("\n".join(lines) + "\n")


def write_scene(
    folder: Path,
    *,
    sizes: dict[str, int] | int = 40,
    dim: int = 8,
    labels: tuple[str, ...] = ("a", "b", "c"),
    noise: float = 1.0,
    multilabel: bool = False,
    folds: int = 0,
    evaluation: tuple[str, ...] = ("top1_acc", "mAP", "d_prime", "aucroc"),
    seed: int = 0,
    **metadata: Any,
) -> Path:
    """A scene task: class centres plus noise; ``folds`` makes it k-fold instead of train/valid/test."""
    rng = np.random.default_rng(seed)
    names = [f"fold{i:02d}" for i in range(folds)] if folds else list(SPLITS)
    counts = sizes if isinstance(sizes, dict) else dict.fromkeys(names, sizes)
    centres = rng.standard_normal((len(labels), dim))
    _write_head(
        folder,
        {
            "task_name": "toy_scene",
            "version": "v1",
            "mode": "full",
            "embedding_type": "scene",
            "prediction_type": "multilabel" if multilabel else "multiclass",
            "split_mode": "presplit_kfold" if folds else "trainvaltest",
            "sample_duration": 1.0,
            "evaluation": list(evaluation),
            "splits": names,
            "nfolds": folds or None,
            **metadata,
        },
        list(labels),
    )
    prng = random.Random(0)
    for name in names:
        files, rows = [f"{name}_{i:04d}.wav" for i in range(counts[name])], {}
        truth: dict[str, list[str]] = {}
        for i, file in enumerate(files):
            if multilabel:
                held = np.nonzero(rng.random(len(labels)) < 0.4)[0]
            else:
                held = np.array([i % len(labels)])
            truth[file] = [labels[j] for j in held]
            rows[file] = centres[held].sum(axis=0) + noise * rng.standard_normal(dim)
        (folder / f"{name}.json").write_text(json.dumps(truth))
        prng.shuffle(files)
        _write_split(folder, name, np.stack([rows[f] for f in files]), [truth[f] for f in files])
    return folder


def write_events(
    folder: Path,
    *,
    files_per_split: int = 4,
    seconds: float = 8.0,
    hop_ms: float = 50.0,
    dim: int = 6,
    labels: tuple[str, ...] = ("bell", "dog"),
    noise: float = 0.3,
    evaluation: tuple[str, ...] = ("event_onset_200ms_fms", "segment_1s_er"),
    seed: int = 0,
    prefix: str = "/somewhere/else/",
    **metadata: Any,
) -> Path:
    """An event task: embeddings carry the active labels plus noise; file names carry a foreign folder."""
    rng = np.random.default_rng(seed)
    _write_head(
        folder,
        {
            "task_name": "toy_events",
            "version": "v1",
            "mode": "full",
            "embedding_type": "event",
            "prediction_type": "multilabel",
            "split_mode": "trainvaltest",
            "sample_duration": seconds,
            "evaluation": list(evaluation),
            "splits": list(SPLITS),
            **metadata,
        },
        list(labels),
    )
    mixing = rng.standard_normal((len(labels), dim))
    prng = random.Random(0)
    times = np.arange(0.0, seconds * 1000.0 + 0.001, hop_ms)
    for name in SPLITS:
        files = [f"{name}_{i:02d}.wav" for i in range(files_per_split)]
        truth = {file: _random_events(rng, labels, seconds) for file in files}
        (folder / f"{name}.json").write_text(json.dumps(truth))
        prng.shuffle(files)
        rows, row_labels, stamps = [], [], []
        for file in files:
            for time in times:
                held = [e["label"] for e in truth[file] if e["start"] <= time < e["end"] + 0.0001]
                active = np.array([label in held for label in labels], dtype=float)
                rows.append((2 * active - 1) @ mixing + noise * rng.standard_normal(dim))
                row_labels.append(held)
                stamps.append([f"{prefix}{name}/{file}", float(time)])
        _write_split(folder, name, np.stack(rows), row_labels)
        (folder / f"{name}.filename-timestamps.json").write_text(json.dumps(stamps))
    return folder


def _random_events(rng: np.random.Generator, labels: tuple[str, ...], seconds: float) -> list[dict[str, Any]]:
    events = []
    for label in labels:
        time = float(rng.uniform(0, 1500))
        while time < seconds * 1000 - 1000:
            length = float(rng.uniform(400, 900))
            events.append({"label": label, "start": round(time, 1), "end": round(time + length, 1)})
            time += length + float(rng.uniform(500, 1500))
    return events
