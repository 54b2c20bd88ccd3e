"""Ranking by evidence: against the definitions, and how much of it chance alone would give."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tbmetrics.comparing.evidence import (
    BY_CHANCE,
    chance_text,
    could_be_chance,
    difference_interval,
    gains,
    losses,
    rank_pairs,
    worst,
)
from tbmetrics.comparing.runs import ClassComparison
from tbmetrics.statistics.intervals import f1_interval, logit_binomial, wilson


def test_the_interval_of_a_difference_is_newcombes_and_eight_percent():
    """His table 2 (Statistics in Medicine, 1998): 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/20, method 10."""
    k, n = np.array([[48, 56], [3, 9], [0, 10]]).T, np.array([[80, 70], [10, 10], [20, 10]]).T
    lower, upper = difference_interval(k[0] / n[0], wilson(k[0], n[0]), k[1] / n[1], wilson(k[1], n[1]))
    difference = np.array([0.2, 0.6, 1.0])
    np.testing.assert_allclose((difference - lower) / 1.08, difference - [0.0524, 0.1705, 0.6791], atol=6e-5)
    np.testing.assert_allclose((upper - difference) / 1.08, [0.3339, 0.8090, 1.0] - difference, atol=6e-5)


def test_gains_and_losses_are_those_with_the_most_evidence_first():
    few, many = ClassComparison("few", "tail", 0.0, 0.9, -0.1, 1.0), ClassComparison("many", "head", 0.5, 0.7, 0.1, 0.3)
    lost, bare = ClassComparison("lost", "head", 0.9, 0.8, -0.15, -0.05), ClassComparison("bare", "tail", 0.0, 1.0)
    classes = [few, lost, bare, many, ClassComparison("same", "tail", 0.5, 0.5, -0.1, 0.1)]
    classes += [ClassComparison("+0.000", "head", 0.5, 0.5004), ClassComparison("-0.000", "head", 0.5, 0.4996)]
    assert [c.name for c in gains(classes)] == ["many", "few", "bare"]
    assert [c.name for c in losses(classes)] == ["lost"]
    assert [could_be_chance(c) for c in (few, many, lost, bare)] == [True, False, False, True]


def test_the_worst_classes_are_those_whose_interval_ends_lowest():
    value = np.array([0.0, 0.2, np.nan, 0.5])
    _, upper = wilson(np.array([0.0, 20.0, 0.0, 5.0]), np.array([1.0, 100.0, 0.0, 10.0]))
    assert worst(upper).tolist() == [1, 3, 0]
    assert np.isnan(value[2])


def test_confused_pairs_are_ranked_by_their_share_and_judged_by_what_others_are_called():
    support, false_positives = np.array([100.0, 4.0, 10.0]), np.array([4.0, 40.0, 2.0])
    pairs = np.array([[0, 1, 40], [1, 0, 2], [2, 0, 2], [2, -1, 8], [1, 2, 2]])
    ranked = rank_pairs(pairs, support, false_positives, 114)
    lower, upper = wilson(pairs[:, 2], support[pairs[:, 0]])
    order = sorted(range(5), key=lambda i: (-lower[i], -pairs[i, 2]))
    np.testing.assert_array_equal(ranked.pairs, pairs[order])
    np.testing.assert_allclose(ranked.share, np.stack([pairs[:, 2] / support[pairs[:, 0]], lower, upper], 1)[order])
    usual = {0: 4 / 14, 1: 40 / 110, 2: 2 / 104, -1: np.nan}
    np.testing.assert_allclose(ranked.by_chance, [usual[k] for k in ranked.pairs[:, 1].tolist()])
    empty = rank_pairs(np.zeros((0, 3), dtype=np.int64), support, false_positives, 114)
    assert empty.pairs.shape == (0, 3)


def test_the_words_say_how_many_stand_out_by_chance():
    assert "up to about 407 of 8,142" in chance_text(8142)
    assert "less than one of 10" in chance_text(10)


def test_of_equal_shares_at_most_one_of_twenty_stands_out_whatever_their_numbers():
    """Exactly, by the binomial distribution: averaged over true shares, and nowhere more than 7.5 %."""
    shares = np.linspace(0.01, 0.99, 50)
    for n, m in itertools.combinations_with_replacement((1, 2, 3, 4, 5, 8, 10, 20, 30), 2):
        k, hits = (grid.astype(float) for grid in np.meshgrid(np.arange(n + 1), np.arange(m + 1), indexing="ij"))
        lower, upper = difference_interval(k / n, wilson(k, n), hits / m, wilson(hits, m))
        stands_out = (lower > 1e-12) | (upper < -1e-12)
        p = shares[:, None, None]
        rates = (stats.binom.pmf(k, n, p) * stats.binom.pmf(hits, m, p) * stands_out).sum((1, 2))
        assert rates.mean() <= BY_CHANCE, (n, m)
        assert rates.max() <= 0.075, (n, m)


@pytest.mark.parametrize("metric", ["f1", "ap"])
@pytest.mark.parametrize("positives", [1, 2, 3, 5, 20, 100])
def test_of_classes_that_did_not_change_at_most_one_of_twenty_stands_out(metric, positives):
    """Two runs of one true quality on samples of their own; AP as a share, which it is at its simplest."""
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.02, 0.98, 4000)
    sides = []
    for _ in "ab":
        tp, fp = rng.binomial(positives, chance), rng.poisson(positives * (1 - chance))
        if metric == "f1":
            sides.append((2 * tp / (positives + tp + fp), f1_interval(tp, tp + fp, positives)))
        else:
            sides.append((tp / positives, logit_binomial(tp / positives, positives)))
    lower, upper = difference_interval(*sides[0], *sides[1])
    assert np.mean((lower > 0) | (upper < 0)) <= BY_CHANCE + 3 * np.sqrt(BY_CHANCE * 0.95 / 4000)
