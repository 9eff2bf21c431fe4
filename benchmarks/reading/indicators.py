"""What embeddings look like without their labels: the indicators beside the scores of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.isotropy import isotropy, mean_cosine
from pretrain.watching.collapse import effective_rank

__all__ = ["INDICATORS", "indicators_of"]

#: What is computed of embeddings alone, without labels.
INDICATORS: Mapping[str, Callable[[np.ndarray], float]] = {
    "effective rank": lambda rows: effective_rank(torch.from_numpy(rows)),
    "isotropy": isotropy,
    "mean cosine": mean_cosine,
}


def indicators_of(folder: str | Path) -> dict[str, float]:
    """The indicators, by name, of the embeddings that the first fold trains on: no test clip is looked at.

    Raises DeloresError where ``folder`` is no sound embeddings folder of a task.
    """
    task = EmbeddingsTask.open(folder)
    names = task.data_splits()[0]["train"]
    rows = np.concatenate([np.asarray(task.splits[name].embeddings, dtype=np.float32) for name in names])
    return {name: compute(rows) for name, compute in INDICATORS.items()}
