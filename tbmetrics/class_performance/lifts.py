"""Lifts between groups of a multi-label attribute: is one label predicted where another is missed more than elsewhere?

A missed label and a label falsely predicted in the same row look like a confusion, but come together by chance as well.
The lift is the number of false positives of a group in rows where a class is missed, over the number expected if they
were as frequent there as in rows without that class: 1 if misses and false positives are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.records import FloatArray
from tbmetrics.statistics.lifts import lift, lift_interval


@dataclass(slots=True)
class LiftSums:
    """What adds up to lifts, by bucket (or group) of the class missed and of the class falsely predicted.

    Attributes:
        positives, missed: of the bucket's classes, (buckets,).
        absent_share: share of the rows that lack a missed class, summed over the misses, (buckets,).
        false_positives: of the bucket's classes, (buckets,).
        observed: false positives in rows with a miss, once for each miss, (missed, predicted).
        expected: the same if they were as frequent as in rows without the class, class by class, (missed, predicted).
        variance: of `observed`, (missed, predicted). Its sum over all columns is exact; that over some is too large if
            false positives come in clumps.
    """

    positives: FloatArray
    missed: FloatArray
    absent_share: FloatArray
    false_positives: FloatArray
    observed: FloatArray
    expected: FloatArray
    variance: FloatArray

    @classmethod
    def from_sums(cls, values: FloatArray) -> LiftSums:
        """The inverse of `sums`."""
        size = len(values)
        return cls(*values[:, :4].T, *(values[:, 4 + i * size : 4 + (i + 1) * size] for i in range(3)))

    @classmethod
    def unknown(cls, size: int) -> LiftSums:
        """Of `size` buckets whose rows are no longer known."""
        return cls(*np.full((4, size), np.nan), *np.full((3, size, size), np.nan))

    def added_up(self, number: NDArray[np.int64], size: int) -> LiftSums:
        """The sums over buckets of the same `number`, as `size` buckets."""
        member = np.eye(size)[number]
        rows = (member.T @ x for x in (self.positives, self.missed, self.absent_share, self.false_positives))
        tables = (member.T @ x @ member for x in (self.observed, self.expected, self.variance))
        return LiftSums(*rows, *tables)

    def sums(self) -> FloatArray:
        """As the rows of a table with the columns `lift_sum_columns`."""
        columns = (self.positives, self.missed, self.absent_share, self.false_positives)
        return np.hstack([np.stack(columns, axis=1), self.observed, self.expected, self.variance])

    def lifts(self) -> FloatArray:
        """As the rows of a table with `LIFT_COLUMNS`, if these are sums of groups."""
        share = np.divide(self.absent_share, self.missed, out=np.zeros_like(self.missed), where=self.missed > 0)
        reference = share[:, None] * self.false_positives
        value = lift(self.observed, self.expected)
        lower, upper = lift_interval(self.observed, self.expected, self.variance, reference)
        of_groups = np.stack((value, lower, upper, self.observed, self.expected), axis=2)
        return np.hstack([np.stack((self.positives, self.missed), axis=1), of_groups.reshape(len(value), -1)])


class _Totals:
    """Sums over the rows of all batches, float64 on the device.

    Args:
        member: one-hot bucket of each class, float32 (classes, buckets).
    """

    def __init__(self, member: Tensor) -> None:
        classes, size = member.shape
        self.member = member
        self.sums = torch.zeros(2 * size, dtype=torch.float64, device=member.device)
        self.not_absent = torch.zeros(classes, 2 * size + 1, dtype=torch.float64, device=member.device)
        self.negative_missed = torch.zeros(classes, size, dtype=torch.float64, device=member.device)
        self.flow = torch.zeros(size, 2 * size + 1, dtype=torch.float64, device=member.device)
        self.squares = torch.zeros(size, 2 * size + 2, dtype=torch.float64, device=member.device)

    def add(self, predicted: Tensor, labels: Tensor) -> None:
        """Add a batch of predictions, bool, and labels of 1, 0 and -1, both (rows, classes)."""
        member, one = self.member, torch.ones(len(labels), 1, device=labels.device)
        wrong = (predicted & (labels == 0)).float() @ member
        rows, classes = (labels != 0).nonzero(as_tuple=True)  # few in a long tail: the rest is negative
        is_missed = (labels[rows, classes] > 0) & ~predicted[rows, classes]
        other, missed = (_cells(rows[part], classes[part], labels) for part in (slice(None), is_missed))
        negative = member.sum(0) - other @ member
        both = torch.cat((wrong, negative), dim=1)
        self.sums += both.sum(0, dtype=torch.float64)
        self.not_absent += other.T @ torch.cat((both, one), dim=1)
        self.negative_missed += missed.T @ negative
        rows = rows[is_missed].unique_consecutive()
        self._add_rows((missed @ member)[rows], wrong[rows], one[rows])

    def _add_rows(self, count: Tensor, wrong: Tensor, one: Tensor) -> None:
        """Add rows with `count` misses and `wrong` false positives by bucket, both (rows, buckets)."""
        total = wrong.sum(1, keepdim=True)
        shares = torch.cat((wrong / total.clamp(min=1), (total == 0).float(), wrong), dim=1)
        self.flow += count.double().T @ shares.double()
        weight = count * count.sum(1, keepdim=True)
        self.squares += weight.double().T @ torch.cat((one, total, wrong, wrong * total), dim=1).double()


def _cells(rows: Tensor, classes: Tensor, labels: Tensor) -> Tensor:
    """A sparse table, float32 in the shape of `labels`, that is 1 at the given cells, which come row by row."""
    places, ones = torch.stack((rows, classes)), torch.ones(len(rows), device=labels.device)
    return torch.sparse_coo_tensor(places, ones, labels.shape, is_coalesced=True, check_invariants=False)


def flow_and_lifts(state: AttributeState, scores: ExactScores, buckets: CountBuckets) -> tuple[FloatArray, LiftSums]:
    """Positives by true and predicted bucket, see `flows.flows`, and the sums behind lifts, in one pass."""
    totals: _Totals | None = None
    rows = 0
    for logits, labels in scores.chunks():
        if totals is None:
            of_class = torch.from_numpy(buckets.of_class).to(logits.device)
            totals = _Totals(torch.nn.functional.one_hot(of_class, len(buckets)).float())
        totals.add(logits >= state.score_thresholds(logits), labels)
        rows += len(labels)
    if totals is None:
        return np.zeros((len(buckets), len(buckets) + 1)), LiftSums.unknown(len(buckets))
    return _results(state, totals, buckets, rows)


def _results(state: AttributeState, totals: _Totals, buckets: CountBuckets, rows: int) -> tuple[FloatArray, LiftSums]:
    size, member = len(buckets), np.eye(len(buckets))[buckets.of_class]
    tp, fp, fn, support = state.counts().astype(np.float64)
    flow, squares = _host(totals.flow), _host(totals.squares)
    observed, missed = flow[:, size + 1 :], member.T @ fn
    not_absent = _host(totals.not_absent)
    absent = rows - not_absent[:, -1]
    expected = member.T @ _expected(totals, not_absent, fp, absent, buckets)
    share = member.T @ (fn * absent / max(rows, 1))
    sums = LiftSums(
        member.T @ support, missed, share, member.T @ fp, observed, expected, _variance(squares, observed, missed)
    )
    hits: FloatArray = np.diag(member.T @ tp)
    return flow[:, : size + 1] + np.pad(hits, ((0, 0), (0, 1))), sums


def _expected(
    totals: _Totals, not_absent: FloatArray, false: FloatArray, absent: FloatArray, buckets: CountBuckets
) -> FloatArray:
    """False positives expected in rows where each class is missed, (classes, buckets)."""
    size, own = len(buckets), (np.arange(len(false)), buckets.of_class)
    in_absence = _host(totals.sums) - not_absent[:, :-1]
    wrong, negative = in_absence[:, :size].copy(), in_absence[:, size:].copy()
    wrong[own] -= false  # of the class itself: where it is missed it cannot be predicted falsely
    negative[own] -= absent
    chances = _host(totals.negative_missed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chances > 0, chances * wrong / negative, 0.0)


def _variance(squares: FloatArray, observed: FloatArray, missed: FloatArray) -> FloatArray:
    """Of `observed`: rows are independent, and count as often as they have misses.

    A row's deviation is multiplied by that of all its false positives, so that what comes in clumps adds up.
    """
    size = len(missed)
    weight, weighted_total = squares[:, 0], squares[:, 1]
    weighted, weighted_square = squares[:, 2 : 2 + size], squares[:, 2 + size :]
    mean = np.divide(observed.T, missed, out=np.zeros((size, size)), where=missed > 0).T
    mean_total = observed.sum() / max(missed.sum(), 1.0)
    centred = weighted_square - mean_total * weighted
    variance: FloatArray = centred - mean * (weighted_total - mean_total * weight)[:, None]
    return variance


def _host(values: Tensor) -> FloatArray:
    return values.cpu().numpy()
