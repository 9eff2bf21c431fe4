"""What pre-training and evaluation at the paper's scale take: the tables of docs/paper-scale.md.

    python benchmarks/perf/paper_scale.py
    python benchmarks/perf/paper_scale.py --clips 50000 --tflops 19.5 312 --gigabytes 2039

Hours are computed, not measured. Two training steps are taken on torch's meta device: ``torch.utils.flop_counter``
counts the operations of convolutions and matrix products, and ``pretrain.training.peak_memory`` the bytes that
operations read and write, each alone. Divided by a GPU's rates, these are two bounds: no run takes fewer hours than the
larger, and without overlap it would take their sum. Reading audio is not in them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from torch.utils.flop_counter import FlopCounterMode

from benchmarks.tasks.registry import list_tasks
from pretrain.config import load_config
from pretrain.training.peak_memory import count_step, peak_memory

__all__ = ["corpora_table", "cost_row", "cost_table"]

CLIPS = 250_000  # arXiv 2203.13628: 0.2 M of AudioSet and FSD50K
PRESETS = ("delores-s-paper", "delores-m-released")
#: NVIDIA A100 80 GB SXM, by its data sheet: float32 (no TF32) and bfloat16, 10^12 operations/s; memory, 10^9 bytes/s.
TFLOPS = (19.5, 312.0)
GIGABYTES = 2039.0


def cost_table(clips: int = CLIPS, tflops: Sequence[float] = TFLOPS, gigabytes: float = GIGABYTES) -> str:
    """Markdown: steps, counted operations and bytes, and hours of each preset in float32 and bfloat16."""
    heads = ("steps", "TFLOP a step", "GB moved a step", "hours at least", "hours without overlap", "GB at peak")
    rows = [f"| preset, precision | {' | '.join(heads)} |", "|---|---:|---:|---:|---:|---:|---:|"]
    for preset in PRESETS:
        for precision, rate in zip(("float32", "bfloat16"), tflops, strict=True):
            rows.append(cost_row(preset, precision, clips, rate, gigabytes))
    return "\n".join(rows) + "\n"


def cost_row(
    preset: str, precision: str, clips: int = CLIPS, tflops: float = TFLOPS[0], gigabytes: float = GIGABYTES
) -> str:
    """A row of :func:`cost_table`."""
    config = load_config(preset, [f"precision={precision}"])
    with FlopCounterMode(display=False) as counter:
        count_step(config, config.batch_size)
    peak = peak_memory(config, config.batch_size)  # apart: the counter keeps tensors alive
    steps, operations = config.total_steps(clips), counter.get_total_flops() / 2  # of the two steps taken
    moved = peak.step.moved
    bounds = [steps * operations / (tflops * 1e12 * 3600), steps * moved / (gigabytes * 1e9 * 3600)]
    return (
        f"| {preset}, {precision} | {steps:,} | {operations / 1e12:.2f} | {moved / 1e9:.1f} "
        f"| {max(bounds):.1f} | {sum(bounds):.1f} | {peak.on_device / 1e9:.1f} |"
    )


def corpora_table() -> str:
    """Markdown: of each DeLoRes task, its corpus, size, licence and splits, as the task files have them."""
    rows = ["| task | clips | from | archive | licence | splits |", "|---|---:|---|---:|---|---|"]
    for task in list_tasks("delores"):
        size = "not known here" if task.size_bytes is None else f"{task.size_bytes / 1e9:.1f} GB"
        splits = ", ".join(name if own.available else f"no {name}" for name, own in task.variants.items())
        licence = task.licence or "not known here"
        rows.append(f"| {task.name} | {task.clips:,} | {task.source} | {size} | {licence} | {splits} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips of the pre-training corpus")
    parser.add_argument("--tflops", type=float, nargs=2, default=TFLOPS, help="of float32 and of bfloat16")
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES, help="a second, of the device's memory")
    chosen = parser.parse_args()
    print(corpora_table())
    print(cost_table(chosen.clips, chosen.tflops, chosen.gigabytes))


if __name__ == "__main__":
    main()
