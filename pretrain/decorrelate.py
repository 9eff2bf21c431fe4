"""The maps of the scene's decorrelated parts, learnt from views of the pre-training audio when training has ended."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hear_delores.decorrelation import Decorrelation, fit_decorrelation
from hear_delores.model import HearModel
from hear_delores.pooling import DECORRELATED, plain_part
from pretrain.augment import Augmenter
from pretrain.config import PretrainConfig
from pretrain.data.batches import DECORRELATION, Batch
from pretrain.data.corpus import Corpus, Progress
from pretrain.data.listening import sample_batches

__all__ = ["learn_decorrelation"]

BATCH = 128


@torch.no_grad()
def learn_decorrelation(
    model: HearModel,
    config: PretrainConfig,
    corpus: Corpus,
    augmenter: Augmenter,
    listen: Callable[[Batch], tuple[Tensor, Tensor]],
    progress: Progress | None = None,
) -> dict[str, Decorrelation]:
    """The map of each part of ``config.scene`` that is to be decorrelated, by its plain name.

    From two views each of ``decorrelation.clips`` crops, or of one crop of every clip where there are fewer, in
    batches of at most 128. Those are of one size, the last hardly smaller: views may be normalised over their batch,
    and a rest of a few crops would be normalised otherwise. The crops and views depend on the seed and on
    the augmenter's memory alone.

    Args:
        model: of the trained encoder, with any scene.
        augmenter: of this process alone; its memory goes on.
        listen: a batch -> (B, n_mels, n_frames) float32, what its two views are made of.

    Raises:
        DeloresError: see ``fit_decorrelation``.
    """
    parts = [plain_part(part) for part in dict.fromkeys(config.scene) if part.endswith(DECORRELATED)]
    if not parts:
        return {}
    clips = min(config.decorrelation.clips, len(corpus))
    size = -(-clips // -(-clips // BATCH))
    generator = torch.Generator().manual_seed(config.seed)
    found: dict[str, tuple[list[Tensor], list[Tensor]]] = {part: ([], []) for part in parts}
    for batch in sample_batches(corpus, config, clips, size, DECORRELATION, "decorrelating", progress):
        first, second = listen(batch)
        for number, view in enumerate(augmenter(first, generator, second)):
            for part, values in zip(parts, model.scene_parts(parts, view[:, None]), strict=True):
                found[part][number].append(values.flatten(0, 1).cpu())
    wanted = config.decorrelation
    return {
        part: fit_decorrelation(torch.cat(first), torch.cat(second), wanted.shrinkage, wanted.dims.get(part))
        for part, (first, second) in found.items()
    }
