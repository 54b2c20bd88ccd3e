"""The numbers of a validation from its state: per class, per group, between groups, and at every threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance import flows
from tbmetrics.class_performance.calibration import calibration_error, reliability
from tbmetrics.class_performance.dense_evaluation import IOU, DenseCounts
from tbmetrics.class_performance.dense_state import DenseState
from tbmetrics.class_performance.families import family_means
from tbmetrics.class_performance.group_intervals import ap_uncertainty, cannot_be_told, group_interval, uncertainties
from tbmetrics.class_performance.lifts import LiftSums
from tbmetrics.class_performance.ranking import CurveCounts, from_above, rank
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.class_performance.stored import per_sample, ranks_of_labels
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import (
    PARTITION,
    CountBuckets,
    count_buckets,
    covariance_buckets,
    family_buckets,
    macro_mean,
)
from tbmetrics.records import (
    ALL,
    CALIBRATION_BINS,
    CLASS_COLUMNS,
    FEW_POSITIVES,
    GAP,
    GROUP_COLUMNS,
    HEAD,
    MEAN_METRICS,
    SINGLE_LABEL,
    TAIL,
    FloatArray,
    mean_columns,
    recall_at,
)
from tbmetrics.statistics.bucket_means import MeanUncertainty
from tbmetrics.statistics.intervals import f1_interval, logit_binomial, wilson
from tbmetrics.statistics.scores import scores_of


@dataclass(slots=True, kw_only=True)
class ClassNumbers:
    """Numbers of the classes of one attribute, and of their groups.

    Attributes:
        classes: of the attribute.
        decision: "single_label" or "multi_label"; empty if nothing was decided.
        columns: name → float64 (classes,).
        groups: `GROUP_ROWS` → {name → value}.
    """

    classes: AttributeClasses
    decision: str
    columns: dict[str, FloatArray]
    groups: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Evaluation(ClassNumbers):
    """One validation of one attribute; its columns are `CLASS_COLUMNS`, `GROUP_COLUMNS` and those of `further`.

    Attributes:
        further: metrics measured beyond `MEAN_METRICS`.
        buckets: classes of like training count.
        flow: positives by true and predicted bucket, float64 (buckets, buckets + 1), see `flows.flows`.
        pairs: the classes confused most, float64 (rows, 3), see `flows.confused_pairs`.
        reliability: float64 (buckets, 3, bins), see `calibration.reliability`.
        precision_at_recall: mean precision up to each of `RECALL_LEVELS`, float64 (classes, levels), see
            `CURVE_COLUMNS`.
        families: name → {mean metrics with their endings, "n_classes" → value}; empty without families.
        uncertainty: of the means of each metric, by `covariance_buckets` of the classes; without those that have none.
        positives_above, predicted_above: counts at or above each of `THRESHOLDS` thresholds, (classes, thresholds).
        lift_sums: sums behind the lifts between misses and false positives, (buckets, `lift_sum_columns`); None if
            single-label.
    """

    further: tuple[str, ...] = ()
    buckets: CountBuckets
    flow: FloatArray
    pairs: FloatArray
    reliability: FloatArray
    precision_at_recall: FloatArray
    positives_above: FloatArray
    predicted_above: FloatArray
    lift_sums: FloatArray | None = None
    families: dict[str, dict[str, float]] = field(default_factory=dict)
    uncertainty: dict[str, MeanUncertainty] = field(default_factory=dict)

    @property
    def confusion(self) -> FloatArray:
        """The flow between groups, in the order of `flows.ROWS` × `flows.COLUMNS`."""
        return flows.by_group(self.flow, self.buckets)

    @property
    def group_lifts(self) -> LiftSums | None:
        """The lifts between groups, in the order of `flows.ROWS`."""
        number = np.array([flows.ROWS.index(group) for group in self.buckets.groups])
        return None if self.lift_sums is None else LiftSums.from_sums(self.lift_sums).added_up(number, len(flows.ROWS))


def evaluate(state: AttributeState | DenseState, classes: AttributeClasses) -> Evaluation:
    """All numbers of the validation held in `state`."""
    if isinstance(state, DenseState):
        return _evaluate_dense(state, classes)
    decision = state.decision or SINGLE_LABEL
    columns = _count_columns(state)
    further = tuple(map(recall_at, state.top_k)) if decision == SINGLE_LABEL else ()
    if further:
        columns |= _top_k_columns(state, columns["support"])
    bucketings = _bucketings(classes)
    curves, ap_influences = rank(state, columns, bucketings)
    columns["ap_lower"], columns["ap_upper"] = _ap_interval(columns)
    buckets = count_buckets(classes)
    flow, lifts = flows.flows(state, buckets)
    result = Evaluation(
        classes=classes,
        decision=decision,
        columns={name: columns[name] for name in (*CLASS_COLUMNS, *class_columns(further))},
        further=further,
        buckets=buckets,
        flow=flow,
        pairs=flows.confused_pairs(state),
        reliability=reliability(state, buckets, curves.samples, curves.positives, curves.probability),
        precision_at_recall=curves.precision_at_recall,
        positives_above=from_above(curves.positives),
        predicted_above=from_above(curves.samples),
        lift_sums=None if lifts is None else lifts.sums(),
    )
    known = [uncertainties(state, columns, buckets) for buckets in bucketings]
    for uncertainty, influence, buckets in zip(known, ap_influences, bucketings, strict=False):
        uncertainty["ap"] = ap_uncertainty(influence, columns, buckets)
    _add_means(result, state, bucketings, known)
    return result


def _bucketings(classes: AttributeClasses) -> list[CountBuckets]:
    """By training count, and by family if there are families."""
    return [covariance_buckets(classes), *([family_buckets(classes)] if classes.families else [])]


def _evaluate_dense(state: DenseState, classes: AttributeClasses) -> Evaluation:
    counts, buckets, bucketings = DenseCounts(state), count_buckets(classes), _bucketings(classes)
    columns, curves = counts.columns(), CurveCounts.empty(len(classes))
    if state.scores is not None:
        state.scores.fill(columns, curves)
    result = Evaluation(
        classes=classes,
        decision=state.decision,
        columns={name: columns[name] for name in (*CLASS_COLUMNS, *class_columns([IOU]))},
        further=(IOU,),
        buckets=buckets,
        flow=counts.flow(buckets),
        pairs=counts.confused_pairs(),
        reliability=np.zeros((len(buckets), 3, CALIBRATION_BINS)),
        precision_at_recall=curves.precision_at_recall,
        positives_above=from_above(curves.positives),
        predicted_above=from_above(curves.samples),
    )
    _add_means(result, state, bucketings, [counts.uncertainties(columns, paired) for paired in bucketings])
    return result


def _add_means(
    result: Evaluation,
    state: AttributeState | DenseState,
    bucketings: list[CountBuckets],
    known: list[dict[str, MeanUncertainty]],
) -> None:
    """Add the means over groups and families, with intervals from what is known of each bucketing."""
    result.uncertainty |= known[0]
    for group in (*PARTITION, ALL):
        result.groups[group] = _group(state, result, group)
    result.groups[GAP] = _gap(result.groups)
    for group, values in result.groups.items():
        values |= _intervals(result, group, bucketings[0])
    if result.classes.families:
        result.families |= family_means(result, known[1], bucketings[1])


# --------------------------------------------------------------------------------------------------- per class


def _count_columns(state: AttributeState) -> dict[str, FloatArray]:
    tp, fp, fn, support = state.counts().astype(np.float64)
    columns = {"support": support, "true_positives": tp, "false_positives": fp, "false_negatives": fn}
    columns |= dict(zip(("precision", "recall", "f1"), scores_of(tp, tp + fp, support), strict=True))
    columns["precision_lower"], columns["precision_upper"] = wilson(tp, tp + fp)
    columns["recall_lower"], columns["recall_upper"] = wilson(tp, support)
    columns["f1_lower"], columns["f1_upper"] = f1_interval(tp, tp + fp, np.where(support > 0, support, np.nan))
    columns["threshold"] = np.full(len(tp), np.nan) if state.decision == SINGLE_LABEL else state.thresholds.copy()
    return columns


def class_columns(metrics: Iterable[str]) -> tuple[str, ...]:
    """Columns of the per-class table for further metrics."""
    return tuple(f"{metric}{end}" for metric in metrics for end in ("", "_lower", "_upper"))


def _top_k_columns(state: AttributeState, support: FloatArray) -> dict[str, FloatArray]:
    labels, ranks = per_sample(state)[0], ranks_of_labels(state)
    columns: dict[str, FloatArray] = {}
    for k in state.top_k:
        hits = np.bincount(labels[ranks < k], minlength=state.num_classes).astype(np.float64)
        recall = np.divide(hits, support, out=np.full(state.num_classes, np.nan), where=support > 0)
        columns |= dict(zip(class_columns([recall_at(k)]), (recall, *wilson(hits, support)), strict=True))
    return columns


def _ap_interval(columns: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    lower, upper = logit_binomial(columns["ap"], columns["support"])
    return np.fmin(lower, columns.pop("ap_at_least", lower)), np.fmax(upper, columns.pop("ap_at_most", upper))


# --------------------------------------------------------------------------------------------------- per group


def _intervals(result: Evaluation, group: str, buckets: CountBuckets) -> dict[str, float]:
    parts = [result.classes.members(part) for part in ((HEAD, TAIL) if group == GAP else (group,))]
    values, cannot_tell = result.groups[group], cannot_be_told(result.decision, result.columns["support"], parts)
    intervals: dict[str, float] = {}
    for metric, uncertainty in result.uncertainty.items():
        if values[metric] == values[metric] and metric not in cannot_tell:
            lower, upper = group_interval(uncertainty, buckets, group, values[metric])
            intervals |= {f"{metric}_lower": lower, f"{metric}_upper": upper}
    return intervals


def _group(state: AttributeState | DenseState, result: Evaluation, group: str) -> dict[str, float]:
    members, columns = result.classes.members(group), result.columns
    values = dict.fromkeys((*GROUP_COLUMNS, *mean_columns(result.further)), float("nan"))
    for metric in (*MEAN_METRICS, *result.further):
        mean, count = macro_mean(columns[metric], members)
        values[metric], values[f"{metric}_n_classes"] = mean, float(count)
    is_few = (columns["support"][members] < FEW_POSITIVES) & ~np.isnan(columns["ap"][members])
    values["ap_n_few_positives"] = float(is_few.sum())
    values |= _recall_means(columns["recall"][members])
    values["worst_f1"], values["worst_recall"] = (_nanmin(columns[m][members]) for m in ("f1", "recall"))
    values |= _sample_metrics(state, result, group, members)
    values["n_classes"] = float(len(members))
    values["n_skipped"], values["scores_exact"] = float(state.n_skipped), state.scores_exact
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
    state: AttributeState | DenseState, result: Evaluation, group: str, members: NDArray[np.int64]
) -> dict[str, float]:
    in_group = [group in (bucket_group, ALL) for bucket_group in result.buckets.groups]
    ece = calibration_error(result.reliability[in_group])
    if state.decision != SINGLE_LABEL:
        return {"n_samples": float(state.n_samples), "ece": ece}
    support, right = (result.columns[name][members].sum() for name in ("support", "true_positives"))
    accuracy = right / support if support else float("nan")
    return {"n_samples": float(support), "accuracy": float(accuracy), "ece": ece}


def _gap(groups: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Head minus tail, metric by metric; NaN if either is undefined."""
    no_difference = ("_lower", "_upper", "n_classes", "n_samples", "n_skipped", "scores_exact", "n_few_positives")
    gap = {column: value - groups[TAIL][column] for column, value in groups[HEAD].items()}
    return {column: float("nan") if column.endswith(no_difference) else value for column, value in gap.items()}
