"""Input of pre-training against the per-sample pipeline of the released recipe, and a step against its bare network.

    python benchmarks/perf/pretraining_input.py                   # makes its own audio files
    python benchmarks/perf/pretraining_input.py --data my_audio/ --cores 2 --runs 5

Input: two augmented views of batches of 0.95 s crops, from audio files, from a pack of audio and from a pack of
log-mel features. The reference takes clip after clip: ``librosa.load``, a random crop, ``librosa``'s mel
spectrogram, logarithm, normalisation; then, twice, log-mixup-exp with a list of past inputs and a random resize crop
through ``torch.nn.functional.interpolate``. With ``--cores N`` it has N worker processes, and ours N threads.

Step: seconds per step of ``pretrain`` itself, from its log, against forward and backward alone on a fixed batch.

Synthetic: a step on ``--data synthetic``, with two renderings of neighbours (``views.delta``) and with one rendering
for both views, against a step on packed features, step by step, alternately. ``--synthetic-only`` leaves the rest out.

Everything is timed alternately; medians are printed, and the ratio is the median over the turns.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from hear_delores.frontend import LogMel
from hear_delores.memory import keep_freed_memory
from pretrain.augment import Augmenter
from pretrain.config import PretrainConfig, load_config
from pretrain.data.batches import Sampler, batches, crop_length, to_log_mel
from pretrain.data.corpus import Corpus
from pretrain.data.pack import pack
from pretrain.data.packed import open_corpus
from pretrain.methods import build_method
from pretrain.training.device import resolved
from pretrain.training.loop import Run
from pretrain.training.start import pretrain
from pretrain.watching.progress import Display

Times = dict[str, list[float]]
PACKED = "pack of log-mel"


class PerSample(Dataset):  # type: ignore[type-arg]
    """Two views of a clip, made alone, as the released recipe describes it; each worker has a memory of its own."""

    def __init__(self, corpus: Corpus, config: PretrainConfig, clips: int) -> None:
        self.paths = sorted({str(piece.path) for piece in corpus.pieces})
        self.config, self.clips = config, clips
        self.memory: list[np.ndarray] = []

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        front, wanted = self.config.frontend, self.config.segment_samples
        audio, _ = librosa.load(self.paths[index % len(self.paths)], sr=front.sample_rate)
        start = random.randint(0, max(0, len(audio) - wanted))
        crop = np.pad(audio[start : start + wanted], (0, max(0, wanted - len(audio))))
        mel = librosa.feature.melspectrogram(
            y=crop, sr=front.sample_rate, n_fft=front.n_fft, hop_length=front.hop_length, win_length=front.win_length,
            n_mels=front.n_mels, fmin=front.f_min, fmax=front.f_max, pad_mode="constant",
        )  # fmt: skip
        x = (np.log(mel + front.eps) + 7.0) / 4.0
        views = self.view(x), self.view(x)
        self.memory = [*self.memory, x][-self.config.augment.mixup_memory :]
        return views

    def view(self, x: np.ndarray) -> torch.Tensor:
        """Mixed with a past input, then cropped from a canvas of zeros and resized."""
        augment, (height, width) = self.config.augment, x.shape
        if self.memory:
            alpha = augment.mixup_ratio * random.random()
            x = np.log((1 - alpha) * np.exp(x) + alpha * np.exp(random.choice(self.memory)))
        canvas = torch.zeros(1, 1, int(height * augment.canvas_freq), int(width * augment.canvas_time))
        top, left = (canvas.shape[2] - height) // 2, (canvas.shape[3] - width) // 2
        canvas[0, 0, top : top + height, left : left + width] = torch.from_numpy(x)
        h = min(canvas.shape[2], int(height * random.uniform(*augment.crop_freq)))
        w = min(canvas.shape[3], int(width * random.uniform(*augment.crop_time)))
        i, j = random.randint(0, canvas.shape[2] - h), random.randint(0, canvas.shape[3] - w)
        crop = canvas[:, :, i : i + h, j : j + w]
        return F.interpolate(crop, size=(height, width), mode="bicubic", align_corners=True)[0]


class Input:
    """Our input: batches of two views of a corpus. The mixup memory lives from turn to turn."""

    def __init__(self, corpus: Corpus, config: PretrainConfig, threads: int) -> None:
        self.corpus, self.config, self.threads = corpus, config, threads
        self.logmel = LogMel(config.frontend, torch.float32)
        self.augmenter = Augmenter(config.augment, config.frontend.n_mels, config.segment_frames, -7.0, 4.0)
        self.generator = torch.Generator().manual_seed(0)
        self.sampler = Sampler(corpus, crop_length(corpus, config), config.batch_size, seed=0)
        self.made = 0

    def crops(self, steps: int) -> Iterator[torch.Tensor]:
        first, self.made = self.made, self.made + steps
        for batch in batches(self.sampler, first, first + steps, self.threads, self.config.data.prefetch):
            yield batch.audio

    @torch.no_grad()
    def run(self, steps: int) -> None:
        for crops in self.crops(steps):
            self.augmenter(to_log_mel(crops, self.logmel), self.generator)

    @torch.no_grad()
    def parts(self, steps: int, clock: Callable[[], float]) -> tuple[float, float, float]:
        """Seconds of reading and cropping, of log-mel, and of the two views, one after another."""
        times = [clock()]
        crops = list(self.crops(steps))
        times.append(clock())
        mels = [to_log_mel(x, self.logmel) for x in crops]
        times.append(clock())
        for x in mels:
            self.augmenter(x, self.generator)
        times.append(clock())
        read, mel, views = np.diff(times).tolist()
        return read, mel, views


def make(folder: Path, arguments: argparse.Namespace) -> Path:
    """Mono files of noise with a tone."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rate = arguments.rate
    t = np.arange(int(arguments.seconds * rate)) / rate
    for i in range(arguments.clips):
        audio = 0.1 * rng.standard_normal(len(t)) + 0.3 * np.sin(2 * math.pi * rng.uniform(100, 4000) * t)
        soundfile.write(folder / f"{i:05d}.{arguments.kind}", audio, rate)
    return folder


def turns(work: dict[str, Callable[[], Any]], runs: int, clock: Callable[[], float]) -> Times:
    """Seconds of each, measured alternately; the first round only warms up."""
    times: Times = {name: [] for name in work}
    for turn in range(runs + 1):
        for name, function in work.items():
            began = clock()
            function()
            if turn:
                times[name].append(clock() - began)
    return times


def compare_inputs(config: PretrainConfig, data: Path, place: Path, arguments: argparse.Namespace) -> None:
    """Prints milliseconds per clip of every source, and how much faster than the reference it is."""
    threads = 0 if arguments.cores == 1 else arguments.cores
    workers = threads
    uncached = config.model_copy(update={"data": config.data.model_copy(update={"cache_mb": 0})})
    files, cached = (open_corpus(data, chosen) for chosen in (uncached, config))
    cached.load()
    sources = {
        "audio files": files,
        "audio files, decoded before (cache)": cached,
        "pack of audio": open_corpus(place / "audio", config),
        "pack of log-mel": open_corpus(place / "log-mel", config),
    }
    inputs = {name: Input(corpus, config, threads) for name, corpus in sources.items()}
    clips = arguments.batches * config.batch_size
    reference = PerSample(files, config, clips)

    def per_sample() -> None:
        for _ in DataLoader(reference, batch_size=config.batch_size, num_workers=workers):
            pass

    work: dict[str, Callable[[], Any]] = {"reference, per sample": per_sample}
    work |= {name: functools.partial(source.run, arguments.batches) for name, source in inputs.items()}
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    times = turns(work, arguments.runs, clock)
    print(f"\ninput alone: batches of {config.batch_size}, {len(files)} clips, {files.hours:.2f} h")
    print("| source | ms per clip | clips/s | reference / this | of it: read, log-mel, two views (ms, one by one) |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, seconds in times.items():
        milliseconds = 1000 * statistics.median(seconds) / clips
        ratio = statistics.median(a / b for a, b in zip(times["reference, per sample"], seconds, strict=True))
        parts = inputs[name].parts(arguments.batches, clock) if name in inputs else ()
        each = ", ".join(f"{1000 * part / clips:.3f}" for part in parts)
        print(f"| {name} | {milliseconds:.3f} | {1000 / milliseconds:.0f} | {ratio:.1f} | {each} |", flush=True)


def bare_step(config: PretrainConfig) -> Callable[[], None]:
    """Forward and backward of the network with its loss, on one batch."""
    method = build_method(config)
    if config.channels_last:
        method = method.to(memory_format=torch.channels_last)
    method.train()
    shape = (config.batch_size, 1, config.frontend.n_mels, config.segment_frames)
    views = torch.randn(shape), torch.randn(shape)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss, _ = method(*views)
        method.zero_grad(set_to_none=True)
        loss.backward()

    return step


def seconds_per_step(config: PretrainConfig, data: Path, out: Path) -> float:
    """Of a run of ``pretrain``, from its log: the first steps, with what is done once, left out."""
    pretrain(config, data, out, quiet=True)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    return float((steps[-1]["seconds"] - steps[0]["seconds"]) / (steps[-1]["step"] - steps[0]["step"]))


def compare_steps(config: PretrainConfig, data: Path, place: Path, arguments: argparse.Namespace) -> None:
    """Prints seconds per step of ``pretrain`` from every source, and the ratio to forward and backward alone."""
    half = max(arguments.steps // 2, 1)
    config = config.model_copy(update={"steps": 2 * half, "log_every": half, "save_every": 10**9, "device": "cpu"})
    sources = {"audio files": data, "pack of audio": place / "audio", PACKED: place / "log-mel"}
    bare = bare_step(config)
    bare()
    times: Times = {name: [] for name in ("forward and backward alone", *sources)}
    for turn in range(arguments.runs):
        for name, source in sources.items():
            times[name].append(seconds_per_step(config, source, place / f"run-{turn}-{source.name}"))
        began = time.perf_counter()
        for _ in range(half):
            bare()
        times["forward and backward alone"].append((time.perf_counter() - began) / half)
    print(f"\na step of {config.method}, batch {config.batch_size}, {config.precision}, update and input included")
    print_ratios(times, "forward and backward alone")


def one_step(config: PretrainConfig, data: Path | str, place: Path) -> Callable[[], None]:
    """The next step of a run each time, nothing of it made ahead."""
    run = Run(config, open_corpus(data, config), place, torch.device("cpu"), Display(shown=False))
    number = itertools.count()
    return lambda: run._advance(run.sampler.batch(next(number)))


def compare_synthetic(config: PretrainConfig, place: Path, arguments: argparse.Namespace) -> None:
    """Prints seconds per step on sounds, and the ratio to a step on packed features."""
    config = config.model_copy(update={"steps": 10**6, "log_every": 10**6, "device": "cpu"})
    moved, unmoved = (
        config.model_copy(update={"views": config.views.model_copy(update={"delta": delta})})
        for delta in (config.views.delta or 0.25, 0.0)
    )
    work = {
        PACKED: one_step(config, place / "log-mel", place),
        "synthetic, two neighbours": one_step(moved, "synthetic", place),
        "synthetic, one rendering": one_step(unmoved, "synthetic", place),
    }
    times = turns(
        work, max(arguments.runs, arguments.steps), time.process_time if arguments.cpu_time else time.perf_counter
    )
    print(f"\na step of {config.method}, batch {config.batch_size}, {config.precision}, in turns, nothing made ahead")
    print_ratios(times, PACKED)


def print_ratios(times: Times, reference: str) -> None:
    """A table of medians, and of the medians of the ratios turn by turn."""
    print(f"| source | s per step | this / {reference} |")
    print("| --- | ---: | ---: |")
    for name, seconds in times.items():
        pairs = zip(seconds, times[reference], strict=True)
        print(f"| {name} | {statistics.median(seconds):.3f} | {statistics.median(a / b for a, b in pairs):.2f} |")


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of audio; made if not given")
    parser.add_argument("--clips", type=int, default=256, help="how many files to make")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long they are")
    parser.add_argument("--rate", type=int, default=16000, help="their rate; another one than 16000 is resampled")
    parser.add_argument("--kind", default="wav", choices=["wav", "flac", "ogg"])
    parser.add_argument("--preset", default="delores-s-small")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument(
        "--cpu-time", action="store_true", help="rather than time by the clock: for a busy machine; needs --cores 1"
    )
    parser.add_argument("--batches", type=int, default=4, help="per turn of the input")
    parser.add_argument("--steps", type=int, default=8, help="per turn of pretrain; 0: input alone")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--synthetic-only", action="store_true", help="print the last table alone")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the configuration")
    arguments = parser.parse_args()
    if arguments.cpu_time and arguments.cores > 1:
        parser.error("--cpu-time does not see worker processes: give --cores 1")
    config, _ = resolved(load_config(arguments.preset, ["data.statistics_clips=256", *arguments.overrides]))
    torch.set_num_threads(arguments.cores)
    keep_freed_memory()
    print(f"{arguments.cores} cores, torch {torch.__version__}, librosa {librosa.__version__}")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data = arguments.data or make(place / "made", arguments)
        for content in ("audio", "log-mel"):
            pack(data, place / content, config, content=content)  # type: ignore[arg-type]
        if not arguments.synthetic_only:
            compare_inputs(config, data, place, arguments)
            if arguments.steps:
                compare_steps(config, data, place, arguments)
        if arguments.steps:
            compare_synthetic(config, place, arguments)


if __name__ == "__main__":
    main()
