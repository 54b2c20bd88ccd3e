"""Groups drawn anew from sums by bucket, against the plain way over all classes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tbmetrics import ClassPerformanceTracker
from tbmetrics.classes.groups import ClassGroups, fine_buckets, macro_mean
from tbmetrics.classes.rules import RULES
from tbmetrics.comparing.regrouping import (
    COMBINATIONS,
    ClassMeans,
    RecordedUncertainty,
    bucket_sums,
    buckets_of_classes,
    regrouped,
    rule_of_bounds,
)
from tbmetrics.records import (
    CLASS_COLUMNS,
    GROUP_ROWS,
    MEAN_METRICS,
    class_table_tag,
    group_table_tag,
    uncertainty_tag,
)
from tbmetrics.statistics.intervals import Z95, wilson


def _table(counts, seed=0, steps=3):
    """Per-class tables over steps, as evaluations would give them."""
    rng = np.random.default_rng(seed)
    n = len(counts)
    tables = []
    for _ in range(steps):
        support = rng.poisson(3, n).astype(float)
        tp = rng.binomial(support.astype(int), 0.6).astype(float)
        fp = rng.poisson(1.0, n).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = dict.fromkeys(CLASS_COLUMNS, np.zeros(n))
            columns |= {
                "support": support,
                "true_positives": tp,
                "false_positives": fp,
                "false_negatives": support - tp,
            }
            columns |= {"precision": tp / (tp + fp), "recall": tp / support}
            columns["f1"] = np.where(support > 0, 2 * tp / (tp + fp + support), np.nan)
            columns["ap"] = np.where(support > 0, rng.random(n), np.nan)
        for name, k, of in (("precision", tp, tp + fp), ("recall", tp, support), ("ap", tp, support)):
            columns[f"{name}_lower"], columns[f"{name}_upper"] = wilson(k, of)
        tables.append(np.stack([columns[name] for name in CLASS_COLUMNS], axis=1))
    return np.stack(tables).astype(np.float32)


def _column(table, name):
    return table[:, :, CLASS_COLUMNS.index(name)].astype(np.float64)


def _combined(metric, sums):
    """As the tab does it."""
    value, _, weight = sums
    how = COMBINATIONS[metric]
    with np.errstate(divide="ignore", invalid="ignore"):
        if how == "min":
            return value
        return {"mean": value / weight, "exp_mean": np.exp(value / weight), "inverse_mean": weight / value}[how]


@settings(max_examples=25)
@given(
    st.lists(st.integers(-1, 400), min_size=3, max_size=80),
    st.integers(2, 300),
    st.integers(0, 100),
    st.sampled_from(sorted(COMBINATIONS)),
)
def test_sums_by_bucket_give_the_metric_of_any_group(counts, head_min, below, metric):
    classes = ClassGroups.from_counts(counts)["class"]
    bounds = rule_of_bounds(head_min, max(0, head_min - 1 - below))
    buckets = fine_buckets(classes)
    table = _table(counts)
    sums = bucket_sums(table, CLASS_COLUMNS, metric, buckets)
    assert sums.shape == (3, 3, len(buckets))
    groups = np.array(regrouped(classes, bounds))
    for group in ("head", "medium", "tail", "unknown"):
        inside = groups == group
        chosen = [b for b in range(len(buckets)) if inside[np.flatnonzero(buckets.of_class == b)[0]]]
        assert inside.sum() == buckets.n_classes[chosen].sum()  # no bucket crosses these bounds
        if not chosen:
            continue
        reduce = np.min if COMBINATIONS[metric] == "min" else np.sum
        value = reduce(sums[0][:, chosen].astype(float), axis=1)
        found = _combined(metric, (value, None, sums[2][:, chosen].sum(axis=1)))
        for step in range(3):
            expected = _plainly(metric, table[step : step + 1], np.flatnonzero(inside))
            if np.isnan(expected):
                assert sums[2][step, chosen].sum() == 0
            else:
                assert found[step] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def _plainly(metric, table, members):
    of = {name: _column(table, name)[0][members] for name in ("precision", "recall", "f1", "ap", "support")}
    if metric in MEAN_METRICS:
        return macro_mean(of[metric], np.arange(len(members)))[0]
    if metric == "accuracy":
        right, support = _column(table, "true_positives")[0][members].sum(), of["support"].sum()
        return right / support if support else np.nan
    values = of["f1" if metric == "worst_f1" else "recall"]
    values = values[~np.isnan(values)]
    if not values.size:
        return np.nan
    if metric.startswith("worst"):
        return values.min()
    if (values == 0).any():
        return 0.0
    return np.exp(np.log(values).mean()) if "geometric" in metric else 1 / (1 / values).mean()


def test_the_variance_is_that_of_the_intervals_of_the_classes():
    counts = [500, 500, 30, 3, 3, 3]
    table = _table(counts, seed=4)
    buckets = fine_buckets(ClassGroups.from_counts(counts)["class"])
    sums = bucket_sums(table, CLASS_COLUMNS, "recall", buckets)
    half = (_column(table, "recall_upper") - _column(table, "recall_lower")) / 2
    variance = np.where(np.isnan(_column(table, "recall")), 0, (half / Z95) ** 2)
    expected = np.stack([variance[:, buckets.of_class == b].sum(axis=1) for b in range(len(buckets))], axis=1)
    np.testing.assert_allclose(sums[1], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("bounds", [(10, 10), (5, 20), (float("nan"), 3), (float("inf"), 3), (4, float("-inf"))])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="tail must end below the head"):
        rule_of_bounds(*bounds)


# -------------------------------------------------------------------------------------------------- intervals

COUNTS = [900, 500, 101, 101, 100, 99, 60, 21, 20, 19, 15, 10, 9, 9, 3, 1, -1]


def _validated(counts, single, rule="decoupling", rows=300, seed=0):
    """A tracker after one validation, with its tables."""
    generator, n = np.random.default_rng(seed), len(counts)
    labels = generator.integers(0, n, rows)
    truth = np.eye(n)[labels]
    if not single:
        truth = np.maximum(truth, generator.random((rows, n)) < 0.1)
    logits = generator.normal(size=(rows, n)) + 2 * truth - (0 if single else 1)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": counts}, rule=rule))
    tracker.update(torch.from_numpy(logits), torch.from_numpy(labels if single else truth))
    tracker.collect(0)
    return tracker


def _from_the_log(tracker, groups, single):
    """Means and intervals of groups drawn anew, by metric."""
    tables, classes = tracker.history.tables, tracker.classes["x"]
    table, recorded = tables[class_table_tag("x")][-1], tables[uncertainty_tag("x")][-1]
    uncertainty = RecordedUncertainty.read(recorded.values, recorded.details["buckets"], classes)
    positives = None if single else table.column("support")
    columns = {metric: table.column(metric).astype(np.float64) for metric in MEAN_METRICS}
    return {m: ClassMeans(m, values, uncertainty, positives).by_group(groups) for m, values in columns.items()}


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("rule", [*RULES, "terciles"])
def test_groups_drawn_anew_have_the_intervals_of_a_run_recorded_with_them(single, rule):
    recorded_so = _validated(COUNTS, single, rule)
    anew = _from_the_log(_validated(COUNTS, single), recorded_so.classes["x"].groups, single)
    table = recorded_so.history.tables[group_table_tag("x")][-1]
    for row, group in enumerate(GROUP_ROWS):
        for metric in MEAN_METRICS:
            expected = [table.column(metric + end)[row] for end in ("", "_lower", "_upper")]
            # Of 300 rows, bounded by float32: a variance of differences of counts is exact to about 1e-5.
            np.testing.assert_allclose(anew[metric].get(group, (np.nan,) * 3), expected, atol=2e-5)


@pytest.mark.parametrize("single", [True, False])
def test_a_group_whose_classes_do_not_change_keeps_its_interval(single):
    tracker = _validated(COUNTS, single)
    classes = tracker.classes["x"]
    recorded = _from_the_log(tracker, classes.groups, single)
    moved = _from_the_log(tracker, regrouped(classes, rule_of_bounds(55, 19)), single)
    for metric in MEAN_METRICS:
        assert moved[metric]["tail"] == recorded[metric]["tail"]
        assert moved[metric]["head"] != recorded[metric]["head"]


def test_without_a_record_or_with_too_few_positives_there_is_no_interval():
    values = np.linspace(0, 1, 80)
    groups = ("head",) * 40 + ("tail",) * 40
    plain = ClassMeans("f1", values, None).by_group(groups)
    assert plain["head"].mean == pytest.approx(values[:40].mean())
    assert plain["gap"].mean == pytest.approx(values[:40].mean() - values[40:].mean())
    assert all(np.isnan(interval.lower) and np.isnan(interval.upper) for interval in plain.values())
    recorded = RecordedUncertainty(np.full((1 + 1, 4), 0.01, dtype=np.float32), np.zeros(80, dtype=np.int64), 1)
    positives = np.array([1] * 40 + [2] * 40)
    few = ClassMeans("f1", values, recorded, positives).by_group(groups)
    assert [np.isnan(few[group].lower) for group in ("head", "tail", "gap")] == [True, False, True]
    assert not any(
        np.isnan(m.lower) for m in ClassMeans("precision", values, recorded, positives).by_group(groups).values()
    )


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ([{"group": "head", "lowest": 5, "highest": 9}], "is in no bucket"),
        ([{"group": "head", "lowest": 5}], "a bucket has a group"),
        (["head"], "a bucket has a group"),
    ],
)
def test_buckets_that_do_not_fit_the_classes_are_refused(described, message):
    with pytest.raises(ValueError, match=message):
        buckets_of_classes(described, ClassGroups.from_counts([500, 3])["class"])


def test_a_table_that_does_not_fit_its_buckets_is_refused():
    with pytest.raises(ValueError, match="does not fit 2 buckets"):
        RecordedUncertainty.read(np.zeros((4, 4), dtype=np.float32), [{}, {}], ClassGroups.from_counts([1])["class"])
