"""The online probe: how well a linear classifier on the encoder's scene embeddings does, while training goes on.

A quick look at one scene task of single labels, for the person who watches: logistic regression on part of its
training data, accuracy on part of its validation data, its test data untouched. It is no benchmark score.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hear_delores.documents import read_json
from hear_delores.encoder import AudioNTT
from hear_delores.errors import DeloresError
from hear_delores.files import check_name
from hear_delores.model import HearModel
from hear_delores.pooling import plain_part
from pretrain.config import PretrainConfig
from pretrain.data.audio import Piece, file_length, read_piece
from pretrain.data.batches import to_float
from pretrain.data.sources import task_audio, task_metadata

__all__ = ["Probe"]

TRAIN_CLIPS, VALID_CLIPS = 1000, 500  # at most, drawn once
LONGEST_S = 10.0  # the start of each clip
BATCH_CLIPS = 32


class Probe:
    """A HEAR task folder, its chosen clips decoded once and held in memory as 16-bit samples.

    Of a task with splits ``train`` and ``valid``, those; of a task in folds, the second fold is the validation
    data and the first, which the benchmark's first run tests on, is left alone.

    Raises:
        DeloresError: not a task folder, not a scene task of one label per clip, or audio that cannot be read.
    """

    def __init__(self, folder: str | Path, config: PretrainConfig) -> None:
        self.folder, self.config = Path(folder), config
        metadata = _metadata(self.folder)
        self.name = str(metadata.get("task_name", self.folder.name))
        train, valid = _splits(self.folder, metadata["splits"], config.frontend.sample_rate)
        rng = np.random.default_rng(0)
        self._train = self._load(train, TRAIN_CLIPS, rng)
        self._valid = self._load(valid, VALID_CLIPS, rng)
        if len(set(self._train[1])) < 2:
            raise DeloresError(f"{self.folder}: a probe needs training clips of two labels or more")

    def score(self, encoder: AudioNTT, mean: float, std: float) -> float:
        """The validation accuracy, 0 to 1, of the encoder as it is; NaN when its embeddings are not finite.

        The encoder computes as in eval mode and is left as it is, and so are all random generators.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        scene = [plain_part(part) for part in self.config.scene]  # maps are learnt when training has ended
        model = HearModel(encoder, self.config.frontend, mean, std, scene)
        model.frontend.to(next(encoder.parameters()).device)
        train, valid = (self._embed(model, clips) for clips, _ in (self._train, self._valid))
        if not (np.isfinite(train).all() and np.isfinite(valid).all()):
            return float("nan")
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, tol=1e-3))
        classifier.fit(train, self._train[1])
        return float(np.mean(classifier.predict(valid) == np.array(self._valid[1])))

    def _load(
        self, rows: list[tuple[Path, str]], most: int, rng: np.random.Generator
    ) -> tuple[list[NDArray[np.int16]], list[str]]:
        """The samples and labels of at most ``most`` of the rows."""
        chosen = [rows[i] for i in sorted(rng.permutation(len(rows))[:most])]
        clips: list[NDArray[np.int16]] = []
        for path, _ in chosen:
            frames, rate = file_length(path)
            piece = Piece(path, path.name, 0, min(frames, round(LONGEST_S * rate)), rate)
            clips.append(read_piece(piece, self.config.frontend.sample_rate))
        return clips, [label for _, label in chosen]

    def _embed(self, model: HearModel, clips: list[NDArray[np.int16]]) -> NDArray[np.float32]:
        """(n_clips, D) float32 scene embeddings; clips of one length go through the encoder together."""
        output = np.empty((len(clips), model.scene_embedding_size), dtype=np.float32)
        order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
        for _, found in itertools.groupby(order, key=lambda i: len(clips[i])):
            alike = list(found)
            for first in range(0, len(alike), BATCH_CLIPS):
                group = alike[first : first + BATCH_CLIPS]
                audio = to_float(torch.from_numpy(np.stack([clips[i] for i in group])))
                output[group] = model.scene_embeddings(audio).float().cpu().numpy()
        return output


def _metadata(folder: Path) -> dict[str, Any]:
    if not (folder / "task_metadata.json").is_file():
        raise DeloresError(f"--probe {folder}: expected a HEAR task folder with task_metadata.json in it")
    metadata = task_metadata(folder)
    kind = f"{metadata.get('embedding_type')} {metadata.get('prediction_type')}"
    if kind != "scene multiclass":
        raise DeloresError(
            f"--probe {folder}: expected a scene task with one label per clip (scene multiclass), but this is a "
            f"{kind} task: choose another, or leave --probe out"
        )
    return metadata


def _splits(folder: Path, splits: list[str], rate: int) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """(audio file, label) of the clips to train on and of those to validate on."""
    if "train" in splits and "valid" in splits:
        train, valid = ["train"], ["valid"]
    elif len(splits) >= 3 and "train" not in splits:
        train, valid = sorted(splits)[2:], sorted(splits)[1:2]
    else:
        raise DeloresError(
            f"--probe {folder}: expected the splits train and valid, or three folds or more, got {', '.join(splits)}"
        )
    return tuple([row for split in part for row in _rows(folder, split, rate)] for part in (train, valid))  # type: ignore[return-value]


def _rows(folder: Path, split: str, wanted: int) -> list[tuple[Path, str]]:
    """(audio file, label) of a split's clips, of the audio nearest to the rate ``wanted``."""
    labels = read_json(folder / f"{split}.json")
    if not labels:
        raise DeloresError(f"{folder / split}.json: expected an object of file names and lists of one label")
    audio = task_audio(folder, wanted)
    rows: list[tuple[Path, str]] = []
    for name, label in sorted(labels.items()):
        if not isinstance(label, list) or len(label) != 1:
            raise DeloresError(f"{folder / split}.json: expected a list of one label for {name}, got {label!r}")
        check_name(name, f"{folder / split}.json", hidden=True)
        rows.append((audio / split / name, str(label[0])))
    return rows
