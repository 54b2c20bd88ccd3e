"""From the state of a validation to its numbers: per class, per group, between groups, and along thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_groups import AttributeClasses, macro_mean
from tbmetrics.class_performance.curves import (
    average_precision,
    average_precision_bounds,
    best_threshold,
    counts_at_positives,
    resampled_average_precision,
)
from tbmetrics.class_performance.intervals import (
    bootstrap_weights,
    logit_binomial,
    percentile_interval,
    wilson,
)
from tbmetrics.class_performance.scores import BINS, BinnedScores, ExactScores
from tbmetrics.class_performance.state import SINGLE_LABEL, AttributeState
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

CALIBRATION_BINS = 15
#: Thresholds of the curves: a multiple of the calibration bins, plus one, so that one pass serves both.
THRESHOLDS = CALIBRATION_BINS * 14 + 1
CONFUSION_ROWS = (*GROUPS, UNKNOWN)
CONFUSION_COLUMNS = (*GROUPS, UNKNOWN, "none")


@dataclass(slots=True)
class Evaluation:
    """One validation of one attribute.

    Attributes:
        columns: `CLASS_COLUMNS` → float64 (classes,).
        groups: `GROUP_ROWS` → {`GROUP_COLUMNS` → value}.
        confusion: float64 (true group, predicted group), in the order of `CONFUSION_ROWS` × `CONFUSION_COLUMNS`.
        positives_above, predicted_above: counts at or above each of `THRESHOLDS` thresholds, (classes, thresholds).
    """

    classes: AttributeClasses
    decision: str
    columns: dict[str, FloatArray]
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    confusion: FloatArray = field(default_factory=lambda: np.zeros((len(CONFUSION_ROWS), len(CONFUSION_COLUMNS))))
    positives_above: FloatArray = field(default_factory=lambda: np.zeros((0, THRESHOLDS)))
    predicted_above: FloatArray = field(default_factory=lambda: np.zeros((0, THRESHOLDS)))
    n_samples: int = 0


@dataclass(slots=True)
class _Along:
    """Per class: all and positive samples, and the sum of probabilities, by fine bin of the probability."""

    everything: FloatArray
    positives: FloatArray
    probability: FloatArray


def evaluate(state: AttributeState, classes: AttributeClasses, n_bootstrap: int) -> Evaluation:
    """All numbers of the validation held in `state`."""
    decision = state.decision or SINGLE_LABEL
    columns = _count_columns(state)
    weights = bootstrap_weights(state.n_samples, n_bootstrap)
    along, ap_replicates = _rank(state, columns, weights)
    columns["ap_lower"], columns["ap_upper"] = _ap_interval(columns)
    result = Evaluation(classes, decision, {name: columns[name] for name in CLASS_COLUMNS}, n_samples=state.n_samples)
    result.positives_above, result.predicted_above = _from_above(along.positives), _from_above(along.everything)
    replicates = {"ap": ap_replicates, **_replicates(state, weights)}
    for group in (*GROUPS, UNKNOWN, ALL):
        result.groups[group] = _group(state, classes, group, columns, replicates, along)
    result.groups[GAP] = _gap(result.groups, classes, replicates)
    result.confusion = (
        _single_confusion(state, classes) if decision == SINGLE_LABEL else _multi_confusion(state, classes)
    )
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
    along = _Along(*(np.zeros((classes, THRESHOLDS)) for _ in range(3)))
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
    state: AttributeState,
    classes: AttributeClasses,
    group: str,
    columns: dict[str, FloatArray],
    replicates: dict[str, FloatArray],
    along: _Along,
) -> dict[str, float]:
    members = classes.members(group)
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
    found |= _sample_metrics(state, classes, group, members, along)
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
    state: AttributeState, classes: AttributeClasses, group: str, members: NDArray[np.int64], along: _Along
) -> dict[str, float]:
    if state.decision != SINGLE_LABEL:
        ece = _calibration_error(
            *(a[members].sum(axis=0) for a in (along.everything, along.positives, along.probability))
        )
        return {"n_samples": float(state.n_samples), "ece": ece}
    labels, predicted, confidence = per_sample(state)
    inside = np.isin(labels, members)
    hit = (labels == predicted)[inside]
    if not hit.size:
        return {"n_samples": 0.0}
    bins = np.clip(np.ceil(confidence[inside] * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=hit - confidence[inside], minlength=CALIBRATION_BINS)
    return {"n_samples": float(hit.size), "accuracy": float(hit.mean()), "ece": float(np.abs(gaps).sum() / hit.size)}


def _calibration_error(everything: FloatArray, positives: FloatArray, probability: FloatArray) -> float:
    total = everything.sum()
    if not total:
        return float("nan")
    # p = 1 sits in the last fine bin alone; it belongs to the last calibration bin.
    gaps = positives - probability
    gaps[-2] += gaps[-1]
    return float(np.abs(gaps[:-1].reshape(CALIBRATION_BINS, -1).sum(axis=1)).sum() / total)


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


# ------------------------------------------------------------------------------------------ between groups


def per_sample(state: AttributeState) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Label, prediction and confidence of each sample of a single-label attribute, each (samples,)."""
    if not state.per_sample:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0)
    labels, predicted, confidence = (torch.cat(parts).cpu().numpy() for parts in zip(*state.per_sample, strict=True))
    return labels.astype(np.int64), predicted.astype(np.int64), confidence.astype(np.float64)


def _group_numbers(classes: AttributeClasses) -> NDArray[np.int64]:
    return np.array([CONFUSION_ROWS.index(group) for group in classes.groups])


def _single_confusion(state: AttributeState, classes: AttributeClasses) -> FloatArray:
    """Samples by true and predicted group; wrong predictions within a group count on the diagonal too."""
    labels, predicted, _ = per_sample(state)
    number = _group_numbers(classes)
    size = len(CONFUSION_COLUMNS)
    flat = np.bincount(number[labels] * size + number[predicted], minlength=len(CONFUSION_ROWS) * size)
    return flat.reshape(len(CONFUSION_ROWS), size).astype(np.float64)


def _multi_confusion(state: AttributeState, classes: AttributeClasses) -> FloatArray:
    """Positives by group and where they went: found (diagonal), or missed, and then shared evenly among the groups of
    the labels falsely predicted in the same row ("none" where there was no false prediction)."""
    if not isinstance(state.scores, ExactScores):
        return np.full((len(CONFUSION_ROWS), len(CONFUSION_COLUMNS)), np.nan)
    member = torch.nn.functional.one_hot(torch.from_numpy(_group_numbers(classes)), len(CONFUSION_ROWS)).float()
    total = np.zeros((len(CONFUSION_ROWS), len(CONFUSION_COLUMNS)))
    for logits, labels in state.scores.batches():
        to = member.to(logits.device)
        predicted, positive = logits >= state.score_thresholds(logits), labels > 0
        found, missed = ((x.float() @ to) for x in (positive & predicted, positive & ~predicted))
        wrong = (predicted & (labels == 0)).float() @ to
        count = wrong.sum(1, keepdim=True)
        went = torch.cat((wrong / count.clamp(min=1), (count == 0).float()), dim=1)
        total += (missed.double().T @ went.double()).cpu().numpy()
        total[:, :-1] += np.diag(found.double().sum(0).cpu().numpy())
    return total
