"""docs/paper-scale.md quotes what the script computes, and the script's counts follow from the layers' sizes."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from torch.utils.flop_counter import FlopCounterMode

from pretrain.config import load_config
from pretrain.training.peak_memory import count_step

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def paper_scale() -> ModuleType:
    spec = spec_from_file_location("paper_scale", ROOT / "benchmarks" / "perf" / "paper_scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_quotes_the_script(paper_scale: ModuleType) -> None:
    page = (ROOT / "docs" / "paper-scale.md").read_text(encoding="utf-8")
    assert paper_scale.corpora_table() in page
    assert paper_scale.cost_row("delores-s-paper", "float32") + "\n" in page
    assert paper_scale.cost_row("delores-m-released", "bfloat16", tflops=paper_scale.TFLOPS[1]) + "\n" in page
    assert f"{paper_scale.CLIPS:,} clips on an NVIDIA A100 80 GB" in page


def test_operations_follow_from_the_layers() -> None:
    """2 m n k of each product: forward, and twice in the backward pass; none for the input of the first layer."""
    config = load_config("delores-s-paper")
    rows, mels, frames = 2, config.frontend.n_mels, config.segment_frames
    with FlopCounterMode(display=False) as counter:
        count_step(config, rows)
    channels, size, widths = config.encoder.channels, config.encoder.embedding_size, config.projector.widths
    convolutions = [
        2 * 9 * (channels if layer else 1) * channels * (mels >> layer) * (frames >> layer) for layer in range(3)
    ]
    head = 2 * (frames >> 3) * (config.encoder.layer_sizes[-1] * size + size * size)
    project = 2 * sum(a * b for a, b in zip((size, *widths), widths, strict=False))
    clip = 3 * (sum(convolutions) + head + project) - convolutions[0]
    expected = rows * (2 * clip + 3 * 2 * widths[-1] ** 2)  # two views, and their correlation
    assert counter.get_total_flops() == 2 * expected  # of the two steps that are taken
