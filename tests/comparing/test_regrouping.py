"""Groups drawn anew from sums by bucket, against the plain way over all classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbmetrics.classes.groups import ClassGroups, count_buckets, macro_mean
from tbmetrics.comparing.regrouping import COMBINATIONS, FINE_BUCKETS, bucket_sums, regrouped, rule_of_bounds
from tbmetrics.records import CLASS_COLUMNS, MEAN_METRICS
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
    buckets = count_buckets(classes, FINE_BUCKETS)
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
    buckets = count_buckets(ClassGroups.from_counts(counts)["class"], FINE_BUCKETS)
    sums = bucket_sums(table, CLASS_COLUMNS, "recall", buckets)
    half = (_column(table, "recall_upper") - _column(table, "recall_lower")) / 2
    variance = np.where(np.isnan(_column(table, "recall")), 0, (half / Z95) ** 2)
    expected = np.stack([variance[:, buckets.of_class == b].sum(axis=1) for b in range(len(buckets))], axis=1)
    np.testing.assert_allclose(sums[1], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("bounds", [(10, 10), (5, 20), (float("nan"), 3), (float("inf"), 3), (4, float("-inf"))])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="tail must end below the head"):
        rule_of_bounds(*bounds)
