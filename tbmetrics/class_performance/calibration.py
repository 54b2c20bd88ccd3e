"""Confidence against accuracy: reliability by bucket of training counts, and the calibration error of groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tbmetrics.class_performance.state import AttributeState
from tbmetrics.class_performance.stored import per_sample
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.records import CALIBRATION_BINS, SINGLE_LABEL, FloatArray

#: Neighbouring bins are merged until each holds as many examples: with fewer, gaps are mostly noise. It is also the
#: least number of examples of which a calibration error is told.
EXAMPLES_PER_BIN = 20


def reliability(
    state: AttributeState,
    buckets: CountBuckets,
    samples: FloatArray,
    positives: FloatArray,
    probability: FloatArray,
) -> FloatArray:
    """Sums by bucket and confidence bin: float64 (buckets, 3, `CALIBRATION_BINS`): examples, confidence, right ones.

    Single-label: samples by the bucket of their predicted class, the confidence of the prediction, whether it is right;
    bin k holds confidences in (k, k + 1] / 15. By the true class, an exact posterior would look overconfident on the
    tail. Multi-label: every decision about a class, its probability, whether it is a positive; bin k holds
    [k, k + 1) / 15, the last one also 1.

    Args:
        state: the validation.
        buckets: of the classes.
        samples, positives, probability: as in `CurveCounts`; used for multi-label only.
    """
    sums = np.zeros((len(buckets), 3, CALIBRATION_BINS))
    if state.activation.takes_classes:
        return sums
    if state.decision == SINGLE_LABEL:
        return _single_label_reliability(state, buckets)
    for i, fine in enumerate((samples, probability, positives)):
        np.add.at(sums[:, i], buckets.of_class, _coarse(fine))
    return sums


def _single_label_reliability(state: AttributeState, buckets: CountBuckets) -> FloatArray:
    labels, predicted, confidence = per_sample(state)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    cells = buckets.of_class[predicted] * CALIBRATION_BINS + bins
    sums = [
        np.bincount(cells, weights=weights, minlength=len(buckets) * CALIBRATION_BINS)
        for weights in (np.ones(len(cells)), confidence, (labels == predicted).astype(np.float64))
    ]
    return np.stack(sums).reshape(3, len(buckets), CALIBRATION_BINS).transpose(1, 0, 2)


def _coarse(fine: FloatArray) -> FloatArray:
    """Fine bins added up into calibration bins; p = 1 has a fine bin of its own, which joins the last one."""
    inner = fine[:, :-1].copy()
    inner[:, -1] += fine[:, -1]
    return inner.reshape(len(fine), CALIBRATION_BINS, -1).sum(axis=2)


def calibration_error(sums: FloatArray) -> float:
    """Expected calibration error of reliability sums (..., 3, bins), its bias taken off; NaN below 20 examples.

    The mean absolute gap of the bins (Guo et al., 2017) is positive for a calibrated model, too, as noise makes gaps.
    What noise adds to the mean *squared* gap is known, so that it can be taken off without bias (Kumar et al., 2019);
    the absolute gap is reduced by the same factor. The result is 0 on average for a calibrated model, so that single
    ones are slightly negative: less gap than noise makes.
    """
    sums = sums.reshape(-1, 3, CALIBRATION_BINS).sum(axis=0)
    total = sums[0].sum()
    if total < EXAMPLES_PER_BIN:
        return float("nan")
    n, confidence, right = np.array(list(_merged(sums))).T
    gap, accuracy = right - confidence, right / n
    squared = (gap**2 / n).sum()
    if not squared:
        return 0.0
    factor = 1 - (n * accuracy * (1 - accuracy) / (n - 1)).sum() / squared
    return float(np.abs(gap).sum() / total * np.sign(factor) * np.sqrt(np.abs(factor)))


def _merged(sums: FloatArray) -> Iterator[FloatArray]:
    """Bins (3,) of at least `EXAMPLES_PER_BIN` examples, from the least confident on; what remains joins the last."""
    ready, pending = None, np.zeros(3)
    for column in sums.T:
        pending = pending + column
        if pending[0] >= EXAMPLES_PER_BIN:
            if ready is not None:
                yield ready
            ready, pending = pending, np.zeros(3)
    yield pending if ready is None else ready + pending
