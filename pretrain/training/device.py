"""What a run computes on: the device, its number format, and algorithms that give the same bits every time."""

from __future__ import annotations

import contextlib

import torch

from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig
from pretrain.distributed.world import local_rank, world_size
from pretrain.training.precision import time_products

__all__ = ["choose_device", "device_type", "exact_cudnn", "resolved"]


def device_type(config: PretrainConfig) -> str:
    """The type of the device, such as "cpu" or "cuda", before it is known to work."""
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device.partition(":")[0]


def choose_device(config: PretrainConfig) -> torch.device:
    """The configured device; of several processes on a machine, each takes the GPU of its own number.

    Raises:
        DeloresError: it cannot be used.
    """
    name = device_type(config) if config.device == "auto" else config.device
    try:
        if name == "cuda" and world_size() > 1:
            name = f"cuda:{local_rank()}"
            torch.cuda.set_device(name)
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).split("\n", 1)[0]
        raise DeloresError(f"device {config.device!r} cannot be used: {first}") from None
    return device


def exact_cudnn() -> contextlib.AbstractContextManager[None]:
    """cuDNN with reproducible algorithms only. (``enabled`` must be named: left out, it switches cuDNN off.)"""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def resolved(config: PretrainConfig, before: str | None = None) -> tuple[PretrainConfig, str]:
    """The configuration with "auto" precision decided for this machine, and a line on what was measured, or "".

    The faster of float32 and bfloat16 for a product of the first layer of the projector, timed. A run that is resumed
    keeps the precision that was decided when it began, ``before``. Checkpoints say what was done.
    """
    if config.precision == "auto" and before is not None:
        return config.model_copy(update={"precision": before}), ""
    if config.precision == "float32":
        return config, ""
    rows = -(-config.batch_size // world_size())
    times = time_products(rows, config.encoder.embedding_size, config.projector.widths[0], choose_device(config))
    if config.precision == "bfloat16":
        return config, f"precision: bfloat16 is slower here: {times.describe()}" if times.bfloat16_is_slower else ""
    chosen = config.model_copy(update={"precision": times.faster})
    return chosen, f"precision: {times.faster}, since {times.describe()}"
