"""Remedies of multi-label attributes: shifts and thresholds, judged on a sample of rows within a byte budget."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.diagnostics.numbers import to_numpy
from tbmetrics.class_performance.diagnostics.remedies import (
    NONE,
    SHOWN_GROUPS,
    Objective,
    RemedyRow,
    RemedyTable,
    Replicates,
    cross_fitted,
    fill,
    weighted_recall,
)
from tbmetrics.class_performance.evaluation import group_means
from tbmetrics.class_performance.ranking import best_threshold, counts_at_positives
from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.records import CLASS_THRESHOLDS, LOGIT_ADJUSTMENT, FloatArray
from tbmetrics.statistics.scores import scores_of

_MAX_WORK = 4e11  # multiply-adds for the intervals; more scores leave fewer replicates


class RowSample:
    """Logits and labels of rows; whenever they exceed `max_bytes`, a random half of the rows is dropped.

    Attributes:
        share: of all rows, in the sample.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.reset()

    def reset(self) -> None:
        """Forget the validation."""
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(0)
        self.share = 1.0
        self.n_rows = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (N, C), labels (N, C) of 1, 0 and -1."""
        chosen = self._chosen(len(logits), self.share) if self.share < 1 else None
        self._logits.append(logits.float().clone() if chosen is None else logits[chosen.to(logits.device)].float())
        self._labels.append((labels if chosen is None else labels[chosen.to(labels.device)]).to(torch.int8))
        self.n_rows += len(self._logits[-1])
        while self.n_rows > 1 and 5 * self.n_rows * logits.shape[1] > self._max_bytes:
            self._halve()

    def _halve(self) -> None:
        logits, labels = self.tensors()
        chosen = self._chosen(len(logits), 0.5).to(logits.device)
        self._logits, self._labels, self.share = [logits[chosen]], [labels[chosen]], self.share / 2
        self.n_rows = len(chosen)

    def _chosen(self, rows: int, share: float) -> Tensor:
        return (torch.rand(rows, generator=self._generator) < share).nonzero()[:, 0]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Logits float32 and labels int8, (rows, C) each."""
        return torch.cat(self._logits), torch.cat(self._labels)


@torch.no_grad()
def judge_multi(
    logits: Tensor,
    labels: Tensor,
    cuts: Tensor,
    log_odds: Tensor | None,
    rows: tuple[RemedyRow, ...],
    classes: AttributeClasses,
    objective: Objective,
    n_bootstrap: int,
) -> RemedyTable:
    """The table of a multi-label attribute; the best amount has the largest weighted mean of the groups' F1.

    Args:
        logits: float32 (rows, C).
        labels: int8 (rows, C) of 1, 0, -1.
        cuts: the decision thresholds in use, as logits, (C,).
        log_odds: of a positive among the training samples, (C,); None = logit adjustment cannot be tried.
        rows: as from `remedy_rows`.
        classes: of the attribute.
        objective: weight of each group's mean F1.
        n_bootstrap: replicates behind the intervals.
    """
    table = RemedyTable.untried(rows, len(logits))
    if not len(logits):
        return table
    judge = _Judge(logits, labels, cuts, log_odds)
    second = np.random.default_rng(0).random(len(logits)) < 0.5
    decisions: dict[int, Tensor] = {}
    for index, row in enumerate(rows):
        if (decided := _decide(judge, table, index, row, second, classes, objective)) is not None:
            decisions[index] = decided
    metrics = [_metrics(judge.counts(decided, None)) for decided in decisions.values()]
    per_class = {name: np.stack([m[name] for m in metrics]) for name in ("recall", "precision", "f1")}
    replicates = _resampled(judge, list(decisions.values()), classes, n_bootstrap)
    fill(table, list(decisions), per_class, replicates, classes)
    return table


class _Judge:
    """Decisions under a remedy, and their counts."""

    def __init__(self, logits: Tensor, labels: Tensor, cuts: Tensor, log_odds: Tensor | None) -> None:
        self.logits, self.positive, self.known = logits, labels > 0, labels >= 0
        self.cuts, self.can_shift = cuts.to(logits), log_odds is not None
        self.log_odds = torch.zeros_like(self.cuts) if log_odds is None else log_odds.to(logits)

    def decide(self, cuts: Tensor) -> Tensor:
        """Decisions at thresholds (C,) or (rows, C): bool (rows, C), False for unknown labels."""
        return (self.logits >= cuts) & self.known

    def shifted(self, tau: float) -> Tensor:
        """Decisions with the logits shifted by tau times the log-odds of the class."""
        return self.decide(self.cuts + tau * self.log_odds)

    def counts(self, decided: Tensor, rows: Tensor | None) -> FloatArray:
        """True positives, predictions and support of the chosen rows: (3, C)."""
        masks = (decided & self.positive, decided, self.positive)
        return np.stack([to_numpy((mask if rows is None else mask[rows]).sum(0)) for mask in masks])

    def best_cuts(self, rows: NDArray[np.bool_]) -> Tensor:
        """The threshold of each class with the best F1 on the chosen rows; unchanged if it has no positive there.

        It lies half-way between the best score and the next below, as both call the same samples positive.
        """
        chosen = torch.from_numpy(np.flatnonzero(rows)).to(self.logits.device)
        scores = torch.where(self.known, self.logits, -torch.inf)[chosen].cpu().numpy()
        positive = self.positive[chosen].cpu().numpy()
        cuts = to_numpy(self.cuts)
        for c in range(len(cuts)):
            best = best_threshold(counts_at_positives(scores[:, c], positive[:, c])).score
            if np.isfinite(best):
                below = scores[:, c][(scores[:, c] < best) & np.isfinite(scores[:, c])]
                cuts[c] = (best + below.max()) / 2 if below.size else best
        return torch.from_numpy(cuts).to(self.logits)


def _decide(
    judge: _Judge,
    table: RemedyTable,
    index: int,
    row: RemedyRow,
    second: NDArray[np.bool_],
    classes: AttributeClasses,
    objective: Objective,
) -> Tensor | None:
    """The decisions of one row of the table, or None if its remedy cannot be tried."""
    in_second = torch.from_numpy(second).to(judge.logits.device)[:, None]
    if row.remedy == NONE:
        table.values[index, 0] = 0.0
        return judge.decide(judge.cuts)
    if row.remedy == CLASS_THRESHOLDS:
        from_first, from_second = judge.best_cuts(~second), judge.best_cuts(second)
        return judge.decide(torch.where(in_second, from_first, from_second))
    if not judge.can_shift:
        return None
    if row.tau is not None:
        table.values[index, 0] = row.tau
        return judge.shifted(row.tau)
    taus = [0.0, *(r.tau for r in table.rows if r.remedy == LOGIT_ADJUSTMENT and r.tau is not None)]

    def score(mask: NDArray[np.bool_]) -> FloatArray:
        rows = torch.from_numpy(np.flatnonzero(mask)).to(judge.logits.device)
        f1 = np.stack([_metrics(judge.counts(judge.shifted(tau), rows))["f1"] for tau in taus])
        return weighted_recall(f1, classes, objective)

    best, on_first, on_second = cross_fitted(score, second)
    table.values[index, 0] = taus[best]
    table.halves[LOGIT_ADJUSTMENT] = (taus[on_first], taus[on_second])
    return torch.where(in_second, judge.shifted(taus[on_first]), judge.shifted(taus[on_second]))


def _metrics(counts: FloatArray) -> dict[str, FloatArray]:
    return dict(zip(("precision", "recall", "f1"), scores_of(*counts), strict=True))


def _resampled(
    judge: _Judge, decided: list[Tensor], classes: AttributeClasses, n_bootstrap: int
) -> dict[str, Replicates]:
    """Mean recall and F1 of each group under the Bayesian bootstrap, weights shared by all rows of the table."""
    rows, width = judge.logits.shape
    affordable = int(_MAX_WORK / max(1, 2 * len(decided) * rows * width))
    replicates = max(2, min(n_bootstrap, affordable)) if n_bootstrap >= 2 else n_bootstrap
    weights = np.random.default_rng(0).exponential(size=(replicates, rows)).astype(np.float32)
    on_device = torch.from_numpy(weights).to(judge.logits.device)
    support = to_numpy(on_device @ judge.positive.float())
    collected: dict[str, dict[str, list[FloatArray]]] = {m: {g: [] for g in SHOWN_GROUPS} for m in ("recall", "f1")}
    for decision in decided:
        hits = to_numpy(on_device @ (decision & judge.positive).float())
        calls = to_numpy(on_device @ decision.float())
        metrics = _metrics(np.stack([hits, calls, support]))
        for metric, by_group in collected.items():
            for group, means in by_group.items():
                means.append(group_means(metrics[metric], classes.members(group)))
    return {m: {g: np.stack(v) for g, v in means.items() if not np.isnan(v).all()} for m, means in collected.items()}
