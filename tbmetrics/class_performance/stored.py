"""What is held of a validation, by attribute, on the logits' device; and that of several ranks as one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.binned_scores import BinnedScores
from tbmetrics.class_performance.inputs import DEFAULT_ACTIVATION, Activation, InputWatch
from tbmetrics.class_performance.scores import ExactScores
from tbmetrics.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("tbmetrics")
_IN_BINS = "attribute %r: scores passed max_score_bytes=%d and are binned from now on, which takes longer; said once"


class StoredValidation:
    """What is held of one attribute between two validations, and how that of several ranks becomes one.

    Args:
        attribute: its name, for messages.
        num_classes: C.
        thresholds: decision thresholds as probabilities, float64 (C,); used by multi-label attributes.
        scores: "exact", "binned", or "auto": exact until `max_score_bytes` are held, then binned.
        activation: how scores become probabilities.
        top_k: numbers of highest scores among which the label may be, for single-label attributes.
    """

    def __init__(
        self,
        attribute: str,
        num_classes: int,
        thresholds: NDArray[np.float64],
        scores: str,
        max_bytes: int,
        activation: Activation = DEFAULT_ACTIVATION,
        top_k: tuple[int, ...] = (),
    ) -> None:
        self.attribute = attribute
        self.num_classes = num_classes
        self.thresholds = thresholds
        self.activation = activation
        self.top_k = top_k
        self.decision: str | None = None
        self._mode, self._max_bytes = scores, max_bytes
        self._warned = self._told_of_bins = False
        self.watch = InputWatch(attribute, activation)
        self._cuts: dict[tuple[torch.dtype, torch.device], Tensor] = {}  # by type and place of the scores
        self.reset()

    def empty(self) -> Self:
        """Another one of the same attribute, without samples."""
        other = type(self)(
            self.attribute,
            self.num_classes,
            self.thresholds,
            self._mode,
            self._max_bytes,
            self.activation,
            self.top_k,
        )
        other._warned, other.decision, other.watch.has_warned = self._warned, self.decision, self.watch.has_warned
        other._told_of_bins = self._told_of_bins
        return other

    def reset(self) -> None:
        """Forget the validation; the decision kind stays."""
        self.n_samples = 0
        self._skipped: Tensor | int = 0
        self._counts: Tensor | None = None
        self._is_counted = True
        self.scores: ExactScores | BinnedScores = ExactScores(activation=self.activation)
        self.watch.reset()
        # Single-label: label, prediction, confidence and, with `top_k`, the rank of the label.
        self.per_sample: list[tuple[Tensor, ...]] = []
        self._indices: list[Tensor] = []  # of the samples that count, if they were given
        self._has_indices: bool | None = None

    @property
    def n_skipped(self) -> int:
        """Rows left out for NaN logits or, single-label, an infinite largest one."""
        return int(self._skipped)

    @property
    def has_rows(self) -> bool:
        """Whether any row came, even if it was left out."""
        return bool(self.n_samples) or self.n_skipped > 0

    @property
    def scores_exact(self) -> float:
        """1 if AP and curves come from all scores, 0 if from bins, NaN without scores."""
        return float("nan") if self.activation.takes_classes else float(self.scores.exact)

    def counts(self) -> NDArray[np.int64]:
        """True positives, false positives, false negatives, support: int64 (4, C)."""
        if self._counts is None:
            return np.zeros((4, self.num_classes), dtype=np.int64)
        host: NDArray[np.int64] = self._counts.cpu().numpy()
        return host

    def _bound(self) -> None:
        if self.activation.takes_classes or not isinstance(self.scores, ExactScores) or not self.n_samples:
            return
        if self._mode == "binned" or self.scores.bytes > self._max_bytes:
            if self._mode == "auto" and not self._told_of_bins:
                self._told_of_bins = True
                logger.warning(_IN_BINS, self.attribute, self._max_bytes)
            self.counts()
            self.scores = BinnedScores(self.scores)

    def indices(self) -> Tensor | None:
        """Which sample of the data set each row is, int64 (samples,) on the host; None if not given."""
        if not self._has_indices:
            return None
        return torch.cat(self._indices).cpu() if self._indices else torch.zeros(0, dtype=torch.int64)

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
        self._check_columns(share["per_sample"])
        self.decision = share["decision"]
        self._counts = torch.from_numpy(self.counts()) + share["counts"]
        self._skipped = self.n_skipped + share["n_skipped"]
        self.per_sample = [tuple(c.cpu() for c in part) for part in [*self.per_sample, *share["per_sample"]]]
        self._merge_scores(share)
        self._has_indices = share["indices"] is not None and (self._has_indices or not self.n_samples)
        self._indices = [i.cpu() for i in self._indices] + [share["indices"]] if self._has_indices else []
        self.n_samples += share["n_samples"]
        if self._mode != "exact":
            self._bound()

    def _check_columns(self, theirs: Sequence[tuple[Tensor, ...]]) -> None:
        expected = 4 if self.top_k else 3
        if any(len(part) != expected for part in theirs):
            raise InputError(f"attribute {self.attribute!r}: the batches to add were collected with another top_k")

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


def per_sample(state: StoredValidation) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Label, prediction and confidence of each sample of a single-label attribute, each (samples,)."""
    if not state.per_sample:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0)
    labels, predicted, confidence = (_joined(state, column) for column in range(3))
    return labels.astype(np.int64), predicted.astype(np.int64), confidence.astype(np.float64)


def ranks_of_labels(state: StoredValidation) -> NDArray[np.int64]:
    """Number of classes that come before the label of each sample, (samples,), if there is a `top_k`."""
    return _joined(state, 3).astype(np.int64) if state.per_sample else np.zeros(0, dtype=np.int64)


def _joined(state: StoredValidation, column: int) -> NDArray[Any]:
    if len(state.per_sample) > 1:
        state.per_sample = [tuple(map(torch.cat, zip(*state.per_sample, strict=True)))]
    joined: NDArray[Any] = state.per_sample[0][column].cpu().numpy()
    return joined
