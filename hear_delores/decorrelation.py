"""A linear map of a part of the scene embedding, under which what differs between two views of a clip is white.

The within-class covariance normalisation of speaker recognition (Hatch, Kajarekar and Stolcke, Interspeech 2006), a
clip being a class and its views the members: directions in which views of one clip differ count for less. Like Barlow
Twins it asks for what the views share, but it is not the minimum of that loss: what differs between *clips* is left
correlated.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hear_delores.errors import DeloresError

__all__ = ["Decorrelation", "check_decorrelation", "fit_decorrelation"]

FLOOR = 0.01


class Decorrelation(nn.Module):
    """y = (x - centre) @ matrix for each D dimensions of x: of a part of thirds, each third goes through alike.

    Args:
        centre: (D,) float.
        matrix: (D, D) float.
    """

    centre: Tensor
    matrix: Tensor

    def __init__(self, centre: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre.detach().float().contiguous())
        self.register_buffer("matrix", matrix.detach().float().contiguous())

    def forward(self, part: Tensor) -> Tensor:
        """(B, k D) -> (B, k D) float32."""
        rows = part.float().unflatten(1, (-1, len(self.centre)))
        return ((rows - self.centre.float()) @ self.matrix.float()).flatten(1)


def fit_decorrelation(first: Tensor, second: Tensor, shrinkage: float) -> Decorrelation:
    """The map of a part from its values for two views of each clip.

    With every dimension standardised by its mean and deviation over all views (the deviation at least a hundredth of
    the part's root mean square one, or units that hardly ever fire would be blown up), and W the covariance within
    clips, half the mean of (a - b)(a - b)^T over the pairs, the map is (W + shrinkage * trace(W) / D * I)^(-1/2),
    scaled so that the mean variance of its outputs over all views is 1. Symmetric, so that an output stays near its
    input.

    Args:
        first, second: (N, D) of the two views, N >= 2; row n of both is of clip n.
        shrinkage: above 0; 1 leaves a direction that never varies within a clip sqrt(2) times the gain of one
            that varies like the average.

    Raises:
        DeloresError: the values are not finite, or none of them varies.
    """
    pairs = torch.stack([first, second]).double()
    if not bool(torch.isfinite(pairs).all()):
        raise DeloresError("Cannot decorrelate the scene embedding: expected finite values, but got NaN or infinity.")
    centre, deviation = pairs.mean((0, 1)), pairs.std((0, 1), unbiased=False)
    floor = FLOOR * deviation.square().mean().sqrt()
    pairs = (pairs - centre) / deviation.clamp(min=floor) if floor > 0 else pairs - centre
    difference = pairs[0] - pairs[1]
    within = difference.T @ difference / (2 * len(difference))
    mean = within.trace() / len(within)
    if not mean > 0:
        raise DeloresError("Cannot decorrelate the scene embedding: the views of all clips are alike.")
    values, vectors = torch.linalg.eigh(within)
    matrix = (vectors * (values.clamp(min=0) + shrinkage * mean).rsqrt()) @ vectors.T
    outputs = pairs.flatten(0, 1) @ matrix
    matrix = matrix / deviation.clamp(min=floor)[:, None] / outputs.var(0, unbiased=False).mean().sqrt()
    return Decorrelation(centre, matrix)


def check_decorrelation(part: str, tensors: Mapping[str, Tensor], size: int) -> Decorrelation:
    """The map of stored tensors ``centre`` and ``matrix`` for dimensions of ``size``.

    Raises:
        DeloresError: one is missing, or of another shape.
    """
    expected = {"centre": (size,), "matrix": (size, size)}
    for name, shape in expected.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            what = "it is missing" if found is None else f"it is of shape {found}"
            raise DeloresError(f"expected decorrelation.{part}.{name} of shape {shape}, but {what}")
    return Decorrelation(tensors["centre"], tensors["matrix"])
