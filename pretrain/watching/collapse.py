"""Figures that show what a run learns, and that show collapse: of a step's embeddings and cross-correlations.

The loss alone does not tell an encoder that gives every clip the same embedding from one that learns. The
effective rank and the spread of a batch's embeddings do, at the cost of a small eigenvalue problem, and nothing
here draws a random number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pretrain.distributed.world import ALONE, World
from pretrain.methods import Observed

__all__ = ["COLLAPSED_RANK", "COLLAPSED_SPREAD", "Watcher", "correlation_figures", "effective_rank", "spread"]

ROWS = 512  # of a batch, in the rank; more cost more and change little
CORNER = 64  # rows and columns of a cross-correlation that are kept for the picture
COLLAPSED_RANK = 1.5
COLLAPSED_SPREAD = 0.01
STATE = ("before", "after", "collapsed", "figures")  # of a watcher, in the training state
FEWEST_ROWS = 4  # fewer clips may be alike by chance


def effective_rank(z: Tensor) -> float:
    """The effective rank of (n, D) embeddings, between 1 and min(n, D); NaN when they are not finite.

    exp(-sum_k p_k log p_k),  p_k = s_k / sum_j s_j,  s the singular values: Roy and Vetterli 2007; for
    embeddings, uncentred as here, RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 1). It is 1 when all
    clips have the same embedding, and low when the embeddings vary in few directions.
    """
    z = z.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(z).all()):
        return float("nan")
    gram = z @ z.T if len(z) <= z.shape[1] else z.T @ z
    s = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    p = s / s.sum().clamp(min=torch.finfo(s.dtype).tiny)
    return float(torch.exp(-torch.special.xlogy(p, p).sum()))


def spread(z: Tensor) -> float:
    """How much (n, D) embeddings of unit length differ: 0 for all the same, 1 for every direction alike.

    sqrt(D) times the standard deviation of a dimension, averaged over dimensions (Chen and He 2021, SimSiam,
    section 4.1, where the std of collapsed outputs is 0 and of isotropic ones 1 / sqrt(D)).
    """
    unit = torch.nn.functional.normalize(z.detach().double(), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * z.shape[1] ** 0.5)


def correlation_figures(c: Tensor) -> tuple[float, float]:
    """The mean diagonal and the mean absolute off-diagonal entry of a (D, D) cross-correlation.

    Both views of a clip give the same projection when the first is 1; no two dimensions say the same when the
    second is 0, chance alone making it about 0.8 / sqrt(N) for N clips.
    """
    d = len(c)
    diagonal = c.diagonal()
    off = float(c.abs().sum(dtype=torch.float64) - diagonal.abs().sum(dtype=torch.float64))
    return float(diagonal.mean()), off / max(d * (d - 1), 1)


class Watcher:
    """Looks at observed steps: their figures for the log, a warning of collapse, matrices for the picture.

    Attributes:
        figures: the latest.
        before, after: by name, the first 64 rows and columns of the cross-correlation, float32: of the run's
            first observed step and of its latest.
    """

    def __init__(self, world: World = ALONE) -> None:
        self.world = world
        self.figures: dict[str, float] = {}
        self.before: dict[str, Tensor] = {}
        self.after: dict[str, Tensor] = {}
        self.collapsed = False

    def look(self, observed: Observed) -> str | None:
        """Takes the figures of a step; a warning, when the first sign of collapse is among them.

        Called by every process; the figures and the warning are the first one's.
        """
        embedding = self.world.gather(observed.embedding)[:ROWS]
        projections = {name: self.world.gather(z)[:ROWS] for name, z in observed.projections.items()}
        if not self.world.leads:
            return None
        self.after = {name: c[:CORNER, :CORNER].float().cpu().clone() for name, c in observed.correlations.items()}
        self.before = self.before or self.after
        values = _correlations(observed.correlations)
        values |= {"rank_embedding": effective_rank(embedding), "spread_embedding": spread(embedding)}
        values |= {f"rank_{name}": effective_rank(z) for name, z in projections.items()}
        self.figures = {name: float(f"{value:.6g}") for name, value in values.items()}
        sign = self._sign(len(embedding))
        known, self.collapsed = self.collapsed, sign is not None
        return sign if not known else None

    def _sign(self, rows: int) -> str | None:
        """What in the latest figures shows collapse."""
        if rows < FEWEST_ROWS:
            return None
        for name, value in self.figures.items():
            low = COLLAPSED_RANK if name.startswith("rank_") else COLLAPSED_SPREAD
            if name.startswith(("rank_", "spread_")) and value < low:
                return (
                    f"the representation collapses: {name} is {value:.3g}, below {low} (all clips look alike to the "
                    "encoder). Lower optimizer.lr, or weigh the loss anew (loss.lambd, loss.scale)"
                )
        return None

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in STATE:
            setattr(self, name, state[name])


def _correlations(correlations: dict[str, Tensor]) -> dict[str, float]:
    """Figures of each cross-correlation, and their means when a method has several."""
    each = {name: correlation_figures(c) for name, c in correlations.items()}
    means = [sum(pair[k] for pair in each.values()) / len(each) for k in range(2)]
    values = {"mean_diagonal": means[0], "mean_abs_off_diagonal": means[1]}
    if len(each) > 1:
        values |= {f"mean_diagonal_{name}": pair[0] for name, pair in each.items()}
        values |= {f"mean_abs_off_diagonal_{name}": pair[1] for name, pair in each.items()}
    return values
