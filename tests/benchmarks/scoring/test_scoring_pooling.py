"""Protocols attentive and prototype: forward and gradients against plain numpy, ragged clips, what a mean loses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from embeddings_folders import write_events, write_scene

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.results.record import load_predictions
from benchmarks.scoring.descent import gradients
from benchmarks.scoring.fitting import logit_loss
from benchmarks.scoring.fold import Fold, run_folds
from benchmarks.scoring.frames import ClipMeans, Frames
from benchmarks.scoring.linear.protocol import Linear
from benchmarks.scoring.pooling.attentive import Attentive, AttentiveHead
from benchmarks.scoring.pooling.prototype import Prototype, PrototypeHead
from benchmarks.scoring.rows import standardisation
from benchmarks.scoring.score import score_embeddings
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError

NOWHERE = WorkFolder(None, "")


def with_frames(folder, *, longest=9, hidden=True, seed=3):
    """Replaces a scene folder's rows by frames of noise, two of which are the row and (``hidden``) its negative.

    The mean of a clip's frames then tells nothing of its row.
    """
    rng = np.random.default_rng(seed)
    for path in folder.glob("*.embedding-dimensions.json"):
        n, dim = json.loads(path.read_text())
        split = path.name.split(".")[0]
        rows = np.fromfile(folder / f"{split}.embeddings.npy", dtype=np.float32).reshape(n, dim)
        counts = rng.integers(3, longest + 1, n)
        frames = []
        for row, count in zip(rows, counts, strict=True):
            clip = 0.3 * rng.standard_normal((count, dim))
            first, second = rng.permutation(count)[:2]
            clip[first] += 2 * row
            if hidden:
                clip[second] -= 2 * row
                clip -= clip.mean(axis=0)
            frames.append(clip)
        frames = np.concatenate(frames).astype(np.float32)
        frames.tofile(folder / f"{split}.embeddings.npy")
        path.write_text(json.dumps(list(frames.shape)))
        (folder / f"{split}.frames.json").write_text(json.dumps(counts.tolist()))
    return folder


@pytest.fixture
def ragged():
    """Clips of 1 to 6 frames of 5 values, padded with numbers that must have no effect; 3 labels."""
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((n, 5)) for n in (4, 1, 6, 2)]
    padded = np.full((4, 6, 5), 1e3)
    mask = np.zeros((4, 6), dtype=bool)
    for number, clip in enumerate(clips):
        padded[number, : len(clip)], mask[number, : len(clip)] = clip, True
    mean, scale = rng.standard_normal(5), rng.uniform(0.5, 2.0, 5)
    return clips, (torch.from_numpy(padded), torch.from_numpy(mask)), mean, scale


TARGETS = {
    "multiclass": np.eye(3)[[0, 2, 1, 2]],
    "multilabel": np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0.0]]),
}


def loss_and_slope(logits: np.ndarray, kind: str) -> tuple[float, np.ndarray]:
    """The mean loss of logits (n, 3), and its derivative by each of them."""
    target = TARGETS[kind]
    if kind == "multiclass":
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return float(-np.log(shares[target == 1]).mean()), (shares - target) / len(logits)
    shares = 1 / (1 + np.exp(-logits))
    losses = -(target * np.log(shares) + (1 - target) * np.log(1 - shares))
    return float(losses.mean()), (shares - target) / logits.size


def check(head, padded, logits, by_name, kind):
    found = head(padded)
    np.testing.assert_allclose(found.detach().numpy(), logits, rtol=1e-12, atol=1e-12)
    loss, slope = loss_and_slope(logits, kind)
    ours = logit_loss(found, torch.from_numpy(TARGETS[kind]), kind)
    assert ours.item() == pytest.approx(loss, rel=1e-12)
    ours.backward()
    for name, gradient in by_name(slope).items():
        np.testing.assert_allclose(head.get_parameter(name).grad.numpy(), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_attentive_equals_numpy(ragged, kind):
    clips, padded, mean, scale = ragged
    torch.manual_seed(0)
    head = AttentiveHead(torch.from_numpy(mean), torch.from_numpy(scale), 3).double()
    torch.nn.init.normal_(head.queries, std=2.0)
    queries, weight, bias = (p.detach().numpy() for p in (head.queries, head.linear.weight, head.linear.bias))
    frames = [(clip - mean) / scale for clip in clips]
    attention = []  # by clip, (3, t): each class has its own
    for x in frames:
        e = np.exp(queries @ x.T / np.sqrt(5))
        attention.append(e / e.sum(axis=1, keepdims=True))
    pooled = [a @ x for a, x in zip(attention, frames, strict=True)]  # (3, 5): a class's view of the clip
    logits = np.stack([(weight * z).sum(axis=1) + bias for z in pooled])

    def gradients(slope):
        by_query, by_weight = np.zeros_like(queries), np.zeros_like(weight)
        for g, a, z, x in zip(slope, attention, pooled, frames, strict=True):
            for c in range(3):
                by_weight[c] += g[c] * z[c]
                value = x @ weight[c]
                by_query[c] += g[c] * (a[c] * (value - a[c] @ value)) @ x / np.sqrt(5)
        return {"queries": by_query, "linear.weight": by_weight, "linear.bias": slope.sum(axis=0)}

    check(head, padded, logits, gradients, kind)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_prototype_equals_numpy(ragged, kind):
    clips, padded, mean, scale = ragged
    torch.manual_seed(0)
    head = PrototypeHead(torch.from_numpy(mean), torch.from_numpy(scale), 7, 3).double()
    values, weight, bias = (p.detach().numpy() for p in (head.prototypes, head.linear.weight, head.linear.bias))
    signs = np.where(values >= 0, 1.0, -1.0)
    frames = [(clip - mean) / scale for clip in clips]
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in frames]
    cosines = [u @ (signs / np.linalg.norm(signs, axis=1, keepdims=True)).T for u in units]  # (t, 7)
    nearest = np.stack([c.max(axis=0) for c in cosines])
    logits = nearest @ weight.T + bias

    def gradients(slope):
        by_value = np.zeros_like(values)
        for g, c, u in zip(slope @ weight, cosines, units, strict=True):
            by_value += g[:, None] * u[c.argmax(axis=0)] / np.sqrt(5)  # through the sign as if it were not there
        return {"prototypes": by_value, "linear.weight": slope.T @ nearest, "linear.bias": slope.sum(axis=0)}

    check(head, padded, logits, gradients, kind)


def test_before_training_attentive_is_a_linear_layer_on_the_mean(ragged):
    clips, padded, mean, scale = ragged
    head = AttentiveHead(torch.from_numpy(mean), torch.from_numpy(scale), 3).double()
    means = torch.from_numpy(np.stack([((clip - mean) / scale).mean(axis=0) for clip in clips]))
    with torch.no_grad():
        np.testing.assert_allclose(head(padded), head.linear(means), rtol=1e-12, atol=1e-12)


def test_clips_come_padded_from_memory_or_disk_in_bounded_portions(tmp_path):
    folder = with_frames(write_scene(tmp_path / "m" / "t", folds=3, sizes=20))
    task = EmbeddingsTask.open(folder)
    names = ["fold02", "fold00"]
    clips = [
        clip
        for name in names
        for clip in np.split(task.splits[name].embeddings, np.cumsum(task.splits[name].frame_counts)[:-1])
    ]
    assert len({len(clip) for clip in clips}) > 3
    held, read = Frames(task, names), Frames(task, names, in_memory_bytes=0, padded_bytes=4 * task.embedding_size * 20)
    assert len(held) == len(clips) == 40
    chosen = torch.tensor([39, 0, 21, 7])
    for frames in (held, read):
        found, mask = frames.take(chosen)
        assert found.shape[1] == max(len(clips[i]) for i in chosen)
        for i, clip, own in zip(chosen, found, mask, strict=True):
            np.testing.assert_array_equal(clip[own], clips[i])
            assert not clip[~own].any()
        few = frames.subset(chosen)
        np.testing.assert_array_equal(few.targets, frames.targets[chosen])
        assert torch.equal(few.embeddings(1, 3)[1].sum(dim=1), mask[1:3].sum(dim=1))
        mean, scale = standardisation(few)
        own = np.concatenate([clips[i] for i in chosen]).astype(np.float64)
        np.testing.assert_allclose(mean, own.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(scale, own.std(axis=0), rtol=1e-5)
        mean, scale = standardisation(ClipMeans(few))
        own = np.stack([clips[i].mean(axis=0, dtype=np.float64) for i in chosen])  # alike in all but rounding
        np.testing.assert_allclose(mean, own.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(scale, own.std(axis=0), rtol=1e-5, atol=1e-6)
    assert list(held.blocks()) == [(0, 40)]
    blocks = list(read.blocks())
    assert [start for start, _ in blocks] == [0, *(stop for _, stop in blocks[:-1])]
    assert blocks[-1][1] == 40
    assert all((stop - start) * max(map(len, clips[start:stop])) <= 20 for start, stop in blocks)


@pytest.mark.parametrize("kind", [AttentiveHead, lambda mean, scale, n: PrototypeHead(mean, scale, 9, n)])
def test_portions_of_a_batch_give_the_gradients_of_the_whole(tmp_path, kind):
    task = EmbeddingsTask.open(with_frames(write_scene(tmp_path / "m" / "t", sizes=24), hidden=False))
    fold = Fold.of(task, 0)
    torch.manual_seed(1)
    head = kind(*standardisation(fold.train), 3)
    parameters, batch = list(head.parameters()), torch.randperm(24)[:11]
    whole = gradients(head, parameters, fold, batch)
    train = Frames(task, ["train"], padded_bytes=4 * task.embedding_size * 15)
    assert len(list(train.portions(batch))) > 5
    for one, other in zip(whole, gradients(head, parameters, replace(fold, train=train), batch), strict=True):
        assert one.abs().max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # summed in another order, in float32


def test_queries_that_never_learn_leave_linear_on_the_mean_frames(tmp_path, monkeypatch):
    sizes = {"train": 40, "valid": 20, "test": 30}
    plain = write_scene(tmp_path / "a" / "t", sizes=sizes, dim=12)
    frames = EmbeddingsTask.open(with_frames(write_scene(tmp_path / "b" / "t", sizes=sizes, dim=12), hidden=False))
    for name, split in EmbeddingsTask.open(plain).splits.items():
        parts = np.split(frames.splits[name].embeddings, np.cumsum(frames.splits[name].frame_counts)[:-1])
        np.stack([part.mean(axis=0) for part in parts]).astype(np.float32).tofile(
            plain / f"{split.name}.embeddings.npy"
        )

    class Fixed(AttentiveHead):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.queries.register_hook(torch.zeros_like)

    monkeypatch.setattr("benchmarks.scoring.pooling.attentive.AttentiveHead", Fixed)
    linear = run_folds(EmbeddingsTask.open(plain), Linear(max_epochs=5), NOWHERE)
    attentive = run_folds(frames, Attentive(max_epochs=5), NOWHERE)
    assert attentive.folds[0].scores == pytest.approx(linear.folds[0].scores, abs=1e-3)


def test_a_dimension_of_one_mean_is_scaled_by_its_frames(tmp_path):
    task = EmbeddingsTask.open(with_frames(write_scene(tmp_path / "m" / "t", sizes=12)))  # all clips have one mean
    train = Fold.of(task, 0).train
    _, scale = Attentive().standardisation(train)
    np.testing.assert_allclose(scale, standardisation(train)[1] / 100, rtol=1e-6)


def test_they_find_what_the_mean_over_time_loses(tmp_path):
    sizes = {"train": 160, "valid": 60, "test": 150}
    plain = write_scene(tmp_path / "a" / "t", sizes=sizes, dim=12, noise=0.3)
    hidden = EmbeddingsTask.open(with_frames(write_scene(tmp_path / "b" / "t", sizes=sizes, dim=12, noise=0.3)))
    for name, split in EmbeddingsTask.open(plain).splits.items():  # the same clips, pooled by their mean
        parts = np.split(hidden.splits[name].embeddings, np.cumsum(hidden.splits[name].frame_counts)[:-1])
        means = np.stack([part.mean(axis=0) for part in parts])
        means.astype(np.float32).tofile(plain / f"{split.name}.embeddings.npy")
    score = {
        "linear": run_folds(EmbeddingsTask.open(plain), Linear(max_epochs=20), NOWHERE),
        "attentive": run_folds(hidden, Attentive(max_epochs=25, lr=1e-2), NOWHERE),
        "prototype": run_folds(hidden, Prototype(max_epochs=25, lr=1e-2), NOWHERE),
    }
    found = {name: run.folds[0].scores["top1_acc"] for name, run in score.items()}
    assert found["linear"] < 0.55  # a third by chance
    assert min(found["attentive"], found["prototype"]) > 0.85


def test_records_name_the_protocol_and_hold_each_clips_prediction(tmp_path):
    folder = with_frames(write_scene(tmp_path / "e" / "m" / "t.timestamps", folds=3, multilabel=True), hidden=False)
    options = {"max_epochs": 3, "results_dir": tmp_path / "r"}
    record = score_embeddings(folder, protocol="prototype", per_class=2, shots=4, **options)
    assert record.folder.name == "prototype-max_epochs=3-4-shot-per_class=2-seed42"
    task = EmbeddingsTask.open(folder)
    for fold in record.folds:
        kept, split = load_predictions(record.folder)[fold.test_split], task.splits[fold.test_split]
        assert kept.files.tolist() == list(split.files)
        np.testing.assert_array_equal(kept.target, split.targets)
    again = score_embeddings(folder, protocol="prototype", per_class=2, shots=4, overwrite=True, **options)
    assert again.scores == record.scores  # the seed decides


def test_embeddings_of_the_other_kind_and_events_are_refused(tmp_path):
    scenes = write_scene(tmp_path / "e" / "m" / "s")
    with pytest.raises(DeloresError, match=r"attentive needs timestamps embeddings of .* holds scene embeddings"):
        score_embeddings(scenes, protocol="attentive", results_dir=tmp_path / "r")
    with pytest.raises(DeloresError, match=r"protocol knn needs scene embeddings of clips, .* 'delores embed --needs"):
        score_embeddings(with_frames(scenes), protocol="knn", results_dir=tmp_path / "r")
    events = write_events(tmp_path / "e" / "m" / "t")
    with pytest.raises(DeloresError, match="protocol prototype is for clips, and toy_events-v1-full is an event task"):
        score_embeddings(events, protocol="prototype", results_dir=tmp_path / "r")
    with pytest.raises(DeloresError, match="attentive protocol: expected `patience` to be an integer >= 1"):
        Attentive(patience=0)
    with pytest.raises(DeloresError, match="prototype protocol: expected `per_class` to be an integer >= 1"):
        Prototype(per_class=0)
