"""The maps as drawn: a colour and a shape for every label, its number at the middle of its points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from benchmarks.embedding.layout import AGAIN
from benchmarks.reading.report.gather import Gathered
from benchmarks.reading.report.projection import (
    MAX_LABELS,
    EmbeddingsFolder,
    find_embeddings,
    label_order,
    project,
    sample,
)
from benchmarks.reading.report.svg import draw
from benchmarks.tasks.vocabulary import VOCABULARY_FILE, read_vocabulary

__all__ = ["EmbeddingMap", "Maps", "draw_map", "embedding_maps"]

#: Tasks with a map; more are named, and can be had with --task.
MAX_MAPS = 12
SIZE = 360
#: Labels of as many characters stand on the map themselves, longer ones as numbers.
SHORT = 4
SHAPES = 8
COLOURS = 8


@dataclass(frozen=True)
class Legend:
    """A label, what stands for it on the map, and the classes of its mark."""

    sign: str
    label: str
    shape: int
    colour: int
    count: int


@dataclass(frozen=True)
class EmbeddingMap:
    """One task's maps: ``drawings`` are (title, what the axes are, SVG)."""

    task: str
    model: str
    dimensions: int
    shown: int
    total: int
    without: int
    legend: tuple[Legend, ...]
    others: int
    drawings: tuple[tuple[str, str, Markup], ...]


@dataclass(frozen=True)
class Maps:
    """All maps, class names by task folder, and what was not drawn and why."""

    maps: tuple[EmbeddingMap, ...]
    vocabularies: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def embedding_maps(found: Gathered, root: str | Path) -> Maps:
    """One map for each measured task: of the model that is best there among those with embeddings under ``root``.

    Raises DeloresError where ``root`` holds no embeddings, or damaged ones.
    """
    folders = find_embeddings(root)
    revisions = {record.task.folder_name: record.task.revision for record in found.records}
    folders = [folder for folder in folders if folder.task in revisions]
    current = [folder for folder in folders if folder.revision in (None, revisions[folder.task])]
    notes = [
        f"{folder.model.label} on {folder.task}: embeddings of another revision of the task, not drawn"
        for folder in folders
        if folder not in current
    ]
    vocabularies = {}
    for folder in current:
        if folder.task not in vocabularies and (folder.path / "labelvocabulary.csv").is_file():
            vocabularies[folder.task] = tuple(read_vocabulary(folder.path / VOCABULARY_FILE, AGAIN))
    maps: list[EmbeddingMap] = []
    skipped = []
    for column in found.tasks:
        own = [folder for folder in current if folder.task in found.columns[column]]
        if not own:
            continue
        if len(maps) == MAX_MAPS:
            skipped.append(column)
            continue
        model, folder = _best(found, column, own)
        drawn = draw_map(column, model, folder)
        if drawn is None:
            notes.append(f"{column}: no clips with exactly one label, not drawn")
        else:
            maps.append(drawn)
    if skipped:
        notes.append(f"not drawn, as {MAX_MAPS} maps are enough for one page: {', '.join(skipped)}; --task chooses")
    if not maps and not notes:
        notes.append("the embeddings are of other tasks than the results")
    return Maps(tuple(maps), vocabularies, tuple(notes))


def _best(found: Gathered, column: str, folders: Sequence[EmbeddingsFolder]) -> tuple[str, EmbeddingsFolder]:
    """The folder of the best measured model; the first one, under its own label, when none of them was measured."""
    by_name = {found.identities.name(folder.model): folder for folder in reversed(folders)}
    table = found.main_table(column)
    for model in found.ranked(table, column) if table is not None else ():
        if model in by_name:
            return model, by_name[model]
    return folders[0].model.label, folders[0]


def draw_map(column: str, model: str, folder: EmbeddingsFolder) -> EmbeddingMap | None:
    """The maps of one task; None without three clips of one label each."""
    points = sample(folder)
    if points is None:
        return None
    flat, shares, close = project(points.embeddings)
    order = label_order(points.labels)
    short = all(len(label) <= SHORT for label in order)
    legend = tuple(
        Legend(
            label if short else str(i + 1), label, i % SHAPES, (i + i // SHAPES) % COLOURS, points.labels.count(label)
        )
        for i, label in enumerate(order)
    )
    title = f"{column}, {model}"
    axes = f"principal components; across {100 * shares[0]:.0f} %, up {100 * shares[1]:.0f} % of the variance"
    drawings = [
        ("PCA", axes, _drawing(f"Principal components of the embeddings of {title}", flat, points.labels, legend))
    ]
    if close is not None:
        about = "neighbours stay neighbours; distances between groups mean nothing"
        drawings.append(("t-SNE", about, _drawing(f"t-SNE of the embeddings of {title}", close, points.labels, legend)))
    return EmbeddingMap(
        column, model, points.embeddings.shape[1], len(points.labels), points.total, points.without, legend,
        max(0, len(set(points.labels)) - MAX_LABELS), tuple(drawings),
    )  # fmt: skip


def _drawing(title: str, flat: np.ndarray, labels: Sequence[str], legend: Sequence[Legend]) -> Markup:
    low, high = flat.min(axis=0), flat.max(axis=0)
    # One unit is as long across as up: distances on the map are the projected ones.
    span = float((high - low).max()) or 1.0
    height = round(float(np.clip((high - low)[1] / span, 0.5, 1.0)) * (SIZE - 28)) + 28
    place = (flat - (low + high) / 2) / span * (SIZE - 28) * [1, -1] + [SIZE / 2, height / 2]
    names = np.array(labels, dtype=object)
    known = {entry.label for entry in legend}
    own = {entry.label: place[names == entry.label] for entry in legend}
    return draw(
        "map", title=title, size=SIZE, height=height,
        others=[point for point, name in zip(place, names, strict=True) if name not in known],
        marks=[(entry, own[entry.label]) for entry in legend],
        numbers=[(entry.sign, *np.median(own[entry.label], axis=0)) for entry in legend],
    )  # fmt: skip
