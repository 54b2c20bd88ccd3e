"""Bins of several ranks, put together: positives exact, every negative in a bin that holds it."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tbmetrics.class_performance.ranking import average_precision_bounds
from tbmetrics.class_performance.scores import BINS, BinnedScores, ExactScores

CLASSES = 4


def _part(seed, scale, rows=200):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(rows, CLASSES, generator=generator) < 0.1).to(torch.int8)
    return scale * torch.randn(rows, CLASSES, generator=generator) + labels, labels


def _binned(*batches):
    first = ExactScores()
    first.add(*batches[0])
    made = BinnedScores(first)
    for batch in batches[1:]:
        made.add(*batch)
    return made


@pytest.mark.parametrize("scales", [(1, 1, 1), (1, 30, 0.01), (50, 1, 1), (0.001, 1000, 3)])
def test_bounds_of_merged_bins_hold_the_truth(scales):
    parts = [_part(seed, scale) for seed, scale in enumerate(scales)]
    merged = _binned(parts[0], parts[1])
    merged.merge(BinnedScores.from_state(_binned(parts[2]).state()))
    scores, labels = torch.cat([s for s, _ in parts]).numpy(), torch.cat([y for _, y in parts]).numpy()
    bins, low, width = merged.negative_bins(), merged.low.numpy(), merged.width.numpy()
    assert bins.sum() == (labels == 0).sum()
    for c, positives in enumerate(merged.positives(CLASSES)):
        np.testing.assert_array_equal(np.sort(positives.scores), np.sort(scores[labels[:, c] > 0, c]))
        exact = average_precision_score(labels[:, c], scores[:, c])
        found = average_precision_bounds(*positives, bins[c])
        assert found.lower - 1e-12 <= exact <= found.upper + 1e-12
        at = np.floor((scores[labels[:, c] == 0, c].astype(np.float64) - low[c]) / width[c]).astype(int)
        np.testing.assert_array_equal(bins[c], np.bincount(at, minlength=BINS))


def test_rows_of_the_last_batch_can_be_taken_out_again():
    first, last = _part(0, 1), _part(1, 5, rows=20)
    keep = torch.arange(20) % 3 > 0
    taken_out, without = _binned(first, last), _binned(first, last)
    taken_out.keep_of_recent(keep)
    without = _binned(first, (last[0][keep], last[1][keep]))
    without._move(taken_out.low, taken_out.width)
    assert torch.equal(taken_out.negatives, without.negatives)
    for ours, theirs in zip(taken_out.positives(CLASSES), without.positives(CLASSES), strict=True):
        np.testing.assert_array_equal(ours.scores, theirs.scores)
