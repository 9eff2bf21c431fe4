"""The settings and random states that one process shares: what a model must leave as it found them."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["kept", "random_states", "seed_all", "settings"]


#: How to read and set torch's process-wide settings that change the numbers or the speed of everybody else's code.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (torch.get_default_device, torch.set_default_device),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "deterministic algorithms": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
}


def settings() -> dict[str, Any]:
    """The values of :data:`SETTINGS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: read() for name, (read, _) in SETTINGS.items()}


def random_states() -> dict[str, Any]:
    """The states of the three global random generators, by whose they are."""
    name, key, position, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 (the global state is the subject)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (name, np.asarray(key).tobytes(), position, *rest),
        "python": random.getstate(),
    }


def seed_all(seed: int) -> None:
    """Seeds the three global random generators."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Puts settings and random states back when the block ends, whatever a model did in it."""
    before = settings()
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        for name, value in settings().items():
            if value != before[name]:
                SETTINGS[name][1](before[name])
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
