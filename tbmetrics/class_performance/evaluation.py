"""From the state of a validation to its numbers: per class, per group, between groups, and along thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_groups import AttributeClasses, macro_mean
from tbmetrics.class_performance import flows
from tbmetrics.class_performance.calibration import calibration_error, reliability
from tbmetrics.class_performance.curves import (
    average_precision,
    average_precision_bounds,
    best_threshold,
    counts_at_positives,
    precision_at_recalls,
    resampled_average_precision,
)
from tbmetrics.class_performance.scores import BINS, BinnedScores, ExactScores
from tbmetrics.class_performance.state import SINGLE_LABEL, AttributeState, per_sample
from tbmetrics.count_buckets import CountBuckets, count_buckets
from tbmetrics.intervals import (
    bootstrap_weights,
    logit_binomial,
    percentile_interval,
    wilson,
)
from tbmetrics.records import (
    ALL,
    CALIBRATION_BINS,
    CLASS_COLUMNS,
    GAP,
    GROUP_COLUMNS,
    GROUPS,
    HEAD,
    MEAN_METRICS,
    RECALL_LEVELS,
    TAIL,
    UNKNOWN,
    FloatArray,
)

#: Buckets of training counts, for what is recorded between and by groups.
BUCKETS = 48
#: Thresholds of the curves: a multiple of the calibration bins, plus one, so that one pass serves both.
THRESHOLDS = CALIBRATION_BINS * 14 + 1


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


@dataclass(slots=True)
class _Along:
    """Per class: all and positive samples, and the sum of probabilities, by fine bin of the probability; and the
    precision at each of `RECALL_LEVELS`."""

    everything: FloatArray
    positives: FloatArray
    probability: FloatArray
    precision_at_recall: FloatArray

    @classmethod
    def empty(cls, classes: int) -> _Along:
        """Nothing counted yet."""
        everything, positives, probability = np.zeros((3, classes, THRESHOLDS))
        return cls(everything, positives, probability, np.full((classes, len(RECALL_LEVELS)), np.nan))


def evaluate(state: AttributeState, classes: AttributeClasses, n_bootstrap: int) -> Evaluation:
    """All numbers of the validation held in `state`."""
    decision = state.decision or SINGLE_LABEL
    columns = _count_columns(state)
    weights = bootstrap_weights(state.n_samples, n_bootstrap)
    along, ap_replicates = _rank(state, columns, weights)
    columns["ap_lower"], columns["ap_upper"] = _ap_interval(columns)
    buckets = count_buckets(classes, BUCKETS)
    result = Evaluation(
        classes,
        decision,
        {name: columns[name] for name in CLASS_COLUMNS},
        buckets,
        flow=flows.flow(state, buckets),
        pairs=flows.confused_pairs(state),
        reliability=reliability(state, buckets, along.everything, along.positives, along.probability),
        precision_at_recall=along.precision_at_recall,
        positives_above=_from_above(along.positives),
        predicted_above=_from_above(along.everything),
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


def _rank(state: AttributeState, columns: dict[str, FloatArray], weights: FloatArray) -> tuple[_Along, FloatArray]:
    """Fills in what depends on the ranking; returns the binned probabilities and AP under resampling."""
    classes = state.num_classes
    for name in ("ap", "best_threshold", "best_f1"):
        columns[name] = np.full(classes, np.nan)
    along = _Along.empty(classes)
    if state.n_samples and isinstance(state.scores, ExactScores):
        return along, _rank_exact(state, state.scores, columns, along, weights)
    if isinstance(state.scores, BinnedScores):
        _rank_binned(state, state.scores, columns, along)
    return along, np.full((len(weights), classes), np.nan)


def _rank_exact(
    state: AttributeState, scores: ExactScores, columns: dict[str, FloatArray], along: _Along, weights: FloatArray
) -> FloatArray:
    resampled = np.full((len(weights), state.num_classes), np.nan)
    for first, block, labels in scores.blocks(state.num_classes):
        for row in range(len(block)):
            counts = counts_at_positives(block[row], labels[row] > 0)
            columns["ap"][first + row] = average_precision(counts)
            along.precision_at_recall[first + row] = precision_at_recalls(
                counts.true_positives, counts.predicted, RECALL_LEVELS
            )
            resampled[:, first + row] = resampled_average_precision(counts, weights)
            best = best_threshold(counts)
            columns["best_threshold"][first + row] = _probability(np.float64(best.score), state.decision)
            columns["best_f1"][first + row] = best.f1
        rows = slice(first, first + len(block))
        p = _probability(block, state.decision)
        known = labels >= 0
        along.everything[rows] = _by_bin(p, known)
        along.positives[rows] = _by_bin(p, labels > 0)
        if state.decision != SINGLE_LABEL:
            along.probability[rows] = _by_bin(p, known, weigh=True)
    return resampled


def _rank_binned(state: AttributeState, scores: BinnedScores, columns: dict[str, FloatArray], along: _Along) -> None:
    low, width = scores.low.cpu().numpy(), scores.width.cpu().numpy()
    negatives = scores.negative_bins()
    columns["ap_at_least"], columns["ap_at_most"] = np.full((2, state.num_classes), np.nan)
    for c, own in enumerate(scores.positives(state.num_classes)):
        ap = average_precision_bounds(own, negatives[c], float(low[c]), float(width[c]))
        columns["ap"][c], columns["ap_at_least"][c], columns["ap_at_most"][c] = ap
        middles = low[c] + width[c] * (np.arange(BINS) + 0.5)
        p_own = _probability(own.astype(np.float64), state.decision)[None]
        p_negative = _probability(middles, state.decision)[None]
        along.positives[c] = _by_bin(p_own, np.ones_like(p_own, dtype=bool))[0]
        along.everything[c] = along.positives[c] + _weighted_bins(p_negative[0], negatives[c])
        along.probability[c] = _by_bin(p_own, np.ones_like(p_own, dtype=bool), weigh=True)[0]
        along.probability[c] += _weighted_bins(p_negative[0], negatives[c] * p_negative[0])
        columns["best_threshold"][c], columns["best_f1"][c] = _best_of_grid(along.positives[c], along.everything[c])
        true_positives, predicted = _from_above(np.stack((along.positives[c], along.everything[c])))
        along.precision_at_recall[c] = precision_at_recalls(true_positives, predicted, RECALL_LEVELS)


def _best_of_grid(positives: FloatArray, everything: FloatArray) -> tuple[float, float]:
    support = positives.sum()
    if not support:
        return float("nan"), float("nan")
    f1 = 2 * _from_above(positives[None])[0] / (_from_above(everything[None])[0] + support)
    best = THRESHOLDS - 1 - int(np.argmax(f1[::-1]))
    return best / (THRESHOLDS - 1), float(f1[best])


def _probability(scores: NDArray[np.floating], decision: str | None) -> NDArray[np.floating]:
    """Softmax scores are log-probabilities, multi-label scores are logits."""
    if decision == SINGLE_LABEL:
        return np.minimum(np.exp(scores), 1)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-np.asarray(scores, dtype=np.promote_types(scores.dtype, np.float32))))


def _by_bin(p: NDArray[np.floating], chosen: NDArray[np.bool_], weigh: bool = False) -> FloatArray:
    """Chosen entries (or their probabilities, summed) per row and fine bin: bin k holds p in [k, k + 1) / (T - 1)."""
    bins = (p * (THRESHOLDS - 1)).astype(np.int64) + np.arange(len(p))[:, None] * THRESHOLDS
    weights = p[chosen].astype(np.float64) if weigh else None
    counted = np.bincount(bins[chosen], weights=weights, minlength=len(p) * THRESHOLDS)
    return counted.reshape(len(p), THRESHOLDS).astype(np.float64)


def _weighted_bins(p: NDArray[np.floating], weights: NDArray[np.number]) -> FloatArray:
    counted = np.bincount((p * (THRESHOLDS - 1)).astype(np.int64), weights=weights, minlength=THRESHOLDS)
    return counted.astype(np.float64)


def _from_above(bins: FloatArray) -> FloatArray:
    return np.cumsum(bins[:, ::-1], axis=1)[:, ::-1]


# --------------------------------------------------------------------------------------------------- per group


def _replicates(state: AttributeState, weights: FloatArray) -> dict[str, FloatArray]:
    """Precision, recall and F1 of each class under resampling of the samples: (replicates, classes)."""
    counts = _resampled_counts(state, weights)
    if counts is None:
        return dict.fromkeys(("precision", "recall", "f1"), np.full((len(weights), state.num_classes), np.nan))
    return dict(zip(("precision", "recall", "f1"), scores_of(*counts), strict=True))


def _resampled_counts(state: AttributeState, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """True positives, predictions and support under `weights`; None where single rows are no longer known."""
    if not state.n_samples:
        return None
    if state.decision == SINGLE_LABEL:
        labels, predicted, _ = per_sample(state)
        hit = labels == predicted
        pairs = ((weights[:, hit], labels[hit]), (weights, predicted), (weights, labels))
        tp, calls, support = (_weighted_counts(w, of, state.num_classes) for w, of in pairs)
        return tp, calls, support
    return _resampled_multi(state, state.scores, weights) if isinstance(state.scores, ExactScores) else None


def _weighted_counts(weights: FloatArray, classes: NDArray[np.int64], num_classes: int) -> FloatArray:
    return np.stack([np.bincount(classes, weights=w, minlength=num_classes) for w in weights])


def _resampled_multi(
    state: AttributeState, scores: ExactScores, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    light = weights.astype(np.float32)
    parts: list[list[FloatArray]] = [[], [], []]
    for first, block, labels in scores.blocks(state.num_classes):
        cut = state.score_thresholds(torch.as_tensor(block[:1])).numpy()[first : first + len(block), None]
        predicted = (block >= cut) & (labels >= 0)
        for part, chosen in zip(parts, (predicted & (labels > 0), predicted, labels > 0), strict=True):
            part.append((light @ chosen.T.astype(np.float32)).astype(np.float64))
    tp, calls, support = (np.concatenate(part, axis=1) for part in parts)
    return tp, calls, support


def _group(
    state: AttributeState, result: Evaluation, group: str, replicates: dict[str, FloatArray]
) -> dict[str, float]:
    members, columns = result.classes.members(group), result.columns
    found = dict.fromkeys(GROUP_COLUMNS, float("nan"))
    for metric in MEAN_METRICS:
        mean, count = macro_mean(columns[metric], members)
        found[metric], found[f"{metric}_n_classes"] = mean, float(count)
        if count:
            found[f"{metric}_lower"], found[f"{metric}_upper"] = percentile_interval(
                _means(replicates[metric], members)
            )
    found |= _recall_means(columns["recall"][members])
    found["worst_f1"], found["worst_recall"] = (_nanmin(columns[m][members]) for m in ("f1", "recall"))
    found |= _sample_metrics(state, result, group, members)
    found["n_classes"] = float(len(members))
    found["n_skipped"], found["scores_exact"] = float(state.n_skipped), float(state.scores.exact)
    if group == ALL and state.decision == SINGLE_LABEL:
        found["balanced_accuracy"] = found["recall"]
    return found


def _means(replicates: FloatArray, members: NDArray[np.int64]) -> FloatArray:
    chosen = replicates[:, members]
    defined = ~np.isnan(chosen)
    with np.errstate(invalid="ignore"):
        return np.where(defined, chosen, 0).sum(axis=1) / np.where(defined.any(axis=1), defined.sum(axis=1), np.nan)


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
    inside = [group in (own, ALL) for own in result.buckets.groups]
    ece = calibration_error(result.reliability[inside])
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
            head, tail = (_means(replicates[metric], classes.members(g)) for g in (HEAD, TAIL))
            gap[f"{metric}_lower"], gap[f"{metric}_upper"] = percentile_interval(head - tail)
    return gap
