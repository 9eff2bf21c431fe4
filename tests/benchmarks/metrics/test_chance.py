"""Chance levels against simulated guesses, scored by the metrics themselves and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import average_precision_score

from benchmarks.metrics.chance import expected_average_precision, scene_chance, shuffled_events_chance
from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import METRICS
from hear_delores.errors import DeloresError


def one_label(n: int = 120, weights: tuple[float, ...] = (0.5, 0.3, 0.2), seed: int = 0) -> np.ndarray:
    labels = np.random.default_rng(seed).choice(len(weights), n, p=weights)
    return np.eye(len(weights))[labels]


def several_labels(n: int = 90, seed: int = 0) -> np.ndarray:
    target = (np.random.default_rng(seed).random((n, 4)) < [0.5, 0.2, 0.1, 0.05]).astype(float)
    target[:2] = [[1, 1, 1, 1], [0, 0, 0, 0]]
    return target


def guesses(metric: str, target: np.ndarray, draws: int = 150) -> np.ndarray:
    """Scores of answers of random clips for accuracies, of random numbers for metrics of ranks."""
    generator = np.random.default_rng(1)
    ranked = METRICS[metric].by_class is not None

    def guess() -> np.ndarray:
        return generator.random(target.shape) if ranked else target[generator.integers(len(target), size=len(target))]

    return np.array([METRICS[metric].scores(guess(), target)[metric] for _ in range(draws)])


@pytest.mark.parametrize("metric", ["top1_acc", "chroma_acc", "mAP", "aucroc", "d_prime"])
@pytest.mark.parametrize(
    "target", [one_label(), one_label(weights=tuple(np.full(14, 1 / 14)), n=150), several_labels()]
)
def test_the_level_is_that_of_simulated_guesses(metric: str, target: np.ndarray) -> None:
    if metric in ("aucroc", "d_prime") and not target.any(axis=0).all():
        target = target[:, target.any(axis=0)]
    chance = scene_chance(metric, target)
    drawn = guesses(metric, target)
    error = drawn.std(ddof=1) / np.sqrt(len(drawn))
    assert abs(drawn.mean() - chance.level) < 4 * error
    assert chance.low <= chance.level <= chance.high
    if METRICS[metric].by_class is None:
        assert chance.constant >= chance.level
    else:  # random numbers of each class are independent even where labels are not: the range may be a little wider
        assert np.mean((drawn >= chance.low) & (drawn <= chance.high)) >= 0.9  # 0.95 less 3 standard errors


def test_accuracy_against_scikit_learns_dummies() -> None:
    target = one_label(400)
    labels = target.argmax(axis=1)
    nothing = np.zeros((len(labels), 1))
    constant = DummyClassifier(strategy="most_frequent").fit(nothing, labels).score(nothing, labels)
    drawn = [
        DummyClassifier(strategy="stratified", random_state=seed).fit(nothing, labels).score(nothing, labels)
        for seed in range(100)
    ]
    chance = scene_chance("top1_acc", target)
    assert chance.constant == pytest.approx(constant)
    assert abs(np.mean(drawn) - chance.level) < 4 * np.std(drawn) / np.sqrt(len(drawn))


@pytest.mark.parametrize(("positives", "n"), [(1, 5), (3, 7), (4, 4), (2, 9)])
def test_average_precision_over_all_orders(positives: int, n: int) -> None:
    from itertools import combinations

    scores = -np.arange(n, dtype=float)
    every = [
        average_precision_score(np.isin(np.arange(n), places), scores) for places in combinations(range(n), positives)
    ]
    assert expected_average_precision(positives, n) == pytest.approx(np.mean(every), abs=1e-12)


@pytest.mark.parametrize("weights", [(0.25,) * 4, (0.6, 0.2, 0.1, 0.1), (0.5, 0.5)])
@pytest.mark.parametrize("metric", ["top1_acc", "mAP", "aucroc", "d_prime"])
def test_heads_trained_on_shuffled_labels_land_in_the_range(metric: str, weights: tuple[float, ...]) -> None:
    """In 95 % of 200 draws, of which 182 is the 0.5 % quantile."""
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(len(weights)), (80 * np.array(weights)).astype(int))
    target, inside = np.eye(len(weights))[labels], 0
    chance = scene_chance(metric, target)
    for _ in range(200):
        train, test = generator.normal(size=(2, 80, 6))
        head = np.linalg.lstsq(train, generator.permutation(target) - weights, rcond=None)[0]
        score = METRICS[metric].scores(test @ head + weights, target)[metric]
        inside += chance.low <= score <= chance.high
    assert inside >= 182


def events(files: int = 40, seed: int = 0) -> dict[str, list[dict]]:
    generator = np.random.default_rng(seed)
    return {
        f"{number}.wav": [
            {"label": str(generator.integers(3)), "start": start, "end": start + float(generator.uniform(100, 900))}
            for start in sorted(generator.uniform(0, 4000, generator.integers(1, 6)).tolist())
        ]
        for number in range(files)
    }


@pytest.mark.parametrize("metric", ["event_onset_200ms_fms", "event_onset_50ms_fms", "segment_1s_er"])
def test_events_against_every_pair_of_files(metric: str) -> None:
    """The expectation over all pairings, counted pair by pair, files being as long as their own or a guessed event."""
    truth = events(24)
    table = EventTable.from_events(truth, ["0", "1", "2"])
    above = below = 0.0
    terms = METRICS[metric].terms
    assert terms is not None
    for own in truth:
        for other in truth:
            pair = (EventTable.from_events({"x": truth[which]}, table.labels) for which in (other, own))
            numerator, denominator = terms(*pair)
            above, below = above + float(numerator[0]), below + float(denominator[0])
    chance = shuffled_events_chance(metric, table)
    assert chance.level == pytest.approx(above / below, rel=0.05)  # 400 pairings have a standard error of about 1 %
    assert chance.low <= chance.level <= chance.high
    assert chance.constant == (1.0 if metric == "segment_1s_er" else 0.0)
    assert chance.best(METRICS[metric].maximise) == (
        min(chance.level, 1.0) if metric == "segment_1s_er" else chance.level
    )


def test_one_line_for_what_has_no_chance_level() -> None:
    with pytest.raises(DeloresError, match="top1_acc has no chance level for event tasks; expected one of event_onset"):
        shuffled_events_chance("top1_acc", EventTable.from_events(events(2), ["0", "1", "2"]))
    with pytest.raises(DeloresError, match=r"expected targets of shape \(n > 0, n_labels\), got \(0, 3\)"):
        scene_chance("mAP", np.zeros((0, 3)))
