"""A map of a part of the scene embedding, under which what differs between two views of a clip is white.

The within-class covariance normalisation of speaker recognition (Hatch, Kajarekar and Stolcke, Interspeech 2006), a
clip being a class and its views the members: directions in which views of one clip differ count for less. Like Barlow
Twins it asks for what the views share, but it is not the minimum of that loss: what differs between *clips* is left
correlated. Large values are compressed before it, and vectors brought to one length after it (Garcia-Romero and
Espy-Wilson, Interspeech 2011).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hear_delores.errors import DeloresError

__all__ = ["Decorrelation", "check_decorrelation", "fit_decorrelation"]

FLOOR = 0.01


class Decorrelation(nn.Module):
    """y = (log(1 + x / scale) - centre) @ matrix, brought to the length sqrt(K), for each D dimensions of x.

    Of a part of thirds, each third goes through alike.

    Args:
        scale: () float, above 0.
        centre: (D,) float.
        matrix: (D, K) float.
    """

    scale: Tensor
    centre: Tensor
    matrix: Tensor

    def __init__(self, scale: Tensor, centre: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().float().contiguous())
        self.register_buffer("centre", centre.detach().float().contiguous())
        self.register_buffer("matrix", matrix.detach().float().contiguous())

    def forward(self, part: Tensor) -> Tensor:
        """(B, k D), none negative -> (B, k K) float32."""
        rows = part.float().unflatten(1, (-1, len(self.centre)))
        mapped = (torch.log1p(rows / self.scale.float()) - self.centre.float()) @ self.matrix.float()
        return (F.normalize(mapped, dim=-1) * self.matrix.shape[1] ** 0.5).flatten(1)


def fit_decorrelation(first: Tensor, second: Tensor, shrinkage: float, dimensions: int | None = None) -> Decorrelation:
    """The map of a part from its values for two views of each clip.

    The values are compressed, log(1 + x / scale), by their mean as the scale. With every dimension standardised by its
    mean and deviation over all views (the deviation at least a hundredth of the part's root mean square one, or units
    that hardly ever fire would be blown up), and W the covariance within clips, half the mean of (a - b)(a - b)^T over
    the pairs, the matrix is (W + shrinkage * trace(W) / D * I)^(-1/2), scaled so that the mean variance of its outputs
    over all views is 1. Symmetric, so that an output stays near its input; with fewer dimensions than D, its outputs'
    first principal components over all views.

    Args:
        first, second: (N, D) of the two views, N >= 2, none negative; row n of both is of clip n.
        shrinkage: above 0; 1 leaves a direction that never varies within a clip sqrt(2) times the gain of one
            that varies like the average.
        dimensions: K, at most D; None and more than D are D.

    Raises:
        DeloresError: the values are not finite, all 0, or alike in both views of every clip.
    """
    pairs = torch.stack([first, second]).double()
    if not bool(torch.isfinite(pairs).all()):
        raise DeloresError("Cannot decorrelate the scene embedding: expected finite values, but got NaN or infinity.")
    scale = pairs.mean()
    if not scale > 0:
        raise DeloresError("Cannot decorrelate the scene embedding: no unit fires in any view.")
    pairs = torch.log1p(pairs / scale)
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
    if dimensions is not None and dimensions < len(centre):
        matrix = matrix @ _principal(pairs.flatten(0, 1) @ matrix, dimensions)
    outputs = pairs.flatten(0, 1) @ matrix
    matrix = matrix / deviation.clamp(min=floor)[:, None] / outputs.var(0, unbiased=False).mean().sqrt()
    return Decorrelation(scale, centre, matrix)


def _principal(values: Tensor, count: int) -> Tensor:
    """The first ``count`` principal directions of centred ``values`` (N, D), as columns, the largest first."""
    _, vectors = torch.linalg.eigh(values.T @ values)
    found = vectors[:, -count:].flip(1)
    return found * found.gather(0, found.abs().argmax(0, keepdim=True)).sign()  # an eigenvector's sign is free


def check_decorrelation(part: str, tensors: Mapping[str, Tensor], size: int) -> Decorrelation:
    """The map of stored tensors ``scale``, ``centre`` and ``matrix`` for dimensions of ``size``.

    Raises:
        DeloresError: one is missing, of another shape, or the scale not above 0.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    kept = shapes["matrix"][1] if len(shapes.get("matrix", ())) == 2 else size
    expected = {"scale": (), "centre": (size,), "matrix": (size, min(max(kept, 1), size))}
    for name, shape in expected.items():
        found = shapes.get(name)
        if found != shape:
            what = "it is missing" if found is None else f"it is of shape {found}"
            raise DeloresError(f"expected decorrelation.{part}.{name} of shape {shape}, but {what}")
    if not tensors["scale"] > 0:
        raise DeloresError(f"expected decorrelation.{part}.scale above 0, but it is {float(tensors['scale']):g}")
    return Decorrelation(tensors["scale"], tensors["centre"], tensors["matrix"])
