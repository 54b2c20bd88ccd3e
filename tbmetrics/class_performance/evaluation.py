"""The numbers of a validation from its state: per class, per group, between groups, and at every threshold."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_performance import flows
from tbmetrics.class_performance.arguments import SINGLE_LABEL
from tbmetrics.class_performance.calibration import calibration_error, reliability
from tbmetrics.class_performance.ranking import from_above, rank
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.state import AttributeState, per_sample
from tbmetrics.classes.groups import AttributeClasses, CountBuckets, count_buckets, macro_mean
from tbmetrics.records import (
    ALL,
    CLASS_COLUMNS,
    GAP,
    GROUP_COLUMNS,
    GROUPS,
    HEAD,
    MEAN_METRICS,
    TAIL,
    UNKNOWN,
    FloatArray,
)
from tbmetrics.statistics.intervals import (
    bootstrap_weights,
    logit_binomial,
    percentile_interval,
    wilson,
)

#: Buckets of training counts, for what is recorded between and by groups.
BUCKETS = 48


@dataclass(slots=True)
class Evaluation:
    """One validation of one attribute.

    Attributes:
        columns: `CLASS_COLUMNS` → float64 (classes,).
        groups: `GROUP_ROWS` → {`GROUP_COLUMNS` → value}.
        buckets: classes of like training count.
        flow: positives by true and predicted bucket, float64 (buckets, buckets + 1), see `flows.flow`.
        pairs: the classes confused most, float64 (rows, 3), see `flows.confused_pairs`.
        reliability: float64 (buckets, 3, bins), see `calibration.reliability`.
        precision_at_recall: precision where recall first reaches each of `RECALL_LEVELS`, float64 (classes, levels).
        positives_above, predicted_above: counts at or above each of `THRESHOLDS` thresholds, (classes, thresholds).
    """

    classes: AttributeClasses
    decision: str
    columns: dict[str, FloatArray]
    buckets: CountBuckets
    flow: FloatArray
    pairs: FloatArray
    reliability: FloatArray
    precision_at_recall: FloatArray
    positives_above: FloatArray
    predicted_above: FloatArray
    groups: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def confusion(self) -> FloatArray:
        """The flow between groups, in the order of `flows.ROWS` × `flows.COLUMNS`."""
        return flows.by_group(self.flow, self.buckets)


def evaluate(state: AttributeState, classes: AttributeClasses, n_bootstrap: int) -> Evaluation:
    """All numbers of the validation held in `state`."""
    decision = state.decision or SINGLE_LABEL
    columns = _count_columns(state)
    weights = bootstrap_weights(state.n_samples, n_bootstrap)
    curves, ap_replicates = rank(state, columns, weights)
    columns["ap_lower"], columns["ap_upper"] = _ap_interval(columns)
    buckets = count_buckets(classes, BUCKETS)
    result = Evaluation(
        classes,
        decision,
        {name: columns[name] for name in CLASS_COLUMNS},
        buckets,
        flow=flows.flow(state, buckets),
        pairs=flows.confused_pairs(state),
        reliability=reliability(state, buckets, curves.samples, curves.positives, curves.probability),
        precision_at_recall=curves.precision_at_recall,
        positives_above=from_above(curves.positives),
        predicted_above=from_above(curves.samples),
    )
    replicates = {"ap": ap_replicates, **_replicates(state, weights)}
    for group in (*GROUPS, UNKNOWN, ALL):
        result.groups[group] = _group(state, result, group, replicates)
    result.groups[GAP] = _gap(result.groups, classes, replicates)
    return result


# --------------------------------------------------------------------------------------------------- per class


def _count_columns(state: AttributeState) -> dict[str, FloatArray]:
    tp, fp, fn, support = state.counts().astype(np.float64)
    columns = {"support": support, "true_positives": tp, "false_positives": fp, "false_negatives": fn}
    columns |= dict(zip(("precision", "recall", "f1"), scores_of(tp, tp + fp, support), strict=True))
    columns["precision_lower"], columns["precision_upper"] = wilson(tp, tp + fp)
    columns["recall_lower"], columns["recall_upper"] = wilson(tp, support)
    columns["threshold"] = np.full(len(tp), np.nan) if state.decision == SINGLE_LABEL else state.thresholds.copy()
    return columns


def scores_of(tp: FloatArray, predicted: FloatArray, support: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Precision, recall and F1 from counts of any equal shape.

    Recall and F1 are undefined (NaN) without positives; precision without predictions; F1 of a class that has
    positives and no prediction is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(predicted > 0, tp / predicted, np.nan)
        recall = np.where(support > 0, tp / support, np.nan)
        f1 = np.where(support > 0, 2 * tp / (predicted + support), np.nan)
    return precision, recall, f1


def _ap_interval(columns: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    lower, upper = logit_binomial(columns["ap"], columns["support"])
    return np.fmin(lower, columns.pop("ap_at_least", lower)), np.fmax(upper, columns.pop("ap_at_most", upper))


# --------------------------------------------------------------------------------------------------- per group


def _replicates(state: AttributeState, weights: FloatArray) -> dict[str, FloatArray]:
    """Precision, recall and F1 of each class under resampling of the samples: (replicates, classes)."""
    counts = _resampled_counts(state, weights)
    if counts is None:
        return dict.fromkeys(("precision", "recall", "f1"), np.full((len(weights), state.num_classes), np.nan))
    return dict(zip(("precision", "recall", "f1"), scores_of(*counts), strict=True))


def _resampled_counts(state: AttributeState, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """True positives, predictions and support under `weights`, or None if single rows are no longer known."""
    if not state.n_samples:
        return None
    if state.decision == SINGLE_LABEL:
        labels, predicted, _ = per_sample(state)
        hit = labels == predicted
        pairs = ((weights[:, hit], labels[hit]), (weights, predicted), (weights, labels))
        tp, calls, support = (_weighted_counts(w, indices, state.num_classes) for w, indices in pairs)
        return tp, calls, support
    return _resampled_multi(state, state.scores, weights) if isinstance(state.scores, ExactScores) else None


def _weighted_counts(weights: FloatArray, classes: NDArray[np.int64], num_classes: int) -> FloatArray:
    return np.stack([np.bincount(classes, weights=w, minlength=num_classes) for w in weights])


def _resampled_multi(
    state: AttributeState, scores: ExactScores, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    narrow_weights = weights.astype(np.float32)
    counts: list[list[FloatArray]] = [[], [], []]
    for first, block, labels in scores.blocks(state.num_classes):
        cut = state.score_thresholds(torch.as_tensor(block[:1])).numpy()[first : first + len(block), None]
        predicted = (block >= cut) & (labels >= 0)
        for blocks, mask in zip(counts, (predicted & (labels > 0), predicted, labels > 0), strict=True):
            blocks.append((narrow_weights @ mask.T.astype(np.float32)).astype(np.float64))
    tp, calls, support = (np.concatenate(blocks, axis=1) for blocks in counts)
    return tp, calls, support


def _group(
    state: AttributeState, result: Evaluation, group: str, replicates: dict[str, FloatArray]
) -> dict[str, float]:
    members, columns = result.classes.members(group), result.columns
    values = dict.fromkeys(GROUP_COLUMNS, float("nan"))
    for metric in MEAN_METRICS:
        mean, count = macro_mean(columns[metric], members)
        values[metric], values[f"{metric}_n_classes"] = mean, float(count)
        if count:
            values[f"{metric}_lower"], values[f"{metric}_upper"] = percentile_interval(
                group_means(replicates[metric], members)
            )
    values |= _recall_means(columns["recall"][members])
    values["worst_f1"], values["worst_recall"] = (_nanmin(columns[m][members]) for m in ("f1", "recall"))
    values |= _sample_metrics(state, result, group, members)
    values["n_classes"] = float(len(members))
    values["n_skipped"], values["scores_exact"] = float(state.n_skipped), float(state.scores.exact)
    if group == ALL and state.decision == SINGLE_LABEL:
        values["balanced_accuracy"] = values["recall"]
    return values


def group_means(values: FloatArray, members: NDArray[np.int64]) -> FloatArray:
    """Mean over the defined values of `members` in every row of `values` (rows, classes): (rows,), NaN without any."""
    chosen = values[:, members]
    defined = ~np.isnan(chosen)
    total: FloatArray = np.where(defined, chosen, 0).sum(axis=1)
    return np.divide(total, defined.sum(axis=1), out=np.full(len(values), np.nan), where=defined.any(axis=1))


def _recall_means(recall: FloatArray) -> dict[str, float]:
    defined = recall[~np.isnan(recall)]
    if not defined.size:
        return {}
    if (defined == 0).any():
        return {"recall_geometric_mean": 0.0, "recall_harmonic_mean": 0.0}
    return {
        "recall_geometric_mean": float(np.exp(np.log(defined).mean())),
        "recall_harmonic_mean": float(1 / (1 / defined).mean()),
    }


def _nanmin(values: FloatArray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.min()) if defined.size else float("nan")


def _sample_metrics(
    state: AttributeState, result: Evaluation, group: str, members: NDArray[np.int64]
) -> dict[str, float]:
    in_group = [group in (bucket_group, ALL) for bucket_group in result.buckets.groups]
    ece = calibration_error(result.reliability[in_group])
    if state.decision != SINGLE_LABEL:
        return {"n_samples": float(state.n_samples), "ece": ece}
    support, right = (result.columns[name][members].sum() for name in ("support", "true_positives"))
    accuracy = right / support if support else float("nan")
    return {"n_samples": float(support), "accuracy": float(accuracy), "ece": ece}


def _gap(
    groups: dict[str, dict[str, float]], classes: AttributeClasses, replicates: dict[str, FloatArray]
) -> dict[str, float]:
    """Head minus tail, metric by metric; NaN where either is undefined."""
    gap = {column: groups[HEAD][column] - groups[TAIL][column] for column in GROUP_COLUMNS}
    for column in GROUP_COLUMNS:
        if column.endswith(("_lower", "_upper", "n_classes", "n_samples", "n_skipped", "scores_exact")):
            gap[column] = float("nan")
    for metric in MEAN_METRICS:
        if gap[metric] == gap[metric]:
            head, tail = (group_means(replicates[metric], classes.members(g)) for g in (HEAD, TAIL))
            gap[f"{metric}_lower"], gap[f"{metric}_upper"] = percentile_interval(head - tail)
    return gap
