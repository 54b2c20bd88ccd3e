"""What accumulates over a validation, per attribute: exact integer counts and the scores, on the logits' device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.batches import (
    MULTI_LABEL,
    SINGLE_LABEL,
    check_batch,
    check_values,
    invalid_values,
)
from tbmetrics.class_performance.scores import BinnedScores, Decisions, ExactScores
from tbmetrics.errors import InputError, TBMetricsWarning

#: Rows kept exactly before the "binned" mode sets the range of its bins.
WARM_UP_ROWS = 1024


class Samples(NamedTuple):
    """The known rows of a single-label attribute, (samples,) each."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]  # probability of the predicted class
    rows: NDArray[np.int64]  # their number in the validation


class AttributeState:
    """The state of one attribute between two validations.

    On the CPU a batch is checked wholly before it counts. On other devices nothing waits for the device: labels out of
    range and rows with NaN are counted there, and `settle` speaks of them.

    Args:
        attribute: its name, for messages.
        num_classes: C.
        thresholds: decision thresholds as probabilities, float64 (C,); used by multi-label attributes.
        mode: "exact", "binned", or "auto": exact until `max_bytes` of scores are held, then binned.
        max_bytes: see `mode`.
    """

    def __init__(self, attribute: str, num_classes: int, thresholds: NDArray[np.float64], mode: str, max_bytes: int):
        self.attribute = attribute
        self.num_classes = num_classes
        self.thresholds = thresholds
        self.decision: str | None = None
        self._mode, self._max_bytes = mode, max_bytes
        self._warned = False
        self._cuts: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self.reset()

    def reset(self) -> None:
        """Forgets the validation; the decision kind stays."""
        self.n_rows = 0  # all that came, whatever is in them
        self._tally: Tensor | None = None  # known rows, rows with NaN, labels out of range
        self._counts: Tensor | None = None  # true positives, false positives, false negatives: (3, C + 1)
        self._per_sample: list[tuple[Tensor, Tensor, Tensor]] = []
        self.scores: ExactScores | BinnedScores = ExactScores()

    def check(self, logits: Tensor, labels: Tensor) -> None:
        """Refuses a batch that does not fit, before any of it counts.

        Raises:
            InputError: the message says what came and what was expected.
        """
        decision = check_batch(self.attribute, self.num_classes, logits, labels)
        if self.decision not in (None, decision):
            raise InputError(
                f"attribute {self.attribute!r} was {self.decision} until now, these labels are {decision}; "
                "use one attribute each"
            )
        if labels.device.type == "cpu":
            check_values(self.attribute, self.num_classes, labels)

    @torch.inference_mode(False)
    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Adds one batch that `check` has let pass; keeps copies only."""
        self.decision = SINGLE_LABEL if labels.ndim == 1 else MULTI_LABEL
        if not len(logits):
            return
        device = self._tally.device if self._tally is not None else logits.device
        logits = logits.detach().to(device)
        labels = labels.detach().to(device, non_blocking=True)
        if self._tally is None or self._counts is None:
            self._tally = torch.zeros(3, dtype=torch.int64, device=device)
            self._counts = torch.zeros(3, self.num_classes + 1, dtype=torch.int64, device=device)
            self.scores = ExactScores(None if self.decision == SINGLE_LABEL else self._decide)
        add = self._add_single if self.decision == SINGLE_LABEL else self._add_multi
        skipped, known_rows = add(logits, labels, self._counts)
        invalid = torch.zeros_like(skipped) if device.type == "cpu" else invalid_values(labels, self.num_classes).sum()
        self._tally += torch.stack((known_rows, skipped, invalid))
        self.n_rows += len(logits)
        if device.type == "cpu":
            self._warn_of_nan(int(skipped))
        self._bound()

    def _add_single(self, logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        best, predicted = logits.max(dim=1)
        with_nan = best.isnan()
        known = (labels >= 0) & (labels < self.num_classes) & ~with_nan
        wide = logits if logits.dtype == torch.float64 else logits.float()
        if logits.device.type != "cpu" or bool(best.isinf().any()):
            limits = torch.finfo(wide.dtype)
            wide = wide.clamp(limits.min, limits.max)  # an infinite logit has a softmax: its limit
        scores = wide.log_softmax(dim=1)
        nowhere = self.num_classes
        truth = torch.where(known, labels, nowhere)
        hit = predicted == truth
        where = torch.where(hit, truth, truth + 2 * (nowhere + 1)), torch.where(hit | ~known, nowhere, predicted)
        index = torch.cat((where[0], where[1] + nowhere + 1))
        counts.view(-1).index_add_(0, index, torch.ones_like(index, dtype=torch.int64))
        confidence = scores.gather(1, predicted[:, None])[:, 0].exp()
        kept = torch.where(known, labels, -1).int()
        self._per_sample.append((kept, predicted.int(), confidence))
        self.scores.add(scores, kept)
        return with_nan.sum(), known.sum()

    def _add_multi(self, logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        with_nan = logits.amax(dim=1).isnan()
        small = labels.to(torch.int8, copy=True).masked_fill_(with_nan[:, None], -1)
        scores = logits.masked_fill(small < 0, -torch.inf)
        predicted, positive = self._decide(scores), small > 0
        found, called, true = (x.sum(0) for x in (predicted & positive, predicted, positive))
        counts[:, :-1] += torch.stack((found, called - found, true - found))
        self.scores.add(scores, small)
        return with_nan.sum(), (~with_nan).sum()

    def _decide(self, scores: Tensor) -> Tensor:
        """Which multi-label scores are at or above their thresholds; an unknown label's -inf never is."""
        key = scores.dtype, scores.device
        if key not in self._cuts:
            self._cuts[key] = at_or_above(logit(self.thresholds), scores.dtype).to(scores.device)
        return scores >= self._cuts[key]

    def _bound(self) -> None:
        """Turns to bins where the mode or the budget asks for it."""
        if not isinstance(self.scores, ExactScores) or self._mode == "exact":
            return
        if self.scores.bytes > self._max_bytes or (self._mode == "binned" and self.n_rows >= WARM_UP_ROWS):
            self.scores = BinnedScores(self.scores)

    @torch.inference_mode(False)
    @torch.no_grad()
    def settle(self) -> None:
        """Says what the device found while nothing waited for it; called before anything is read.

        Raises:
            InputError: labels out of range came on a device other than the CPU; the validation is forgotten.
        """
        _, skipped, invalid = self._host_tally()
        if invalid:
            decision = self.decision
            self.reset()
            allowed = f"0..{self.num_classes - 1} (-1 = unknown)" if decision == SINGLE_LABEL else "0, 1 or -1 (unknown)"
            raise InputError(
                f"attribute {self.attribute!r}: {invalid} labels of this validation are not {allowed}; it is left out "
                "(labels on a device are checked when a validation ends, those on the CPU at once)"
            )
        self._warn_of_nan(skipped)
        if self._mode == "binned" and isinstance(self.scores, ExactScores) and self.n_rows:
            self.scores = BinnedScores(self.scores)

    def _warn_of_nan(self, rows: int) -> None:
        if not rows or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"attribute {self.attribute!r}: rows with NaN logits are left out and counted (n_skipped); "
            "this is said once",
            TBMetricsWarning,
            stacklevel=4,
        )

    def _host_tally(self) -> tuple[int, int, int]:
        if self._tally is None:
            return 0, 0, 0
        known, skipped, invalid = self._tally.tolist()
        return known, skipped, invalid

    @property
    def n_samples(self) -> int:
        """Rows that count: no NaN among the logits and, single-label, a known label."""
        return self._host_tally()[0]

    @property
    def n_skipped(self) -> int:
        """Rows left out for NaN logits."""
        return self._host_tally()[1]

    def counts(self) -> NDArray[np.int64]:
        """True positives, false positives and false negatives: int64 (3, C)."""
        if self._counts is None:
            return np.zeros((3, self.num_classes), dtype=np.int64)
        host: NDArray[np.int64] = self._counts[:, :-1].cpu().numpy()
        return host

    def samples(self) -> Samples:
        """The known rows; of a single-label attribute."""
        if not self._per_sample:
            nothing = np.zeros(0, dtype=np.int64)
            return Samples(nothing, nothing, np.zeros(0), nothing)
        labels, predicted, confidence = (
            torch.cat(p).cpu().numpy() for p in zip(*self._per_sample, strict=True)
        )
        rows = np.flatnonzero(labels >= 0)
        labels, predicted = labels[rows].astype(np.int64), predicted[rows].astype(np.int64)
        return Samples(labels, predicted, confidence[rows].astype(np.float64), rows)

    def decisions(self) -> Iterator[Decisions]:
        """Predicted and true labels, a few rows at a time; of a multi-label attribute."""
        return self.scores.decisions()


def logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of the sigmoid; -inf at 0, inf at 1."""
    with np.errstate(divide="ignore"):
        value: NDArray[np.float64] = np.log(p) - np.log1p(-p)
        return value


def at_or_above(bounds: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
    """The smallest value of `dtype` at or above each bound, so that rounding never changes `score >= bound`."""
    exact = torch.from_numpy(np.asarray(bounds, dtype=np.float64))
    rounded = exact.to(dtype)
    below = rounded.double() < exact
    if bool(below.any()):
        step: Callable[[Tensor], Tensor] = _next_float16 if dtype == torch.float16 else _next_up
        rounded = torch.where(below, step(rounded), rounded)
    return rounded


def _next_up(values: Tensor) -> Tensor:
    return torch.nextafter(values, torch.full_like(values, torch.inf))


def _next_float16(values: Tensor) -> Tensor:
    return torch.from_numpy(np.nextafter(values.numpy(), np.float16(np.inf)))
