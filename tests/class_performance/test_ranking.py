"""Exact average precision and best thresholds against scikit-learn, with ties, by property."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.class_performance import scores
from tbmetrics.class_performance.positives import (
    add_ap_influence,
    ap_bias,
    average_precision,
    best_thresholds,
    mean_precisions,
    rank_positives,
)
from tbmetrics.class_performance.ranking import average_precision_bounds, precision_bounds

GROUPS = ClassGroups.from_counts({"x": [900, 300, 60, 30, 9, 2]})

problems = st.integers(2, 120).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([i / 4 for i in range(-8, 9)]), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


def _arrays(problem):
    return tuple(map(np.array, problem))


def ranks_of(scores, positive):
    """The ranking of one class; scores of 32 bits or fewer are sorted, those of 64 bits looked up."""
    return rank_positives(scores[None], positive[None])


@given(problems)
def test_average_precision_equals_scikit_learn(problem):
    scores, positive = _arrays(problem)
    ap = average_precision(ranks_of(scores, positive))[0]
    if positive.any():
        assert ap == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    else:
        assert np.isnan(ap)


@given(problems)
def test_mean_precisions_are_scikit_learns_curve_averaged_over_ranges_of_recall(problem):
    scores, positive = _arrays(problem)
    ranks = ranks_of(scores, positive)
    means = mean_precisions(ranks.precision, ranks.support)[0]
    if not positive.any():
        assert np.isnan(means).all()
        return
    precision, recall, _ = precision_recall_curve(positive, scores)
    # The recalls between which precision changes, and where recall first reaches the middle between two of them.
    knots = np.unique(np.concatenate([np.arange(21) / 20, recall]))
    middles = (knots[1:] + knots[:-1]) / 2
    steps = np.array([precision[np.flatnonzero(recall >= r)[-1]] for r in middles])
    for k, mean in enumerate(means):
        inside = (middles > k / 20) & (middles < (k + 1) / 20)
        assert mean == pytest.approx((steps * np.diff(knots))[inside].sum() * 20, abs=1e-9)
    assert means.mean() == pytest.approx(average_precision_score(positive, scores), abs=1e-12)


@pytest.mark.slow
@given(problems)
def test_the_best_threshold_is_the_best(problem):
    scores, positive = _arrays(problem)
    best = best_thresholds(ranks_of(scores, positive))
    if positive.any():
        assert best.f1[0] == pytest.approx(max(f1_score(positive, scores >= t) for t in np.unique(scores)))
        assert best.f1[0] == pytest.approx(f1_score(positive, scores >= best.score[0]))


@given(problems, st.integers(1, 64))
def test_bounds_from_bins_hold_the_exact_value(problem, bins):
    scores, positive = _arrays(problem)
    if positive.any():
        width = 4.5 / bins
        where = np.clip(((scores + 2) / width).astype(int), 0, bins - 1)
        negatives = np.bincount(where[~positive], minlength=bins)
        least, largest = precision_bounds(scores[positive], where[positive], negatives)
        bounds = average_precision_bounds(least, largest)
        exact = average_precision(ranks_of(scores, positive))[0]
        assert bounds.lower - 1e-12 <= exact <= bounds.upper + 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_counts_of_many_classes_with_ties_zeros_of_both_signs_and_unknown_labels(dtype):
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(7, 500)).round(1).astype(dtype)
    scores *= np.where(scores == 0, generator.choice([-1, 1], scores.shape), 1).astype(dtype)
    positive = np.arange(500) < np.array([[30], [0], [1], [500], [3], [200], [0]])
    unknown = ~positive & (generator.random(scores.shape) < 0.1)
    scores[unknown] = -np.inf
    scores[3, :5] = -np.inf
    ranks = rank_positives(scores, positive, unknown.sum(axis=1))
    np.testing.assert_array_equal(ranks.support, positive.sum(axis=1))
    for c, s, row, tp, predicted in zip(
        ranks.classes[ranks.owner], ranks.scores, ranks.samples, ranks.true_positives, ranks.predicted, strict=True
    ):
        assert (positive[c, row], scores[c, row]) == (True, s)
        at_or_above = (scores[c] >= s) & ~unknown[c]
        assert (tp, predicted) == ((at_or_above & positive[c]).sum(), at_or_above.sum())


@settings(max_examples=12)
@given(problems, st.sampled_from([np.float32, np.float64]))
def test_the_influence_on_ap_is_its_derivative_with_respect_to_the_weight_of_a_sample(problem, dtype):
    scores, positive = _arrays(problem)
    both = np.stack([scores, scores]).astype(dtype)
    total = np.zeros((3, len(scores)))
    square = add_ap_influence(total, np.array([2, 0]), rank_positives(both, np.stack([positive, positive])))[1]
    influence = total[0]
    np.testing.assert_allclose(total[1:], [np.zeros(len(scores)), influence], rtol=0, atol=1e-12)
    assert square == pytest.approx((influence**2).sum(), abs=1e-12)
    if positive.any():
        for i in range(len(scores)):
            more, less = (np.where(np.arange(len(scores)) == i, 1 + step, 1.0) for step in (1e-5, -1e-5))
            ends = [average_precision_score(positive, scores, sample_weight=w) for w in (more, less)]
            assert influence[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-6)


@pytest.mark.parametrize("positives", [3, 6, 20])
def test_ap_less_its_bias_is_right_on_average(positives):
    generator = np.random.default_rng(positives)
    d, share = 1.5, 0.02
    x = np.linspace(-8, 10, 4001)
    precision = share * norm.sf(x - d) / (share * norm.sf(x - d) + (1 - share) * norm.sf(x))
    truth = float((precision * norm.pdf(x - d)).sum() * (x[1] - x[0]))
    positive = np.arange(round(positives / share)) < positives
    errors, raw = [], []
    for _ in range(600):
        ranks = ranks_of(generator.normal(size=len(positive)) + d * positive, positive)
        raw.append(average_precision(ranks)[0] - truth)
        errors.append(raw[-1] - ap_bias(ranks)[0])
    assert abs(np.mean(errors)) < 0.01 + 2 * np.std(errors) / np.sqrt(600)
    assert np.mean(raw) > 2 * np.std(raw) / np.sqrt(600)


@given(
    st.integers(0, 10_000),
    st.sampled_from([1e-16, 1e-7, 1e-3, 1.0, 12.0, 37.0, 100.0, 1e4]),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from(["spread", "confident"]),
    st.sampled_from([None, "-inf", "lowest"]),
)
def test_single_label_ranks_as_the_softmax_in_float64_does(seed, scale, dtype, rows, masked):
    """Nearly equal confident rows too, which a softmax in float32 ties or swaps; the bins hold the same AP."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (60,), generator=generator)
    logits = scale * torch.randn(60, 6, generator=generator)
    if rows == "confident":
        predicted = torch.where(torch.rand(60, generator=generator) < 0.3, labels.roll(1), labels)
        logits = scale * (torch.nn.functional.one_hot(predicted, 6) + 1e-7 * torch.randn(60, 6, generator=generator))
    logits = logits.to(dtype)
    if masked is not None:
        logits[:, 5] = -torch.inf if masked == "-inf" else torch.finfo(dtype).min
    exact = ClassPerformanceTracker(classes=GROUPS, logit_scale=1.0)
    binned = ClassPerformanceTracker(classes=GROUPS, scores="binned", logit_scale=1.0)
    for batch in torch.arange(60).split(25):
        exact.update(logits[batch], labels[batch])
        binned.update(logits[batch], labels[batch])
    probabilities = logits.double().softmax(1).numpy()
    by_class, bounds = exact.get_metrics()["x"], binned.get_metrics()["x"]
    for c in range(5):
        if (labels == c).any():
            name = str(c)
            expected = average_precision_score(labels.numpy() == c, probabilities[:, c])
            assert by_class[name]["ap"] == pytest.approx(expected, abs=1e-12)
            assert bounds[name]["ap_lower"] - 1e-12 <= expected <= bounds[name]["ap_upper"] + 1e-12


def test_probabilities_are_the_same_however_many_classes_are_laid_out_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits, labels = 20 * torch.randn(90, 300, generator=generator), torch.randint(0, 300, (90,), generator=generator)
    expected = logits.double().softmax(1).numpy().T
    for block_bytes, softmax_bytes in ((1, 1), (8 * 90 * 256, 8 * 300 * 7), (2**30, 2**30)):
        monkeypatch.setattr(scores, "MIN_BLOCK_BYTES", block_bytes)
        monkeypatch.setattr(scores, "SOFTMAX_BYTES", softmax_bytes)
        store = scores.ExactScores((logits[batch], labels[batch]) for batch in torch.arange(90).split(40))
        blocks = list(store.blocks(300))
        np.testing.assert_array_equal(np.concatenate([block.scores for block in blocks]), expected)
        truth = np.concatenate([block.labels for block in blocks])
        np.testing.assert_array_equal(truth, labels.numpy() == np.arange(300)[:, None])
