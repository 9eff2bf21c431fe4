"""Two training states, compared."""

from __future__ import annotations

from typing import Any

import torch


def assert_same(a: Any, b: Any) -> None:
    """Bit for bit, every tensor of the training state: weights, optimiser, queue, memory, random states."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds"}:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b
