"""DeLoRes-S and DeLoRes-M: two views of a batch -> a loss to minimise."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hear_delores.encoder import AudioNTT
from pretrain.config import PretrainConfig
from pretrain.losses import BarlowTwinsLoss, info_nce

__all__ = ["DeLoResM", "DeLoResS", "Method", "build_method", "projector"]

Metrics = dict[str, Tensor]


def projector(size: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Dropout, then linears without bias to each of ``widths``, with BatchNorm and ReLU between them."""
    layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for i, width in enumerate(widths):
        if i:
            layers += [nn.BatchNorm1d(widths[i - 1]), nn.ReLU()]
        layers.append(nn.Linear(size if i == 0 else widths[i - 1], width, bias=False))
    return nn.Sequential(*layers)


class Method(nn.Module):
    """A pre-training method around ``encoder``, the network that the checkpoint keeps."""

    encoder: AudioNTT

    def training_step(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Metrics]:
        """The loss of a batch and what to log about it, detached.

        The views are (B, 1, n_mels, T) float32, normalised. They pass the encoder one after the other, not as
        one batch of 2 B: BatchNorm then takes its statistics from one view at a time, as in the published
        training.
        """
        raise NotImplementedError


class DeLoResS(Method):
    """Barlow Twins on the pooled embeddings of two views (Ghosh et al. 2022, arXiv 2203.13628)."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.encoder = AudioNTT(config.encoder)
        size = config.encoder.embedding_size
        self.projector = projector(size, config.projector.widths, config.projector.dropout)
        self.loss = BarlowTwinsLoss(config.loss.lambd, config.loss.scale)

    def training_step(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Metrics]:
        z1 = self.projector(self.encoder(view1).pooled)  # (B, D)
        z2 = self.projector(self.encoder(view2).pooled)
        terms = self.loss(z1, z2)
        return terms.loss, {
            "loss": terms.loss.detach(),
            "on_diagonal": terms.on_diagonal.detach(),
            "off_diagonal": terms.off_diagonal.detach(),
        }


class DeLoResM(Method):
    """MoCo on the pooled embeddings, plus Barlow Twins on each of the three layer outputs (JSTSP 2022).

    The key encoder is the momentum average of the query encoder's *parameters*; its BatchNorm buffers come
    from its own forward passes. Both encoders' layer outputs pass the same projectors, which learn from both;
    into the encoders, the gradient flows through the query alone.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.momentum, self.temperature = config.moco.momentum, config.moco.temperature
        self.encoder = AudioNTT(config.encoder)
        self.head = nn.Linear(config.encoder.embedding_size, config.moco.dim)
        self.layer_projectors = nn.ModuleList(
            projector(size, config.projector.widths, config.projector.dropout) for size in config.encoder.layer_sizes
        )
        self.layer_loss = BarlowTwinsLoss(config.loss.lambd, config.loss.scale)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.key_head = copy.deepcopy(self.head).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(config.moco.queue, config.moco.dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def training_step(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Metrics]:
        query = self.encoder(view1)
        q = F.normalize(self.head(query.pooled).float(), dim=1)  # (B, dim)
        with torch.no_grad():
            self.update_key()
            key = self.key_encoder(view2)
            k = F.normalize(self.key_head(key.pooled).float(), dim=1)
        contrast = info_nce(q, k, self.queue, self.temperature)
        layers = [
            self.layer_loss(project(a), project(b)).loss
            for project, a, b in zip(self.layer_projectors, query.layers, key.layers, strict=True)
        ]
        loss = contrast.loss + torch.stack(layers).sum()
        self.enqueue(k)
        metrics = {"loss": loss, "info_nce": contrast.loss, "accuracy": contrast.accuracy}
        metrics |= {f"layer{i}": layer for i, layer in enumerate(layers, 1)}
        return loss, {name: value.detach() for name, value in metrics.items()}

    @torch.no_grad()
    def update_key(self) -> None:
        """key = momentum * key + (1 - momentum) * query, over all parameters."""
        pairs = ((self.key_encoder, self.encoder), (self.key_head, self.head))
        for key_module, query_module in pairs:
            for key, query in zip(key_module.parameters(), query_module.parameters(), strict=True):
                key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Writes the batch's keys (B, dim) over the oldest ones of the ring."""
        size = len(self.queue)
        keys = keys[-size:]
        start = int(self.pointer)
        places = (start + torch.arange(len(keys), device=keys.device)) % size
        # A new tensor: the loss of this step still needs the old one for its gradient.
        self.queue = self.queue.index_copy(0, places, keys.to(self.queue))
        self.pointer.fill_((start + len(keys)) % size)


def build_method(config: PretrainConfig) -> Method:
    """The configured method with freshly drawn weights."""
    return DeLoResS(config) if config.method == "delores-s" else DeLoResM(config)
