"""How batches accumulate over a validation: exact integer counts, and what is held of the samples and scores."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.arguments import check_batch, check_predictions
from tbmetrics.class_performance.binned_scores import BinnedScores
from tbmetrics.class_performance.inputs import Activation
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.class_performance.small_batches import SmallBatchBuffer
from tbmetrics.class_performance.stored import StoredValidation
from tbmetrics.errors import InputError, TBMetricsWarning, caller_level
from tbmetrics.records import SINGLE_LABEL
from tbmetrics.tracking.batches import CheckedBatch


class AttributeState(StoredValidation):
    """The state of one attribute between two validations; arguments as for `StoredValidation`."""

    @property
    def per_sample(self) -> list[tuple[Tensor, ...]]:
        """What was decided on each sample; small batches are decided together."""
        self._undecided.flush()
        return self._decided

    @per_sample.setter
    def per_sample(self, decided: list[tuple[Tensor, ...]]) -> None:
        self._decided = decided
        # Not a method of this object, which would then be freed late, with all its scores.
        self._undecided = SmallBatchBuffer(partial(_decide, decided, self.activation, bool(self.top_k)))

    def add(self, logits: Any, labels: Any, indices: Tensor | None = None) -> CheckedBatch:
        """Add one batch.

        Args:
            logits, labels: as for the tracker.
            indices: int64 (N,), which sample of the data set each row is.

        Returns:
            the batch as it was checked.

        Raises:
            InputError: a batch that does not fit; the message says what was expected.
        """
        check = check_predictions if self.activation.takes_classes else check_batch
        batch = check(self.attribute, logits, labels, self.num_classes, self.decision)
        logits, labels, single = batch.logits, batch.labels, batch.decision == SINGLE_LABEL
        if self.activation.takes_classes:
            logits = (logits[:, None] if logits.ndim == 1 else logits) if single else logits.float()
            self._check_lists(logits, single)
        good = self._rows_to_keep(batch)
        indices = self._checked_indices(indices, logits)
        self.decision = batch.decision
        if good is not None:
            logits, labels, indices = self._without_undefined(good, logits, labels, indices)
        if not single:
            self._add_multi(logits, labels, batch.has_unknown)
        elif batch.has_unknown:
            known = labels >= 0
            self._add_single(logits[known], labels[known])
            indices = None if indices is None else indices[known.to(indices.device)]
        else:
            self._add_single(logits, labels)
        if indices is not None and len(indices):
            self._indices.append(indices)
        if self._mode != "exact" and isinstance(self.scores, ExactScores):
            self._bound()
        return batch

    def _rows_to_keep(self, batch: CheckedBatch) -> Tensor | None:
        """Which rows decide something, bool (N,); None = all."""
        if self.activation.takes_classes:
            return None
        logits, single, good = batch.logits, batch.decision == SINGLE_LABEL, None
        if not batch.has_finite_sum:
            # The softmax of a row has no value where its largest logit is infinite; NaN counts as the largest.
            good = logits.amax(dim=1).isfinite() if single else ~logits.isnan().any(dim=1)
            good = None if bool(good.all()) else good
        if self.watch.is_needed:
            self.watch.look_at(logits if good is None else logits[good], single, logits.numel())
        return good

    def _add_single(self, logits: Tensor, labels: Tensor) -> None:
        if not labels.numel():
            return
        if not self.activation.takes_classes:
            self.scores.add(logits, labels)
        self._undecided.put(logits, labels)
        self.n_samples += len(labels)
        self._is_counted = False

    def _add_multi(self, logits: Tensor, labels: Tensor, has_unknown: bool) -> None:
        if not labels.numel():
            return
        if isinstance(self.scores, ExactScores):
            self._is_counted = False
        else:
            counts = self._multi_counts(logits, labels)
            self._counts = counts if self._counts is None else self._counts + counts
        self.scores.add(logits.masked_fill(labels < 0, -torch.inf) if has_unknown else logits, labels)
        self.n_samples += len(labels)

    def _single_counts(self, labels: Tensor, predicted: Tensor) -> Tensor:
        hit = predicted == labels
        classes = [labels[hit], predicted[~hit], labels[~hit], labels]
        return torch.stack([torch.bincount(x, minlength=self.num_classes) for x in classes])

    def _multi_counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        predicted = logits >= self.score_thresholds(logits)
        rows, classes = (labels > 0).nonzero(as_tuple=True)
        is_hit = predicted[rows, classes]
        hits, support = (torch.bincount(of, minlength=self.num_classes) for of in (classes[is_hit], classes))
        # A product is ten times as fast as a sum of booleans, and exact below 2^24 rows.
        false_positives = logits.new_ones(len(logits), dtype=torch.float32) @ (predicted & (labels == 0)).float()
        return torch.stack((hits, false_positives.long(), support - hits, support))

    def score_thresholds(self, logits: Tensor) -> Tensor:
        """The decision thresholds on the scale of `logits`, (C,); compared with them, they decide as float32 would."""
        key = logits.dtype, logits.device
        if key not in self._cuts:
            self._cuts[key] = self.activation.cuts(self.thresholds, logits.dtype).to(logits.device)
        return self._cuts[key]

    def counts(self) -> NDArray[np.int64]:
        """True positives, false positives, false negatives, support: int64 (4, C); what is stored is counted now."""
        if not self._is_counted and self.per_sample:
            label, predicted, *_ = (torch.cat(column) for column in zip(*self.per_sample, strict=True))
            self._counts = self._single_counts(label.long(), predicted.long())
        elif not self._is_counted and isinstance(self.scores, ExactScores):
            parts = [self._multi_counts(*chunk) for chunk in self.scores.chunks()]
            self._counts = torch.stack(parts).sum(0) if parts else None
        self._is_counted = True
        return super().counts()

    def drop_repeated(self, earlier: Tensor | None = None) -> int:
        """Drop rows of samples that came before; from bins, only rows of the last batch can be dropped.

        Args:
            earlier: indices that other ranks count, int64.

        Returns:
            number of repeated rows that could not be dropped.
        """
        indices = self.indices()
        if indices is None or not len(indices):
            return 0
        keep = first_occurrences(indices, earlier)
        if bool(keep.all()):
            return 0
        stuck = 0
        if isinstance(self.scores, BinnedScores):
            recent = len(self.scores.recent[0]) if self.scores.recent is not None else 0
            stuck = int((~keep[: len(keep) - recent]).sum())
            keep[: len(keep) - recent] = True
        self._keep(keep)
        return stuck

    def _keep(self, rows: Tensor) -> None:
        recent = self.scores.recent if isinstance(self.scores, BinnedScores) else None
        dropped = self._counts_of_recent(recent, ~rows) if recent is not None else None
        if isinstance(self.scores, ExactScores):
            self.scores = self.scores.selected(rows)
        elif recent is not None:
            self.scores.keep_of_recent(rows[len(rows) - len(recent[0]) :].to(recent[0].device))
        if self.per_sample:
            columns = [torch.cat(batches) for batches in zip(*self.per_sample, strict=True)]
            self.per_sample = [tuple(column[rows.to(column.device)] for column in columns)]
        elif dropped is not None and self._counts is not None:
            self._counts = self._counts - dropped
        self._is_counted = isinstance(self.scores, BinnedScores) and not self.per_sample
        self._indices = [torch.cat(self._indices)[rows.to(self._indices[0].device)]]
        self.n_samples = int(rows.sum())

    def _counts_of_recent(self, recent: tuple[Tensor, Tensor], dropped: Tensor) -> Tensor | None:
        logits, labels = recent
        rows = dropped[len(dropped) - len(logits) :].to(logits.device)
        return self._multi_counts(logits[rows], labels[rows]) if labels.ndim == 2 else None

    # ---------------------------------------------------------------------------------------------- checking

    def _check_lists(self, lists: Tensor, single: bool) -> None:
        needed = min(max(self.top_k, default=1), self.num_classes)
        if single and lists.shape[1] < needed:
            raise InputError(
                f"attribute {self.attribute!r}: top_k={max(self.top_k)} needs lists of at least {needed} classes by "
                f"rank (N, {needed}), got {lists.shape[1]}"
            )

    def _checked_indices(self, indices: Tensor | None, logits: Tensor) -> Tensor | None:
        name = f"attribute {self.attribute!r}"
        if self._has_indices not in (None, indices is not None):
            raise InputError(f"{name}: give indices with every batch of a validation, or with none")
        self._has_indices = indices is not None
        if indices is not None and indices.shape != (len(logits),):
            raise InputError(f"{name}: indices must have shape ({len(logits)},), got {tuple(indices.shape)}")
        return None if indices is None else indices.to(logits.device)

    def _without_undefined(
        self, good: Tensor, logits: Tensor, labels: Tensor, indices: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        single = self.decision == SINGLE_LABEL
        self._skipped = self._skipped + int((~good).sum())
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"attribute {self.attribute!r}: rows with {'infinite or ' if single else ''}NaN logits are left out "
                "and counted (n_skipped); this is said once",
                TBMetricsWarning,
                stacklevel=caller_level(),
            )
        return logits[good], labels[good], None if indices is None else indices[good.to(indices.device)]


def _decide(
    decided: list[tuple[Tensor, ...]], activation: Activation, with_ranks: bool, logits: Tensor, labels: Tensor
) -> None:
    """Decide on the samples of stacked batches, (batches, …)."""
    logits, labels = logits.flatten(0, 1), labels.flatten()
    if activation.takes_classes:
        predicted, confidence = logits[:, 0].int(), torch.full_like(labels, torch.nan, dtype=torch.float32)
    else:
        wide = logits if logits.dtype == torch.float64 else logits.float()
        largest, predicted = wide.max(dim=1)
        confidence = activation.confidence(wide, largest)
    rank = _ranks_in_lists if activation.takes_classes else _ranks
    decided.append((labels, predicted.int(), confidence, *((rank(logits, labels.long()),) if with_ranks else ())))


def _ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Number of classes that come before the label, int32 (N,); of equal scores the first comes first."""
    score = scores.gather(1, labels[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    return ((scores > score) | ((scores == score) & earlier)).sum(dim=1, dtype=torch.int32)


def _ranks_in_lists(lists: Tensor, labels: Tensor) -> Tensor:
    """As `_ranks`, of predicted classes by rank."""
    matches = lists == labels[:, None]
    return torch.where(matches.any(dim=1), matches.int().argmax(dim=1), lists.shape[1]).int()


def first_occurrences(indices: Tensor, earlier: Tensor | None) -> Tensor:
    """Which rows are the first of their index and not among `earlier`: bool (samples,)."""
    values = indices.numpy()
    is_first = np.zeros(len(values), dtype=bool)
    is_first[np.unique(values, return_index=True)[1]] = True
    if earlier is not None and len(earlier):
        is_first &= ~np.isin(values, earlier.numpy())
    return torch.from_numpy(is_first)
