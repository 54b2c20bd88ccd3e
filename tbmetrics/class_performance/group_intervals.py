"""Confidence intervals of group means from the influence of each sample on them, smoothed where samples are few.

A mean over classes is not a mean over samples, but it is nearly one: the influence of a sample is what it adds to the
metrics of the classes involved (the delta method; Takahashi et al., 2022, for macro F1). Classes that all samples of a
few examples happen to get right, or wrong, would have no variance at all, so that every class is given one more hit and
one more miss. benchmarks/coverage.py measures how often the intervals contain the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_performance.ranking import APInfluence
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.state import AttributeState, per_sample
from tbmetrics.classes.groups import PARTITION, AttributeClasses
from tbmetrics.records import ALL, GAP, HEAD, TAIL, FloatArray
from tbmetrics.statistics.intervals import Z95, smoothed_variance
from tbmetrics.statistics.scores import Columns, Influence, influences


@dataclass(slots=True)
class MeanUncertainty:
    """What the intervals of the means of one metric need.

    Attributes:
        centres: the metric of each class less its estimated bias, (classes,); NaN if undefined.
        covariance: of the sums over the classes of each group, (groups, groups) in the order of `PARTITION`.
        groups: the place in `PARTITION` of each class's group, (classes,).
    """

    centres: FloatArray
    covariance: FloatArray
    groups: NDArray[np.int64]

    def interval(self, group: str, mean: float) -> tuple[float, float]:
        """The 95 % interval of the mean over a group, or of the gap; it contains `mean`.

        Args:
            group: any of `PARTITION`, "all" or "gap".
            mean: the metric of that group.
        """
        weights = _group_weights(np.bincount(self.groups[~np.isnan(self.centres)], minlength=len(PARTITION)), group)
        centre = float(np.nansum(weights[self.groups] * self.centres))
        half = Z95 * float(np.sqrt(weights @ self.covariance @ weights))
        lowest = -1.0 if group == GAP else 0.0
        return min(mean, max(centre - half, lowest)), max(mean, min(centre + half, 1.0))


def group_indices(classes: AttributeClasses) -> NDArray[np.int64]:
    """The place in `PARTITION` of each class's group, (classes,)."""
    return np.array([PARTITION.index(group) for group in classes.groups], dtype=np.int64)


def _group_weights(sizes: NDArray[np.int64], group: str) -> FloatArray:
    """The weight of each group's sum in a mean or the gap, (groups,), from the number of its defined classes."""
    if group == ALL:
        return np.full(len(PARTITION), 1 / sizes.sum())
    weights = np.zeros(len(PARTITION))
    for name, sign in ((HEAD, 1.0), (TAIL, -1.0)) if group == GAP else ((group, 1.0),):
        weights[PARTITION.index(name)] = sign / sizes[PARTITION.index(name)]
    return weights


# ----------------------------------------------------------------------------------- precision, recall, F1


def uncertainties(state: AttributeState, columns: Columns, groups: NDArray[np.int64]) -> dict[str, MeanUncertainty]:
    """The uncertainty of the means of precision, recall and F1; empty if single rows are no longer known."""
    if not state.n_samples:
        return {}
    if state.per_sample:
        return _single_label(state, columns, groups)
    return _multi_label(state, state.scores, columns, groups) if isinstance(state.scores, ExactScores) else {}


def _single_label(state: AttributeState, columns: Columns, groups: NDArray[np.int64]) -> dict[str, MeanUncertainty]:
    labels, predicted, _ = per_sample(state)
    uncertainty = {}
    for metric, influence in influences(columns).items():
        covariance = _stratified_covariance(labels, predicted, influence, columns, groups)
        uncertainty[metric] = MeanUncertainty(columns[metric], covariance, groups)
    uncertainty["precision"].centres = columns["precision"] - _precision_bias(columns)
    uncertainty["f1"].centres = columns["f1"] - _f1_bias(columns)
    return uncertainty


def _precision_bias(columns: Columns) -> FloatArray:
    """Second-order bias of the ratio TP / (TP + FP) if the number of positives is fixed and that of FP is Poisson."""
    tp, predicted = columns["true_positives"], columns["true_positives"] + columns["false_positives"]
    share, recall = (tp + 1) / (predicted + 2), (tp + 1) / (columns["support"] + 2)
    return np.where(columns["support"] > 0, share * (1 - share) * recall / np.maximum(predicted, 1), 0.0)


def _f1_bias(columns: Columns) -> FloatArray:
    """Second-order bias of F1 under the same conditions, a quarter of a hit and of a miss added."""
    tp, fp, support = columns["true_positives"], columns["false_positives"], columns["support"]
    total = tp + fp + support + 0.75
    half_f1, recall = (tp + 0.25) / total, (tp + 1) / (support + 2)
    bias: FloatArray = 2 / total**2 * (half_f1 * fp - (1 - half_f1) * support * recall * (1 - recall))
    return bias


def _stratified_covariance(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    influence: Influence,
    columns: Columns,
    groups: NDArray[np.int64],
) -> FloatArray:
    """Covariance of group sums, (groups, groups), with the number of samples of each true class fixed.

    Each class has a hit and a miss added; the added misses are predicted as misses usually are.
    """
    support, n_groups, every = columns["support"], len(PARTITION), np.arange(len(groups))
    hits = _at_group(influence.hit, groups)
    misses = _at_group(influence.miss, groups)
    alarms = _at_group(influence.false_alarm, groups)
    frequency = columns["false_positives"] + 0.5
    frequency /= frequency.sum()
    mean_alarm = frequency @ alarms
    is_hit = labels == predicted
    of_samples = np.where(is_hit[:, None], hits[labels], misses[labels] + alarms[predicted])
    rows = np.concatenate([of_samples, hits, misses + mean_alarm])
    true_class = np.concatenate([labels, every, every])
    weight = support / (support + 2)
    sums = np.stack([np.bincount(true_class, weights=rows[:, g], minlength=len(groups)) for g in range(n_groups)])
    squares = (rows * weight[true_class, None]).T @ rows
    spread_of_alarm = (alarms * frequency[:, None]).T @ alarms - np.outer(mean_alarm, mean_alarm)
    covariance: FloatArray = squares - (sums * weight / (support + 2)) @ sums.T + weight.sum() * spread_of_alarm
    return covariance


def _at_group(values: FloatArray, groups: NDArray[np.int64]) -> FloatArray:
    """`values` of the classes in the column of their group: (classes, groups)."""
    placed = np.zeros((len(values), len(PARTITION)))
    placed[np.arange(len(values)), groups] = values
    return placed


def _multi_label(
    state: AttributeState, scores: ExactScores, columns: Columns, groups: NDArray[np.int64]
) -> dict[str, MeanUncertainty]:
    by_metric = influences(columns)
    sums = _sums_by_row(state, scores, by_metric, groups)
    tp, fp, fn = (columns[f"{kind}s"] for kind in ("true_positive", "false_positive", "false_negative"))
    jaccard = (tp + 1) / (tp + fp + fn + 2)
    smoothed = {
        "precision": smoothed_variance(tp, tp + fp),
        "recall": smoothed_variance(tp, tp + fn),
        "f1": smoothed_variance(tp, tp + fp + fn) * (2 / (1 + jaccard) ** 2) ** 2,
    }
    uncertainty = {}
    for metric, influence in by_metric.items():
        variance = tp * influence.hit**2 + fn * influence.miss**2 + fp * influence.false_alarm**2
        covariance = _scaled_covariance(sums[metric], variance, smoothed[metric], columns[metric], groups)
        uncertainty[metric] = MeanUncertainty(columns[metric], covariance, groups)
    return uncertainty


def _sums_by_row(
    state: AttributeState, scores: ExactScores, by_metric: Mapping[str, Influence], groups: NDArray[np.int64]
) -> dict[str, FloatArray]:
    """The influence of each row on each group's sum, (groups, rows), by metric."""
    placed = {m: [_at_group(part, groups).astype(np.float32) for part in parts] for m, parts in by_metric.items()}
    sums = dict.fromkeys(by_metric, np.zeros((len(PARTITION), state.n_samples)))
    for first, block, labels in scores.blocks(state.num_classes):
        cut = state.score_thresholds(torch.as_tensor(block[:1])).numpy()[first : first + len(block), None]
        predicted, positive = block >= cut, labels > 0
        masks = (predicted & positive, positive & ~predicted, predicted & (labels == 0))
        outcomes = [mask.astype(np.float32) for mask in masks]
        for metric, parts in placed.items():
            of_block = (part[first : first + len(block)].T @ mask for part, mask in zip(parts, outcomes, strict=True))
            sums[metric] = sums[metric] + sum(of_block)
    return sums


# --------------------------------------------------------------------------------------------- average precision


def ap_uncertainty(influence: APInfluence, columns: Columns, groups: NDArray[np.int64]) -> MeanUncertainty:
    """The uncertainty of the means of average precision."""
    centres, positives = columns["ap"] - influence.bias, columns["support"]
    smoothed = smoothed_variance(centres * positives, positives)
    covariance = _scaled_covariance(influence.by_row, influence.variance, smoothed, columns["ap"], groups)
    return MeanUncertainty(centres, covariance, groups)


def _scaled_covariance(
    by_row: FloatArray, variance: FloatArray, smoothed: FloatArray, values: FloatArray, groups: NDArray[np.int64]
) -> FloatArray:
    """Covariance of group sums: the larger variance of each class, correlated as the influences of the rows are.

    Args:
        by_row: influence of each row on each group's sum, (groups, rows).
        variance: of each class, from the influences, (classes,).
        smoothed: of each class, from its counts, (classes,).
        values: the metric, (classes,); NaN if undefined.
        groups: of the classes.
    """
    is_defined = ~np.isnan(values)
    chosen, n = groups[is_defined], len(PARTITION)
    own = np.bincount(chosen, weights=np.maximum(variance, smoothed)[is_defined], minlength=n)
    alone = np.bincount(chosen, weights=variance[is_defined], minlength=n)
    together = by_row @ by_row.T
    spread = np.sqrt(np.diag(together))
    inflation = np.divide(np.diag(together), alone, out=np.ones(n), where=alone > 0)
    scale = np.divide(1.0, spread, out=np.zeros(n), where=spread > 0)
    # Few rows correlate by chance: as if there were ten more without any correlation.
    correlation = together * np.outer(scale, scale) * by_row.shape[1] / (by_row.shape[1] + 10)
    np.fill_diagonal(correlation, 1.0)
    size = np.sqrt(own * np.maximum(inflation, 1.0))
    return correlation * np.outer(size, size)
