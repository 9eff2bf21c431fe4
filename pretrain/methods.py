"""DeLoRes-S and DeLoRes-M: two views of a batch -> a loss to minimise."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hear_delores.encoder import AudioNTT
from pretrain.config import PretrainConfig
from pretrain.distributed.world import ALONE, World
from pretrain.losses import BarlowTwinsLoss, BarlowTwinsTerms, at_least_float32, info_nce

__all__ = ["DeLoResM", "DeLoResS", "Method", "Metrics", "Observed", "build_method", "projector"]

Metrics = dict[str, Tensor]


class Observed(NamedTuple):
    """Values of a step that are worth watching, detached; rows are this process's own.

    Attributes:
        embedding: (n, D), the pooled embeddings of the first view.
        projections: name -> (n, D'), what the losses are computed from, first view.
        correlations: name -> (D', D'), the cross-correlation of the two views over the whole batch.
    """

    embedding: Tensor
    projections: dict[str, Tensor]
    correlations: dict[str, Tensor]


def projector(size: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Dropout, then linears without bias to each of ``widths``, with BatchNorm and ReLU between them."""
    layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for i, width in enumerate(widths):
        if i:
            layers += [nn.BatchNorm1d(widths[i - 1]), nn.ReLU()]
        layers.append(nn.Linear(size if i == 0 else widths[i - 1], width, bias=False))
    return nn.Sequential(*layers)


class Method(nn.Module):
    """A pre-training method around ``encoder``, the network that the checkpoint keeps.

    Attributes:
        world: the processes that a batch is spread over; each passes its own rows to ``training_step``.
        observing: whether the next steps leave what they saw in ``observed``.
    """

    encoder: AudioNTT
    world: World = ALONE
    observing: bool = False
    observed: Observed | None = None

    def forward(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Metrics]:
        """``training_step``, by the name that DistributedDataParallel calls."""
        return self.training_step(view1, view2)

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
        self.loss = BarlowTwinsLoss(config.loss.lambd, config.loss.scale, config.loss.diagonal)

    def training_step(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Metrics]:
        embedding = self.encoder(view1).pooled
        z1 = self.projector(embedding)  # (B, D)
        z2 = self.projector(self.encoder(view2).pooled)
        terms = self.loss(z1, z2, self.world)
        if self.observing:
            self.observed = Observed(
                embedding.detach(), {"projection": z1.detach()}, {"projection": terms.correlation.detach()}
            )
        return terms.loss, {name: getattr(terms, name).detach() for name in ("loss", "on_diagonal", "off_diagonal")}


class DeLoResM(Method):
    """MoCo on the pooled embeddings, plus Barlow Twins on each of the three layer outputs (JSTSP 2022).

    ``loss.layers`` may name fewer layers, ``loss.contrastive`` and ``loss.scale`` weigh the two halves.

    The key encoder is the momentum average of the query encoder's *parameters*; its BatchNorm buffers come
    from its own forward passes. Both encoders' layer outputs pass the same projectors, which learn from both;
    into the encoders, the gradient flows through the query alone.

    With several processes, each encodes the keys of other clips than its queries' (MoCo, section 3.3), and the
    queue takes the keys of all of them, in the order of the batch: it is the same on every process.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.momentum, self.temperature = config.moco.momentum, config.moco.temperature
        self.encoder = AudioNTT(config.encoder)
        self.head = nn.Linear(config.encoder.embedding_size, config.moco.dim)
        self.contrastive, self.layers = config.loss.contrastive, config.loss.layers
        sizes = (config.encoder.layer_sizes[layer - 1] for layer in self.layers)
        self.layer_projectors = nn.ModuleList(
            projector(size, config.projector.widths, config.projector.dropout) for size in sizes
        )
        self.layer_loss = BarlowTwinsLoss(config.loss.lambd, config.loss.scale, config.loss.diagonal)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.key_head = copy.deepcopy(self.head).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(config.moco.queue, config.moco.dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def training_step(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Metrics]:
        query = self.encoder(view1)
        q = F.normalize(at_least_float32(self.head(query.pooled)), dim=1)  # (B, dim)
        with torch.no_grad():
            self.update_key()
            k, *key_layers = self._keys(view2)
        contrast = info_nce(q, k, self.queue, self.temperature)
        info_nce_loss, accuracy = self.world.mean(contrast.loss), self.world.mean(contrast.accuracy)
        projected: dict[str, Tensor] = {}
        layers: dict[str, BarlowTwinsTerms] = {}
        for number, project in zip(self.layers, self.layer_projectors, strict=True):
            name, a, b = f"layer{number}", query.layers[number - 1], key_layers[number - 1]
            projected[name] = project(a)
            layers[name] = self.layer_loss(projected[name], project(b), self.world)
        loss = self.contrastive * info_nce_loss + torch.stack([layer.loss for layer in layers.values()]).sum()
        self.enqueue(self.world.gather(k))
        if self.observing:
            projections = {name: z.detach() for name, z in {"query": q, **projected}.items()}
            correlations = {name: layer.correlation.detach() for name, layer in layers.items()}
            self.observed = Observed(query.pooled.detach(), projections, correlations)
        metrics = {"loss": loss, "info_nce": info_nce_loss, "accuracy": accuracy}
        metrics |= {name: layer.loss for name, layer in layers.items()}
        return loss, {name: value.detach() for name, value in metrics.items()}

    def _keys(self, view: Tensor) -> list[Tensor]:
        """The keys (B, dim) of a view, rows of unit length, and the key encoder's three layer outputs.

        Several processes encode them shuffled, and *every* output is brought back into the order of the batch
        before anything is compared. The order depends on how many batches the key encoder has seen.
        """
        seen = int(self.key_encoder.blocks[0].norm.num_batches_tracked) if self.world.size > 1 else 0
        with self.world.shuffled(view, seen) as (rows, unshuffle):
            key = self.key_encoder(rows)
            k = F.normalize(at_least_float32(self.key_head(key.pooled)), dim=1)
            return [unshuffle(output) for output in (k, *key.layers)]

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
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        # A new tensor: the loss of this step still needs the old one for its gradient.
        self.queue = self.queue.index_copy(0, places, keys.to(self.queue))
        self.pointer.add_(len(keys)).remainder_(size)


def build_method(config: PretrainConfig) -> Method:
    """The configured method with freshly drawn weights."""
    return DeLoResS(config) if config.method == "delores-s" else DeLoResM(config)
