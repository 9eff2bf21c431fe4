"""What a run computes on: the device, its number format, and algorithms that give the same bits every time."""

from __future__ import annotations

import contextlib

import torch

from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig
from pretrain.distributed.world import local_rank, world_size

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


def resolved(config: PretrainConfig) -> PretrainConfig:
    """The configuration with "auto" precision decided for this machine: checkpoints say what was done."""
    if config.precision != "auto":
        return config
    if choose_device(config).type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public name for it so far
        native = bool(check and check())
    return config.model_copy(update={"precision": "bfloat16" if native else "float32"})
