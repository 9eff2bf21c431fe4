"""Small encoders with random weights, as the Hub has them, and audio."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def hub_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that docs/examples/make_hub_models.py writes."""
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location("make_hub_models", ROOT / "docs/examples/make_hub_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("hub")
    module.make(folder)
    return folder


@pytest.fixture
def noise() -> np.ndarray:
    """Three sounds of 1.23 s, of different levels: (3, 19680) float32."""
    levels = np.array([[0.3], [0.01], [0.1]])
    return (levels * np.random.default_rng(0).uniform(-1, 1, (3, 19680))).astype(np.float32)
