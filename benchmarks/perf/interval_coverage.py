"""How often 95 % intervals hold the truth, and how often the paired test finds a difference that is not there.

On made data whose true score is known: accuracies and ROC AUC in closed form, mAP from 200,000 clips.

    python benchmarks/perf/interval_coverage.py [--draws 1000] [--clips 500]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import ndtr

from benchmarks.reading.compare import sign_flip_p
from benchmarks.reading.intervals import clip_interval, fold_interval
from benchmarks.reading.weighted import Statistic, statistic
from benchmarks.results import FoldPredictions

SHIFT = np.linspace(1.0, 2.0, 5)  # how far positives stand out, by class: d' itself
RATE = np.linspace(0.05, 0.4, 5)  # share of positives
ACCURACY = 0.8


def fold_of(prediction: np.ndarray, target: np.ndarray) -> FoldPredictions:
    """Predictions of clips named by their number."""
    return FoldPredictions(prediction, target, np.arange(len(prediction)).astype(str))


def draw_accuracy(n: int, generator: np.random.Generator, skill: float = ACCURACY) -> Statistic:
    """n clips, each right with probability ``skill``."""
    right = generator.random(n) < skill
    prediction = np.where(right[:, None], [[1.0, 0.0]], [[0.0, 1.0]])
    return statistic("top1_acc", fold_of(prediction, np.tile([1.0, 0.0], (n, 1))))


def draw_ranks(metric: str, n: int, generator: np.random.Generator) -> Statistic:
    """n clips of 5 labels, normal predictions shifted by ``SHIFT`` where a label is there."""
    target = (generator.random((n, 5)) < RATE).astype(float)
    return statistic(metric, fold_of(generator.normal(size=(n, 5)) + target * SHIFT, target))


def draw_two(metric: str, n: int, generator: np.random.Generator) -> tuple[Statistic, Statistic]:
    """Two models equally good on the same clips, their predictions correlated (r = 0.5)."""
    target = (generator.random((n, 5)) < RATE).astype(float)
    common = generator.normal(size=(n, 5))
    pair = []
    for _ in range(2):
        noise = (common + generator.normal(size=(n, 5))) / np.sqrt(2)
        prediction = noise + target * SHIFT
        if metric == "top1_acc":
            right = prediction[:, 0] > 0.5
            prediction, labels = np.stack([right, ~right], 1).astype(float), np.tile([1.0, 0.0], (n, 1))
            pair.append(statistic(metric, fold_of(prediction, labels)))
        else:
            pair.append(statistic(metric, fold_of(prediction, target)))
    return pair[0], pair[1]


def truths() -> dict[str, float]:
    """The true score of each metric under :func:`draw_accuracy` and :func:`draw_ranks`."""
    large = draw_ranks("mAP", 200_000, np.random.default_rng(1)).value
    auc = float(ndtr(SHIFT / np.sqrt(2)).mean())
    return {"top1_acc": ACCURACY, "aucroc": auc, "d_prime": float(SHIFT.mean()), "mAP": large}


def coverage(draw: Callable[[], Statistic], truth: float, repeats: int) -> float:
    """Share of intervals that hold the truth."""
    held = 0
    for _ in range(repeats):
        found = clip_interval([draw()], draws=1000)
        held += found is not None and found.low <= truth <= found.high
    return held / repeats


def fold_coverage(folds: int, repeats: int, generator: np.random.Generator) -> tuple[float, float]:
    """Over folds: the share for Student's t as reported, and for a percentile bootstrap of the folds."""
    student = percentile = 0
    for _ in range(repeats):
        skills = ACCURACY + 0.03 * generator.normal(size=folds)  # folds differ: speakers, places
        scores = generator.binomial(200, np.clip(skills, 0, 1)) / 200
        found = fold_interval(scores.tolist())
        student += found is not None and found.low <= ACCURACY <= found.high
        means = scores[generator.integers(0, folds, (1000, folds))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        percentile += low <= ACCURACY <= high
    return student / repeats, percentile / repeats


def false_positives(metric: str, n: int, repeats: int, generator: np.random.Generator, level: float = 0.05) -> float:
    """Share of paired tests below ``level`` where the two models are alike."""
    found = 0
    for number in range(repeats):
        a, b = draw_two(metric, n, generator)
        share = (a.value + a.deviations() - b.value - b.deviations()) / n
        found += sign_flip_p(share, 2000, seed=number) <= level
    return found / repeats


def main() -> None:
    """Prints coverage and false positive rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--clips", type=int, default=500)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    draw: Callable[[], Statistic]
    for metric, truth in truths().items():
        if metric == "top1_acc":
            draw = partial(draw_accuracy, options.clips, generator)
        else:
            draw = partial(draw_ranks, metric, options.clips, generator)
        share = coverage(draw, truth, options.draws)
        print(
            f"{metric:9} {options.clips} clips: the 95 % interval holds {truth:.4f}"
            f" in {100 * share:.1f} % of {options.draws}"
        )
    for folds in (3, 5, 10):
        student, percentile = fold_coverage(folds, options.draws, generator)
        print(f"{folds} folds: Student's t {100 * student:.1f} %, a percentile bootstrap {100 * percentile:.1f} %")
    for metric in ("top1_acc", "aucroc", "mAP"):
        for clips in (100, options.clips):
            rate = false_positives(metric, clips, options.draws, generator)
            print(f"{metric:9} {clips} clips, paired test at level 5 %: {100 * rate:.1f} % false positives")


if __name__ == "__main__":
    main()
