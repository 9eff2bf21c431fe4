"""Protocol ``attentive``: each class has a learnt query, by which the frames of a clip are weighted and averaged.

The queries attend to the embeddings by the scaled dot product, without a projection of keys or queries, as in efficient
probing (Psomas et al., Attention, Please! Revisiting Attentive Probing Through the Lens of Efficiency, ICLR 2026, arXiv
2506.10178). There, all classes share the queries, and values are projected. Here, each class has one query, and its
logit is a linear function of the embedding that the query has pooled: attention over time for each class, with weights
whose sum is 1, as in Kong et al., Audio Set Classification with Attention Model: A Probabilistic Perspective, ICASSP
2018, arXiv 1711.00927, but before the sigmoid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.scoring.frames import ClipMeans, Frames
from benchmarks.scoring.pooling.probe import PoolingHead, PoolingProbe
from benchmarks.scoring.rows import standardisation

__all__ = ["Attentive", "AttentiveHead"]


class AttentiveHead(PoolingHead):
    """``queries`` (n_labels, d) begin at zero: before training, the classifier is a linear layer on the mean frame."""

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor, n_labels: int) -> None:
        super().__init__(mean, scale)
        self.queries = nn.Parameter(torch.zeros(n_labels, len(mean)))
        self.linear = nn.Linear(len(mean), n_labels)

    def pooled(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """For class c: w_c . sum_t a_ct x_t + b_c with a_c = softmax over time of q_c . x_t / sqrt(d)."""
        similarity = frames @ self.queries.T / math.sqrt(frames.shape[-1])  # (n, t, n_labels)
        attention = similarity.masked_fill(~mask[..., None], -math.inf).softmax(dim=1)
        # w_c is applied to each frame and not to the n_labels pooled embeddings of a clip: equal, with less memory.
        return (attention * (frames @ self.linear.weight.T)).sum(dim=1) + self.linear.bias


@dataclass(frozen=True)
class Attentive(PoolingProbe):
    """One learnt query per class over the standardised timestamp embeddings of a clip."""

    name = "attentive"

    def standardisation(self, train: Frames) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and scale (d,): mean and deviation of the training clips' mean frames.

        The classifier begins as a function of mean frames. Divided by the deviation of single frames, these would be so
        small that ``max_epochs`` do not suffice. The scale is at least a hundredth of the deviation of single frames,
        for some dimensions may have the same mean in all clips.
        """
        mean, scale = standardisation(ClipMeans(train))
        return mean, torch.maximum(scale, super().standardisation(train)[1] / 100)

    def head(self, mean: torch.Tensor, scale: torch.Tensor, n_labels: int) -> AttentiveHead:
        """The classifier before training."""
        return AttentiveHead(mean, scale, n_labels)
