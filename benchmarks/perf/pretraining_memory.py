"""The estimated peak memory of pre-training against the measured one.

    python benchmarks/perf/pretraining_memory.py
    python benchmarks/perf/pretraining_memory.py "delores-m-small batch_size=256"

Each case, a preset with overrides, is a process of its own that takes three steps on generated audio. Measured is by
how much its largest resident memory exceeds the one just before ``pretrain`` was called; estimated is
``pretrain.training.peak_memory``. The ratio is measured / estimated.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

CASES = ("demo-s", "demo-m", "delores-s-small", "delores-m-small", "delores-s-paper batch_size=128")


def measure(words: list[str], folder: Path) -> tuple[int, int]:
    """(estimated, measured) bytes of a case; to be called in a new process."""
    from hear_delores.memory import resident_bytes
    from pretrain.config import load_config
    from pretrain.training.device import resolved
    from pretrain.training.peak_memory import peak_memory
    from pretrain.training.start import pretrain

    config, _ = resolved(load_config(words[0], [*words[1:], "steps=3", "device=cpu", "data.statistics_clips=16"]))
    estimated = peak_memory(config, config.batch_size).total
    before = resident_bytes(os.getpid())
    pretrain(config, folder / "audio", folder / "run", quiet=True)
    scale = 1 if sys.platform == "darwin" else 1024
    return estimated, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale - before


def make_audio(folder: Path, clips: int = 32) -> None:
    """Clips of 2 s of noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(clips):
        soundfile.write(folder / f"{index:02d}.wav", 0.1 * random.standard_normal(32000), 16000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(*measure(chosen.cases[0].split(), chosen.child))
        return
    print("| case | estimated GB | measured GB | ratio |\n|---|---:|---:|---:|")
    for case in chosen.cases:
        with tempfile.TemporaryDirectory() as folder:
            make_audio(Path(folder) / "audio")
            command = [sys.executable, __file__, case, "--child", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            estimated, measured = map(int, done.stdout.split())
            print(f"| {case} | {estimated / 1e9:.2f} | {measured / 1e9:.2f} | {measured / estimated:.2f} |", flush=True)


if __name__ == "__main__":
    main()
