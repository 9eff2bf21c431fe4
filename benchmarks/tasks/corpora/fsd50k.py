"""FSD50K: ``FSD50K.dev_audio``, ``FSD50K.eval_audio`` and ``FSD50K.ground_truth/{dev,eval}.csv``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.recordings import Reading, find_folder
from benchmarks.tasks.corpora.tables import unique_rows
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

TRUTH = Path("FSD50K.ground_truth")
SPLITS = {"train": "train", "val": "valid"}
#: Longer than 30 s, and so left out by the benchmark (hear-preprocess 2021.1.1, ``fsd50k.py``).
TOO_LONG = {
    "83298", "83299", "121351", "121426", "121471", "121472",
    "124796", "124797", "124800", "124834", "124858", "397150",
}  # fmt: skip


def read(source: Path, spec: TaskSpec) -> Reading:
    """The clips of FSD50K with all their labels, in the authors' splits; its evaluation set is the test set."""
    corpus = find_folder(
        source,
        lambda path: (path / TRUTH / "dev.csv").is_file(),
        f"{TRUTH}/dev.csv and eval.csv, FSD50K.dev_audio and FSD50K.eval_audio",
    )
    reading = Reading()
    for part, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        table = corpus / TRUTH / f"{part}.csv"
        for row in unique_rows(table, columns):
            name = row["fname"]
            if part == "dev" and name in TOO_LONG:
                continue
            split = SPLITS.get(row["split"], "") if part == "dev" else "test"
            labels = tuple(label.strip() for label in row["labels"].split(",") if label.strip())
            if not split or not labels:
                raise DeloresError(f"{table}: {name}: expected labels and the split train or val; got {row}")
            listed = f"FSD50K.{part}_audio/{name}.wav"
            reading.add(corpus / listed, listed, "", split, labels=labels)
    return reading
