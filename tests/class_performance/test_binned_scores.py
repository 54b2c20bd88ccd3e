"""Positives exact, every negative in the bin that holds it, also when bins of several ranks are put together."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tbmetrics.class_performance import binned_scores
from tbmetrics.class_performance.binned_scores import BinnedScores
from tbmetrics.class_performance.bins import BINS
from tbmetrics.class_performance.ranking import average_precision_bounds, precision_bounds
from tbmetrics.class_performance.scores import ExactScores

CLASSES = 4


def _batch(seed, scale, rows=200):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(rows, CLASSES, generator=generator) < 0.1).to(torch.int8)
    return scale * torch.randn(rows, CLASSES, generator=generator) + labels, labels


def _binned(*batches):
    binned = BinnedScores(ExactScores(batches[:1]))
    for batch in batches[1:]:
        binned.add(*batch)
    return binned


@pytest.mark.parametrize("scales", [(1, 1, 1), (1, 30, 0.01), (50, 1, 1), (0.001, 1000, 3)])
def test_bounds_of_merged_bins_hold_the_truth(scales):
    batches = [_batch(seed, scale) for seed, scale in enumerate(scales)]
    merged = _binned(batches[0], batches[1])
    merged.merge(BinnedScores.from_state(_binned(batches[2]).state()))
    scores, labels = torch.cat([s for s, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()
    bins, low, width = merged.negative_bins(), merged.low.numpy(), merged.width.numpy()
    assert bins.sum() == (labels == 0).sum()
    for c, positives in enumerate(merged.positives(CLASSES)):
        np.testing.assert_array_equal(np.sort(positives[0]), np.sort(scores[labels[:, c] > 0, c]))
        exact = average_precision_score(labels[:, c], scores[:, c])
        bounds = average_precision_bounds(*precision_bounds(*positives, bins[c]))
        assert bounds.lower - 1e-12 <= exact <= bounds.upper + 1e-12
        expected_bins = np.floor((scores[labels[:, c] == 0, c].astype(np.float64) - low[c]) / width[c]).astype(int)
        np.testing.assert_array_equal(bins[c], np.bincount(expected_bins, minlength=BINS))


def test_rows_of_the_last_batch_can_be_taken_out_again():
    first, last = _batch(0, 1), _batch(1, 5, rows=20)
    keep = torch.arange(20) % 3 > 0
    taken_out, without = _binned(first, last), _binned(first, last)
    taken_out.keep_of_recent(keep)
    without = _binned(first, (last[0][keep], last[1][keep]))
    without._move(taken_out.low, taken_out.width)
    assert torch.equal(taken_out.negatives, without.negatives)
    for (ours, _), (theirs, _) in zip(taken_out.positives(CLASSES), without.positives(CLASSES), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _single_label_batch(seed, scale, rows=50):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (rows,), generator=generator, dtype=torch.int32)
    return scale * torch.randn(rows, CLASSES, generator=generator), labels


def _bins_by_numpy(p, low, width):
    """Bins of probabilities by their logarithm, linear between powers of two and from the least of these to 0."""
    mantissa, exponent = np.frexp(p)
    places = np.where(p < 2.0**-1022, -1023 + p / 2.0**-1022, exponent - 1 + (2 * mantissa - 1))
    return np.where(p > 0, np.clip(np.floor(places / width) - low / width, 0, BINS - 1), 0).astype(int)


def _assert_single_label_bins(binned, batches):
    p = torch.cat([logits.double().softmax(1) for logits, _ in batches]).numpy()
    labels = torch.cat([y for _, y in batches]).numpy()
    low, width = binned.low.numpy(), binned.width.numpy()
    for c, (positives, their_bins) in enumerate(binned.positives(CLASSES)):
        np.testing.assert_array_equal(positives, p[labels == c, c])
        np.testing.assert_array_equal(their_bins, _bins_by_numpy(positives, low[c], width[c]))
        expected = _bins_by_numpy(p[labels != c, c], low[c], width[c])
        np.testing.assert_array_equal(binned.negative_bins()[c], np.bincount(expected, minlength=BINS))


@pytest.mark.parametrize("most", [2**23, 7 * CLASSES])
@pytest.mark.parametrize("scales", [(1, 1, 1), (1, 30, 0.01), (0.001, 3, 1000), (1e4, 1, 1)])
def test_single_label_negatives_are_counted_in_the_bins_of_their_probabilities(scales, most, monkeypatch):
    monkeypatch.setattr(binned_scores, "MOST_BINNED", most)
    batches = [_single_label_batch(seed, scale) for seed, scale in enumerate(scales)]
    _assert_single_label_bins(_binned(*batches), batches)


@pytest.mark.parametrize("most", [2**23, 7 * CLASSES])
@pytest.mark.parametrize("keep", [torch.arange(20) % 3 > 0, torch.zeros(20, dtype=torch.bool)])
@pytest.mark.parametrize("scale", [5, 1000])
def test_rows_of_the_last_single_label_batch_can_be_taken_out_again(scale, keep, most, monkeypatch):
    monkeypatch.setattr(binned_scores, "MOST_BINNED", most)
    first, (logits, labels) = _single_label_batch(0, 1), _single_label_batch(1, scale, rows=20)
    taken_out = _binned(first, (logits, labels))
    taken_out.keep_of_recent(keep)
    _assert_single_label_bins(taken_out, [first, (logits[keep], labels[keep])])
