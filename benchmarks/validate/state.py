"""The settings and random states that one process shares: what a model must leave as it found them."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["kept", "random_states", "seed_all", "settings"]


def settings() -> dict[str, Any]:
    """torch's process-wide settings that change the numbers or the speed of everybody else's code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "default dtype": str(torch.get_default_dtype()),
            "default device": str(torch.get_default_device()),
            "number of threads": torch.get_num_threads(),
            "gradient mode": torch.is_grad_enabled(),
            "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
            "float32 matmul precision": torch.get_float32_matmul_precision(),
        }


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
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        after = settings()
        torch.set_grad_enabled(before["gradient mode"])
        for name, restore in (
            ("default dtype", lambda: torch.set_default_dtype(dtype)),
            ("default device", lambda: torch.set_default_device(device)),
            ("number of threads", lambda: torch.set_num_threads(before["number of threads"])),
            (
                "deterministic algorithms",
                lambda: torch.use_deterministic_algorithms(before["deterministic algorithms"]),
            ),
            (
                "float32 matmul precision",
                lambda: torch.set_float32_matmul_precision(before["float32 matmul precision"]),
            ),
        ):
            if after[name] != before[name]:
                restore()
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
