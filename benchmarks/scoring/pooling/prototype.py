"""Protocol ``prototype``: learnt prototypes with entries -1 and +1, each compared with the nearest frame of a clip.

The binarised prototypical probe of Rauch et al., Unmute the Patch Tokens: Rethinking Probing in Multi-Label Audio
Classification, ICLR 2026, arXiv 2509.24901: 20 prototypes per class, which all classes share; for each of them, the
largest cosine over the embeddings of the clip; and a linear layer on these cosines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.scoring.pooling.probe import PoolingHead, PoolingProbe
from hear_delores.settings import require_integer

__all__ = ["Prototype", "PrototypeHead", "binarised"]

#: Deviation of the prototypes' real values before training: some twenty steps of Adam at 1e-3 change a sign.
SPREAD = 0.02


def binarised(values: torch.Tensor) -> torch.Tensor:
    """The signs -1 and +1 of ``values`` (0 is +1); the gradient passes unchanged (straight-through estimator)."""
    signs = torch.where(values >= 0, 1.0, -1.0)
    return signs + values - values.detach()


class PrototypeHead(PoolingHead):
    """``prototypes`` (n_prototypes, d) are real values, of which the logits use the signs."""

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor, n_prototypes: int, n_labels: int) -> None:
        super().__init__(mean, scale)
        self.prototypes = nn.Parameter(SPREAD * torch.randn(n_prototypes, len(mean)))
        self.linear = nn.Linear(n_prototypes, n_labels)

    def pooled(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """W s + b with s_j = max over time of cos(x_t, sign(p_j)), where |sign(p_j)| = sqrt(d)."""
        directions = nn.functional.normalize(frames, dim=-1)
        cosines = directions @ binarised(self.prototypes).T / math.sqrt(frames.shape[-1])  # (n, t, n_prototypes)
        return self.linear(cosines.masked_fill(~mask[..., None], -math.inf).amax(dim=1))


@dataclass(frozen=True)
class Prototype(PoolingProbe):
    """``per_class`` prototypes for each class, over the standardised timestamp embeddings of a clip."""

    name = "prototype"

    per_class: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("prototype protocol", "per_class", self.per_class, 1)

    def head(self, mean: torch.Tensor, scale: torch.Tensor, n_labels: int) -> PrototypeHead:
        """The classifier before training."""
        return PrototypeHead(mean, scale, self.per_class * n_labels, n_labels)
