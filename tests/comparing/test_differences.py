"""Differences of two runs: covariances against the bootstrap and plain formulas, verdicts in simulations."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.verdicts import PAIRED, multi_label, simulate, single_label
from tbmetrics.comparing.differences import Parts, alone, paired
from tbmetrics.comparing.runs import compare
from tbmetrics.comparing.validations import GroupMean, Validation
from tbmetrics.records import MULTI_LABEL, DecidedSamples
from tbmetrics.statistics.mcnemar import mcnemar_p
from tbmetrics.statistics.scores import scores_of

METRICS = ("precision", "recall", "f1")


def _metric(decided, metric):
    counted = (decided.classes[decided.hits], decided.false_classes, decided.classes)
    hits, alarms, support = (np.bincount(c, minlength=decided.n_classes).astype(float) for c in counted)
    return dict(zip(METRICS, scores_of(hits, hits + alarms, support), strict=True))[metric]


def _validation(decided, metric="recall", groups=None, step=0):
    n = decided.n_classes
    names = tuple(map(str, range(n)))
    return Validation(
        "x", metric, step, names, groups or ("tail",) * n, _metric(decided, metric), {}, decided.decision, decided
    )


def _labelled(labels, predicted, classes=3, checksum="same"):
    return DecidedSamples.of_predictions(np.asarray(labels), np.asarray(predicted), classes, checksum)


def _hits(shares, each=100):
    """Single-label decisions on `each` samples a class, of which the first share is right."""
    labels = np.repeat(np.arange(len(shares)), each)
    is_right = np.tile(np.arange(each), len(shares)) < np.repeat(np.multiply(shares, each), each)
    return _labelled(labels, np.where(is_right, labels, (labels + 1) % len(shares)), len(shares))


# ------------------------------------------------------------------------------------------------- covariance


def test_the_variance_of_a_difference_of_recalls_is_that_of_discordant_samples():
    """McNemar's: (n10 + n01 - (n10 - n01)² / n) / n², for the sum over classes."""
    rng, n = np.random.default_rng(0), 2000
    labels = np.repeat(np.arange(3), n)
    a, b = (np.where(rng.random(3 * n) < 0.6, labels, (labels + 1) % 3) for _ in range(2))
    covariance = paired(_labelled(labels, a), _labelled(labels, b), "recall", Parts(np.zeros(3, dtype=int), 1))
    expected = 0.0
    for c in range(3):
        n10, n01 = (((x == c) & (y != c))[labels == c].sum() for x, y in ((a, b), (b, a)))
        expected += (n10 + n01 - (n10 - n01) ** 2 / n) / n**2
    assert covariance.difference.item() == pytest.approx(expected, rel=0.01)
    hits = [(x == labels).reshape(3, n).mean(1) for x in (a, b)]
    one = alone(_labelled(labels, a), "recall", Parts(np.zeros(3, dtype=int), 1)).item()
    assert one == pytest.approx((hits[0] * (1 - hits[0]) / n).sum(), rel=0.01)


def _resampled(decided, rows):
    """The decisions on a sample of the rows, with repetition."""
    times = np.bincount(rows, minlength=decided.n_samples)
    weights = [times[decided.rows[decided.hits]], times[decided.false_rows], times[decided.rows]]
    counted = (decided.classes[decided.hits], decided.false_classes, decided.classes)
    hits, alarms, support = (
        np.bincount(c, weights=w, minlength=decided.n_classes) for c, w in zip(counted, weights, strict=True)
    )
    return dict(zip(METRICS, scores_of(hits, hits + alarms, support), strict=True))


@pytest.mark.parametrize("problem", [single_label, multi_label])
def test_covariances_are_those_of_a_bootstrap_of_the_samples(problem):
    pair = next(problem(6, 200 if problem is single_label else 60, False, 0.7, 0.05, np.random.default_rng(3)))
    rng, replicates = np.random.default_rng(1), {metric: [] for metric in METRICS}
    for _ in range(400):
        if problem is single_label:  # within true classes, whose numbers are fixed
            rows = np.concatenate([rng.choice(np.flatnonzero(pair.a.classes == c), 200) for c in range(6)])
        else:
            rows = rng.integers(0, pair.a.n_samples, pair.a.n_samples)
        values = [_resampled(side, rows) for side in pair]
        for metric in METRICS:
            replicates[metric].append((values[1][metric] - values[0][metric]).reshape(2, 3).sum(1))
    for metric in METRICS:
        estimate = paired(*pair, metric, Parts(np.array([0, 0, 0, 1, 1, 1]), 2)).difference
        truth = np.cov(np.array(replicates[metric]).T)
        for weights in ([1, 0], [0, 1], [1, 1], [1, -1]):
            deviations = [np.sqrt(weights @ covariance @ weights) for covariance in (estimate, truth)]
            assert deviations[0] == pytest.approx(deviations[1], rel=0.25), (metric, weights)


def test_buckets_add_up_to_groups():
    pair = next(single_label(6, 5, True, 0.7, 0.0, np.random.default_rng(0)))
    fine = paired(*pair, "f1", Parts(np.arange(6), 6)).difference
    coarse = paired(*pair, "f1", Parts(np.array([0, 0, 1, 1, 1, -1]), 2)).difference
    weights = np.array([1.0, 1, 0, 0, 0, 0])
    assert weights @ fine @ weights == pytest.approx(coarse[0, 0])


# ---------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("problem", ["single-label", "multi-label"])
def test_two_runs_of_the_same_quality_are_seldom_told_apart(problem):
    """At most 5 % of verdicts, within what so few repetitions may show by chance."""
    rates = []
    for classes, samples, is_tailed in ((10, 3, True), (10, 10, False), (30, 2, False)):
        verdicts = simulate(problem, classes, samples, is_tailed, 0.7, 25, seed=2).verdicts
        rates += [rate for (basis, _, _), rate in verdicts.items() if basis == PAIRED]
    assert np.mean(rates) < 0.06
    assert max(rates) < 0.25


def test_a_planted_difference_is_told_sooner_in_pairs():
    verdicts = simulate("single-label", 30, 10, False, 0.7, 25, planted=0.1).verdicts
    assert verdicts[PAIRED, "f1", "all"] > 0.9
    assert verdicts[PAIRED, "f1", "head"] >= verdicts["unpaired", "f1", "head"]


def test_three_classes_with_intervals_far_apart_have_a_verdict():
    a, b = _hits([0.10, 0.12, 0.13]), _hits([0.40, 0.45, 0.50])
    for other in (b, replace(b, checksum="other samples")):
        result = compare(_validation(a), _validation(other))
        group = result.groups["tail"]
        assert (group.lower_a, group.upper_a) == pytest.approx((0.09, 0.15), abs=0.02)
        assert (group.lower_b, group.upper_b) == pytest.approx((0.40, 0.51), abs=0.02)
        assert (group.verdict, group.n_higher) == ("better", 3)
        assert group.least_p > 0.05  # the classes alone could not tell
        assert group.lower > 0.2
    assert not result.is_paired
    assert "samples differ" in result.unpaired_because


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("metric", METRICS)
def test_the_same_decisions_twice_are_no_difference_whose_interval_has_a_width(share, metric):
    decided = _hits([share] * 4, each=2)
    for side in (decided, replace(decided, checksum="other samples")):
        group = compare(_validation(decided, metric), _validation(side, metric)).groups["tail"]
        if group.n_defined:
            assert (group.difference, group.verdict) == (0, "undecided")
            assert -1 < group.lower < 0 < group.upper < 1


def test_one_sample_a_class_has_no_verdict_on_three_classes():
    labels = np.arange(3)
    a, b = _labelled(labels, (labels + 1) % 3), _labelled(labels, labels)
    assert compare(_validation(a), _validation(b)).groups["tail"].verdict in ("better", "undecided")
    group = compare(_validation(b), _validation(b)).groups["tail"]
    assert group.upper - group.lower > 0.2


def test_the_gap_is_judged_by_its_size():
    groups = ("head",) * 3 + ("tail",) * 3

    def gap(a, b):
        return compare(*(_validation(_hits(shares, 400), "recall", groups) for shares in (a, b))).groups["gap"]

    narrower = gap([0.9] * 3 + [0.3] * 3, [0.8] * 3 + [0.6] * 3)
    assert (narrower.verdict, round(narrower.difference, 2)) == ("narrower", -0.4)
    assert gap([0.3] * 3 + [0.5] * 3, [0.3] * 3 + [0.9] * 3).verdict == "wider"  # it is negative, and grows
    assert gap([0.3] * 3 + [0.9] * 3, [0.3] * 3 + [0.5] * 3).verdict == "narrower"
    turned = gap([0.7] * 3 + [0.5] * 3, [0.5] * 3 + [0.7] * 3)
    assert turned.upper < 0
    assert turned.verdict == "undecided"  # as large as before, the other way round


# ------------------------------------------------------------------------------------------- only like with like


def test_unlike_steps_and_decisions_have_no_verdict():
    a, b = _hits([0.1, 0.1, 0.1]), _hits([0.9, 0.9, 0.9])
    result = compare(_validation(a, step=9), _validation(b, step=2))
    assert result.withheld_because == "A is at step 9, B is at step 2"
    assert {group.verdict for group in result.groups.values()} == {"withheld", "undefined"}
    other = replace(_validation(b), decision=MULTI_LABEL)
    assert compare(_validation(a), other).withheld_because == "A is single-label, B is multi-label"


def test_without_decisions_recorded_intervals_are_used_where_they_are_about_the_same_classes():
    a, b = (replace(_validation(_hits(shares)), decided=None) for shares in ([0.2, 0.3, 0.4], [0.5, 0.6, 0.7]))
    assert compare(a, b).groups["tail"].verdict == "untold"
    a = replace(a, recorded={"tail": GroupMean(0.3, 0.25, 0.35)})
    b = replace(b, recorded={"tail": GroupMean(0.6, 0.54, 0.66)})
    group = compare(a, b).groups["tail"]
    assert (group.lower_a, group.upper_b, group.verdict) == (0.25, 0.66, "better")
    assert group.upper - group.lower == pytest.approx(2 * 1.05 * np.hypot(0.05, 0.06))
    fewer = replace(b, names=("0", "1", "z"))
    assert compare(a, fewer).groups["tail"].verdict == "untold"  # the recorded mean is over another class too


def test_runs_with_other_classes_are_compared_over_those_in_common():
    a, b = _validation(_hits([0.2, 0.3, 0.4, 0.9])), _validation(_hits([0.5, 0.6, 0.7, 0.1]))
    b = replace(b, names=("2", "1", "0", "z"))
    result = compare(a, b)
    group = result.groups["tail"]
    assert (group.n_defined, group.n_higher, group.n_lower) == (3, 3, 0)
    assert group.mean_a == pytest.approx(0.3)
    assert group.mean_b == pytest.approx(0.6)
    assert group.difference == pytest.approx(group.mean_b - group.mean_a)
    assert result.unpaired_because == "the class lists differ"
    assert group.lower_a < 0.3 < group.upper_a
    assert group.verdict == "better"


# ---------------------------------------------------------------------------------------------- single classes


def test_mcnemars_test_is_a_binomial_test_of_discordant_samples():
    only_a, only_b = np.array([0, 1, 9, 3, 40]), np.array([0, 8, 1, 3, 25])
    expected = [binomtest(x, x + y).pvalue if x + y else 1.0 for x, y in zip(only_a, only_b, strict=True)]
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected)
    assert mcnemar_p(np.zeros(0, dtype=int), np.zeros(0, dtype=int)).shape == (0,)
    huge = mcnemar_p(np.array([2000]), np.array([2300]))
    assert huge.item() == pytest.approx(binomtest(2000, 4300).pvalue)


def test_single_classes_have_a_test_for_recall_of_the_same_samples_only():
    a, b = _hits([0.2, 0.5, 0.5]), _hits([0.6, 0.5, 0.4])
    by_name = {c.name: c.p for c in compare(_validation(a), _validation(b)).classes}
    assert by_name == pytest.approx({"0": binomtest(0, 40).pvalue, "1": 1.0, "2": binomtest(0, 10).pvalue})
    others = compare(_validation(a, "f1"), _validation(b, "f1")).classes
    others += compare(_validation(a), _validation(replace(b, checksum="other"))).classes
    assert np.isnan([c.p for c in others]).all()
