"""Confusion: true against predicted class, by group, by bucket of training counts, and the most frequent pairs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_performance.lifts import LiftSums, flow_and_lifts
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.class_performance.stored import per_sample
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.records import GROUPS, NO_CLASS, SINGLE_LABEL, UNKNOWN, FloatArray

ROWS = (*GROUPS, UNKNOWN)
COLUMNS = (*GROUPS, UNKNOWN, "none")

PAIRS_OF_EVERY_CLASS = 3  # they come before the most frequent pairs of all classes


def flows(state: AttributeState, buckets: CountBuckets) -> tuple[FloatArray, LiftSums | None]:
    """Positives by true and predicted bucket, float64 (buckets, buckets + 1), the last column "none"; and lifts.

    Single-label: samples; a wrong class of the right bucket counts on the diagonal too. There are no lifts.

    Multi-label: true positives stay in their bucket; false negatives are shared evenly among the buckets of the labels
    falsely predicted in the same row. They come together by chance as well, so that it takes the lifts to tell a
    confusion. All are NaN if single rows are no longer known.
    """
    size = len(buckets)
    if state.decision != SINGLE_LABEL:
        if isinstance(state.scores, ExactScores):
            return flow_and_lifts(state, state.scores, buckets)
        return np.full((size, size + 1), np.nan), LiftSums.unknown(size)
    labels, predicted, _ = per_sample(state)
    flat = np.bincount(buckets.of_class[labels] * (size + 1) + buckets.of_class[predicted], minlength=size * (size + 1))
    return flat.reshape(size, size + 1).astype(np.float64), None


def by_group(flows: FloatArray, buckets: CountBuckets) -> FloatArray:
    """The flow between buckets added up between groups, in the order of `ROWS` × `COLUMNS`."""
    rows = np.zeros((len(ROWS), flows.shape[1]))
    number = [ROWS.index(group) for group in buckets.groups]
    np.add.at(rows, number, flows)
    summed = np.zeros((len(ROWS), len(COLUMNS)))
    np.add.at(summed.T, [*number, len(COLUMNS) - 1], rows.T)
    return summed


def most_pairs(num_classes: int) -> int:
    """Rows of the "confusions" table: all pairs of few classes, four a class of many."""
    return min(num_classes * num_classes, max(1024, 4 * num_classes))


def confused_pairs(state: AttributeState) -> FloatArray:
    """(true class, predicted class, count), by count descending, float64 (`most_pairs`, 3); unused rows are NaN.

    Single-label: wrong predictions. Multi-label: a missed positive goes to the false prediction with the
    highest score in the same row, or to none (`NO_CLASS`). If there are more pairs than rows, the first three of every
    true class stay before the most frequent of all.
    """
    true, predicted = _mistakes(state)
    codes, counts = np.unique(true * (state.num_classes + 1) + (predicted + 1), return_counts=True)
    true, predicted = np.divmod(codes, state.num_classes + 1)
    return most_frequent_pairs(true, predicted - 1, counts, state.num_classes)


def most_frequent_pairs(
    true: NDArray[np.int64], predicted: NDArray[np.int64], counts: NDArray[np.int64], num_classes: int
) -> FloatArray:
    """The rows of `confused_pairs` from different pairs in ascending order, and their counts."""
    rows = np.full((most_pairs(num_classes), 3), np.nan)
    order = np.argsort(-counts, kind="stable")
    if len(order) > len(rows):
        order = order[_selected_pairs(true[order], len(rows))]
    rows[: len(order)] = np.stack((true[order], predicted[order], counts[order]), axis=1)
    return rows


def _selected_pairs(true: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Of pairs by count descending, the positions of those to report, ascending."""
    by_class = np.argsort(true, kind="stable")
    first = np.searchsorted(true[by_class], true[by_class], side="left")
    rank = np.empty(len(true), dtype=np.int64)
    rank[by_class] = np.arange(len(true)) - first
    return np.sort(np.lexsort((np.arange(len(true)), rank >= PAIRS_OF_EVERY_CLASS))[:most])


def _mistakes(state: AttributeState) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and predicted class of each mistake."""
    if state.decision == SINGLE_LABEL:
        labels, predicted, _ = per_sample(state)
        wrong = labels != predicted
        return labels[wrong], predicted[wrong]
    stored = state.scores.chunks() if isinstance(state.scores, ExactScores) else ()
    batches = [_missed(state, logits, labels) for logits, labels in stored]
    if not batches:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    true, predicted = (torch.cat(column).cpu().numpy() for column in zip(*batches, strict=True))
    return true, predicted


def _missed(state: AttributeState, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    predicted = logits >= state.score_thresholds(logits)
    wrong = predicted & (labels == 0)
    strongest = first_largest(torch.where(wrong, logits, -torch.inf))
    strongest[~wrong.gather(1, strongest[:, None])[:, 0]] = NO_CLASS
    rows, true = ((labels > 0) & ~predicted).nonzero(as_tuple=True)
    return true, strongest[rows]


def first_largest(values: torch.Tensor) -> torch.Tensor:
    """Where each row is largest, int64 (rows,); on the host by numpy, which takes a quarter of torch's time."""
    on_host = values.device.type == "cpu" and values.dtype != torch.bfloat16
    return torch.from_numpy(values.numpy().argmax(1)) if on_host else values.argmax(1)
