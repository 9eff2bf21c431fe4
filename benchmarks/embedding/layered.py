"""All layers of a model in one pass over the audio: embeddings of all of them, cut into a folder for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.embed import MARKS, describe, embed_task
from benchmarks.embedding.folder import BLOCK_ROWS
from benchmarks.embedding.layout import INFO_FILE, open_rows, read_info
from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.embedding.spec import ModelSpec
from benchmarks.embedding.stored import DONE_FILE, key_of, stored_embeddings
from benchmarks.encoders.frames import POOLS
from benchmarks.tasks.folder import TaskFolder
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_folder, write_json
from pretrain.locks import folder_lock

__all__ = ["LayeredModel", "embed_layers", "load_layers"]

#: The parts of the scene embedding of DeLoRes encoders, from the first block to the output frames.
PARTS = {"layer1": "layer1_mean", "layer2": "layer2_mean", "layer3": "layer3_mean", "frames": "frames_mean"}
OURS = ("hear_delores", "random")
ADAPTED = ("hf", "torchaudio")


@dataclass(frozen=True)
class LayeredModel:
    """A model and its layers, each as if it had been asked for by itself.

    Attributes:
        label: what the model is called, without a layer.
        whole: gives the embeddings of all layers at once.
        layers: by name, from the first to the last.
        n_statistics: of the pooling over time; each has all layers, one after the other.
    """

    label: str
    whole: LoadedModel
    layers: dict[str, LoadedModel]
    n_statistics: int = 1

    def columns(self, name: str) -> np.ndarray:
        """Where the dimensions of a layer are in the embeddings of the whole."""
        widths = [model.scene_embedding_size // self.n_statistics for model in self.layers.values()]
        number = list(self.layers).index(name)
        first = [0, *accumulate(widths)][number]
        starts = sum(widths) * np.arange(self.n_statistics) + first
        return (starts[:, None] + np.arange(widths[number])).reshape(-1)


def load_layers(text: str, weights: str | None = None, device: str = "auto") -> LayeredModel:
    """The layers of an ``hf:`` or ``torchaudio:`` model, or of a DeLoRes encoder.

    Raises:
        DeloresError: the model is of another kind, names a layer, has layers of several sizes, or cannot be loaded.
    """
    spec = ModelSpec.parse(text, weights)

    def load(option: str) -> LoadedModel:
        return load_model(ModelSpec.parse(f"{text}{'&' if '?' in text else '?'}{option}", weights), device)

    if spec.adapter is not None and spec.adapter[0] in ADAPTED:
        _refuse(spec, "layer")
        whole = load("layer=all")
        names = {str(number): f"layer={number}" for number in range(whole.model.layers.n_layers + 1)}
        found = LayeredModel(
            spec.label,
            whole,
            {name: load(option) for name, option in names.items()},
            POOLS[spec.options.get("pool", "mean")],
        )
    elif spec.module in OURS:
        _refuse(spec, "scene")
        whole = load(f"scene={','.join(PARTS.values())}")
        found = LayeredModel(spec.label, whole, {name: load(f"scene={part}") for name, part in PARTS.items()})
    else:
        raise DeloresError(
            f"model {spec.label}: its layers are not known; expected hf:ORG/NAME, torchaudio:BUNDLE, or a DeLoRes "
            "encoder such as delores-m-1024 or hear_delores@CHECKPOINT"
        )
    total = sum(model.scene_embedding_size for model in found.layers.values())
    if total != whole.scene_embedding_size:
        raise DeloresError(
            f"model {spec.label}: its layers have {total} dimensions one by one, and {whole.scene_embedding_size} "
            "together; they cannot be cut apart"
        )
    return found


def _refuse(spec: ModelSpec, option: str) -> None:
    if option in spec.options:
        raise DeloresError(
            f"model {spec.label}: all layers are scored, but the option {option}={spec.options[option]} names some; "
            "leave it out"
        )


def embed_layers(
    model: LayeredModel,
    task: TaskFolder,
    embeddings_dir: str | Path,
    *,
    batch_seconds: float | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Path]:
    """The folder of embeddings of each layer, by its name: what ``embed_task`` would write for that layer.

    The audio is read and the model is run once, for all layers together; that folder is kept, too. Nothing is run where
    the folders of all layers are there.

    Raises:
        DeloresError: as :func:`benchmarks.embedding.embed.embed_task`, or for a task of events.
    """
    if task.embedding_type != "scene":
        raise DeloresError(f"{task.folder_name}: layers are compared on tasks of clips, and this one is of events")
    targets = {
        name: Path(embeddings_dir) / layer.folder_name / task.folder_name for name, layer in model.layers.items()
    }
    missing = [name for name, target in targets.items() if not _is_there(target, model.layers[name], task, skip_bad)]
    if missing:
        bounded: dict[str, Any] = {} if batch_seconds is None else {"batch_seconds": batch_seconds}
        done = embed_task(model.whole, task, embeddings_dir, skip_bad=skip_bad, progress=progress, wait=True, **bounded)
        for name in missing:
            with folder_lock(targets[name], "embedding this", whole=True, wait=True):
                if not _is_there(targets[name], model.layers[name], task, skip_bad):
                    _cut(done.path, targets[name], model.columns(name), model.layers[name], task)
    return targets


def _is_there(target: Path, layer: LoadedModel, task: TaskFolder, skip_bad: bool) -> bool:
    return stored_embeddings(target, key_of(describe(layer, task)), layer, skip_bad).usable


def _cut(whole: Path, target: Path, columns: np.ndarray, layer: LoadedModel, task: TaskFolder) -> None:
    """Writes the columns of one layer as its own folder of embeddings, beside a copy of all else."""
    with atomic_folder(target, MARKS) as folder:
        embeddings = {
            f"{split}.{end}" for split in task.splits for end in ("embeddings.npy", "embedding-dimensions.json")
        }
        for file in whole.iterdir():
            if file.is_file() and not file.name.startswith(".") and file.name not in embeddings:
                shutil.copyfile(file, folder / file.name)
        for split in task.splits:
            rows = open_rows(whole, split)
            with open(folder / f"{split}.embeddings.npy", "wb") as stream:
                for start in range(0, len(rows), BLOCK_ROWS):
                    stream.write(np.ascontiguousarray(rows[start : start + BLOCK_ROWS][:, columns]).tobytes())
            write_json(folder / f"{split}.embedding-dimensions.json", [len(rows), len(columns)])
        write_json(folder / INFO_FILE, {**read_info(whole), **describe(layer, task)})
        (folder / DONE_FILE).touch()
