"""A small HEAR task folder as the official tools write it; a server of archives; helpers made importable."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

TaskMaker = Callable[..., Path]


@pytest.fixture
def make_task(tmp_path: Path) -> TaskMaker:
    """Writes a task folder from ``split -> file -> labels or events``; keywords change its metadata."""

    def make(labels: dict[str, dict[str, list[Any]]], rates: tuple[int, ...] = (16000,), **metadata: Any) -> Path:
        content = {
            "task_name": "bark",
            "version": "v1.0",
            "embedding_type": "scene",
            "prediction_type": "multiclass",
            "split_mode": "trainvaltest",
            "nfolds": None,
            "sample_duration": 0.5,
            "evaluation": ["top1_acc"],
            "mode": "small",
            "splits": list(labels),
            "download_urls": [{"split": "train", "url": "https://example.org"}],
            **metadata,
        }
        folder = tmp_path / "bark-v1.0-small"
        folder.mkdir()
        (folder / "task_metadata.json").write_text(json.dumps(content), encoding="utf-8")
        (folder / "labelvocabulary.csv").write_text("idx,label\n0,NA\n1,None\n2,7\n", encoding="utf-8")
        for split, files in labels.items():
            (folder / f"{split}.json").write_text(json.dumps(files), encoding="utf-8")
            for rate in rates:
                (folder / str(rate) / split).mkdir(parents=True)
                for index, file in enumerate(files):
                    samples = 0.1 * np.sin(np.arange(rate // 2) * (index + 1) / 20)
                    soundfile.write(folder / str(rate) / split / file, samples, rate, "PCM_16")
        return folder

    return make


@pytest.fixture
def scene_labels() -> dict[str, dict[str, list[Any]]]:
    """Labels that trip readers: "NA" and "None", which pandas takes for missing, and a number."""
    return {"train": {"a.wav": ["NA"], "b.wav": [7]}, "valid": {"c.wav": ["None"]}, "test": {"d.wav": ["NA"]}}


@pytest.fixture
def server() -> Iterator[Any]:
    """The :class:`archive_server.Server`, running."""
    from archive_server import Server

    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running
        running.let_go.set()
        running.shutdown()
