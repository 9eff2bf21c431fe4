"""The two losses of DeLoRes, as functions that read as their equations.

Both compute in float32 (float64 of float64 inputs) whatever the surrounding autocast does: sums over thousands of
squared correlations lose too much in bfloat16. Of several processes, each gives its own rows and its ``world``.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.distributed.world import ALONE, World

__all__ = [
    "BarlowTwinsLoss",
    "BarlowTwinsTerms",
    "InfoNCETerms",
    "at_least_float32",
    "barlow_twins_loss",
    "cross_correlation",
    "info_nce",
]

BATCH_NORM_EPS = 1e-5  # the projections are standardised by a BatchNorm without affine parameters


class BarlowTwinsTerms(NamedTuple):
    """``loss = diagonal * on_diagonal + lambd * off_diagonal``; ``correlation`` is C, (D, D) float32."""

    loss: Tensor
    on_diagonal: Tensor
    off_diagonal: Tensor
    correlation: Tensor


class InfoNCETerms(NamedTuple):
    """``loss`` is the mean cross-entropy, ``accuracy`` the share of queries whose own key scores highest."""

    loss: Tensor
    accuracy: Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _without_autocast(x: Tensor) -> contextlib.AbstractContextManager[None]:
    """Off, on the device of ``x``; the meta device, on which memory is counted before a run, has no autocast."""
    return contextlib.nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def cross_correlation(z1: Tensor, z2: Tensor, world: World = ALONE) -> Tensor:
    """The (D, D) float32 cross-correlation C of two (N, D) batches over their N rows.

    C_ij = 1/N sum_n  s(z1)_ni s(z2)_nj,   s(z) = (z - mean_n z) / sqrt(var_n z + 1e-5), var biased

    With several processes in ``world``, n runs over the N rows of all of them, and all get the same C.
    """
    s1 = world.batch_norm(at_least_float32(z1), None, None, BATCH_NORM_EPS)
    s2 = world.batch_norm(at_least_float32(z2), None, None, BATCH_NORM_EPS)
    return world.total(s1.T @ s2) / (world.size * len(z1))


def barlow_twins_loss(
    z1: Tensor, z2: Tensor, lambd: float, world: World = ALONE, diagonal: float = 1.0
) -> BarlowTwinsTerms:
    """The Barlow Twins loss of the projections of two views, with its terms and C.

    L = diagonal sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2

    lambda weighs the off-diagonal term *alone* (Zbontar et al. 2021, equation 1; DeLoRes, equation 1). There,
    ``diagonal`` is 1.

    Args:
        z1, z2: (N, D) floating, row n of both comes from clip n. N >= 2.
        lambd: weight of redundancy reduction against invariance.
        world: the processes that hold the rest of the batch, each giving its own rows.
        diagonal: weight of invariance, for ablations.
    """
    with _without_autocast(z1):
        c = cross_correlation(z1, z2, world)
        on_diagonal = (1 - c.diagonal()).square().sum()
        off_diagonal = _off_diagonal(c).square().sum()
    return BarlowTwinsTerms(diagonal * on_diagonal + lambd * off_diagonal, on_diagonal, off_diagonal, c)


def _off_diagonal(c: Tensor) -> Tensor:
    """The D (D - 1) entries of C outside its diagonal, as a view: rows of D + 1 begin on the diagonal."""
    d = c.shape[0]
    return c.flatten()[:-1].view(d - 1, d + 1)[:, 1:]


class BarlowTwinsLoss(nn.Module):
    """``scale`` x :func:`barlow_twins_loss`; the terms are returned unscaled."""

    def __init__(self, lambd: float, scale: float = 1.0, diagonal: float = 1.0) -> None:
        super().__init__()
        self.lambd, self.scale, self.diagonal = lambd, scale, diagonal

    def forward(self, z1: Tensor, z2: Tensor, world: World = ALONE) -> BarlowTwinsTerms:
        terms = barlow_twins_loss(z1, z2, self.lambd, world, self.diagonal)
        return terms._replace(loss=self.scale * terms.loss)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}, scale={self.scale}, diagonal={self.diagonal}"


def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> InfoNCETerms:
    """The InfoNCE loss of MoCo (He et al. 2020, equation 1): key n among K past keys.

    L = 1/N sum_n -log  exp(q_n k_n / T) / (exp(q_n k_n / T) + sum_j exp(q_n queue_j / T))

    Args:
        q: (N, D) queries, rows of unit length.
        k: (N, D) keys of the same clips, rows of unit length; no gradient flows into them.
        queue: (K, D) keys of past batches, rows of unit length.
        temperature: T.
    """
    with _without_autocast(q):
        q, k = at_least_float32(q), at_least_float32(k.detach())
        positive = (q * k).sum(dim=1, keepdim=True)  # (N, 1)
        negative = q @ queue.detach().to(q.dtype).T  # (N, K)
        logits = torch.cat([positive, negative], dim=1) / temperature
        target = torch.zeros(len(q), dtype=torch.long, device=q.device)
        loss = F.cross_entropy(logits, target)
        accuracy = (positive[:, 0] > negative.amax(dim=1)).to(q.dtype).mean()
    return InfoNCETerms(loss, accuracy)
