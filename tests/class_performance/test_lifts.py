"""Lifts between groups against a direct computation, of independent classes, and of a planted confusion."""

import numpy as np
import torch

from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.records import LIFT_COLUMNS, UNKNOWN, lift_sum_columns, lift_sums_tag, lifts_tag

COUNTS = {"a": 900, "b": 900, "c": 400, "d": 60, "e": 60, "f": 50, "g": 9, "h": 9, "i": 3, "j": -1}
CLASSES = ClassGroups.from_counts({"x": COUNTS})
SHARE = np.array([0.3, 0.25, 0.2, 0.15, 0.1, 0.1, 0.08, 0.08, 0.06, 0.1])
GROUPS = ("head", "medium", "tail")


def _sample(generator, n=1500, *, clump=0.0, planted=0.0):
    """Labels and predictions, bool (n, classes); `planted`: how often a missed tail label makes "a" predicted."""
    positive = generator.random((n, 10)) < SHARE
    missed = positive & (generator.random((n, 10)) < 0.4)
    hardness = np.exp(clump * generator.normal(size=(n, 1)) - clump**2 / 2)
    false = ~positive & (generator.random((n, 10)) < 0.03 * hardness)
    false[:, 0] |= ~positive[:, 0] & missed[:, 6:9].any(axis=1) & (generator.random(n) < planted)
    return positive, (positive & ~missed) | false


def _tables(positive, predicted, unknown=None):
    tracker = ClassPerformanceTracker(classes=CLASSES, logit_scale=1.0)
    labels = torch.from_numpy(positive.astype(np.int64))
    if unknown is not None:
        labels[torch.from_numpy(unknown)] = -1
    scores = torch.from_numpy(np.where(predicted, 2.0, -2.0)).float()
    for rows in torch.arange(len(scores)).split(401):
        tracker.update(scores[rows], labels[rows])
    tracker.collect(0)
    return {tag: series[-1] for tag, series in tracker.history.tables.items()}


def _lift(table, true, predicted, what="lift"):
    return table.values[table.rows.index(true), LIFT_COLUMNS.index(f"{what}_{predicted}")]


def test_sums_are_those_of_a_direct_computation():
    generator = np.random.default_rng(0)
    positive, predicted = _sample(generator, clump=1.0, planted=0.5)
    unknown = generator.random(positive.shape) < 0.05
    tables = _tables(positive, predicted, unknown)
    sums, lifts = tables[lift_sums_tag("x")], tables[lifts_tag("x")]
    known_positive, absent = positive & ~unknown, ~positive & ~unknown
    missed, false = known_positive & ~predicted, predicted & absent
    buckets = [f"{b['group']} {b['lowest']}" for b in sums.details["buckets"]]
    bucket_of = [buckets.index(f"{g} {n}") for g, n in zip(CLASSES["x"].groups, COUNTS.values(), strict=True)]
    expected = np.zeros((len(buckets), len(buckets)))
    observed = np.zeros_like(expected)
    for c in range(10):
        for j in range(len(buckets)):
            others = [d for d in range(10) if bucket_of[d] == j and d != c]
            where, elsewhere = missed[:, c], absent[:, c]
            observed[bucket_of[c], j] += false[where][:, others].sum()
            if others:
                rate = false[elsewhere][:, others].sum() / absent[elsewhere][:, others].sum()
                expected[bucket_of[c], j] += absent[where][:, others].sum() * rate
    size = len(buckets)
    assert sums.columns == lift_sum_columns(sums.rows)
    np.testing.assert_array_equal(sums.column("missed"), np.bincount(bucket_of, missed.sum(axis=0)))
    np.testing.assert_array_equal(sums.column("false_positives"), np.bincount(bucket_of, false.sum(axis=0)))
    np.testing.assert_allclose(sums.values[:, 4 : 4 + size], observed)
    np.testing.assert_allclose(sums.values[:, 4 + size : 4 + 2 * size], expected, rtol=1e-5)
    member = np.array([[b.split()[0] == g for g in (*GROUPS, UNKNOWN)] for b in buckets]).astype(float)
    observed, expected = member.T @ observed @ member, member.T @ expected @ member
    for i, true in enumerate((*GROUPS, UNKNOWN)):
        for j, other in enumerate((*GROUPS, UNKNOWN)):
            ratio = observed[i, j] / expected[i, j] if expected[i, j] else np.nan
            assert _lift(lifts, true, other, "observed") == observed[i, j]
            np.testing.assert_allclose(_lift(lifts, true, other), ratio, rtol=1e-5)


def test_independent_classes_have_a_lift_of_one_and_are_not_told_apart_from_it():
    """Where shares of the row say 14 to 64 %, also if false positives come in clumps."""
    generator = np.random.default_rng(1)
    lifts, told = [], 0
    for repetition in range(60):
        table = _tables(*_sample(generator, n=400, clump=repetition % 2))[lifts_tag("x")]
        for true in GROUPS:
            for predicted in GROUPS:
                value, lower, upper = (_lift(table, true, predicted, w) for w in ("lift", "lift_lower", "lift_upper"))
                lifts.append(value)
                told += not lower <= 1 <= upper
    assert abs(np.mean(lifts) - 1) < 0.06
    assert told / len(lifts) < 0.06


def test_a_planted_confusion_has_the_lift_it_was_planted_with():
    generator = np.random.default_rng(2)
    positive, predicted = _sample(generator, n=6000, planted=0.6)
    lifts = _tables(positive, predicted)[lifts_tag("x")]
    # Of three head classes, each wrong with 0.03, "a" is wrong with 0.6 more; in rows without the class a bit, too.
    rate = ((1 - 0.97 * 0.4) * 0.7 + 0.03 * 0.75 + 0.03 * 0.8) / 2.25
    elsewhere = predicted & ~positive
    base = elsewhere[:, :3].sum() / (~positive[:, :3]).sum()
    assert 0.8 * rate / base < _lift(lifts, "tail", "head") < 1.3 * rate / base
    assert _lift(lifts, "tail", "head", "lift_lower") > 3
    for predicted_group in ("medium", "tail"):
        lower, upper = (_lift(lifts, "tail", predicted_group, f"lift_{end}") for end in ("lower", "upper"))
        assert lower < 1 < upper
