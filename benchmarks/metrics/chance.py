"""What a metric gives for guesses, from the labels of the test clips alone.

A guesser knows how often each answer occurs, but not which clip it hears. Two guessers bound what an embedding without
information about the labels leads to: one gives every clip the answer of a clip drawn at random (for metrics of ranks:
scores in random order), the other gives every clip the one constant answer that scores best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.metrics.events import EventTable
from benchmarks.metrics.registry import METRICS, Metric
from benchmarks.metrics.scene import d_primes
from hear_delores.errors import DeloresError

__all__ = ["Chance", "expected_average_precision", "ranked_chance", "scene_chance", "shuffled_events_chance"]

#: Random orders behind the range of a metric of ranks.
ORDERS = 1000
#: Random pairings of files behind the level and the range of an event metric.
PAIRINGS = 400
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
    from scipy.stats import binom  # slow to import: not where nothing is compared with chance

    answers = np.unique(target.argmax(axis=1))
    # Right or wrong, for each answer that occurs as a constant guess: also right where chroma_acc forgives octaves.
    constant = np.array(
        [known.function(np.tile(np.eye(target.shape[1])[k], (len(target), 1)), target) for k in answers]
    )
    level = float((np.bincount(target.argmax(axis=1))[answers] / len(target)) @ constant)
    best, n = float(constant.max()), len(target)
    return Chance(level, best, float(binom.ppf(0.025, n, level)) / n, float(binom.ppf(0.975, n, best)) / n)


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
    of_count = {count: _in_random_order(known, count, n, generator) for count in sorted(set(counts.tolist()))}
    drawn = [generator.permutation(of_count[count]) for count in counts.tolist()]
    if known.by_class == "average_precision":
        levels = [expected_average_precision(count, n) for count in counts.tolist()]
    else:  # symmetric about the middle
        levels = [math.nan if np.isnan(scores).any() else AT_CHANCE[known.by_class] for scores in drawn]
    level, means = float(np.mean(levels)), np.mean(drawn, axis=0)
    if math.isnan(level):
        return Chance(level, level, level, level)
    one_label = n_labels > 1 and bool((positive.sum(axis=1) == 1).all())
    widened = math.sqrt(n_labels / (n_labels - 1)) if one_label else 1.0
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


def _in_random_order(metric: Metric, positives: int, n: int, generator: np.random.Generator) -> np.ndarray:
    """(ORDERS,) scores of one class, by the positives' places in random orders; NaN where the metric has none."""
    negatives = n - positives
    if positives == 0 or (negatives == 0 and metric.by_class != "average_precision"):
        return np.full(ORDERS, 0.0 if metric.by_class == "average_precision" else math.nan)
    drawn = [generator.choice(n, positives, replace=False) for _ in range(ORDERS)]
    places, order = np.sort(drawn, axis=1) + 1, np.arange(1, positives + 1)
    if metric.by_class == "average_precision":
        return np.asarray((order / places).mean(axis=1))
    areas = 1.0 - (places - order).mean(axis=1) / negatives  # of the negatives, the share before each positive
    return areas if metric.by_class == "roc_auc" else d_primes(areas)


def shuffled_events_chance(metric: str, target: EventTable, seed: int = 0) -> Chance:
    """The chance level of an event metric: each file is given the true events of a file drawn at random.

    The level is the mean of ``PAIRINGS`` random pairings of files; the range reaches to the score of no event at all
    (an F-measure of 0, an error rate of 1).
    """
    known = _known(metric, "event")
    generator = np.random.default_rng(seed)
    drawn = np.array([_paired(known, target, generator) for _ in range(PAIRINGS)])
    constant = 0.0 if known.maximise else 1.0
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Chance(float(drawn.mean()), constant, min(float(low), constant), max(float(high), constant))


def _paired(metric: Metric, target: EventTable, generator: np.random.Generator) -> float:
    guess = replace(target, file=generator.permutation(len(target.files))[target.file])
    return metric.scores(guess, target)[metric.name]


def _known(metric: str, kind: str) -> Metric:
    known: Metric | None = METRICS.get(metric)
    if known is None or known.kind != kind:
        fitting = ", ".join(name for name, other in METRICS.items() if other.kind == kind)
        raise DeloresError(f"{metric} has no chance level for {kind} tasks; expected one of {fitting}")
    return known
