"""What diagnostics keep of a validation: decisions under each remedy, logits by class, confidences, what was found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.arguments import MULTI_LABEL, SINGLE_LABEL, decision_kind
from tbmetrics.class_performance.diagnostics.multi_label import KeptRows, judge_multi
from tbmetrics.class_performance.diagnostics.numbers import sum_dtype, to_numpy
from tbmetrics.class_performance.diagnostics.remedies import (
    NONE,
    Objective,
    RemedyRow,
    RemedyTable,
    judge_single,
    remedy_rows,
)
from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.records import LOGIT_ADJUSTMENT, FloatArray, IntArray

SUSPECT_ODDS = 10.0  # a suspect's prediction is so many times as probable as its label


@dataclass(slots=True)
class Ingredients:
    """What the remedies of one validation are made of; None where it is not known.

    Attributes:
        log_prior: log of the training share of each class, (C,); multi-label: log-odds.
        norms, bias: of the classifier, (C,), where it was seen to make these logits.
    """

    log_prior: Tensor | None = None
    norms: Tensor | None = None
    bias: Tensor | None = None


@dataclass(slots=True)
class Found:
    """The positives of a validation: their class and whether the model found them, (positives,) each."""

    classes: IntArray
    hits: NDArray[np.bool_]


class ValidationState:
    """Streams one attribute's validation, a few numbers a sample (single-label) or bounded rows (multi-label).

    Args:
        classes: of the attribute.
        taus: amounts that are tried.
        thresholds: decision thresholds of a multi-label attribute, as probabilities, (C,).
        max_bytes: of the rows kept of a multi-label attribute.
    """

    def __init__(
        self, classes: AttributeClasses, taus: tuple[float, ...], thresholds: FloatArray, max_bytes: int
    ) -> None:
        self._classes, self._taus, self._thresholds = classes, taus, thresholds
        self._rows = KeptRows(max_bytes)
        self.decision = ""
        self.reset()

    def reset(self) -> None:
        """Forgets the validation."""
        self._rows.reset()
        self._samples: list[tuple[Tensor, ...]] = []  # single: labels, predictions, own, confidence, predicted
        self._positives: list[tuple[Tensor, Tensor]] = []
        self._own: Tensor | None = None
        self.ingredients = Ingredients()
        self.n_samples = 0

    @property
    def share_kept(self) -> float:
        """Of the rows of a multi-label attribute, those that its remedies are judged on."""
        return self._rows.share

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch without NaN: logits float32 or float64 (N, C); labels (N,), all known, or (N, C) of 1, 0, -1."""
        self.decision = decision_kind(logits, labels)
        self.n_samples += len(labels)
        self._add_logits(logits, labels)
        if labels.ndim == 2:
            self._rows.add(logits, labels)
            where = (labels > 0).nonzero(as_tuple=True)
            cuts = torch.as_tensor(self._thresholds, device=logits.device).logit().to(logits.dtype)
            self._positives.append((where[1].int(), (logits >= cuts)[where]))
            return
        predictions = self._predictions(logits)
        self._positives.append((labels.int(), predictions[:, 0] == labels))
        prior = self.ingredients.log_prior
        adjusted = (logits if prior is None else logits - prior.to(logits)).log_softmax(1)
        confidence, predicted = adjusted.max(1)
        own = adjusted.gather(1, labels[:, None])[:, 0]
        self._samples.append((labels.int(), predictions, own.float(), confidence.float(), predicted.int()))

    def _add_logits(self, logits: Tensor, labels: Tensor) -> None:
        kind = sum_dtype(logits.device)
        if self._own is None:
            self._own, self._total, self._support, self._known = (
                torch.zeros(len(self._classes), dtype=kind, device=logits.device) for _ in range(4)
            )
        finite = logits.clamp(-1e6, 1e6)
        if labels.ndim == 1:
            self._own.index_add_(0, labels, finite.gather(1, labels[:, None])[:, 0].to(kind))
            self._support += torch.bincount(labels, minlength=len(self._classes))
            self._total += finite.sum(0)
            self._known += len(labels)
        else:
            positive, known = labels > 0, labels >= 0
            self._own += torch.where(positive, finite, 0).sum(0)
            self._support += positive.sum(0)
            self._total += torch.where(known, finite, 0).sum(0)
            self._known += known.sum(0)

    def _predictions(self, logits: Tensor) -> Tensor:
        """The class that each remedy with an amount decides for, int32 (N, amounts); -1 where it cannot be tried."""
        given, buffer = self.ingredients, torch.empty_like(logits)
        linear = None
        if given.norms is not None:
            linear = logits - given.bias.to(logits) if given.bias is not None else logits
        decided = []
        for row in self.rows():
            if row.tau is None:
                continue
            made = self._remedied(row, logits, linear, buffer)
            decided.append(torch.full_like(logits[:, 0], -1).int() if made is None else made.argmax(1).int())
        return torch.stack(decided, dim=1)

    def _remedied(self, row: RemedyRow, logits: Tensor, linear: Tensor | None, buffer: Tensor) -> Tensor | None:
        if row.remedy == NONE or row.tau is None:
            return logits
        if row.remedy == LOGIT_ADJUSTMENT:
            prior = self.ingredients.log_prior
            return None if prior is None else torch.sub(logits, prior.to(logits), alpha=row.tau, out=buffer)
        if linear is None or self.ingredients.norms is None:
            return None
        return torch.mul(linear, self.ingredients.norms.to(logits).clamp(min=1e-12).pow(-row.tau), out=buffer)

    def rows(self) -> tuple[RemedyRow, ...]:
        """The rows of the table of remedies."""
        return remedy_rows(self.decision != MULTI_LABEL, self._taus)

    # ------------------------------------------------------------------------------------------------- results

    def remedies(self, objective: Objective, n_bootstrap: int) -> RemedyTable:
        """What each remedy would do."""
        if self.decision == MULTI_LABEL:
            cuts = torch.as_tensor(self._thresholds).logit().float()
            logits, labels = self._rows.all()
            return judge_multi(
                logits, labels, cuts, self.ingredients.log_prior, self.rows(), self._classes, objective, n_bootstrap
            )
        truth, decided = (torch.cat([s[i] for s in self._samples]).cpu().numpy() for i in (0, 1))
        return judge_single(truth.astype(np.int64), decided, self.rows(), self._classes, objective, n_bootstrap)

    def columns(self) -> dict[str, FloatArray]:
        """`support`, `recall`, `own_logit`, `other_logit`, `suspect_share`."""
        if self._own is None:
            return {}
        support, others = to_numpy(self._support), to_numpy(self._known - self._support)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {
                "support": support,
                "own_logit": np.where(support > 0, to_numpy(self._own) / support, np.nan),
                "other_logit": np.where(others > 0, to_numpy(self._total - self._own) / others, np.nan),
            }
        found = self.found()
        hits = np.bincount(found.classes[found.hits], minlength=support.size)
        columns["recall"] = np.divide(hits, support, out=np.full(support.size, np.nan), where=support > 0)
        if self.decision == SINGLE_LABEL and self.ingredients.log_prior is not None:
            columns["suspect_share"] = self._suspects(support)
        return columns

    def _suspects(self, support: FloatArray) -> FloatArray:
        """Share of each class's samples that confident learning takes for another class.

        A sample is suspect if, with the training prior taken off, the class predicted is at least as probable as it is
        on average for its own samples (Northcutt et al., 2021) and `SUSPECT_ODDS` times as probable as the label, and
        if no amount of any remedy decides for the label: what a biased classifier explains is no doubt of the label.
        """
        sure = torch.cat([(s[1] != s[0][:, None]).all(1) for s in self._samples]).cpu().numpy()
        labels, own, confidence, predicted = (
            torch.cat([s[i] for s in self._samples]).cpu().numpy().astype(np.float64) for i in (0, 2, 3, 4)
        )
        of, to = labels.astype(np.int64), predicted.astype(np.int64)
        with np.errstate(divide="ignore", invalid="ignore"):
            usual = np.bincount(of, weights=np.exp(own), minlength=support.size) / support
        suspect = sure & (of != to) & (np.exp(confidence) >= usual[to]) & (confidence - own >= np.log(SUSPECT_ODDS))
        counted = np.bincount(of[suspect], minlength=support.size)
        return np.divide(counted, support, out=np.full(support.size, np.nan), where=support > 0)

    def found(self) -> Found:
        """The positives in the order they came, and whether the model as trained found them."""
        if not self._positives:
            return Found(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))
        classes, hits = (torch.cat(parts).cpu().numpy() for parts in zip(*self._positives, strict=True))
        return Found(classes.astype(np.int64), hits)
