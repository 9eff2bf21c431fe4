"""The untouched inputs: small, whole, the same for every seed of the zoo. Formats are written here from their description."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import sys
import tarfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

__all__ = ["TINY", "make_inputs"]

RATE = 16000
TINY = """base: demo-s
encoder: {channels: 8, embedding_size: 16}
projector: {widths: [24, 24]}
augment: {mixup_memory: 20}
segment_s: 0.3
batch_size: 4
steps: 2
save_every: 1
log_every: 1
precision: float32
device: cpu
scene: [pooled]
timestamp: [frames]
data: {threads: 0}
"""
ARCHIVE = "hear2021-esc50-v2.0.0-full-48000.tar.gz"
FOLDS = tuple(f"fold{index:02d}" for index in range(5))
SPLITS = ("train", "valid", "test")


def make_inputs(folder: Path) -> None:
    """Makes every input below ``folder``, in a process of its own: tensors and threads stay out of the caller's."""
    pid = os.fork()
    if pid == 0:
        try:
            _make(folder)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError(f"the inputs in {folder} could not be made")


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(TINY)
    _corpus(folder / "corpus")
    _scene_task(folder / "task" / "toy-1-full")
    _event_task(folder / "events" / "sounds-1-full")
    _scene_embeddings(folder / "embeddings" / "toy-1-full", task="toy", seed=0)
    _scene_embeddings(folder / "folds" / "kfold-1-full", task="kfold", seed=1, splits=FOLDS)
    _event_embeddings(folder / "event_embeddings" / "sounds-1-full")
    _checkpoints(folder)
    _records(folder / "records")
    _records(folder / "official", (("esc50", FOLDS, "v2.0.0"),))
    _run(folder)
    _pack(folder)
    _archive(folder / "archive")
    _tables(folder)
    (folder / "own_zoo.py").write_text(own_module())


def tone(number: int, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """A tone in noise, another one for each number: (n,) float64, peak about 0.3."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(number).standard_normal(len(t))
    return 0.25 * np.sin(2 * np.pi * (300, 1100, 2500)[number % 3] * (1 + 0.01 * number) * t) + 0.02 * noise


def pcm(samples: np.ndarray) -> np.ndarray:
    """As 16-bit integers: rounded here, for libsndfile does it differently from format to format."""
    return np.rint(samples * 32767).astype(np.int16)


MODULE = """import torch
{imports}
class Model(torch.nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 16000, 4, 4
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))
def load_model(path='', pool='mean', scale=1.0):
    model = Model()
    model.pool, model.scale = pool, scale
    return model
def features(audio):
    parts = torch.stack([audio[:, i::4][:, :1000] for i in range(4)], 2)
    return {body}
def get_scene_embeddings(audio, model):
    return {scene}
def get_timestamp_embeddings(audio, model):
    times = torch.arange(1, 5).float().expand(len(audio), 4) * 10
    return {timestamps}, times
"""


def own_module(**changed: str) -> str:
    """A HEAR model in one module, with parts of it changed. Its option ``pool`` changes nothing, ``scale`` does."""
    parts = {
        "imports": "",
        "body": "parts.abs()",
        "scene": "features(audio).mean(1) * model.weight * model.scale",
        "timestamps": "features(audio)[:, :4] * model.weight",
    }
    return MODULE.format(**{**parts, **changed})


def _corpus(folder: Path) -> None:
    folder.mkdir()
    labels, manifest = ["file,label,group,split"], ["file,start,duration"]
    for number in range(12):
        name = f"c{number:02d}.wav"
        soundfile.write(folder / name, pcm(tone(number)), RATE, subtype="PCM_16")
        labels.append(f"{name},{'abc'[number % 3]},g{number},{SPLITS[number // 3 % 3]}")
        manifest.append(f"{name},0.0,0.4")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "manifest.csv").write_text("\n".join(manifest) + "\n")


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))


def _head(folder: Path, metadata: dict[str, Any], labels: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    write_json(folder / "task_metadata.json", metadata)
    (folder / "labelvocabulary.csv").write_text("idx,label\n" + "".join(f"{i},{x}\n" for i, x in enumerate(labels)))


def scene_metadata(task: str, splits: tuple[str, ...] = SPLITS, version: str = "1") -> dict[str, Any]:
    """``task_metadata.json`` of a scene task."""
    is_folds = splits != SPLITS
    return {
        "task_name": task, "version": version, "mode": "full", "embedding_type": "scene",
        "prediction_type": "multiclass", "split_mode": "presplit_kfold" if is_folds else "trainvaltest",
        "nfolds": len(splits) if is_folds else None, "sample_duration": 0.5,
        "evaluation": ["top1_acc", "mAP", "d_prime", "aucroc"], "splits": list(splits),
    }  # fmt: skip


def _scene_task(
    folder: Path, metadata: dict[str, Any] | None = None, splits: tuple[str, ...] = SPLITS, rate: int = RATE
) -> None:
    _head(folder, metadata or scene_metadata("toy"), ("a", "b", "c"))
    for place, split in enumerate(splits):
        audio = folder / str(rate) / split
        audio.mkdir(parents=True)
        truth = {}
        for number in range(3):
            name = f"{split}{number}.wav"
            soundfile.write(audio / name, pcm(tone(number + 3 * place, rate=rate)), rate, subtype="PCM_16")
            truth[name] = ["abc"[number]]
        write_json(folder / f"{split}.json", truth)


EVENT_METADATA = {
    "task_name": "sounds", "version": "1", "mode": "full", "embedding_type": "event", "prediction_type": "multilabel",
    "split_mode": "trainvaltest", "sample_duration": 1.0, "splits": list(SPLITS),
    "evaluation": ["event_onset_200ms_fms", "segment_1s_er"],
    "evaluation_params": {"event_postprocessing_grid": {"median_filter_ms": [250], "min_duration": [125]}},
}  # fmt: skip


def _events(number: int) -> list[dict[str, Any]]:
    return [
        {"label": "bell", "start": 100.0 + 10 * number, "end": 400.0},
        {"label": "dog", "start": 500.0, "end": 800.0 + 10 * number},
    ]


def _event_task(folder: Path) -> None:
    _head(folder, EVENT_METADATA, ("bell", "dog"))
    for place, split in enumerate(SPLITS):
        audio = folder / str(RATE) / split
        audio.mkdir(parents=True)
        truth = {}
        for number in range(2):
            name = f"{split}{number}.wav"
            soundfile.write(audio / name, pcm(tone(number + 2 * place, 1.0)), RATE, subtype="PCM_16")
            truth[name] = _events(number)
        write_json(folder / f"{split}.json", truth)


def _write_rows(folder: Path, split: str, rows: np.ndarray, labels: list[list[str]]) -> None:
    np.ascontiguousarray(rows, dtype=np.float32).tofile(folder / f"{split}.embeddings.npy")  # raw, in spite of its name
    write_json(folder / f"{split}.embedding-dimensions.json", list(rows.shape))
    with open(folder / f"{split}.target-labels.pkl", "wb") as stream:
        pickle.dump(labels, stream)


def _scene_embeddings(
    folder: Path, *, task: str, seed: int, splits: tuple[str, ...] = SPLITS, noise: float = 4.0, version: str = "1"
) -> None:
    metadata = scene_metadata(task, splits, version)
    _head(folder, metadata, ("a", "b", "c"))
    rng, shuffle = np.random.default_rng(seed), random.Random(0)
    centres = rng.standard_normal((3, 6))
    for split in splits:
        truth = {f"{split}{number}.wav": ["abc"[number % 3]] for number in range(12)}
        write_json(folder / f"{split}.json", truth)
        files = list(truth)
        shuffle.shuffle(files)
        rows = np.stack([centres["abc".index(truth[f][0])] + noise * rng.standard_normal(6) for f in files])
        _write_rows(folder, split, rows, [truth[f] for f in files])


def _event_embeddings(folder: Path) -> None:
    _head(folder, EVENT_METADATA, ("bell", "dog"))
    rng, shuffle = np.random.default_rng(3), random.Random(0)
    for split in SPLITS:
        truth = {f"{split}{number}.wav": _events(number) for number in range(3)}
        write_json(folder / f"{split}.json", truth)
        files = list(truth)
        shuffle.shuffle(files)
        rows, labels, stamps = [], [], []
        for file in files:
            for time in np.arange(0.0, 1000.0, 50.0):
                held = [e["label"] for e in truth[file] if e["start"] <= time < e["end"]]
                rows.append([2.0 * ("bell" in held) - 1, 2.0 * ("dog" in held) - 1, 0.5])
                labels.append(held)
                stamps.append([file, float(time)])
        _write_rows(folder, split, np.array(rows) + 0.3 * rng.standard_normal((len(rows), 3)), labels)
        write_json(folder / f"{split}.filename-timestamps.json", stamps)


def _checkpoints(folder: Path) -> None:
    import torch

    from hear_delores import AudioNTT, EncoderConfig, FrontendConfig, HearModel, save_checkpoint

    torch.manual_seed(0)
    encoder = AudioNTT(EncoderConfig(channels=8, embedding_size=16)).eval()
    save_checkpoint(folder / "model.safetensors", HearModel(encoder, FrontendConfig(), -7.0, 4.0))
    state = encoder.state_dict()
    names = {f"blocks.{layer}.{part}": f"features.{4 * layer + number}"
             for layer in range(3) for number, part in enumerate(("conv", "norm"))}  # fmt: skip
    foreign = {}
    for name, value in state.items():
        module, _, tensor = name.rpartition(".")
        foreign[f"{names.get(module, module)}.{tensor}"] = value.clone()
    (folder / "foreign").mkdir()
    torch.save(foreign, folder / "foreign" / "byola.pth")
    write_json(folder / "foreign" / "byola.pth.json", {"mean": -7.0, "std": 4.0})


def _records(folder: Path, tasks: Any = (("toy", SPLITS, "1"), ("kfold", FOLDS, "1"))) -> None:
    """Records of two models on these tasks, by the project's own scorer: what they say must agree with itself."""
    from benchmarks.scoring.score import score_embeddings

    for place, label in enumerate(("first", "second")):
        for task, splits, version in tasks:
            embedded = folder / ".made" / label / f"{task}-{version}-full"
            _scene_embeddings(embedded, task=task, seed=7, splits=splits, noise=2.5 + place, version=version)
            weights = hashlib.sha256(label.encode()).hexdigest()
            info = {
                "format_version": 1, "seconds": 1.0, "skipped": [], "device": "cpu", "versions": {},
                "model": {
                    "module": "hear_delores", "label": label, "options": {}, "file": f"{label}.safetensors",
                    "weights_hash": weights, "sample_rate": RATE, "n_parameters": 10,
                    "sizes": {"scene": 6, "timestamp": 6},
                },
                "task": {"name": embedded.name, "revision": "0" * 64, "audio_sample_rate": RATE},
            }  # fmt: skip
            write_json(embedded / "embedding-info.json", info)
            score_embeddings(embedded, protocol="knn", seed=42, results_dir=folder)
    shutil.rmtree(folder / ".made")


def _run(folder: Path) -> None:
    """A pre-training run that was stopped after its last state and before its checkpoint."""
    _command(
        folder, "pretrain", "--data", "corpus", "--out", "run", "--preset", "./tiny.yaml", "--quiet", "--no-picture"
    )
    (folder / "run" / "checkpoint.safetensors").unlink()


def _pack(folder: Path) -> None:
    _command(folder, "pack", "--data", "corpus", "--out", "pack", "--preset", "./tiny.yaml", "--quiet")


def _command(folder: Path, *words: str) -> None:
    from benchmarks.cli import main

    here, argv = os.getcwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["delores", *words]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"delores {' '.join(words)} failed") from None
    finally:
        os.chdir(here)
        sys.argv = argv


def write_archive(folder: Path, tree: Path, name: str = ARCHIVE) -> None:
    """Packs a task folder and writes the record that lists it; "{here}" is the server's to fill in."""
    with tarfile.open(folder / name, "w:gz") as tar:
        tar.add(tree, arcname=f"tasks/{tree.name}")
    write_record(folder, name)


def write_record(folder: Path, name: str = ARCHIVE) -> None:
    """The JSON of a record that lists one file, as it is on disk."""
    body = (folder / name).read_bytes()
    entry = {"key": name, "size": len(body), "checksum": f"md5:{hashlib.md5(body).hexdigest()}"}
    write_json(folder / "record.json", {"files": [{**entry, "links": {"self": f"{{here}}/{name}"}}]})


def _archive(folder: Path) -> None:
    tree = folder.with_name(".archive") / "esc50-v2.0.0-full"
    _scene_task(tree, scene_metadata("esc50", FOLDS, "v2.0.0"), FOLDS, 48000)
    folder.mkdir()
    write_archive(folder, tree)
    shutil.rmtree(tree.parent)


def _tables(folder: Path) -> None:
    from benchmarks.reading import published

    shutil.copy(Path(published.__file__).parent / "published" / "leaderboard.csv", folder / "leaderboard.csv")
    (folder / "overlay.csv").write_text(
        "model,task,metric,score,protocol,split,source\n"
        "paper A,esc50,top1_acc,51.5,linear,test,somewhere\npaper B,esc50,top1_acc,61.5,linear,test,somewhere\n"
    )
