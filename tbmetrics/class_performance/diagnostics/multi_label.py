"""Remedies of multi-label attributes: shifts and thresholds, judged on a sample of rows within a byte budget."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tbmetrics.class_performance.diagnostics.fits import fit_sigmoid
from tbmetrics.class_performance.diagnostics.numbers import to_numpy
from tbmetrics.class_performance.diagnostics.remedies import (
    NONE,
    SHOWN_GROUPS,
    Estimates,
    Objective,
    RemedyRow,
    RemedyTable,
    class_weights,
    recall_mean,
    weighted_mean,
)
from tbmetrics.class_performance.evaluation import group_means
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import CLASS_THRESHOLDS, HEAD, LOGIT_ADJUSTMENT, TAIL, FloatArray
from tbmetrics.statistics.scores import scores_of

#: Positives of a class below which its F1 says too little to be part of the objective.
LEAST_POSITIVES = 10
FOLDS = 5
_CLASSES_AT_ONCE = 64
_OBJECTIVE = "objective"


@torch.no_grad()
def judge_multi(
    logits: Tensor,
    labels: Tensor,
    cuts: Tensor,
    log_odds: Tensor | None,
    rows: tuple[RemedyRow, ...],
    classes: AttributeClasses,
    objective: Objective,
) -> RemedyTable:
    """The table of a multi-label attribute; the best amount has the largest mean F1, weighted by group.

    The mean is over classes of at least `LEAST_POSITIVES`. Its gain is over the model as trained or over calling every
    sample positive, whichever is better: that needs no model.

    Args:
        logits: float32 (rows, C).
        labels: int8 (rows, C) of 1, 0, -1.
        cuts: the decision thresholds in use, as logits, (C,).
        log_odds: of a positive among the training samples, (C,); None = logit adjustment cannot be tried.
        rows: as from `remedy_rows`.
        classes: of the attribute.
        objective: weight of each group's mean F1.
    """
    table = RemedyTable.untried(rows, len(logits))
    if len(logits):
        _Judge(table, logits, labels, cuts, log_odds, classes, objective).fill()
    return table


class _Outcome(NamedTuple):
    """Counts of a decision by class, float64 (C,), the means, and the influence of every row on each, (rows, means)."""

    hits: FloatArray
    calls: FloatArray
    means: FloatArray
    influence: FloatArray

    def less(self, other: _Outcome) -> Estimates:
        """These means less the other's, paired by row."""
        difference = self.influence - other.influence
        n = len(difference)
        return Estimates.normal(self.means - other.means, np.square(difference).sum(0) * n / max(n - 1, 1))


class _Judge:
    """Decisions under every remedy, and what becomes of the means."""

    def __init__(
        self,
        table: RemedyTable,
        logits: Tensor,
        labels: Tensor,
        cuts: Tensor,
        log_odds: Tensor | None,
        classes: AttributeClasses,
        objective: Objective,
    ) -> None:
        self.table, self.logits, self.classes = table, logits, classes
        self.positive, self.known = labels > 0, labels >= 0
        self.cuts, self.can_shift = cuts.to(logits), log_odds is not None
        self.log_odds = torch.zeros_like(self.cuts) if log_odds is None else log_odds.to(logits)
        self.fold = torch.from_numpy(np.random.default_rng(0).permutation(len(logits)) % FOLDS).to(logits.device)
        self.support = to_numpy(self.positive.sum(0))
        self.judged = self.support >= LEAST_POSITIVES
        self.objective = objective
        weights = {group: class_weights(self.support > 0, classes, {group: 1.0}) for group in SHOWN_GROUPS}
        self.by_group = weights
        by_mean = {f"{group}_{metric}": w for metric in ("f1", "recall") for group, w in weights.items()}
        by_mean[_OBJECTIVE] = class_weights(self.judged, classes, objective)
        self.means, self.weights = list(by_mean), np.stack(list(by_mean.values()))
        self.is_recall = np.array([[name.endswith("recall")] for name in by_mean])
        self.positive_float = self.positive.float()
        table.n_classes = int((by_mean[_OBJECTIVE] > 0).sum())
        self.temperature = fit_sigmoid(logits, labels, self.log_odds) if self.can_shift else 1.0

    def fill(self) -> None:
        """All rows."""
        as_trained = self._outcome(self._decided(self.cuts))
        blind = self._outcome(self.known)
        bar = max(as_trained, blind, key=lambda outcome: np.nan_to_num(outcome.means[-1], nan=-1.0))
        for index, row in enumerate(self.table.rows):
            cuts = self._cuts(index, row)
            if cuts is not None:
                self._put(index, self._outcome(self._decided(cuts)), as_trained, bar)
        head, tail = self.by_group[HEAD], self.by_group[TAIL]
        if head.any() and tail.any():
            self.table.gap = recall_mean(as_trained.hits, self.support, head - tail)

    def _cuts(self, index: int, row: RemedyRow) -> Tensor | None:
        """The thresholds of one row of the table, (C,) or (rows, C); None if its remedy cannot be tried."""
        if row.remedy == NONE:
            self.table.put(index, "tau", 0.0)
            return self.cuts
        if row.remedy == CLASS_THRESHOLDS:
            cuts = best_cuts(self.logits, self.positive, self.known, self.cuts, self.fold)
            self.table.shifts = to_numpy(cuts[FOLDS] - self.cuts)
            return cuts[self.fold]
        if not self.can_shift:
            return None
        self.table.put(index, "temperature", self.temperature)
        if row.tau is not None:
            self.table.put(index, "tau", row.tau)
            return self._shifted(torch.tensor(row.tau))
        taus = [0.0, *(r.tau for r in self.table.rows if r.remedy == LOGIT_ADJUSTMENT and r.tau is not None)]
        best, by_fold = self._choose(taus)
        self.table.put(index, "tau", taus[best])
        amounts = [taus[chosen] for chosen in by_fold]
        self.table.chosen[LOGIT_ADJUSTMENT] = (min(amounts), max(amounts))
        return self._shifted(torch.tensor(amounts)[self.fold.cpu(), None])

    def _shifted(self, tau: Tensor) -> Tensor:
        return self.cuts + (tau * self.temperature).to(self.cuts) * self.log_odds

    def _choose(self, taus: list[float]) -> tuple[int, list[int]]:
        """The best amount on all rows, and without each fold."""
        in_fold = torch.nn.functional.one_hot(self.fold, FOLDS).float().T
        counts = np.zeros((len(taus), FOLDS, 3, len(self.support)))
        counts[:, :, 2] = to_numpy(in_fold @ self.positive_float)
        for t, tau in enumerate(taus):
            decided = self._decided(self._shifted(torch.tensor(tau))).float()
            counts[t, :, 0] = to_numpy(in_fold @ (decided * self.positive_float))
            counts[t, :, 1] = to_numpy(in_fold @ decided)
        total = counts.sum(1)
        without = [self._best(total - counts[:, k]) for k in range(FOLDS)]
        return self._best(total), without

    def _best(self, counts: FloatArray) -> int:
        """The best of several decisions, from counts (decisions, 3, C); the first one of equals."""
        _, _, f1 = scores_of(*np.moveaxis(counts, 1, 0))
        score = weighted_mean(np.where(self.judged, f1, np.nan), self.classes, self.objective)
        return 0 if np.isnan(score).all() else int(np.nanargmax(score))

    # ----------------------------------------------------------------------------------------------- the numbers

    def _decided(self, cuts: Tensor) -> Tensor:
        """Decisions at thresholds (C,) or (rows, C): bool (rows, C), False for unknown labels."""
        return (self.logits >= cuts) & self.known

    def _outcome(self, decided: Tensor) -> _Outcome:
        call = decided.float()
        hit = call * self.positive_float
        hits, calls = to_numpy(hit.sum(0)), to_numpy(call.sum(0))
        _, recall, f1 = scores_of(hits, calls, self.support)
        values = np.where(self.is_recall, np.nan_to_num(recall), np.nan_to_num(f1))
        with np.errstate(divide="ignore", invalid="ignore"):
            share, each = np.nan_to_num(1 / (calls + self.support)), np.nan_to_num(1 / self.support, posinf=0)
        loss = -self.weights * values * np.where(self.is_recall, each, share)
        gain = self.weights * np.where(self.is_recall, each, 2 * share)
        by_cell = (gain, np.where(self.is_recall, 0, loss), loss)
        of_hit, of_call, of_positive = (torch.from_numpy(part.T).to(hit) for part in by_cell)
        influence = hit @ of_hit + call @ of_call + self.positive_float @ of_positive
        means = np.where(self.weights.any(1), (values * self.weights).sum(1), np.nan)
        return _Outcome(hits, calls, means, to_numpy(influence))

    def _put(self, index: int, outcome: _Outcome, as_trained: _Outcome, bar: _Outcome) -> None:
        table = self.table
        precision, _, _ = scores_of(outcome.hits, outcome.calls, self.support)
        estimates = Estimates.normal(outcome.means, np.square(outcome.influence).sum(0)).within(0, 1)
        gains = outcome.less(as_trained)
        for group, weights in self.by_group.items():
            recall = recall_mean(outcome.hits, self.support, weights).within(0, 1)
            f1 = estimates.estimate(self.means.index(f"{group}_f1"))
            for metric, estimate in (("recall", recall), ("f1", f1)):
                table.put_estimate(index, f"{group}_{metric}", estimate)
            table.put(index, f"{group}_precision", float(group_means(precision[None], self.classes.members(group))[0]))
        for group in (HEAD, TAIL):
            table.put_estimate(index, f"{group}_gain", gains.estimate(self.means.index(f"{group}_recall")))
        table.put(index, _OBJECTIVE, outcome.means[-1])
        table.put_estimate(index, "objective_gain", outcome.less(bar).estimate(-1))


def best_cuts(logits: Tensor, positive: Tensor, known: Tensor, cuts: Tensor, fold: Tensor) -> Tensor:
    """The threshold of each class with the best F1 outside each fold, and of all rows, (folds + 1, C).

    Without a positive it is that of `cuts`.
    It lies half-way between the best score and the next below, as both call the same samples positive.
    """
    best = cuts.repeat(FOLDS + 1, 1)
    for first in range(0, logits.shape[1], _CLASSES_AT_ONCE):
        part = slice(first, first + _CLASSES_AT_ONCE)
        scores, order = torch.where(known[:, part], logits[:, part], -torch.inf).T.contiguous().sort(descending=True)
        is_positive = positive[:, part].T.gather(1, order)
        below = torch.cat([scores[:, 1:], torch.full_like(scores[:, :1], -torch.inf)], dim=1)
        is_last = (scores > below) & scores.isfinite()
        middle = torch.where(below.isfinite(), (scores + below) / 2, scores)
        for k in range(FOLDS + 1):
            is_counted = fold[order] != k
            hits = (is_positive & is_counted).cumsum(1)
            f1 = torch.where(is_last, 2 * hits / (is_counted.cumsum(1) + hits[:, -1:]), -1.0)
            top = f1.max(1)
            chosen = middle.gather(1, top.indices[:, None])[:, 0]
            best[k, part] = torch.where(top.values > 0, chosen, cuts[part])
    return best
