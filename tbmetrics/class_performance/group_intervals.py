"""Confidence intervals of group means from the influence of each sample on them, smoothed where samples are few.

A mean over classes is not a mean over samples, but it is nearly one: the influence of a sample is what it adds to the
metrics of the classes involved (the delta method; Takahashi et al., 2022, for macro F1). Classes that all samples of a
few examples happen to get right, or wrong, would have no variance at all, so that every class is given one more hit and
one more miss. benchmarks/coverage.py measures how often the intervals contain the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_performance.ranking import APInfluence
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.class_performance.stored import per_sample, ranks_of_labels
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.records import ALL, GAP, HEAD, SINGLE_LABEL, TAIL, FloatArray, recall_at
from tbmetrics.statistics.bucket_means import BIASED_BY_FEW, MeanUncertainty, has_too_few
from tbmetrics.statistics.intervals import smoothed_variance
from tbmetrics.statistics.scores import Columns, Influence, influences


def group_interval(uncertainty: MeanUncertainty, buckets: CountBuckets, group: str, mean: float) -> tuple[float, float]:
    """The 95 % interval of the mean over a recorded group, or of the gap; it contains `mean`.

    Args:
        uncertainty: of the metric, by bucket.
        buckets: of the classes.
        group: any of `PARTITION`, "all" or "gap".
        mean: the metric of that group.
    """
    in_group = np.array(buckets.groups, dtype=object)
    if group == GAP:
        return uncertainty.interval(mean, *(uncertainty.n_defined * (in_group == part) for part in (HEAD, TAIL)))
    return uncertainty.interval(mean, uncertainty.n_defined * ((in_group == group) | (group == ALL)))


def cannot_be_told(decision: str, support: FloatArray, parts: Sequence[NDArray[np.int64]]) -> tuple[str, ...]:
    """Metrics whose bias is as large as their interval: multi-label, over many classes of fewer than two positives.

    Args:
        decision: "single_label" or "multi_label".
        support: positives of the classes, (classes,).
        parts: indices of the classes of the mean, or of both means of a difference.
    """
    if decision == SINGLE_LABEL:
        return ()
    supports = [positives[positives > 0] for positives in (support[part] for part in parts)]
    return BIASED_BY_FEW if any(has_too_few(positives.size, positives.sum()) for positives in supports) else ()


# ----------------------------------------------------------------------------------- precision, recall, F1


def uncertainties(state: AttributeState, columns: Columns, buckets: CountBuckets) -> dict[str, MeanUncertainty]:
    """The uncertainty of the means of precision, recall and F1; empty if single rows are no longer known."""
    if not state.n_samples:
        return {}
    if state.per_sample:
        return _single_label(state, columns, buckets)
    return _multi_label(state, state.scores, columns, buckets) if isinstance(state.scores, ExactScores) else {}


def uncertainty_of(
    buckets: CountBuckets, values: FloatArray, covariance: FloatArray, bias: FloatArray | None = None
) -> MeanUncertainty:
    """From a metric, its covariance by bucket and its bias, each but the second (classes,)."""
    is_defined = ~np.isnan(values)
    biases = np.zeros(len(buckets)) if bias is None else _sums(np.where(is_defined, bias, 0.0), buckets)
    return MeanUncertainty(_sums(is_defined, buckets), biases, covariance)


def _sums(values: NDArray[np.generic], buckets: CountBuckets) -> FloatArray:
    """Sums over the classes of each bucket, (buckets,)."""
    return _bincount(buckets.of_class, values, len(buckets))


def _bincount(places: NDArray[np.int64], values: NDArray[np.generic], size: int) -> FloatArray:
    return np.bincount(places, weights=values, minlength=size).astype(np.float64, copy=False)


def _single_label(state: AttributeState, columns: Columns, buckets: CountBuckets) -> dict[str, MeanUncertainty]:
    labels, predicted, _ = per_sample(state)
    top_k = dict(_top_k(labels, predicted, state, columns, buckets)) if state.top_k else {}
    bias = {"precision": _precision_bias(columns), "f1": _f1_bias(columns)}
    return {
        metric: uncertainty_of(
            buckets,
            columns[metric],
            _stratified_covariance(labels, predicted, influence, columns, buckets),
            bias.get(metric),
        )
        for metric, influence in influences(columns).items()
    } | top_k


def _top_k(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    state: AttributeState,
    columns: Columns,
    buckets: CountBuckets,
) -> Iterator[tuple[str, MeanUncertainty]]:
    """As of recall, with a sample a hit if its label is among the first k."""
    ranks = ranks_of_labels(state)
    for k in state.top_k:
        recall = columns[recall_at(k)]
        influence = influences({**columns, "recall": recall})["recall"]
        decided = np.where(ranks < k, labels, predicted)
        covariance = _stratified_covariance(labels, decided, influence, columns, buckets)
        yield recall_at(k), uncertainty_of(buckets, recall, covariance)


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
    buckets: CountBuckets,
) -> FloatArray:
    """Covariance of bucket sums, (buckets, buckets), with the number of samples of each true class fixed.

    Each class has a hit and a miss added; the added misses are predicted as misses usually are.
    A sample concerns two buckets at most, so that everything is counted, nothing multiplied, sample by sample.
    """
    bucket, n, support = buckets.of_class, len(buckets), columns["support"]
    is_hit, weight = labels == predicted, support / (support + 2)
    own = np.where(is_hit, influence.hit[labels], influence.miss[labels])
    alarm = np.where(is_hit, 0.0, influence.false_alarm[predicted])
    frequency = columns["false_positives"] + 0.5
    frequency /= frequency.sum()
    mean_alarm = _sums(frequency * influence.false_alarm, buckets)

    # Sums of weighted squares and products: of the samples, then of the hits and misses added.
    true, other, of_sample = bucket[labels], bucket[predicted], weight[labels]
    squares = _bincount(true, of_sample * own**2, n) + _bincount(other, of_sample * alarm**2, n)
    squares += _sums(weight * (influence.hit**2 + influence.miss**2), buckets)
    products = _bincount(true * n + other, of_sample * own * alarm, n * n).reshape(n, n)
    products += np.outer(_sums(weight * influence.miss, buckets), mean_alarm)
    total = np.diag(squares) + products + products.T + weight.sum() * np.outer(mean_alarm, mean_alarm)

    # The mean of each true class is taken off: sums by bucket and true class.
    classes = len(bucket)
    sums = _bincount(true * classes + labels, own, n * classes)
    sums += _bincount(other * classes + labels, alarm, n * classes)
    sums = sums.reshape(n, classes) + mean_alarm[:, None]
    sums[bucket, np.arange(classes)] += influence.hit + influence.miss
    spread_of_alarm = np.diag(_sums(frequency * influence.false_alarm**2, buckets)) - np.outer(mean_alarm, mean_alarm)
    covariance: FloatArray = total - _product(sums * (weight / (support + 2)), sums) + weight.sum() * spread_of_alarm
    return covariance


def _multi_label(
    state: AttributeState, scores: ExactScores, columns: Columns, buckets: CountBuckets
) -> dict[str, MeanUncertainty]:
    by_metric = influences(columns)
    sums = _sums_by_row(state, scores, by_metric, buckets)
    tp, fp, fn = (columns[f"{kind}s"] for kind in ("true_positive", "false_positive", "false_negative"))
    jaccard = (tp + 1) / (tp + fp + fn + 2)
    smoothed = {
        "precision": smoothed_variance(tp, tp + fp),
        "recall": smoothed_variance(tp, tp + fn),
        "f1": smoothed_variance(tp, tp + fp + fn) * (2 / (1 + jaccard) ** 2) ** 2,
    }
    uncertainty = {}
    for index, (metric, influence) in enumerate(by_metric.items()):
        variance = tp * influence.hit**2 + fn * influence.miss**2 + fp * influence.false_alarm**2
        covariance = scaled_covariance(sums[:, index], variance, smoothed[metric], columns[metric], buckets)
        uncertainty[metric] = uncertainty_of(buckets, columns[metric], covariance)
    return uncertainty


def _sums_by_row(
    state: AttributeState, scores: ExactScores, by_metric: Mapping[str, Influence], buckets: CountBuckets
) -> NDArray[np.float32]:
    """The influence of each row on each bucket's sum, (buckets, metrics, rows)."""
    n, metrics = len(buckets), len(by_metric)
    sums = np.empty((n, metrics, state.n_samples), dtype=np.float32)
    parts = torch.tensor(np.array(list(by_metric.values())), dtype=torch.float32)  # (metrics, outcomes, classes)
    has_alarms = parts[:, 2].any(dim=1).nonzero()[:, 0]  # recall knows none
    first = 0
    for logits, labels in scores.chunks():
        hit, miss, false_alarm = parts.to(logits.device).transpose(0, 1)
        bucket = torch.from_numpy(buckets.of_class).to(logits.device)
        predicted = logits >= state.score_thresholds(logits)
        # Most cells are negatives: their false alarms are multiplied, the few positives looked up.
        member = torch.nn.functional.one_hot(bucket, n)[..., None]
        alarms = (false_alarm[has_alarms].T[:, None] * member).flatten(1)
        by_row = torch.zeros(n, metrics, len(labels), device=logits.device)
        by_row[:, has_alarms] = (alarms.T @ (predicted & (labels == 0)).float().T).view(n, -1, len(labels))
        rows, classes = (labels > 0).nonzero(as_tuple=True)
        outcomes = torch.where(predicted[rows, classes], hit[:, classes], miss[:, classes])
        cells = (bucket[classes] * metrics + torch.arange(metrics, device=rows.device)[:, None]) * len(labels) + rows
        by_row.view(-1).index_add_(0, cells.flatten(), outcomes.flatten())
        sums[..., first : first + len(labels)] = by_row.cpu().numpy()
        first += len(labels)
    return sums


# --------------------------------------------------------------------------------------------- average precision


def ap_uncertainty(influence: APInfluence, columns: Columns, buckets: CountBuckets) -> MeanUncertainty:
    """The uncertainty of the means of average precision."""
    positives = columns["support"]
    smoothed = smoothed_variance((columns["ap"] - influence.bias) * positives, positives)
    covariance = scaled_covariance(influence.by_row, influence.variance, smoothed, columns["ap"], buckets)
    return uncertainty_of(buckets, columns["ap"], covariance, influence.bias)


def scaled_covariance(
    by_row: NDArray[np.floating],
    variance: FloatArray,
    smoothed: FloatArray,
    values: FloatArray,
    buckets: CountBuckets,
) -> FloatArray:
    """Covariance of bucket sums: the larger variance of each class, correlated as the influences of the rows are.

    Args:
        by_row: influence of each row on each bucket's sum, (buckets, rows).
        variance: of each class, from the influences, (classes,).
        smoothed: of each class, from its counts, (classes,).
        values: the metric, (classes,); NaN if undefined.
        buckets: of the classes.
    """
    is_defined, n = ~np.isnan(values), len(buckets)
    own = _sums(np.where(is_defined, np.maximum(variance, smoothed), 0.0), buckets)
    alone = _sums(np.where(is_defined, variance, 0.0), buckets)
    together = _product(by_row, by_row).astype(np.float64)
    spread = np.sqrt(np.diag(together))
    inflation = np.divide(np.diag(together), alone, out=np.ones(n), where=alone > 0)
    scale = np.divide(1.0, spread, out=np.zeros(n), where=spread > 0)
    # Few rows correlate by chance: as if there were ten more without any correlation.
    correlation = together * np.outer(scale, scale) * by_row.shape[1] / (by_row.shape[1] + 10)
    np.fill_diagonal(correlation, 1.0)
    size = np.sqrt(own * np.maximum(inflation, 1.0))
    return correlation * np.outer(size, size)


def _product(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """`a @ b.T` by torch, since threads of numpy's would compete with those that torch has busy."""
    product: NDArray[np.floating] = (torch.from_numpy(a) @ torch.from_numpy(b).T).numpy()
    return product
