"""What accumulates over a validation, by attribute: exact integer counts and the scores, on the logits' device."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.arguments import batch_tensors, check_batch, check_predictions
from tbmetrics.class_performance.inputs import DEFAULT_ACTIVATION, Activation, InputWatch
from tbmetrics.class_performance.scores import BinnedScores, ExactScores
from tbmetrics.errors import InputError, TBMetricsWarning
from tbmetrics.records import SINGLE_LABEL

logger = logging.getLogger("tbmetrics")
_IN_BINS = "attribute %r: scores passed max_score_bytes=%d and are binned from now on, which takes longer; said once"


class AttributeState:
    """The state of one attribute between two validations.

    Args:
        attribute: its name, for messages.
        num_classes: C.
        thresholds: decision thresholds as probabilities, float64 (C,); used by multi-label attributes.
        scores: "exact", "binned", or "auto": exact until `max_score_bytes` are held, then binned.
        activation: how scores become probabilities.
    """

    def __init__(
        self,
        attribute: str,
        num_classes: int,
        thresholds: NDArray[np.float64],
        scores: str,
        max_bytes: int,
        activation: Activation = DEFAULT_ACTIVATION,
    ) -> None:
        self.attribute = attribute
        self.num_classes = num_classes
        self.thresholds = thresholds
        self.activation = activation
        self.decision: str | None = None
        self._mode, self._max_bytes = scores, max_bytes
        self._warned = self._told_of_bins = False
        self.watch = InputWatch(attribute, activation)
        self._cuts: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self.reset()

    def empty(self) -> AttributeState:
        """Another state of the same attribute, without samples."""
        other = AttributeState(
            self.attribute, self.num_classes, self.thresholds, self._mode, self._max_bytes, self.activation
        )
        other._warned, other.decision, other.watch.has_warned = self._warned, self.decision, self.watch.has_warned
        other._told_of_bins = self._told_of_bins
        return other

    def reset(self) -> None:
        """Forget the validation; the decision kind stays."""
        self.n_samples = 0
        self._skipped: Tensor | int = 0
        self._counts: Tensor | None = None
        self.scores: ExactScores | BinnedScores = ExactScores(activation=self.activation)
        self.watch.reset()
        self.per_sample: list[tuple[Tensor, Tensor, Tensor]] = []  # single-label: label, prediction, confidence
        self._indices: list[Tensor] = []  # of the samples that count, if they were given
        self._has_indices: bool | None = None

    @property
    def n_skipped(self) -> int:
        """Rows left out for NaN logits or, single-label, an infinite largest one."""
        return int(self._skipped)

    def counts(self) -> NDArray[np.int64]:
        """True positives, false positives, false negatives, support: int64 (4, C)."""
        if self._counts is None:
            return np.zeros((4, self.num_classes), dtype=np.int64)
        host: NDArray[np.int64] = self._counts.cpu().numpy()
        return host

    @torch.no_grad()
    def add(self, logits: Any, labels: Any, indices: Tensor | None = None) -> None:
        """Add one batch.

        Args:
            logits, labels: as for the tracker.
            indices: int64 (N,), which sample of the data set each row is.

        Raises:
            InputError: a batch that does not fit; the message says what was expected.
        """
        logits, labels = batch_tensors(self.attribute, logits, labels)
        check = check_predictions if self.activation.takes_classes else check_batch
        decision = check(self.attribute, logits, labels, self.num_classes, self.decision)
        logits, labels = logits.detach(), labels.detach().to(logits.device)
        single = decision == SINGLE_LABEL
        if self.activation.takes_classes:
            logits = logits.reshape(len(logits), -1)[:, 0] if single else logits.float()
        good = self._rows_to_keep(logits, single)
        indices = self._checked_indices(indices, logits)
        self.decision = decision
        if good is not None:
            logits, labels, indices = self._without_undefined(good, logits, labels, indices)
        if single:
            if indices is not None:
                indices = indices[(labels >= 0).to(indices.device)]
            self._add_single(logits, labels.long())
        else:
            self._add_multi(logits, labels.to(torch.int8))
        if indices is not None and len(indices):
            self._indices.append(indices)
        if self._mode != "exact" and isinstance(self.scores, ExactScores):
            self._bound()

    def _rows_to_keep(self, logits: Tensor, single: bool) -> Tensor | None:
        """Which rows decide something, bool (N,); None = all."""
        if self.activation.takes_classes:
            return None
        # The softmax of a row has no value where its largest logit is infinite; NaN counts as the largest.
        good = logits.amax(dim=1).isfinite() if single else ~logits.isnan().any(dim=1)
        return None if self.watch.defined_rows(logits, good, single) else good

    def _add_single(self, logits: Tensor, labels: Tensor) -> None:
        known = labels >= 0
        logits, labels = (logits.clone(), labels) if bool(known.all()) else (logits[known], labels[known])
        if not len(labels):
            return
        if self.activation.takes_classes:
            predicted, confidence = logits.long(), torch.full_like(labels, torch.nan, dtype=torch.float32)
        else:
            wide = logits if logits.dtype == torch.float64 else logits.float()
            largest, predicted = wide.max(dim=1)
            confidence = self.activation.confidence(wide, largest)
            self.scores.add(logits, labels)
        self._accumulate(self._single_counts(labels, predicted))
        self.per_sample.append((labels.int(), predicted.int(), confidence))
        self.n_samples += len(labels)

    def _add_multi(self, logits: Tensor, labels: Tensor) -> None:
        if not len(labels):
            return
        self._accumulate(self._multi_counts(logits, labels))
        has_unknown = bool(labels.amin() < 0)
        self.scores.add(logits.masked_fill(labels < 0, -torch.inf) if has_unknown else logits.clone(), labels)
        self.n_samples += len(labels)

    def _single_counts(self, labels: Tensor, predicted: Tensor) -> Tensor:
        hit = predicted == labels
        classes = [labels[hit], predicted[~hit], labels[~hit], labels]
        return torch.stack([torch.bincount(x, minlength=self.num_classes) for x in classes])

    def _multi_counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        predicted, positive = logits >= self.score_thresholds(logits), labels > 0
        masks = positive & predicted, predicted & (labels == 0), positive
        hits, false_positives, support = torch.stack(masks).sum(1)
        return torch.stack((hits, false_positives, support - hits, support))

    def score_thresholds(self, logits: Tensor) -> Tensor:
        """The decision thresholds on the scale of `logits`, (C,); compared with them, they decide as float32 would."""
        key = logits.dtype, logits.device
        if key not in self._cuts:
            self._cuts[key] = self.activation.cuts(self.thresholds, logits.dtype).to(logits.device)
        return self._cuts[key]

    def _accumulate(self, counts: Tensor) -> None:
        self._counts = counts if self._counts is None else self._counts + counts

    def _bound(self) -> None:
        if self.activation.takes_classes or not isinstance(self.scores, ExactScores) or not self.n_samples:
            return
        if self._mode == "binned" or self.scores.bytes > self._max_bytes:
            if self._mode == "auto" and not self._told_of_bins:
                self._told_of_bins = True
                logger.warning(_IN_BINS, self.attribute, self._max_bytes)
            self.scores = BinnedScores(self.scores)

    # ----------------------------------------------------------------------------------------- several ranks

    def indices(self) -> Tensor | None:
        """Which sample of the data set each row is, int64 (samples,) on the host; None if not given."""
        if not self._has_indices:
            return None
        return torch.cat(self._indices).cpu() if self._indices else torch.zeros(0, dtype=torch.int64)

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
        keep = _first_occurrences(indices, earlier)
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
            label, predicted, confidence = (column[rows.to(column.device)] for column in columns)
            self.per_sample = [(label, predicted, confidence)]
            self._counts = self._single_counts(label.long(), predicted.long())
        elif dropped is not None and self._counts is not None:
            self._counts = self._counts - dropped
        elif isinstance(self.scores, ExactScores):
            self._counts = sum(self._multi_counts(*batch) for batch in self.scores.batches())  # type: ignore[assignment]
        self._indices = [torch.cat(self._indices)[rows.to(self._indices[0].device)]]
        self.n_samples = int(rows.sum())

    def _counts_of_recent(self, recent: tuple[Tensor, Tensor], dropped: Tensor) -> Tensor | None:
        logits, labels = recent
        rows = dropped[len(dropped) - len(logits) :].to(logits.device)
        return self._multi_counts(logits[rows], labels[rows]) if labels.ndim == 2 else None

    def share(self) -> dict[str, Any]:
        """The whole state on the host, as plain containers and tensors, for `merge`."""
        exact = isinstance(self.scores, ExactScores)
        return {
            "decision": self.decision,
            "n_samples": self.n_samples,
            "n_skipped": self.n_skipped,
            "counts": torch.from_numpy(self.counts()),
            "exact": [(s.cpu(), y.cpu()) for s, y in self.scores.batches()] if exact else None,  # type: ignore[union-attr]
            "binned": None if exact else self.scores.state(),  # type: ignore[union-attr]
            "per_sample": [tuple(column.cpu() for column in part) for part in self.per_sample],
            "indices": self.indices(),
            "watch": self.watch.share(),
        }

    def merge(self, share: Mapping[str, Any]) -> None:
        """Add the `share` of another rank; this state moves to the host.

        Raises:
            InputError: labels of another kind.
        """
        self.watch.merge(share.get("watch", {}))
        if not share["n_samples"]:
            self._skipped = self.n_skipped + share["n_skipped"]
            return
        if self.decision not in (None, share["decision"]) and self.n_samples:
            raise InputError(
                f"attribute {self.attribute!r} is {self.decision} on one rank and {share['decision']} on another"
            )
        self.decision = share["decision"]
        self._counts = torch.from_numpy(self.counts()) + share["counts"]
        self._skipped = self.n_skipped + share["n_skipped"]
        self.per_sample = [(a.cpu(), b.cpu(), c.cpu()) for a, b, c in [*self.per_sample, *share["per_sample"]]]
        self._merge_scores(share)
        self._has_indices = share["indices"] is not None and (self._has_indices or not self.n_samples)
        self._indices = [i.cpu() for i in self._indices] + [share["indices"]] if self._has_indices else []
        self.n_samples += share["n_samples"]
        if self._mode != "exact":
            self._bound()

    def _merge_scores(self, share: Mapping[str, Any]) -> None:
        theirs: ExactScores | BinnedScores = ExactScores(share["exact"] or (), self.activation)
        if share["exact"] is None:
            theirs = BinnedScores.from_state(share["binned"], self.activation)
        if not self.n_samples:
            self.scores = theirs
            return
        if isinstance(self.scores, ExactScores) and isinstance(theirs, ExactScores):
            pairs = [*self.scores.batches(), *theirs.batches()]
            self.scores = ExactScores(((x.cpu(), y.cpu()) for x, y in pairs), self.activation)
            return
        mine = BinnedScores(self.scores) if isinstance(self.scores, ExactScores) else self.scores
        self.scores = BinnedScores.from_state(mine.state(), self.activation)
        self.scores.merge(BinnedScores(theirs) if isinstance(theirs, ExactScores) else theirs)

    def ends(self) -> tuple[Tensor, Tensor] | None:
        """Logits of the first and of the last row, up to 64 classes; None if they are not held."""
        if not isinstance(self.scores, ExactScores) or not self.scores.bytes:
            return None
        batches = [scores for scores, _ in self.scores.batches()]
        return batches[0][0, :64].float().cpu(), batches[-1][-1, :64].float().cpu()

    # ---------------------------------------------------------------------------------------------- checking

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
                stacklevel=2,
            )
        return logits[good], labels[good], None if indices is None else indices[good.to(indices.device)]


def _first_occurrences(indices: Tensor, earlier: Tensor | None) -> Tensor:
    """Which rows are the first of their index and not among `earlier`: bool (samples,)."""
    values = indices.numpy()
    is_first = np.zeros(len(values), dtype=bool)
    is_first[np.unique(values, return_index=True)[1]] = True
    if earlier is not None and len(earlier):
        is_first &= ~np.isin(values, earlier.numpy())
    return torch.from_numpy(is_first)


def per_sample(state: AttributeState) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Label, prediction and confidence of each sample of a single-label attribute, each (samples,)."""
    if not state.per_sample:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0)
    labels, predicted, confidence = (torch.cat(column).cpu().numpy() for column in zip(*state.per_sample, strict=True))
    return labels.astype(np.int64), predicted.astype(np.int64), confidence.astype(np.float64)
