"""How often two runs of the same true quality are called better or worse, and how often a planted difference is told.

Both runs validate the same samples. Their decisions are independent given the labels, or mostly shared, as those of two
trainings of one model are. Single-label decisions come from a known confusion matrix, multi-label ones from normal
scores and a threshold of each class; under the null both runs have the same.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.coverage import CORRELATION, REDRAWN_EVERY, class_groups, sizes, weights_of
from benchmarks.measuring import Facts, Results, Run
from tbmetrics import ClassGroups
from tbmetrics.classes.groups import PARTITION
from tbmetrics.comparing.differences import DEVIATIONS, Parts, alone, paired
from tbmetrics.records import MULTI_LABEL, DecidedSamples
from tbmetrics.statistics.scores import scores_of
from tbmetrics.statistics.sign_flips import LEVEL, SignFlipTest

FloatArray = NDArray[np.float64]
#: Share of single-label decisions that both runs share, correlation of multi-label scores.
SHARED = 0.7
PLANTED = 0.1
METRICS = ("recall", "precision", "f1")
GROUPS = ("tail", "head", "all", "gap")
PEERS_OF = "f1"  # metric for which the other ways are tried too
PAIRED, UNPAIRED, SIGNS = "paired", "unpaired", "sign-flip test"


class Pair(NamedTuple):
    """The decisions of two runs on the same samples."""

    a: DecidedSamples
    b: DecidedSamples


# ----------------------------------------------------------------------------------------------- problems


def single_label(
    classes: int, samples: int, long_tailed: bool, shared: float, planted: float, rng: np.random.Generator
) -> Iterator[Pair]:
    """Decisions from a confusion matrix; recall falls towards the tail in every second matrix."""
    labels = np.repeat(np.arange(classes), sizes(classes, samples, long_tailed))
    for repetition in itertools.count():
        if repetition % REDRAWN_EVERY == 0:
            falling = np.clip(np.linspace(0.9, 0.1, classes) + 0.1 * rng.normal(size=classes), 0.02, 0.88)
            recall = falling if repetition % (2 * REDRAWN_EVERY) else 0.02 + 0.86 * rng.beta(2, 2, classes)
            weight = rng.gamma(0.5, size=(classes, classes)) + 1e-9
            weight[:, : classes // 3] *= 3  # the head draws false alarms
            np.fill_diagonal(weight, 0)
            places = ((weight / weight.sum(1, keepdims=True)).cumsum(1) + np.arange(classes)[:, None]).ravel()
        u = rng.random((2, len(labels)))
        v = np.where(rng.random(len(labels)) < shared, u, rng.random((2, len(labels))))
        pair = []
        for (hit, other), better in ((u, 0.0), (v, planted)):
            wrong = (np.searchsorted(places, labels + other) - labels * classes).clip(0, classes - 1)
            predicted = np.where(hit < recall[labels] + better, labels, wrong)
            pair.append(DecidedSamples.of_predictions(labels, predicted, classes, "same"))
        yield Pair(*pair)


def multi_label(
    classes: int, samples: int, long_tailed: bool, shared: float, planted: float, rng: np.random.Generator
) -> Iterator[Pair]:
    """Decisions from normal scores; labels, and the scores of a row, are correlated between classes."""
    positives, rows = sizes(classes, samples, long_tailed), 50 * samples
    share = np.minimum(positives / rows, 0.3)
    for repetition in itertools.count():
        if repetition % REDRAWN_EVERY == 0:
            cut = rng.uniform(0.8, 2.2, classes)
            recall = norm.sf(cut - rng.uniform(0.8, 3.0, classes))
            margins = [cut - norm.isf(np.clip(recall + better, 0.01, 0.99)) for better in (0.0, planted)]
        labels = _correlated(rows, classes, rng) < norm.ppf(share)
        common = _correlated(rows, classes, rng)
        pair = []
        for margin in margins:
            noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * _correlated(rows, classes, rng)
            pair.append(_decided(labels, margin * labels + noise >= cut))
        yield Pair(*pair)


def _correlated(rows: int, classes: int, rng: np.random.Generator) -> FloatArray:
    common = rng.normal(size=(rows, 1))
    return np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * rng.normal(size=(rows, classes))


def _decided(labels: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> DecidedSamples:
    rows, classes = np.nonzero(labels)
    wrong = np.nonzero(predicted & ~labels)
    return DecidedSamples(MULTI_LABEL, *labels.shape, rows, classes, predicted[rows, classes], *wrong, "same")


PROBLEMS: dict[str, Callable[..., Iterator[Pair]]] = {"single-label": single_label, "multi-label": multi_label}

# --------------------------------------------------------------------------------------------- the measure


class Difference(NamedTuple):
    """B minus A of one group: the difference, and its standard deviations if paired and if not."""

    value: float
    paired: float
    unpaired: float


def metric_of(decided: DecidedSamples, metric: str) -> FloatArray:
    """The metric of each class."""
    counted = (decided.classes[decided.hits], decided.false_classes, decided.classes)
    hits, alarms, support = (np.bincount(c, minlength=decided.n_classes).astype(np.float64) for c in counted)
    return dict(zip(("precision", "recall", "f1"), scores_of(hits, hits + alarms, support), strict=True))[metric]


def differences(pair: Pair, metric: str, groups: ClassGroups, has_unpaired: bool) -> dict[str, Difference]:
    """The difference of every group that is defined."""
    values_a, values_b = (metric_of(side, metric) for side in pair)
    defined = ~np.isnan(values_a - values_b)
    part = np.array([PARTITION.index(group) for group in groups["x"].groups])
    parts = Parts(np.where(defined, part, -1), len(PARTITION))
    together = paired(*pair, metric, parts).difference
    apart = sum(alone(side, metric, parts) for side in pair) if has_unpaired else np.full_like(together, np.nan)
    sizes_of_parts = np.bincount(part[defined], minlength=len(PARTITION))
    by_group = {}
    for group in GROUPS:
        weights = weights_of(defined, groups, group)
        if weights.any():
            of_parts = np.bincount(part, weights=weights, minlength=len(PARTITION)) / np.maximum(sizes_of_parts, 1)
            deviations = (float(np.sqrt(of_parts @ covariance @ of_parts)) for covariance in (together, apart))
            by_group[group] = Difference(float(weights @ np.nan_to_num(values_b - values_a)), *deviations)
    return by_group


class Tally(NamedTuple):
    """Verdicts by (basis, metric, group), and gates that fail by name: shares of the repetitions."""

    verdicts: dict[tuple[str, str, str], float]
    gates: dict[str, float]


def simulate(
    problem: str,
    classes: int,
    samples: int,
    long_tailed: bool,
    shared: float,
    repetitions: int,
    planted: float = 0.0,
    seed: int = 0,
) -> Tally:
    """Repeat one comparison: how often it has a verdict, either way."""
    rng, groups = np.random.default_rng(seed), class_groups(classes)
    pairs = PROBLEMS[problem](classes, samples, long_tailed, shared, planted, rng)
    verdicts: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    gates: dict[str, list[float]] = defaultdict(list)
    for pair in itertools.islice(pairs, repetitions):
        for metric in METRICS:
            for group, d in differences(pair, metric, groups, metric == PEERS_OF).items():
                verdicts[PAIRED, metric, group].append(float(abs(d.value) > DEVIATIONS * d.paired))
                if metric == PEERS_OF:
                    verdicts[UNPAIRED, metric, group].append(float(abs(d.value) > DEVIATIONS * d.unpaired))
                if metric == PEERS_OF and group != "gap":
                    verdicts[SIGNS, metric, group].append(_signs_differ(pair, metric, groups["x"].members(group)))
                if metric == "f1" and group == "tail":
                    for gate, fails in _gates(d.value, d.value + DEVIATIONS * d.paired).items():
                        gates[gate].append(float(fails))
    shares = {key: float(np.mean(values)) for key, values in verdicts.items()}
    return Tally(shares, {gate: float(np.mean(fails)) for gate, fails in gates.items()})


def _signs_differ(pair: Pair, metric: str, members: NDArray[np.int64]) -> float:
    """Whether the sign-flip test over classes, which was the verdict before, finds a difference."""
    change = metric_of(pair.b, metric)[members] - metric_of(pair.a, metric)[members]
    p = SignFlipTest(change[~np.isnan(change)]).p()
    return float(p < LEVEL)


def _gates(difference: float, upper: float) -> dict[str, bool]:
    return {
        "tail.f1 < baseline": difference < 0,
        "tail.f1 < baseline - 0.02": difference < -0.02,
        "tail.f1 significantly < baseline": upper < 0,
        "tail.f1 significantly < baseline - 0.02": upper < -0.02,
    }


Cell = tuple[str, int, int]  # problem, classes, samples a class


def measure(run: Run) -> Results:
    """Error rates and power by number of classes, samples a class, balance, sharing and group."""
    few_to_many = run.choose((2, 10), (2, 3, 5, 10, 30), (2, 3, 5, 10, 30, 100))
    many = run.choose((10,), (10, 30, 120), (10, 30, 120, 1000))
    grid = list(itertools.product(PROBLEMS, many, few_to_many))
    grid += run.choose([], list(itertools.product(PROBLEMS, (1000,), (3,))), [])
    null, power = ({cell: _kinds(run, cell, planted) for cell in grid} for planted in (0.0, PLANTED))
    return [_error_table(null), _power_table(power), _gate_table(null)]


def _kinds(run: Run, cell: Cell, planted: float) -> list[Tally]:
    """Balanced and long-tailed, independent and shared."""
    problem, classes, samples = cell
    normal, large = {10: 80, 30: 50, 120: 20}.get(classes, 16), {10: 400, 30: 200, 120: 80}.get(classes, 30)
    repetitions = run.choose(10, normal, large)
    repetitions = max(5, repetitions // 4) if planted else repetitions
    kinds = itertools.product((False, True), (0.0, SHARED))
    return [simulate(problem, classes, samples, *kind, repetitions, planted) for kind in kinds]


def _rates(tallies: list[Tally], basis: str, metric: str) -> list[float]:
    keys = [(basis, metric, group) for group in GROUPS]
    return [tally.verdicts[key] for tally in tallies for key in keys if key in tally.verdicts]


def _mean_and_most(rates: list[float]) -> str:
    return f"{100 * np.mean(rates):.1f}, {100 * np.max(rates):.0f}" if rates else ""


def _error_table(cells: dict[Cell, list[Tally]]) -> Facts:
    about = (
        "verdicts on two runs of the same quality, %: mean and highest over 3 classes, a third, all and the gap, "
        "balanced and long-tailed validation sets, independent and shared decisions; at most 5 are wanted"
    )
    return Facts("null: two runs of the same quality", *_by_cell(cells, METRICS, _mean_and_most), about)


def _power_table(cells: dict[Cell, list[Tally]]) -> Facts:
    about = f"verdicts if recall of every class is {PLANTED} higher in B, %: mean and highest, as above"
    return Facts("power", *_by_cell(cells, ("recall", "f1"), _mean_and_most), about)


def _by_cell(
    cells: dict[Cell, list[Tally]], metrics: tuple[str, ...], text: Callable[[list[float]], str]
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: a row for each problem, metric and number of samples; all numbers of classes by column."""
    classes = sorted({c for _, c, _ in cells})
    rows = []
    for problem, metric in itertools.product(PROBLEMS, metrics):
        for samples in sorted({n for _, _, n in cells}):
            by_size = [cells.get((problem, c, samples), []) for c in classes]
            every = [tally for tallies in by_size for tally in tallies]
            paired = [text(_rates(tallies, PAIRED, metric)) for tallies in by_size]
            others = [text(_rates(every, basis, metric)) for basis in (UNPAIRED, SIGNS)]
            rows.append([problem, metric, str(samples), *paired, *others])
    return ["problem", "metric", "samples a class", *(f"{c:,} classes" for c in classes), UNPAIRED, SIGNS], rows


def _gate_table(cells: dict[Cell, list[Tally]]) -> Facts:
    """False alarms of gates on runs of the same quality."""
    gates = list(_gates(0.0, 0.0))
    rows = []
    for (problem, classes, samples), tallies in cells.items():
        rates = [_mean_and_most([tally.gates[gate] for tally in tallies]) for gate in gates]
        rows.append([problem, f"{classes:,}", str(samples), *rates])
    about = "gates that fail on two runs of the same quality, tail of 3 classes, %: mean and highest of the four kinds"
    return Facts("false alarms of gates", ["problem", "classes", "samples a class", *gates], rows, about)
