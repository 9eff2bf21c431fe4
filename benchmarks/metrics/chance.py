"""What a metric gives for guesses, from the labels of the test clips alone.

A guesser knows how often each answer occurs, but not which clip it hears. Two guessers bound what an embedding without
information about the labels leads to: one gives every clip the answer of a clip drawn at random (for metrics of ranks:
scores in random order), the other gives every clip the one constant answer that scores best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import METRICS, Metric
from benchmarks.metrics.scene import d_primes
from hear_delores.errors import DeloresError

__all__ = [
    "Chance",
    "chance_levels",
    "expected_average_precision",
    "mean_chance",
    "ranked_chance",
    "scene_chance",
    "shuffled_events_chance",
]

#: Random orders behind the range of a metric of ranks.
ORDERS = 1000
#: Random pairings of files behind the level and the range of an event metric.
PAIRINGS = 400
#: Numbers that are sorted at once; orders of more are drawn one by one.
SORTED_AT_ONCE = 1_000_000
AT_CHANCE = {"roc_auc": 0.5, "d_prime": 0.0}


@dataclass(frozen=True)
class Chance:
    """The score of guesses.

    Attributes:
        level: the expected score of answers drawn at random as often as they occur.
        constant: the score of the best constant answer: the most frequent label, or no event at all; ``level`` where a
            metric of ranks has no other.
        low, high: 95 % of the scores of such guesses lie between them, on a test split of this size.
    """

    level: float
    constant: float
    low: float
    high: float

    def best(self, maximise: bool = True) -> float:
        """The better of the two guessers: what a score has to beat."""
        return max(self.level, self.constant) if maximise else min(self.level, self.constant)

    def holds(self, score: float, maximise: bool = True) -> bool:
        """Whether guesses reach a score as good: it lies in their range, or on its worse side."""
        return score <= self.high if maximise else score >= self.low


def chance_levels(metrics: Iterable[Metric], target: np.ndarray | EventTable) -> dict[str, Chance]:
    """The chance level of each metric on the truth of some clips, by the metric's name; none without a clip.

    Args:
        target: (n, n_labels) of 0 and 1 for scene metrics, events for event metrics.
    """
    if isinstance(target, EventTable):
        return {metric.name: _of_events(metric.name, target) for metric in metrics if target.files}
    return {metric.name: scene_chance(metric.name, target) for metric in metrics if len(target)}


def mean_chance(folds: Sequence[Chance]) -> Chance:
    """The chance level of a mean of scores over folds: the means, and the range of means of independent guesses.

    >>> mean_chance([Chance(0.5, 0.5, 0.4, 0.6)] * 4)
    Chance(level=0.5, constant=0.5, low=0.45, high=0.55)
    """
    ends = [(each.low, min(each.level, each.constant), max(each.level, each.constant), each.high) for each in folds]
    low, worse, better, high = np.array(ends, dtype=np.float64).T
    n = len(folds)
    return Chance(
        level=float(np.mean([each.level for each in folds])),
        constant=float(np.mean([each.constant for each in folds])),
        low=float(worse.mean() - math.sqrt(((worse - low) ** 2).sum()) / n),
        high=float(better.mean() + math.sqrt(((high - better) ** 2).sum()) / n),
    )


def scene_chance(metric: str, target: np.ndarray, seed: int = 0) -> Chance:
    """The chance level of a scene metric.

    Accuracies: the sum of squared label frequencies, and the largest frequency, with the range of binomial
    distributions; for ``chroma_acc`` the frequencies of pitches modulo 12. Others: :func:`ranked_chance`.

    Args:
        target: (n, n_labels) of 0 and 1.

    Raises:
        DeloresError: no rows, or an event metric.

    >>> chance = scene_chance("top1_acc", np.eye(4)[[0, 0, 1, 2]])
    >>> chance.level, chance.constant
    (0.375, 0.5)
    """
    known = _known(metric, "scene")
    target = np.asarray(target)
    if target.ndim != 2 or len(target) == 0:
        raise DeloresError(f"expected targets of shape (n > 0, n_labels), got {target.shape}")
    if known.by_class is not None:
        return ranked_chance(metric, target, seed)
    answers = np.unique(target.argmax(axis=1))
    # Right or wrong, for each answer that occurs as a constant guess: also right where chroma_acc forgives octaves.
    constant = np.array(
        [known.function(np.tile(np.eye(target.shape[1])[k], (len(target), 1)), target) for k in answers]
    )
    level = float((np.bincount(target.argmax(axis=1))[answers] / len(target)) @ constant)
    best, n = float(constant.max()), len(target)
    return Chance(level, best, _binomial_quantile(0.025, n, level) / n, _binomial_quantile(0.975, n, best) / n)


def _binomial_quantile(share: float, n: int, p: float) -> int:
    """The least count that at least ``share`` of the binomial distribution does not exceed."""
    from scipy.special import bdtr  # scipy.stats has it too, and takes a second to import

    return int(np.searchsorted(bdtr(np.arange(n), n, p), share))


def ranked_chance(metric: str, target: np.ndarray, seed: int = 0) -> Chance:
    """The chance level of ``mAP``, ``aucroc`` or ``d_prime``: scores in random order, without ties.

    The range comes from ``ORDERS`` random orders of each class. Classes are taken as independent; where each clip has
    one label, K classes leave K - 1 to vary.

    >>> ranked_chance("aucroc", np.eye(2)[[0, 1, 0, 1]]).level
    0.5
    """
    known = _known(metric, "scene")
    positive = np.asarray(target) > 0
    counts, (n, n_labels) = positive.sum(axis=0), positive.shape
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(_in_random_order(metric, count, n, seed)) for count in counts.tolist()]
    if known.by_class == "average_precision":
        levels = [expected_average_precision(count, n) for count in counts.tolist()]
    else:  # symmetric about the middle
        levels = [math.nan if np.isnan(scores).any() else AT_CHANCE[known.by_class or ""] for scores in drawn]
    with np.errstate(invalid="ignore"):  # of a class whose clips are all first and one whose are all last: inf - inf
        level, means = float(np.mean(levels)), np.mean(drawn, axis=0)
    if math.isnan(level) or np.isnan(means).all():
        return Chance(level, level, math.nan, math.nan)
    one_label = n_labels > 1 and bool((positive.sum(axis=1) == 1).all())
    widened = math.sqrt(n_labels / (n_labels - 1)) if one_label else 1.0
    means = means[~np.isnan(means)]
    ends = level + widened * (np.quantile(means, [0.025, 0.975], method="nearest") - level)
    low, high = np.clip(ends, *known.bounds).tolist()
    return Chance(level, level, low, high)


def expected_average_precision(positives: int, n: int) -> float:
    """The mean of average precision over all orders of ``n`` clips, ``positives`` of them positive; 0 for none.

    Bestgen, "Exact expected average precision of the random baseline", 2015:
    ((R - 1) / (n - 1) (n - H_n) + H_n) / n with the n-th harmonic number H_n.

    >>> round(expected_average_precision(1, 2), 4)
    0.75
    """
    if positives == 0:
        return 0.0
    harmonic = float((1.0 / np.arange(1, n + 1)).sum())
    return ((positives - 1) / max(n - 1, 1) * (n - harmonic) + harmonic) / n


@lru_cache(maxsize=4096)
def _in_random_order(metric: str, positives: int, n: int, seed: int) -> np.ndarray:
    """(ORDERS,) scores of one class, by the positives' places in random orders; NaN where the metric has none."""
    kind, negatives = METRICS[metric].by_class, n - positives
    if positives == 0 or (negatives == 0 and kind != "average_precision"):
        return np.full(ORDERS, 0.0 if kind == "average_precision" else math.nan)
    generator = np.random.default_rng([seed, positives, n])
    if n * ORDERS <= SORTED_AT_ONCE:
        drawn = generator.random((ORDERS, n)).argsort(axis=1)[:, :positives]
    else:
        drawn = np.array([generator.choice(n, positives, replace=False) for _ in range(ORDERS)])
    places, order = np.sort(drawn, axis=1) + 1, np.arange(1, positives + 1)
    if kind == "average_precision":
        return np.asarray((order / places).mean(axis=1))
    areas = 1.0 - (places - order).mean(axis=1) / negatives  # of the negatives, the share before each positive
    return areas if kind == "roc_auc" else d_primes(areas)


def shuffled_events_chance(metric: str, target: EventTable, seed: int = 0) -> Chance:
    """The chance level of an event metric: each file is given the true events of a file drawn at random.

    The level is the mean of ``PAIRINGS`` random pairings of files; the range reaches to the score of no event at all
    (an F-measure of 0, an error rate of 1).
    """
    known = _known(metric, "event")
    assert known.terms is not None
    n, generator = len(target.files), np.random.default_rng(seed)
    pairings = np.array([generator.permutation(n) for _ in range(PAIRINGS)])
    above, below = _pair_terms(known, target) if n <= PAIRINGS else (None, None)
    if above is None or below is None:  # of so many files, not every pair is met
        terms = [known.terms(_exchanged(target, pairing), target) for pairing in pairings]
        drawn = np.array([numerator.sum() / denominator.sum() for numerator, denominator in terms])
    else:
        own = np.arange(n)
        drawn = above[own, pairings].sum(axis=1) / below[own, pairings].sum(axis=1)
    constant = 0.0 if known.maximise else 1.0
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Chance(float(drawn.mean()), constant, min(float(low), constant), max(float(high), constant))


def _pair_terms(metric: Metric, target: EventTable) -> tuple[np.ndarray, np.ndarray]:
    """(n_files, n_files) numerators and denominators of the score of each file's events [i] as a guess of [j]."""
    assert metric.terms is not None
    n = len(target.files)
    above, below, own = np.empty((n, n)), np.empty((n, n)), np.arange(n)
    for shift in range(n):
        given = (own + shift) % n  # the events of file i are given to file i + shift
        above[own, given], below[own, given] = (part[given] for part in metric.terms(_exchanged(target, given), target))
    return above, below


def _exchanged(target: EventTable, given: np.ndarray) -> EventTable:
    """The events of each file i as those of file ``given[i]``."""
    return replace(target, file=given[target.file])


#: Chance levels of event metrics by what they are of: every seed and model of a task asks for the same ones.
_FOUND: dict[tuple[object, ...], Chance] = {}


def _of_events(metric: str, target: EventTable) -> Chance:
    parts = (target.file, target.label, target.start_ms, target.end_ms)
    key = metric, target.files, len(target.labels), tuple(part.tobytes() for part in parts)
    if key not in _FOUND:
        _FOUND[key] = shuffled_events_chance(metric, target)
    return _FOUND[key]


def _known(metric: str, kind: str) -> Metric:
    known: Metric | None = METRICS.get(metric)
    if known is None or known.kind != kind:
        fitting = ", ".join(name for name, other in METRICS.items() if other.kind == kind)
        raise DeloresError(f"{metric} has no chance level for {kind} tasks; expected one of {fitting}")
    return known
