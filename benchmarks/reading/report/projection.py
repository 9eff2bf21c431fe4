"""Embeddings in two dimensions: principal components of a task's clips, and t-SNE where they are few.

Reads an embeddings folder as ``delores embed`` and heareval write it (raw float32 rows, labels as a pickle of plain
lists), and of it only the rows that are drawn.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.embedding.layout import AGAIN, FRAME_COUNTS, open_rows, read_info, read_row_labels
from benchmarks.results.format import ModelInfo
from benchmarks.results.identity import read_behaviour
from benchmarks.tasks.metadata import METADATA_FILE, read_metadata
from hear_delores.errors import DeloresError

__all__ = ["EmbeddingsFolder", "Points", "find_embeddings", "project", "sample"]

#: Points of one map; beyond it a map is a blot, and the page heavy. t-SNE is drawn of as many as this or fewer.
MAX_POINTS = 500
TSNE_POINTS = 500
#: Labels with a mark of their own: 8 colours times 8 shapes. The others are drawn small and grey.
MAX_LABELS = 64


@dataclass(frozen=True)
class EmbeddingsFolder:
    """One task embedded by one model; ``revision`` is None if not said."""

    path: Path
    task: str
    model: ModelInfo
    revision: str | None
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Points:
    """The rows of a map: ``embeddings`` (n, d) float32, ``labels`` of each; ``total`` rows had exactly one label."""

    embeddings: np.ndarray
    labels: tuple[str, ...]
    total: int
    without: int


def find_embeddings(root: str | Path) -> list[EmbeddingsFolder]:
    """The embeddings folders under ``root`` (which may be one itself), in order of their paths.

    Raises DeloresError when there is none, or where one's metadata cannot be read.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DeloresError(f"{folder}: no such folder of embeddings; make it with 'delores embed'")
    read = (_folder(file.parent) for file in sorted(folder.rglob("task_metadata.json")))
    found = [each for each in read if each is not None]
    if not found:
        raise DeloresError(f"{folder}: expected embeddings as 'delores embed' writes them, found none in it")
    return found


def _folder(path: Path) -> EmbeddingsFolder | None:
    """None for a task folder, which holds audio and no embeddings, and for one of frames or of perturbed clips."""
    _, details = read_metadata(path / METADATA_FILE, AGAIN)
    splits = tuple(name for name in sorted(details.splits) if (path / f"{name}.embedding-dimensions.json").is_file())
    if not splits or (path / f"{splits[0]}{FRAME_COUNTS}").is_file():
        return None
    info = read_info(path)
    if "perturbation" in info:
        return None
    model, task = info.get("model") or {}, info.get("task") or {}
    options = model.get("options")
    described = ModelInfo(
        label=str(model.get("label") or path.parent.name),
        module=str(model.get("module") or path.parent.name),
        weights_hash=str(model.get("weights_hash") or ""),
        options=options if isinstance(options, dict) else {},
        behaviour=read_behaviour(model.get("behaviour")),
    )
    return EmbeddingsFolder(path, details.folder_name, described, task.get("revision"), splits)


def sample(folder: EmbeddingsFolder, limit: int = MAX_POINTS) -> Points | None:
    """At most ``limit`` rows that have exactly one label, spread evenly over the rows of all splits.

    None when fewer than three rows have one.

    Raises DeloresError naming the file that is damaged, or does not fit another.
    """
    found = [(s, row, names) for s in folder.splits for row, names in enumerate(read_row_labels(folder.path, s))]
    single = [(split, row, str(names[0])) for split, row, names in found if len(names) == 1]
    if len(single) < 3:
        return None
    if (total := len(single)) > limit:
        single = [single[index] for index in np.sort(np.random.default_rng(0).permutation(total)[:limit])]
    rows = [
        _rows(folder.path, split, [row for _, row, _ in group])
        for split, group in itertools.groupby(single, key=lambda place: place[0])
    ]
    embeddings = np.concatenate(rows)
    if not np.isfinite(embeddings).all():
        raise DeloresError(f"{folder.path}: embeddings are NaN or infinite; correct the model and embed the task again")
    return Points(embeddings, tuple(label for *_, label in single), total, len(found) - total)


def _rows(path: Path, split: str, wanted: list[int]) -> np.ndarray:
    embeddings = open_rows(path, split)
    if max(wanted) >= len(embeddings):
        raise DeloresError(f"{path}: {split} has {len(embeddings)} embeddings, but there are labels for more; {AGAIN}")
    return np.array(embeddings[wanted])


def project(embeddings: np.ndarray) -> tuple[np.ndarray, tuple[float, float], np.ndarray | None]:
    """Two dimensions of (n, d) embeddings, and the same on every run.

    Returns:
        (n, 2) principal components; their shares of the variance; (n, 2) of t-SNE (van der Maaten and Hinton 2008,
        begun at the principal components), None for more than TSNE_POINTS or fewer than 30 rows.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    values = embeddings.astype(np.float64)
    if not (values.std(axis=0) > 0).any():
        return np.zeros((len(values), 2)), (0.0, 0.0), None
    with threadpool_limits(limits=1):  # threads would sum in another order on each run
        if values.shape[1] < 2:
            values = np.concatenate([values, np.zeros((len(values), 1))], axis=1)
        # More components than are drawn: t-SNE starts from them, free of the noise of the rest.
        pca = PCA(n_components=min(30, *values.shape), svd_solver="full")
        reduced = _upright(pca.fit_transform(values))
        shares = (float(pca.explained_variance_ratio_[0]), float(pca.explained_variance_ratio_[1]))
        if not 30 <= len(values) <= TSNE_POINTS:
            return reduced[:, :2], shares, None
        tsne = TSNE(n_components=2, init="pca", learning_rate="auto", perplexity=min(30.0, len(values) / 4),
                    random_state=0)  # fmt: skip
        return reduced[:, :2], shares, tsne.fit_transform(reduced).astype(np.float64)


def _upright(flat: np.ndarray) -> np.ndarray:
    """The sign of a component is arbitrary: its largest deviation points up."""
    largest = np.take_along_axis(flat, np.abs(flat).argmax(axis=0)[None], axis=0)
    return flat * np.where(largest < 0, -1.0, 1.0)


def label_order(labels: Iterable[str]) -> list[str]:
    """Labels with a mark of their own: by name (numbers by value), the most frequent ones where they are too many."""
    counts = Counter(labels)
    kept = [label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_LABELS]]

    def key(label: str) -> tuple[int, float, str]:
        try:
            return 0, float(label), label
        except ValueError:
            return 1, 0.0, label

    return sorted(kept, key=key)
