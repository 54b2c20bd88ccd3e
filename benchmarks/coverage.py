"""How often the 95 % intervals of group means contain the truth, in simulations whose truth is known.

Precision, recall and F1 of a single-label problem come from a known confusion matrix: their truth is exact. The scores
of a multi-label problem are normal and correlated, as are its labels: their truth is exact up to quadrature. AP of a
single-label problem is compared with that of a sample many times as large.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from benchmarks.measuring import Facts, Results, Run
from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.comparing.regrouping import ClassMeans, RecordedUncertainty
from tbmetrics.records import class_table_tag, uncertainty_tag
from tbmetrics.statistics.intervals import Z95, percentile_interval
from tbmetrics.statistics.scores import influences, scores_of

FloatArray = NDArray[np.float64]
REPLICATES = 100
#: Share of the variance of the labels, and of the scores, that the classes of a row have in common.
CORRELATION = 0.3
REDRAWN_EVERY = 10  # repetitions
#: Of numbers that were recorded as float32.
ROUNDING = 1e-6
OURS, REGROUPED, BOOTSTRAP, DELTA = "ours", "ours, regrouped", "percentile bootstrap", "delta method"
GROUPS = ("tail", "head", "all", "gap")


class Sample(NamedTuple):
    """One validation set: scores and labels (rows, classes), the truth of each class, and how it is decided."""

    scores: FloatArray
    labels: NDArray[np.int64]
    predicted: NDArray[np.bool_]
    truth: dict[str, FloatArray]
    is_single: bool

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Multi-hot labels, (rows, classes)."""
        return self.labels[:, None] == np.arange(self.scores.shape[1]) if self.is_single else self.labels > 0


def class_groups(classes: int) -> ClassGroups:
    """A third of the classes is the head, three are the tail; training counts fall from 1,000 to 2."""
    return _groups(classes, classes // 3, 3)


def moved_groups(classes: int) -> ClassGroups:
    """Groups drawn anew: the head is half of the classes, the tail a tenth, at least two."""
    return _groups(classes, classes // 2, max(2, classes // 10))


def _groups(classes: int, head: int, tail: int) -> ClassGroups:
    names = ("head",) * head + ("medium",) * (classes - head - tail) + ("tail",) * tail
    counts = np.round(1000 * 0.002 ** np.linspace(0, 1, classes)).astype(np.int64)
    attribute = AttributeClasses("x", tuple(map(str, range(classes))), counts, names, "given")
    return ClassGroups({"x": attribute})


def sizes(classes: int, positives: int, long_tailed: bool) -> NDArray[np.int64]:
    """Positives of each class: all alike, or falling from twenty times as many."""
    ratio = 20 ** np.linspace(1, 0, classes) if long_tailed else np.ones(classes)
    return np.round(positives * ratio).astype(np.int64)


# ----------------------------------------------------------------------------------------------- problems


def confusions(classes: int, positives: int, long_tailed: bool, rng: np.random.Generator) -> Iterator[Sample]:
    """Single-label decisions drawn from a known confusion matrix; AP has no truth here."""
    n = sizes(classes, positives, long_tailed)
    labels = np.repeat(np.arange(classes), n)
    repetition = 0
    while True:
        if repetition % REDRAWN_EVERY == 0:
            recall, weight = rng.beta(2, 2, classes), rng.gamma(0.5, size=(classes, classes))
            weight[:, : classes // 3] *= 3  # the head draws false alarms
            np.fill_diagonal(weight, 0)
            matrix = weight * ((1 - recall) / weight.sum(1))[:, None] + np.diag(recall)
            cumulated = matrix.cumsum(1)
        drawn = (rng.random(len(labels))[:, None] > cumulated[labels]).sum(1).clip(max=classes - 1)
        hits = np.diag(matrix) * n
        truth = dict(zip(("precision", "recall", "f1"), scores_of(hits, n @ matrix, n.astype(float)), strict=True))
        scores = np.eye(classes)[drawn] * 5 + 0.01 * rng.normal(size=(len(labels), classes))
        yield Sample(scores, labels, np.eye(classes, dtype=bool)[drawn], truth, True)
        repetition += 1


def softmax_scores(classes: int, positives: int, long_tailed: bool, rng: np.random.Generator) -> Iterator[Sample]:
    """Single-label logits with margins and confusions of each class; only AP has a truth."""
    n = sizes(classes, positives, long_tailed)
    labels, many = np.repeat(np.arange(classes), n), np.repeat(np.arange(classes), max(30_000 // classes, 1200))
    repetition = 0
    while True:
        if repetition % REDRAWN_EVERY == 0:
            means = 0.5 * rng.normal(size=(classes, classes)) + np.diag(rng.uniform(0.5, 3.5, classes))
            p = softmax(means[many] + rng.normal(size=(len(many), classes)), axis=1)
            weight = n[many].astype(float)
            ap = [average_precision_score(many == c, p[:, c], sample_weight=weight) for c in range(classes)]
        scores = means[labels] + rng.normal(size=(len(labels), classes))
        predicted = scores == scores.max(1, keepdims=True)
        yield Sample(scores, labels, predicted, {"ap": np.array(ap)}, True)
        repetition += 1


def multi_label(classes: int, positives: int, long_tailed: bool, rng: np.random.Generator) -> Iterator[Sample]:
    """Multi-label rows with correlated labels and correlated normal scores, decided at a threshold of each class."""
    n = sizes(classes, positives, long_tailed)
    rows = 50 * positives
    share = n / rows if not long_tailed else np.minimum(n / rows, 0.3)
    repetition = 0
    while True:
        if repetition % REDRAWN_EVERY == 0:
            margin, cut = rng.uniform(0.8, 3.5, classes), rng.uniform(0.8, 2.2, classes)
            hits, alarms = share * norm.sf(cut - margin), (1 - share) * norm.sf(cut)
            truth = dict(zip(("precision", "recall", "f1"), scores_of(hits, hits + alarms, share), strict=True))
            truth["ap"] = normal_ap(margin, share)
        labels = _correlated(rows, classes, rng) < norm.ppf(share)
        scores = margin * labels + _correlated(rows, classes, rng) - cut
        yield Sample(scores, labels.astype(np.int64), scores >= 0, truth, False)
        repetition += 1


def _correlated(rows: int, classes: int, rng: np.random.Generator) -> FloatArray:
    common = rng.normal(size=(rows, 1))
    return np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * rng.normal(size=(rows, classes))


def normal_ap(margin: FloatArray, share: FloatArray) -> FloatArray:
    """AP of normal scores of variance 1 whose means differ by `margin`, (classes,), by quadrature."""
    x = np.linspace(-8, 12, 6001)[:, None]
    found, alarms = share * norm.sf(x - margin), (1 - share) * norm.sf(x)
    ap: FloatArray = (found / (found + alarms) * norm.pdf(x - margin)).sum(0) * (x[1, 0] - x[0, 0])
    return ap


PROBLEMS = {"single-label": confusions, "single-label scores": softmax_scores, "multi-label": multi_label}

# ------------------------------------------------------------------------------------------------ methods

Ends = dict[tuple[str, str], tuple[float, float]]  # (group, metric) → interval


def evaluated(sample: Sample, groups: ClassGroups) -> tuple[Ends, ClassPerformanceTracker]:
    """The intervals of the tracker."""
    tracker = ClassPerformanceTracker(classes=groups, thresholds=0.5)
    tracker.update(torch.from_numpy(sample.scores), torch.from_numpy(sample.labels))
    table = tracker.get_class_type_metrics()["x"]
    return {
        (g, m): tuple(np.nan if (end := table[g][f"{m}_{side}"]) is None else end for side in ("lower", "upper"))
        for g in GROUPS
        for m in sample.truth
    }, tracker


def regrouped(tracker: ClassPerformanceTracker, sample: Sample, moved: ClassGroups) -> Ends:
    """The intervals of groups drawn anew from what the tracker recorded."""
    tracker.collect(0)
    tables = tracker.history.tables
    recorded, by_class = tables[uncertainty_tag("x")][-1], tables[class_table_tag("x")][-1]
    uncertainty = RecordedUncertainty.read(recorded.values, recorded.details["buckets"], tracker.classes["x"])
    positives = None if sample.is_single else by_class.column("support")
    ends: Ends = {}
    for metric in sample.truth:
        values = by_class.column(metric).astype(np.float64)
        means = ClassMeans(metric, values, uncertainty, positives).by_group(moved["x"].groups)
        ends |= {(group, metric): means[group][1:] for group in GROUPS if group in means}
    return ends


def weights_of(defined: NDArray[np.bool_], groups: ClassGroups, group: str) -> FloatArray:
    """The weight of each class in a mean over the defined ones, or in the gap."""
    if group == "gap":
        return weights_of(defined, groups, "head") - weights_of(defined, groups, "tail")
    weights = np.isin(np.arange(len(defined)), groups["x"].members(group)) * defined
    return weights / max(weights.sum(), 1)


def bootstrapped(sample: Sample, groups: ClassGroups, rng: np.random.Generator) -> Ends:
    """The central 95 % of a Bayesian bootstrap of the samples (precision, recall, F1)."""
    positive = sample.positive
    weights = rng.exponential(size=(REPLICATES, len(positive)))
    masks = (positive & sample.predicted, sample.predicted, positive)
    by_metric = dict(
        zip(("precision", "recall", "f1"), scores_of(*(weights @ m.astype(float) for m in masks)), strict=True)
    )
    ends: Ends = {}
    for metric, values in by_metric.items():
        for group in GROUPS:
            means = np.nan_to_num(values) @ weights_of(~np.isnan(values[0]), groups, group)
            ends[group, metric] = percentile_interval(means)
    return ends


def delta_method(sample: Sample, groups: ClassGroups) -> Ends:
    """The plain delta method (Takahashi et al., 2022): influences of the samples, no smoothing, no correction."""
    positive, predicted = sample.positive, sample.predicted
    masks = [mask.astype(float) for mask in (positive & predicted, positive & ~predicted, predicted & ~positive)]
    hits, misses, alarms = (mask.sum(0) for mask in masks)
    names = ("precision", "recall", "f1")
    values = dict(zip(names, scores_of(hits, hits + alarms, hits + misses), strict=True))
    counts = {"true_positives": hits, "false_positives": alarms, "support": hits + misses}
    ends: Ends = {}
    for metric, parts in influences({**counts, **values}).items():
        for group in GROUPS:
            weights = weights_of(~np.isnan(values[metric]), groups, group)
            by_row = sum(mask @ (part * weights) for mask, part in zip(masks, parts, strict=True))
            mean, half = np.nan_to_num(values[metric]) @ weights, Z95 * np.sqrt((by_row**2).sum())
            ends[group, metric] = (mean - half, mean + half)
    return ends


# ---------------------------------------------------------------------------------------------- the measure


@dataclass(slots=True)
class Tally:
    """What was seen of one interval: whether it contains the truth and its estimate, and its width; NaN = untold."""

    covers: list[float]
    contains: list[float]
    width: list[float]

    def add(self, ends: tuple[float, float], truth: float, estimate: float) -> None:
        """Add one repetition."""
        low, high = ends
        told = low == low
        self.covers.append(float(low - ROUNDING <= truth <= high + ROUNDING) if told else np.nan)
        self.contains.append(float(low - ROUNDING <= estimate <= high + ROUNDING) if told else np.nan)
        self.width.append(high - low)


def _tally() -> Tally:
    return Tally([], [], [])


Tallies = dict[tuple[str, str, str], Tally]  # (method, group, metric)


def simulate(
    problem: str, classes: int, positives: int, long_tailed: bool, repetitions: int, peers: bool = True, seed: int = 0
) -> tuple[Tallies, dict[str, float]]:
    """Repeat one problem; return the tallies and the milliseconds of each method."""
    rng, groups, moved = np.random.default_rng(seed), class_groups(classes), moved_groups(classes)
    samples = PROBLEMS[problem](classes, positives, long_tailed, rng)
    tallies: Tallies = defaultdict(_tally)
    milliseconds: dict[str, float] = defaultdict(float)
    for _, sample in zip(range(repetitions), samples, strict=False):
        start = time.process_time()
        ours, tracker = evaluated(sample, groups)
        methods = {OURS: ours}
        milliseconds[OURS] += (time.process_time() - start) / repetitions * 1e3
        if peers and "f1" in sample.truth:
            start = time.process_time()
            methods[BOOTSTRAP] = bootstrapped(sample, groups, rng)
            milliseconds[BOOTSTRAP] += (time.process_time() - start) / repetitions * 1e3
            methods[DELTA] = delta_method(sample, groups)
        methods[REGROUPED] = regrouped(tracker, sample, moved)
        columns = tracker._results["x"].columns
        for metric, truth in sample.truth.items():
            for group in GROUPS:
                for method, ends in methods.items():
                    of_method = moved if method == REGROUPED else groups
                    weights = weights_of(~np.isnan(columns[metric]), of_method, group)
                    if (group, metric) in ends and (group == "gap" or weights.any()):
                        true_mean, mean = (float(np.nan_to_num(v) @ weights) for v in (truth, columns[metric]))
                        tallies[method, group, metric].add(ends[group, metric], true_mean, mean)
    return tallies, milliseconds


Cells = dict[tuple[int, int], list[Tallies]]  # (classes, positives) → of balanced and long-tailed validation sets


def table(title: str, cells: Cells) -> Facts:
    """Coverage by metric and positives a class, over all groups and both kinds of validation set."""
    classes = sorted({c for c, _ in cells})
    rows = []
    for metric in dict.fromkeys(metric for (_, _, metric) in next(iter(cells.values()))[0]):
        for positives in sorted({n for _, n in cells}):
            by_size = {c: cells[c, positives] for c in classes if (c, positives) in cells}
            every = [tallies for of_size in by_size.values() for tallies in of_size]
            ours = [_spread(by_size.get(c, []), OURS, metric) for c in classes]
            widths = [np.nanmean(tallies[OURS, g, metric].width) for tallies in every for g in ("head", "all")]
            inside = [np.nanmean(tallies[OURS, g, metric].contains) for tallies in every for g in GROUPS]
            means = [f"{np.nanmean(widths):.2f}", f"{np.nanmean(inside):.2f}"]
            peers = [_spread(every, method, metric) for method in (REGROUPED, BOOTSTRAP, DELTA)]
            rows.append([metric, str(positives), *ours, *means, *peers])
    columns = ["mean of", "positives a class", *(f"{c:,} classes" for c in classes)]
    about = (
        "share of intervals that contain the truth: lowest to highest, and mean; of 3 classes, a third, all, the gap; "
        "regrouped: of groups drawn after the measurement, of a tenth and half of the classes"
    )
    return Facts(title, [*columns, "width", "contain their estimate", REGROUPED, BOOTSTRAP, DELTA], rows, about)


def _spread(every: list[Tallies], method: str, metric: str) -> str:
    keys = [(method, group, metric) for group in GROUPS]
    shares = [np.nanmean(tallies[key].covers) for tallies in every for key in keys if key in tallies]
    told = [share for share in shares if share == share]  # the others have no interval
    return f"{min(told):.2f} to {max(told):.2f}, {np.mean(told):.2f}" if told else ""


def measure(run: Run) -> Results:
    """Coverage by number of classes, positives a class, balance and group; and the cost."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    few_to_many = run.choose((2, 10), (1, 2, 3, 5, 10, 30), (1, 2, 3, 5, 10, 30, 100))
    grid = [(c, n) for c in run.choose((10,), (10, 30, 120)) for n in few_to_many]
    grid += run.choose([], [], [(1000, 3), (1000, 10)])
    results, costs = [], []
    for problem in PROBLEMS:
        cells: Cells = {}
        for classes, positives in grid:
            repetitions = run.choose(20, {10: 80, 30: 50, 120: 25}.get(classes), {10: 400, 30: 200}.get(classes, 60))
            outcomes = [simulate(problem, classes, positives, tailed, repetitions) for tailed in (False, True)]
            cells[classes, positives] = [tallies for tallies, _ in outcomes]
            spent = [np.mean([of_method[m] for _, of_method in outcomes]) for m in (OURS, BOOTSTRAP)]
            costs.append([problem, str(classes), str(positives), *(f"{ms:.1f}" for ms in spent)])
        results.append(table(f"{problem}: coverage of 95 % intervals", cells))
    columns = ["problem", "classes", "positives a class", "our whole evaluation, ms", "bootstrap alone, ms"]
    return [*results, Facts("cost", columns, costs)]
