"""The covariance of group means, and of the difference of two runs' means, from the decisions on each sample.

A mean over classes is nearly a sum over samples of their influences (see `statistics.scores`), so the difference of two
runs that decided the same samples is one too, and what both decide alike cancels. Few samples of a class may all agree
by chance, so that each class is given `ADDED` more, whose outcomes are those of all classes together, with one more
sample that only A gets right and one that only B does. benchmarks/verdicts.py measures the error rates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records import DecidedSamples, FloatArray, IntArray
from tbmetrics.statistics.intervals import Z95
from tbmetrics.statistics.scores import Influence, influences, scores_of

#: Samples added to each class.
ADDED = 2
#: Deviations on either side of a difference in its 95 % interval: 5 % more than normal, as deviations are estimated.
DEVIATIONS = 1.05 * Z95


class Parts(NamedTuple):
    """Which part (bucket or group) each class belongs to.

    Attributes:
        of_class: int64 (classes,); -1 = none, the class does not count.
        size: number of parts.
    """

    of_class: IntArray
    size: int


class Covariances(NamedTuple):
    """Covariances of the sums over the classes of each part, each (parts, parts).

    Attributes:
        difference: of B minus A.
        total: of A plus B.
    """

    difference: FloatArray
    total: FloatArray


def paired(a: DecidedSamples, b: DecidedSamples, metric: str, parts: Parts) -> Covariances:
    """The covariances of two runs that decided the same samples.

    Args:
        a, b: the decisions, on the same samples in the same order.
        metric: "precision", "recall" or "f1".
        parts: of the classes.
    """
    sides = _Side(a, metric, parts), _Side(b, metric, parts)
    estimate = _single_label if a.is_single else _multi_label
    return Covariances(estimate(sides, (-1.0, 1.0), parts), estimate(sides, (1.0, 1.0), parts))


def alone(decided: DecidedSamples, metric: str, parts: Parts) -> FloatArray:
    """The covariance of one run's sums, (parts, parts)."""
    side = _Side(decided, metric, parts)
    return (_single_label if decided.is_single else _multi_label)((side, side), (1.0, 0.0), parts)


def nested(a: DecidedSamples, b: DecidedSamples, metric: str, parts: Parts) -> FloatArray:
    """The variance of the difference of two runs' sums over the first part, the first two, and so on, (parts,).

    As `paired` gives it for all classes up to a part as one part. A sample's influence on such a sum changes only at
    the parts of the few classes that it concerns, so that the cost grows with the samples, not with the parts.
    """
    sides = _Side(a, metric, parts), _Side(b, metric, parts)
    return _nested_variances(sides, (-1.0, 1.0), parts)


def nested_alone(decided: DecidedSamples, metric: str, parts: Parts) -> FloatArray:
    """The same of one run's sums, as `alone` gives it."""
    side = _Side(decided, metric, parts)
    return _nested_variances((side, side), (1.0, 0.0), parts)


class _Side:
    """The influences of one run's samples on the sums over the classes of each part."""

    def __init__(self, decided: DecidedSamples, metric: str, parts: Parts) -> None:
        self.decided = decided
        self.support = np.bincount(decided.classes, minlength=decided.n_classes).astype(np.float64)
        self.hits = np.bincount(decided.classes[decided.hits], minlength=decided.n_classes).astype(np.float64)
        self.alarms = np.bincount(decided.false_classes, minlength=decided.n_classes).astype(np.float64)
        self.influence = _influence(metric, self.hits, self.alarms, self.support, parts.of_class >= 0)

    def by_row(self, parts: Parts) -> FloatArray:
        """The influence of each sample, (samples, parts)."""
        of_positives = np.where(
            self.decided.hits, self.influence.hit[self.decided.classes], self.influence.miss[self.decided.classes]
        )
        of_alarms = self.influence.false_alarm[self.decided.false_classes]
        rows = np.concatenate([self.decided.rows, self.decided.false_rows])
        classes = np.concatenate([self.decided.classes, self.decided.false_classes])
        places = rows * parts.size + np.maximum(parts.of_class[classes], 0)
        weights = np.concatenate([of_positives, of_alarms])
        n = self.decided.n_samples
        sums: FloatArray = np.bincount(places, weights=weights, minlength=n * parts.size).astype(np.float64)
        return sums.reshape(n, parts.size)


def _influence(
    metric: str, hits: FloatArray, alarms: FloatArray, support: FloatArray, counts: NDArray[np.bool_]
) -> Influence:
    scores = dict(zip(("precision", "recall", "f1"), scores_of(hits, hits + alarms, support), strict=True))
    columns = {"true_positives": hits, "false_positives": alarms, "support": support, **scores}
    return Influence(*(np.where(counts, part, 0.0) for part in influences(columns)[metric]))


def _placed(values: FloatArray, parts: Parts) -> FloatArray:
    """`values` of the classes in the column of their part, (classes, parts)."""
    placed = np.zeros((len(values), parts.size))
    placed[np.arange(len(values)), np.maximum(parts.of_class, 0)] = values
    return placed


#: Outcomes of a positive: whether A hits it, and whether B does.
_OUTCOMES = ((1, 1), (1, 0), (0, 1), (0, 0))


def _outcome_counts(sides: tuple[_Side, _Side]) -> FloatArray:
    """Positives of each class by outcome, (4, classes)."""
    a, b = sides
    hit_a, hit_b, classes = a.decided.hits, b.decided.hits, a.decided.classes
    masks = (hit_a & hit_b, hit_a & ~hit_b, ~hit_a & hit_b, ~hit_a & ~hit_b)
    return np.stack([np.bincount(classes[m], minlength=a.decided.n_classes) for m in masks]).astype(np.float64)


def _usual_shares(counts: FloatArray) -> FloatArray:
    """The share of each outcome in the mean over classes, (4,), with one discordant sample of either kind added."""
    totals = counts.sum(axis=0)
    mean = (counts[:, totals > 0] / totals[totals > 0]).mean(axis=1)
    shares: FloatArray = (mean * totals.sum() + np.array([0.0, 1.0, 1.0, 0.0])) / (totals.sum() + 2)
    return shares


def _single_label(sides: tuple[_Side, _Side], sign: tuple[float, float], parts: Parts) -> FloatArray:
    """With the number of samples of each class fixed: variance within classes."""
    labels, support, n_classes = sides[0].decided.classes, sides[0].support, sides[0].decided.n_classes
    rows = _signed(sign, *(side.by_row(parts) for side in sides))
    shares = _usual_shares(_outcome_counts(sides))
    mean_alarm, spread = zip(*(_usual_alarm(side, parts) for side in sides), strict=True)
    hit, miss = ([_placed(getattr(s.influence, kind), parts) for s in sides] for kind in ("hit", "miss"))
    added = [
        _signed(sign, *(hit[s] if outcome[s] else miss[s] + mean_alarm[s] for s in (0, 1))) for outcome in _OUTCOMES
    ]
    weight = support / np.maximum(support + ADDED - 1, 1)
    sums = np.stack([np.bincount(labels, weights=rows[:, p], minlength=n_classes) for p in range(parts.size)], axis=1)
    sums = sums + sum(ADDED * share * vectors for share, vectors in zip(shares, added, strict=True))
    covariance = (rows * weight[labels, None]).T @ rows
    for share, vectors in zip(shares, added, strict=True):
        covariance += ADDED * share * (vectors * weight[:, None]).T @ vectors
    covariance -= (sums * (weight / (support + ADDED))[:, None]).T @ sums
    misses = (shares[2] + shares[3], shares[1] + shares[3])
    for s in (0, 1):
        covariance += ADDED * misses[s] * sign[s] ** 2 * weight.sum() * spread[s]
    return covariance


def _usual_alarm(side: _Side, parts: Parts) -> tuple[FloatArray, FloatArray]:
    """The mean influence of a false positive as false positives are usually made, (parts,), and its covariance."""
    frequency = (side.alarms + 0.5) / (side.alarms + 0.5).sum()
    alarms = _placed(side.influence.false_alarm, parts)
    mean = frequency @ alarms
    return mean, (alarms * frequency[:, None]).T @ alarms - np.outer(mean, mean)


def _signed(sign: tuple[float, float], a: FloatArray, b: FloatArray) -> FloatArray:
    return sign[0] * a + sign[1] * b


def _multi_label(sides: tuple[_Side, _Side], sign: tuple[float, float], parts: Parts) -> FloatArray:
    """Rows are drawn as a whole; each class has at least the variance of its own counts, a few more samples added."""
    rows = _signed(sign, *(side.by_row(parts) for side in sides))
    plain, smoothed = _class_variances(sides, sign)
    member, size = parts.of_class >= 0, parts.size
    own, extra = (
        np.bincount(parts.of_class[member], weights=values[member], minlength=size)
        for values in (plain, np.maximum(smoothed - plain, 0.0))
    )
    covariance: FloatArray = rows.T @ rows
    np.fill_diagonal(covariance, np.maximum(np.diag(covariance), own) + extra)
    return covariance


def _class_variances(sides: tuple[_Side, _Side], sign: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """The variance of each class's metric from its counts, and the same with a few more samples, each (classes,)."""
    counts = _outcome_counts(sides)
    shares = _usual_shares(counts)
    alarms = _alarm_counts(sides)
    usual_alarms = (alarms.sum(axis=1) + np.array([0.0, 1.0, 1.0])) / (alarms.sum() + 2)
    values = [
        _signed(sign, *(s.influence.hit if hit else s.influence.miss for s, hit in zip(sides, outcome, strict=True)))
        for outcome in _OUTCOMES
    ]
    false_values = [
        _signed(sign, *(s.influence.false_alarm * is_one for s, is_one in zip(sides, outcome, strict=True)))
        for outcome in _OUTCOMES[:3]
    ]
    squares, false_squares = np.square(values), np.square(false_values)
    plain = (counts * squares).sum(axis=0) + (alarms * false_squares).sum(axis=0)
    added = ADDED * (shares[:, None] * squares).sum(axis=0) + (usual_alarms[:, None] * false_squares).sum(axis=0)
    support = counts.sum(axis=0)
    return plain, (plain + added) * support / np.maximum(support + ADDED - 1, 1)


def _alarm_counts(sides: tuple[_Side, _Side]) -> FloatArray:
    """False positives of each class: of both runs, of A alone, of B alone; (3, classes)."""
    n_classes = sides[0].decided.n_classes
    a, b = (side.decided.false_rows * n_classes + side.decided.false_classes for side in sides)
    both = np.intersect1d(a, b, assume_unique=True)
    by_kind = (both, np.setdiff1d(a, both, assume_unique=True), np.setdiff1d(b, both, assume_unique=True))
    return np.stack([np.bincount(p % n_classes, minlength=n_classes) for p in by_kind]).astype(np.float64)


# ------------------------------------------------------------------------------------------------ nested parts


class _Changes(NamedTuple):
    """What samples add to the difference of the sums, each (changes,): sample, part of the class, signed influence."""

    sample: IntArray
    part: IntArray
    value: FloatArray


def _nested_variances(sides: tuple[_Side, _Side], sign: tuple[float, float], parts: Parts) -> FloatArray:
    changes = _changes(sides, sign, parts)
    if sides[0].decided.is_single:
        return _nested_single_label(sides, sign, parts, changes)
    plain, smoothed = _class_variances(sides, sign)
    own, extra = (_up_to(parts, values) for values in (plain, np.maximum(smoothed - plain, 0.0)))
    rows = _squares_up_to(changes, np.ones(sides[0].decided.n_samples), parts.size)
    variances: FloatArray = np.maximum(rows, own) + extra
    return variances


def _changes(sides: tuple[_Side, _Side], sign: tuple[float, float], parts: Parts) -> _Changes:
    columns = []
    for side, factor in zip(sides, sign, strict=True):
        decided, influence = side.decided, side.influence
        of_positives = np.where(decided.hits, influence.hit[decided.classes], influence.miss[decided.classes])
        columns.append((decided.rows, decided.classes, factor * of_positives))
        columns.append(
            (decided.false_rows, decided.false_classes, factor * influence.false_alarm[decided.false_classes])
        )
    samples, classes, values = (np.concatenate(column) for column in zip(*columns, strict=True))
    counts = parts.of_class[classes] >= 0
    return _Changes(samples[counts], parts.of_class[classes][counts], values[counts])


def _nested_single_label(
    sides: tuple[_Side, _Side], sign: tuple[float, float], parts: Parts, changes: _Changes
) -> FloatArray:
    """As `_single_label`: squares of samples and of the added ones, less those of the means of their classes."""
    labels, support = sides[0].decided.classes, sides[0].support
    shares = _usual_shares(_outcome_counts(sides))
    weight = support / np.maximum(support + ADDED - 1, 1)
    mean_weight = weight / (support + ADDED)
    frequency = [(side.alarms + 0.5) / (side.alarms + 0.5).sum() for side in sides]
    alarms = [_up_to(parts, f * side.influence.false_alarm) for side, f in zip(sides, frequency, strict=True)]
    variances = _squares_up_to(changes, weight[labels], parts.size)
    of_classes, of_all = np.zeros(len(support)), np.zeros(parts.size)  # what samples added to a class sum up to
    for share, outcome in zip(ADDED * shares, _OUTCOMES, strict=True):
        own = _signed(
            sign, *(s.influence.hit if hit else s.influence.miss for s, hit in zip(sides, outcome, strict=True))
        )
        usual = _signed(sign, *((1 - hit) * alarm for alarm, hit in zip(alarms, outcome, strict=True)))
        squares = _up_to(parts, weight * own**2) + 2 * usual * _up_to(parts, weight * own) + usual**2 * weight.sum()
        variances += share * squares
        of_classes += share * own
        of_all += share * usual
    members = np.flatnonzero(parts.of_class >= 0)
    by_class = _Changes(
        np.concatenate([labels[changes.sample], members]),
        np.concatenate([changes.part, parts.of_class[members]]),
        np.concatenate([changes.value, of_classes[members]]),
    )
    sums = np.cumsum(np.bincount(by_class.part, mean_weight[by_class.sample] * by_class.value, parts.size))
    variances -= _squares_up_to(by_class, mean_weight, parts.size) + 2 * of_all * sums + of_all**2 * mean_weight.sum()
    misses = (shares[2] + shares[3], shares[1] + shares[3])
    for s, side in enumerate(sides):
        spread = _up_to(parts, frequency[s] * side.influence.false_alarm**2) - alarms[s] ** 2
        variances += ADDED * misses[s] * sign[s] ** 2 * weight.sum() * spread
    return variances


def _up_to(parts: Parts, values: FloatArray) -> FloatArray:
    """Sums of the classes' values up to each part, (parts,)."""
    member = parts.of_class >= 0
    sums: FloatArray = np.cumsum(np.bincount(parts.of_class[member], values[member], parts.size))
    return sums


def _squares_up_to(changes: _Changes, weight: FloatArray, size: int) -> FloatArray:
    """The weighted sum over samples of their squared changes up to each part, (parts,)."""
    if not len(changes.sample):
        return np.zeros(size)
    order = np.lexsort((changes.part, changes.sample))
    sample, part, value = changes.sample[order], changes.part[order], changes.value[order]
    is_first = np.concatenate([[True], sample[1:] != sample[:-1]])
    before = np.cumsum(value) - value
    before -= before[is_first][np.cumsum(is_first) - 1]
    grown = weight[sample] * value * (2 * before + value)
    squares: FloatArray = np.cumsum(np.bincount(part, grown, size))
    return squares
