"""Two validations compared, as the tab shows them: the numbers and the words of `tbmetrics compare`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, NamedTuple, TypeAlias

from tbmetrics.classes.attributes import family_names
from tbmetrics.classes.rules import GroupRule
from tbmetrics.comparing.by_count import CountedValidation, compare_by_count
from tbmetrics.comparing.regrouping import regrouped
from tbmetrics.comparing.runs import GroupComparison, compare
from tbmetrics.comparing.validations import GroupMean, Validation, recorded_means
from tbmetrics.comparing.wording import VERDICTS, agreement_text, basis_text, classes_text, sentence
from tbmetrics.records import (
    ALL,
    DECISIONS,
    GAP,
    LABELS,
    DecidedSamples,
    FloatArray,
    SchemaError,
    decided_samples,
    mean_metrics,
)
from tbmetrics_longtail.data import Attribute
from tbmetrics_longtail.tables import CLASSES, FAMILIES, GROUP_TABLE, RequestError, nullable, or_null, shown
from tbmetrics_longtail.uncertainty import class_means

Json: TypeAlias = dict[str, Any]


class Side(NamedTuple):
    """One of two compared runs: an attribute, the evaluation that the run holds, and the step."""

    recorded: Attribute
    evaluation: str
    step: int


def validation(
    recorded: Attribute, evaluation: str, step: int, metric: str, bounds: GroupRule | None = None
) -> Validation:
    """One metric of a run at one step.

    Raises:
        RequestError: the metric is no mean over classes, or nothing was recorded at that step.
    """
    known = means_of(recorded)
    if metric not in known:
        raise RequestError(f"metric {shown(metric)} is no mean over classes", f"use one of {', '.join(known)}")
    groups, values = regrouped(recorded.classes, bounds), recorded.column(metric, step, "metric")
    if bounds is None:
        means = _recorded_means(recorded, step, metric)
    else:
        means = _new_means(recorded, step, metric, values, groups)
    return Validation(
        recorded.name,
        metric,
        step,
        recorded.class_list.names,
        groups,
        values,
        means,
        recorded.class_list.decision,
        _decided(recorded, step),
        evaluation=evaluation,
    )


def by_family(recorded: Attribute, by_frequency: Validation) -> Validation:
    """The same validation by families.

    Raises:
        RequestError: the run has no families.
    """
    families, means = recorded.class_list.families, {ALL: by_frequency.mean(ALL)}
    if not families:
        raise RequestError(
            f"attribute {shown(recorded.name)} has no families", "give them as ClassGroups(…, families=…)"
        )
    if FAMILIES in recorded.tags:
        tag, table = recorded.tag(FAMILIES), recorded.series(FAMILIES).at(by_frequency.step)
        tag.check_rows(len(table))
        means |= recorded_means(tag.rows, tag.columns, table, by_frequency.metric)
    return replace(by_frequency, groups=families, partition=family_names(families), recorded=means)


def means_of(recorded: Attribute) -> tuple[str, ...]:
    """The metrics of an attribute that are means over classes."""
    return mean_metrics(recorded.tag(GROUP_TABLE if GROUP_TABLE in recorded.tags else CLASSES).columns)


def _recorded_means(recorded: Attribute, step: int, metric: str) -> dict[str, GroupMean]:
    """Of the groups that the run recorded."""
    if GROUP_TABLE in recorded.tags:
        tag, table = recorded.tag(GROUP_TABLE), recorded.series(GROUP_TABLE).at(step)
        tag.check_rows(len(table))
        if f"{metric}_lower" in tag.columns:
            return recorded_means(tag.rows, tag.columns, table, metric)
    return {}


def _new_means(
    recorded: Attribute, step: int, metric: str, values: FloatArray, groups: tuple[str, ...]
) -> dict[str, GroupMean]:
    """Of groups drawn anew, from the recorded uncertainty by bucket."""
    means = class_means(recorded, metric, step, values).by_group(groups)
    return {group: GroupMean(*mean) for group, mean in means.items()}


def _decided(recorded: Attribute, step: int) -> DecidedSamples | None:
    """What was decided on each sample; None if that, or the labels, cannot be had."""
    try:
        decisions = recorded.samples(DECISIONS)[step]
        labels = recorded.samples(f"{LABELS}/{decisions.checksum}")
        decided = decided_samples(next(iter(labels.values())), decisions)
    except (KeyError, StopIteration, SchemaError):
        return None
    return decided if decided.n_classes == len(recorded.classes) else None


def comparison(a: Validation, b: Validation) -> Json:
    """`b` against `a`: groups with their numbers and what can be said of them."""
    result = compare(a, b)
    return {
        "attribute": a.attribute,
        "metric": a.metric,
        "groups": {name: _group(name, group) for name, group in result.groups.items()},
        "n_joined": result.n_joined,
        "n_regrouped": result.n_regrouped,
        "only_in_a": list(result.only_in_a),
        "only_in_b": list(result.only_in_b),
        "is_paired": result.is_paired,
        "is_withheld": bool(result.withheld_because),
        "sentence": sentence(result),
        "basis": basis_text(result),
        "about_classes": classes_text(result),
    }


def _group(name: str, group: GroupComparison) -> Json:
    numbers = {key: value if isinstance(value, str) else or_null(value) for key, value in asdict(group).items()}
    agreement = "" if name == GAP else agreement_text(group)
    return numbers | {"verdict_text": VERDICTS[group.verdict], "agreement": agreement}


def counted(side: Side, metric: str) -> CountedValidation:
    """One metric of a run at one step, with the training counts of its classes."""
    recorded_validation = validation(*side, metric)
    means = class_means(side.recorded, metric, side.step, recorded_validation.values)
    return CountedValidation(recorded_validation, side.recorded.classes.counts, means)


def comparison_by_count(a: CountedValidation, b: CountedValidation) -> Json:
    """`b` against `a` over the tail below every boundary, and in bins of like training count."""
    result = compare_by_count(a, b)
    tails = result.tails
    return {
        "is_paired": result.is_paired,
        "is_withheld": bool(result.withheld_because),
        "basis": basis_text(result),
        "tails": {
            "tail_max": tails.tail_max.tolist(),
            "n_defined": tails.n_defined.tolist(),
            "mean_a": nullable(tails.mean_a),
            "mean_b": nullable(tails.mean_b),
            "difference": nullable(tails.mean_b - tails.mean_a),
            "lower": nullable(tails.lower),
            "upper": nullable(tails.upper),
        },
        "bins": [{name: or_null(value) for name, value in bin_._asdict().items()} for bin_ in result.bins],
    }
