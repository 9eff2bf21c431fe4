"""How often 95 % intervals hold the truth, and how often the paired test finds a difference that is not there.

On synthetic data whose true score is known: in closed form, for mAP by integration.

    python benchmarks/perf/interval_coverage.py [--draws 1000] [--clips 100 200 500] [--bootstrap] [--seed 0]

``--bootstrap`` adds the plain percentile and BCa bootstraps that the reported intervals are chosen over; it takes
longer, as each of these intervals scores a thousand resamples.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from benchmarks.reading.statistics.intervals import bca_ends, bootstrap_weights, clip_interval, fold_interval
from benchmarks.reading.statistics.permutation import swap_test
from benchmarks.reading.statistics.weighted import RankStatistic, RatioStatistic, Statistic, statistic
from benchmarks.results.format import FoldPredictions

ACCURACY = 0.8
RESAMPLES = 1000
#: The level holds with any number of swaps of which one more is a multiple of 20.
SWAPS = 199
Draw = Callable[[int, np.random.Generator], Statistic]
Pair = tuple[Statistic, Statistic]


@dataclass(frozen=True)
class Labels:
    """Classes that are found with d' ``shift``; ``rate`` is the share of clips that have each, alone or together."""

    rate: np.ndarray
    shift: np.ndarray
    one_each: bool = False

    def target(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """(n, n_classes) of 0 and 1."""
        if self.one_each:
            return np.eye(len(self.rate))[generator.choice(len(self.rate), n, p=self.rate)]
        return (generator.random((n, len(self.rate))) < self.rate).astype(float)

    def truth(self, metric: str) -> float:
        """The score on endless clips."""
        if metric == "aucroc":
            return float(ndtr(self.shift / np.sqrt(2)).mean())
        if metric == "d_prime":
            return float(self.shift.mean())
        # Average precision: precision at each threshold x, over the positive clips' predictions, N(shift, 1).
        x = np.linspace(-12, 14, 100_001)[:, None]
        right, wrong = self.rate * ndtr(self.shift - x), (1 - self.rate) * ndtr(-x)
        density = np.exp(-((x - self.shift) ** 2) / 2) / np.sqrt(2 * np.pi)
        return float((density * right / (right + wrong)).sum(axis=0).mean() * (x[1, 0] - x[0, 0]))


MULTILABEL = Labels(np.linspace(0.05, 0.4, 5), np.linspace(1.0, 2.0, 5))
MULTICLASS = Labels(np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04]), np.linspace(0.6, 1.8, 6), one_each=True)


def fold_of(prediction: np.ndarray, target: np.ndarray) -> FoldPredictions:
    """Predictions of clips named by their number."""
    return FoldPredictions(prediction, target, np.arange(len(prediction)).astype(str))


def draw_accuracy(n: int, generator: np.random.Generator) -> Statistic:
    """n clips, each right with probability ``ACCURACY``."""
    right = generator.random(n) < ACCURACY
    prediction = np.where(right[:, None], [[1.0, 0.0]], [[0.0, 1.0]])
    return statistic("top1_acc", fold_of(prediction, np.tile([1.0, 0.0], (n, 1))))


def draw_ranks(metric: str, n: int, generator: np.random.Generator, labels: Labels = MULTILABEL) -> Statistic:
    """n clips, normal predictions shifted where a label is there."""
    target = labels.target(n, generator)
    return statistic(metric, fold_of(generator.normal(size=target.shape) + target * labels.shift, target))


def draw_events(metric: str, n: int, generator: np.random.Generator, models: int = 1) -> list[Statistic]:
    """n files of 1 + Poisson(4) events, found with a probability that differs by file, and false ones beside."""
    count, skill, found = 1 + generator.poisson(4, n), generator.beta(4, 3, n), []
    for _ in range(models):
        hits, false = generator.binomial(count, skill), generator.poisson(1.5, n)
        error_rate = metric == "segment_1s_er"
        above = count - hits + false if error_rate else 2 * hits
        below = count if error_rate else count + hits + false
        found.append(RatioStatistic(tuple(map(str, range(n))), above.astype(float), below.astype(float)))
    return list(found)


def made_data() -> dict[str, tuple[Draw, float]]:
    """What coverage is measured on: how a sample of n clips is drawn, and the true score."""
    found: dict[str, tuple[Draw, float]] = {"top1_acc": (draw_accuracy, ACCURACY)}
    for kind, labels in (("multilabel", MULTILABEL), ("multiclass", MULTICLASS)):
        for metric in ("mAP", "aucroc", "d_prime"):

            def draw(n: int, generator: np.random.Generator, m: str = metric, of: Labels = labels) -> Statistic:
                return draw_ranks(m, n, generator, of)

            found[f"{metric}, {kind}"] = (draw, labels.truth(metric))
    hits = 5 * 4 / 7
    for metric, truth in (
        ("event_onset_200ms_fms", 2 * hits / (5 + hits + 1.5)),
        ("segment_1s_er", (5 - hits + 1.5) / 5),
    ):

        def draw_one(n: int, generator: np.random.Generator, m: str = metric) -> Statistic:
            return draw_events(m, n, generator)[0]

        found[metric] = (draw_one, truth)
    return found


def coverage(draw: Callable[[], Statistic], truth: float, repeats: int, bootstrap: bool = False) -> dict[str, float]:
    """Share of intervals that hold the truth, by interval; samples whose score is not finite have none."""
    held: dict[str, list[bool]] = {}
    while len(held.get("reported", ())) < repeats:
        found = draw()
        interval = clip_interval([found], draws=RESAMPLES)
        if interval is None:
            continue
        ends = {"reported": (interval.low, interval.high)}
        if bootstrap:
            drawn = found.scores(bootstrap_weights(len(found.units), RESAMPLES))
            low, high = np.nanquantile(drawn, [0.025, 0.975], method="inverted_cdf")
            ends |= {"percentile": (low, high), "BCa": bca_ends(found.value, drawn, found.influence()) or (0.0, 0.0)}
        for name, (low, high) in ends.items():
            held.setdefault(name, []).append(bool(low <= truth <= high))
    return {name: float(np.mean(values)) for name, values in held.items()}


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


# --- the paired test


def draw_two(metric: str, n: int, generator: np.random.Generator, *, shape: float = 1.0) -> Pair:
    """Two models equally good on the same clips, their predictions correlated (r = 0.5).

    Args:
        shape: deviation of the second model's predictions of clips that have a label, 1 for both else; its AUC is
            the same, but the two are no longer alike.
    """
    if metric.startswith(("event", "segment")):
        first, second = draw_events(metric, n, generator, models=2)
        return first, second
    target = MULTILABEL.target(n, generator)
    common = generator.normal(size=target.shape)
    found = []
    for spread in (1.0, shape):
        noise = (common + generator.normal(size=target.shape)) / np.sqrt(2)
        shift = MULTILABEL.shift * np.sqrt((1 + spread**2) / 2)
        prediction = noise * np.where(target > 0, spread, 1.0) + target * shift
        if metric == "top1_acc":
            right = prediction[:, 0] > 0.5
            labels = np.tile([1.0, 0.0], (n, 1))
            found.append(statistic(metric, fold_of(np.stack([right, ~right], 1).astype(float), labels)))
        else:
            found.append(statistic(metric, fold_of(prediction, target)))
    return found[0], found[1]


def false_positives(
    metric: str,
    n: int,
    repeats: int,
    generator: np.random.Generator,
    *,
    folds: int = 1,
    shape: float = 1.0,
    level: float = 0.05,
) -> float:
    """Share of paired tests at most ``level`` where the two models are equally good, on ``folds`` times n clips."""
    found = done = 0
    while done < repeats:
        pairs = [draw_two(metric, n, generator, shape=shape) for _ in range(folds)]
        # As in a comparison of records: without a finite score there is no test.
        if not all(_finite(side) for pair in pairs for side in pair):
            continue
        done += 1
        found += swap_test([[pair] for pair in pairs], SWAPS, seed=done).p <= level
    return found / repeats


def _finite(found: Statistic) -> bool:
    enough = not isinstance(found, RankStatistic) or len(found.classes) == found.n_labels
    return enough and bool(np.isfinite([found.value, *found.influence()]).all())


# --- the tables


def print_coverage(draws: int, clips: list[int], bootstrap: bool, seed: int) -> None:
    """One row for each metric, one column for each number of clips and interval."""
    names = ["reported", "percentile", "BCa"] if bootstrap else ["reported"]
    print(f"Share of 95 % intervals that hold the truth, of {draws} samples each (%)\n")
    print("| metric | truth |" + "".join(f" {n} clips, {name} |" for n in clips for name in names))
    print("|---|---|" + "---:|" * (len(clips) * len(names)))
    for title, (draw, truth) in made_data().items():
        cells = []
        for n in clips:
            generator = _generator(seed, title, n)
            shares = coverage(lambda draw=draw, n=n, g=generator: draw(n, g), truth, draws, bootstrap)  # type: ignore[misc]
            cells += [f" {100 * shares[name]:.1f} |" for name in names]
        print(f"| {title} | {truth:.4f} |" + "".join(cells), flush=True)
    print("\n| folds | Student's t, as reported | percentile bootstrap of folds |\n|---|---:|---:|")
    for folds in (3, 5, 10):
        student, percentile = fold_coverage(folds, draws, _generator(seed, "folds", folds))
        print(f"| {folds} | {100 * student:.1f} | {100 * percentile:.1f} |", flush=True)


def print_false_positives(draws: int, clips: list[int], seed: int) -> None:
    """One row for each metric, one column for each number of clips."""
    print(f"\nPaired tests at level 5 % that find a difference between equals, of {draws} each (%)\n")
    print("| metric |" + "".join(f" {n} clips |" for n in clips) + " 5 folds of 40 |")
    print("|---|" + "---:|" * (len(clips) + 1))
    for metric in ("top1_acc", "mAP", "aucroc", "d_prime", "event_onset_200ms_fms", "segment_1s_er"):
        cells = [f" {100 * false_positives(metric, n, draws, _generator(seed, metric, n)):.1f} |" for n in clips]
        if metric in ("mAP", "aucroc", "d_prime"):
            cells.append(" |")  # a fold of 40 clips often lacks a class
        else:
            cells.append(f" {100 * false_positives(metric, 40, draws, _generator(seed, metric, 40), folds=5):.1f} |")
        print(f"| {metric} |" + "".join(cells), flush=True)
    cells = [
        f" {100 * false_positives('aucroc', n, draws, _generator(seed, 'shape', n), shape=2.0):.1f} |" for n in clips
    ]
    print("| aucroc, equal areas under unlike curves |" + "".join(cells) + " |", flush=True)


def _generator(seed: int, title: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(title.encode()), number])


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 200, 500])
    parser.add_argument("--bootstrap", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print_coverage(options.draws, options.clips, options.bootstrap, options.seed)
    print_false_positives(options.draws, options.clips, options.seed)


if __name__ == "__main__":
    main()
