"""Bins of several ranks, put together: positives exact, every negative in a bin that holds it."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tbmetrics.class_performance.ranking import average_precision_bounds, precision_bounds
from tbmetrics.class_performance.scores import BINS, BinnedScores, ExactScores

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
