"""A Hub of this machine, which huggingface_hub takes for the real one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server; somebody who may write to ``someone/...`` is logged in, and the cache is empty.

    The settings are read from the environment when the library is imported, and so changed in it here; a test in a
    process of its own sets the environment.
    """
    constants = pytest.importorskip("huggingface_hub.constants")
    from hub_server import TOKEN, Hub

    server = Hub()
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "home" / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "home" / "token"),
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    bars = importlib.import_module("huggingface_hub.utils")
    bars.disable_progress_bars()
    yield server
    bars.enable_progress_bars()
    server.close()
