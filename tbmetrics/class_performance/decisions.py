"""Decisions on single samples, recorded so that two runs can be compared sample by sample."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.class_performance.dense_state import DenseState
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.class_performance.stored import per_sample
from tbmetrics.records import (
    MULTI_LABEL,
    SINGLE_LABEL,
    DecidedSamples,
    IntArray,
    SampleData,
    decisions_data,
    label_checksum,
    labels_data,
)

logger = logging.getLogger("tbmetrics")

#: Enough for about 100,000 single-label samples.
DEFAULT_DECISION_BYTES = 2**18
#: Different orders of the samples after which their order counts as random.
MOST_ORDERS = 4


class DecisionLog:
    """The records of what was decided on each sample, and of the labels when they are new.

    Args:
        max_bytes: most bytes of the decisions of one validation, and of its labels; 0 = record neither.
    """

    def __init__(self, max_bytes: int, sample_set: str = "") -> None:
        self.max_bytes, self.sample_set = max_bytes, sample_set
        self._recorded: dict[str, set[str]] = {}  # checksums of labels by attribute
        self._explained: set[str] = set()  # attributes whose decisions were once not recorded

    def records(self, state: AttributeState | DenseState) -> Iterator[SampleData]:
        """The records of the validation held in `state`; none, and a reason once, if they cannot be had."""
        if not self.max_bytes or not state.n_samples:
            return
        try:
            yield from self._records(state)
        except _NotRecordedError as reason:
            if state.attribute not in self._explained:
                self._explained.add(state.attribute)
                logger.warning(
                    "attribute %r: decisions on single samples are not recorded (%s), so that runs are compared "
                    "unpaired; this is said once",
                    state.attribute,
                    reason,
                )

    def _records(self, state: AttributeState | DenseState) -> list[SampleData]:
        decided = self._decided(state)
        recorded = self._recorded.setdefault(state.attribute, set())
        is_new = decided.checksum not in recorded
        if is_new and len(recorded) >= MOST_ORDERS:
            raise _NotRecordedError(
                "the samples come in another order each time; validate without shuffling, or give indices="
            )
        data = [labels_data(state.attribute, decided)] if is_new else []
        data.append(decisions_data(state.attribute, decided))
        largest = max(len(part.payload) for part in data)
        if largest > self.max_bytes:
            raise _NotRecordedError(f"{largest:,} bytes of at most {self.max_bytes:,}; max_decision_bytes= raises it")
        recorded.add(decided.checksum)
        return data

    def _decided(self, state: AttributeState | DenseState) -> DecidedSamples:
        if isinstance(state, DenseState):
            raise _NotRecordedError("there are too many places in dense predictions")
        if state.decision == SINGLE_LABEL:
            return _single_label(state, self.sample_set)
        if not isinstance(state.scores, ExactScores):
            raise _NotRecordedError("scores are held in bins, which do not tell single samples apart")
        positives, alarms = (int(state.counts()[row].sum()) for row in (3, 1))
        if positives + alarms > 16 * self.max_bytes:  # they never fit, and are too many to list
            raise _NotRecordedError(f"{alarms:,} false positives do not fit {self.max_bytes:,} bytes")
        return _multi_label(state, state.scores, self.sample_set)


class _NotRecordedError(Exception):
    """Why the decisions of a validation are not recorded."""


def _order(state: AttributeState) -> tuple[NDArray[np.int64] | None, IntArray]:
    """The samples by ascending index if indices were given, and these indices; (None, nothing) without."""
    indices = state.indices()
    if indices is None:
        return None, np.zeros(0, dtype=np.int64)
    values = indices.numpy()
    order = np.argsort(values, kind="stable")
    return order, values[order]


def _single_label(state: AttributeState, sample_set: str) -> DecidedSamples:
    labels, predicted, _ = per_sample(state)
    order, indices = _order(state)
    if order is not None:
        labels, predicted = labels[order], predicted[order]
    checksum = label_checksum(SINGLE_LABEL, len(labels), state.num_classes, labels, indices, sample_set=sample_set)
    return DecidedSamples.of_predictions(labels, predicted, state.num_classes, checksum)


def _multi_label(state: AttributeState, scores: ExactScores, sample_set: str) -> DecidedSamples:
    parts, rows = [], 0
    for logits, labels in scores.chunks():
        parts.append(_cells(state, logits, labels, rows))
        rows += len(labels)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    cells = _Cells(*columns)
    order, indices = _order(state)
    if order is not None:
        cells = _in_order(cells, order, state.num_classes)
    n_samples, n_classes = state.n_samples, state.num_classes
    return DecidedSamples(
        MULTI_LABEL,
        n_samples,
        n_classes,
        cells.positives // n_classes,
        cells.positives % n_classes,
        cells.hits,
        cells.alarms // n_classes,
        cells.alarms % n_classes,
        label_checksum(
            MULTI_LABEL, n_samples, n_classes, cells.positives, cells.unknown, indices, sample_set=sample_set
        ),
    )


class _Cells(NamedTuple):
    """Places in the table of samples and classes, row by row, int64; `hits` says which positives were predicted."""

    positives: IntArray
    hits: NDArray[np.bool_]
    alarms: IntArray
    unknown: IntArray


def _cells(state: AttributeState, logits: torch.Tensor, labels: torch.Tensor, first_row: int) -> _Cells:
    """Of some rows, of which `first_row` is the first."""
    predicted = (logits >= state.score_thresholds(logits)).flatten()
    flat = labels.flatten()
    positives = (flat > 0).nonzero().flatten()
    alarms, unknown = ((predicted & (flat == 0)).nonzero().flatten(), (flat < 0).nonzero().flatten())
    hits = predicted[positives]
    host = (cells.cpu().numpy() for cells in (positives, hits, alarms, unknown))
    shift = first_row * state.num_classes
    return _Cells(*(cells if cells.dtype == bool else cells + shift for cells in host))


def _in_order(cells: _Cells, order: NDArray[np.int64], num_classes: int) -> _Cells:
    """The cells after the rows were put in `order`, ascending."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))

    def moved(places: IntArray) -> IntArray:
        rows, classes = np.divmod(places, num_classes)
        placed: IntArray = rank[rows] * num_classes + classes
        return placed

    positives = moved(cells.positives)
    by_place = np.argsort(positives)
    alarms, unknown = (np.sort(moved(places)) for places in (cells.alarms, cells.unknown))
    return _Cells(positives[by_place], cells.hits[by_place], alarms, unknown)
