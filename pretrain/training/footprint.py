"""What a run takes of memory at the least, found before anything of it is allocated.

A batch or a layer of a size beyond the machine would otherwise end the process without a word.
Only what certainly is there at one time is counted, so that no run that fits is refused.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from hear_delores.encoder import LAYERS
from hear_delores.errors import DeloresError
from hear_delores.memory import available_bytes
from pretrain.config import PretrainConfig

__all__ = ["Footprint", "check_footprint", "footprint"]

FLOAT = 4


@dataclass(frozen=True)
class Footprint:
    """Bytes at the least.

    Attributes:
        parameters: weights, their gradients and the optimiser's state, the key encoder's weights.
        memories: the queue of keys and the past inputs that views are mixed with.
        batch: the crops of one batch, their views, what the encoder keeps for the gradient, and the correlations.
    """

    parameters: int
    memories: int
    batch: int

    @property
    def total(self) -> int:
        return self.parameters + self.memories + self.batch


def footprint(config: PretrainConfig, rows: int) -> Footprint:
    """Of a process that holds ``rows`` clips of every batch."""
    contrasts = config.method == "delores-m"
    encoder, frontend = config.encoder, config.frontend
    head = encoder.embedding_size * config.moco.dim if contrasts else 0
    sizes = [encoder.layer_sizes[layer - 1] for layer in config.loss.layers] if contrasts else [encoder.embedding_size]
    widths = config.projector.widths
    projectors = sum(a * b for size in sizes for a, b in itertools.pairwise((size, *widths)))
    copies = 4 if config.optimizer.kind == "adamw" else 3  # weight, gradient, one average or two
    parameters = copies * (encoder.n_parameters + head + projectors)
    parameters += encoder.n_parameters + head if contrasts else 0
    spectrogram = frontend.n_mels * config.segment_frames
    memories = config.augment.mixup_memory * spectrogram if config.augment.mixup else 0
    memories += config.moco.queue * config.moco.dim if contrasts else 0
    kept = sum(
        2 * encoder.channels * (frontend.n_mels >> layer) * (config.segment_frames >> layer) for layer in range(LAYERS)
    )  # what each convolution and each normalisation gives; with gradients, of the key's view nothing is kept
    halved = 2 if config.precision == "bfloat16" else 1
    batch = rows * (config.segment_samples + 2 * spectrogram + (1 if contrasts else 2) * kept // halved)
    batch += len(sizes) * (widths[-1] ** 2 + 2 * rows * widths[-1])
    batch += rows * config.moco.queue if contrasts else 0
    return Footprint(FLOAT * parameters, FLOAT * memories, FLOAT * batch)


def check_footprint(config: PretrainConfig, rows: int, device: torch.device) -> None:
    """Raises DeloresError when a process with ``rows`` clips of every batch needs more memory than is free."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    need = footprint(config, rows)
    if free is None or need.total <= free:
        return
    largest = max(vars(need), key=lambda name: vars(need)[name])
    advice = {
        "parameters": "lower projector.widths or encoder.*",
        "memories": "lower augment.mixup_memory or moco.queue",
        "batch": "lower batch_size or segment_s",
    }[largest]
    raise DeloresError(
        f"pre-training would take {_gigabytes(need.total)} at the least (parameters {_gigabytes(need.parameters)}, "
        f"queue and past inputs {_gigabytes(need.memories)}, a batch of {rows:,} clips {_gigabytes(need.batch)}), and "
        f"{_gigabytes(free)} are free: {advice}"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB"
