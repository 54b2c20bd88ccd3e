"""Remedies of single-label attributes: what is kept of each sample, and the table from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.diagnostics.fits import PriorFit, calibrated_loss, fit_prior
from tbmetrics.class_performance.diagnostics.numbers import evenly_spread
from tbmetrics.class_performance.diagnostics.remedies import (
    NONE,
    SHOWN_GROUPS,
    Lean,
    Objective,
    RemedyRow,
    RemedyTable,
    class_weights,
    paired_mean,
    paired_means,
    recall_mean,
    recall_means,
)
from tbmetrics.class_performance.evaluation import group_means
from tbmetrics.class_performance.flows import first_largest
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import ALL, HEAD, LOGIT_ADJUSTMENT, TAIL, TAU_NORMALIZATION, Float32Array, FloatArray, IntArray
from tbmetrics.statistics.scores import scores_of

#: Most logits behind a fit of the temperature and the prior, and behind one of the temperature alone.
FIT_SCORES, SCALE_SCORES = 500_000, 250_000


class Samples(NamedTuple):
    """What is kept of every sample of a validation.

    Attributes:
        labels: class indices (samples,).
        predictions: of the model as trained, then of τ-normalisation by each amount, (samples, 1 + amounts); -1 =
            untried.
        wins: between which multiples of the log prior, taken off the logits, the label has the largest logit:
            (samples, 2); NaN if the prior is unknown.
    """

    labels: IntArray
    predictions: NDArray[np.integer]
    wins: Float32Array


class Rows(NamedTuple):
    """The logits of all samples, or of some if these are too many.

    Attributes:
        logits: float32 (rows, C).
        positions: of each row among the samples, (rows,).
        bias, norms: of the classifier, float64 (C,), if it was seen to make these logits; else None.
        log_prior: float64 (C,), or None.
    """

    logits: Float32Array
    positions: IntArray
    bias: FloatArray | None
    norms: FloatArray | None
    log_prior: FloatArray | None

    def at_most(self, scores: int) -> Rows:
        """Evenly spread rows with no more logits than `scores`."""
        chosen = evenly_spread(len(self.positions), scores // max(1, self.logits.shape[1]))
        return self._replace(logits=self.logits[chosen], positions=self.positions[chosen])


def winning_amounts(logits: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    """Between which s the label has the largest of logits − s · log_prior: (N, 2), the first above the second if never.

    Every decision under logit adjustment is in these two numbers, whatever the amount and its unit.

    Args:
        logits: (N, C) without NaN.
        labels: (N,).
        log_prior: (C,).
    """
    slope = log_prior.to(logits) - log_prior.to(logits)[labels, None]
    ahead = logits - logits.gather(1, labels[:, None])
    is_beaten = ((slope == 0) & (ahead > 0)).any(1)
    crossing = ahead.div_(slope).nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    least = crossing.masked_fill(slope <= 0, -torch.inf).amax(1)
    most = crossing.masked_fill_(slope >= 0, torch.inf).amin(1)
    return torch.stack([torch.where(is_beaten, torch.inf, least), most], dim=1).float()


class _Amounts(NamedTuple):
    """Amounts of a remedy: the choice on all samples, that without each, and hits under the latter, (samples,)."""

    best: float
    others: FloatArray
    hits: NDArray[np.bool_]


class _Outcome(NamedTuple):
    """What becomes of the samples in one row of the table: by class, how many are hit, decided for, and changed."""

    row: int
    tau: float
    hits: FloatArray
    calls: FloatArray
    changed: FloatArray
    accuracy: float


def judge_single(
    samples: Samples, kept: Rows, rows: tuple[RemedyRow, ...], classes: AttributeClasses, objective: Objective
) -> RemedyTable:
    """The table of a single-label attribute.

    Args:
        samples: of the validation.
        kept: logits of the samples, or of some.
        rows: as from `remedy_rows`.
        classes: of the attribute.
        objective: weight of each group's mean recall.
    """
    table = RemedyTable.untried(rows, samples.labels.size)
    if samples.labels.size:
        _Judge(table, samples, kept, classes, objective).fill()
    return table


class _Judge:
    """Fills in a table."""

    def __init__(
        self, table: RemedyTable, samples: Samples, kept: Rows, classes: AttributeClasses, objective: Objective
    ) -> None:
        self.table, self.samples, self.kept, self.classes = table, samples, kept, classes
        self.labels, size = samples.labels, len(classes)
        self.support = np.bincount(self.labels, minlength=size).astype(np.float64)
        seen = self.support > 0
        self.weights = class_weights(seen, classes, objective)
        self.by_group = {group: class_weights(seen, classes, {group: 1.0}) for group in SHOWN_GROUPS}
        self.as_trained = samples.predictions[:, 0] == self.labels
        self.fit: PriorFit | None = None
        self.shifted: Tensor | None = None  # room for the logits less the prior
        self.outcomes: list[_Outcome] = []
        table.n_classes = int((self.weights > 0).sum())

    def fill(self) -> None:
        """All rows."""
        fixed = [row.tau for row in self.table.rows if row.remedy == TAU_NORMALIZATION and row.tau is not None]
        chosen = {TAU_NORMALIZATION: self._normalization(fixed), LOGIT_ADJUSTMENT: self._adjustment()}
        for index, row in enumerate(self.table.rows):
            if row.remedy == NONE:
                self._put(index, 0.0, self.as_trained, self.samples.predictions[:, 0])
            elif row.tau is None:
                if (amounts := chosen[row.remedy]) is not None:
                    self._put_best(index, row, amounts, fixed)
            elif row.remedy == TAU_NORMALIZATION and chosen[TAU_NORMALIZATION] is not None:
                predictions = self.samples.predictions[:, 1 + fixed.index(row.tau)]
                self._put(index, row.tau, predictions == self.labels, predictions)
            elif row.remedy == LOGIT_ADJUSTMENT and self.fit is not None:
                amount = np.full(self.labels.size, row.tau * self.fit.temperature)
                self._put(index, row.tau, self._hits(amount), self._called(amount))
        self._fill_in()
        self.table.lean = self._lean()
        gap = self.by_group[HEAD] - self.by_group[TAIL]
        if self.by_group[HEAD].any() and self.by_group[TAIL].any():
            self.table.gap = recall_mean(self._counts(self.as_trained), self.support, gap)

    def _put_best(self, index: int, row: RemedyRow, amounts: _Amounts, fixed: list[float]) -> None:
        self.table.chosen[row.remedy] = (float(amounts.others.min()), float(amounts.others.max()))
        called: NDArray[np.integer] | None
        if row.remedy == LOGIT_ADJUSTMENT:
            called = self._called(amounts.others * (1.0 if self.fit is None else self.fit.temperature))
        else:
            columns = np.searchsorted([0.0, *fixed], amounts.others)
            called = np.take_along_axis(self.samples.predictions, columns[:, None], axis=1)[:, 0]
        self._put(index, amounts.best, amounts.hits, called)

    # -------------------------------------------------------------------------------------------- the amounts

    def _sample_weights(self, kept: Rows, class_weights: FloatArray) -> FloatArray:
        """The weight of each kept row in a mean over classes, (rows,)."""
        labels = self.labels[kept.positions]
        n = np.bincount(labels, minlength=len(self.classes))
        weights: FloatArray = class_weights[labels] / n[labels]
        return weights

    def _adjustment(self) -> _Amounts | None:
        """The amount of logit adjustment is that of the training prior in the logits, by likelihood."""
        kept = self.kept.at_most(FIT_SCORES)
        self.fit = self._fit(kept, self.weights)
        return None if self.fit is None else self._amounts(kept, self.fit)

    def _lean(self) -> Lean | None:
        """What balanced accuracy would gain without the training prior, whatever the objective."""
        balanced = self.by_group[ALL]
        kept = self.kept.at_most(FIT_SCORES)
        fit = self.fit if np.array_equal(balanced, self.weights) else self._fit(kept, balanced)
        if fit is None:
            return None
        amounts = self._amounts(kept, fit)
        gain = paired_mean(amounts.hits.astype(np.float64) - self.as_trained, self.labels, balanced)
        return Lean(fit.temperature, amounts.best, gain)

    def _fit(self, kept: Rows, class_weights: FloatArray) -> PriorFit | None:
        weights = self._sample_weights(kept, class_weights)
        if kept.log_prior is None or not weights.any():
            return None
        return fit_prior(kept.logits, self.labels[kept.positions], kept.log_prior, weights)

    def _amounts(self, kept: Rows, fit: PriorFit) -> _Amounts:
        most = max(row.tau or 0.0 for row in self.table.rows)
        best = float(np.clip(fit.tau, 0, most))
        others, scales = np.full(self.labels.size, best), np.full(self.labels.size, fit.temperature)
        scales[kept.positions], others[kept.positions] = fit.others[:, 0], np.clip(fit.others[:, 1], 0, most)
        return _Amounts(best, others, np.where(others > 0, self._hits(others * scales), self.as_trained))

    def _normalization(self, taus: list[float]) -> _Amounts | None:
        """The amount of τ-normalisation has the least loss, each amount at its own temperature; 0 is as trained."""
        kept = self.kept.at_most(SCALE_SCORES)
        weights = self._sample_weights(kept, self.weights)
        if kept.norms is None or not taus or self.samples.predictions[0, 1] < 0 or not weights.any():
            return None
        logits, labels = kept.logits, self.labels[kept.positions]
        linear = logits if kept.bias is None else logits - kept.bias.astype(np.float32)
        fits, smallest = [calibrated_loss(logits, labels, weights)], max(float(kept.norms.min()), 1e-12)
        for tau in taus:
            scale = (np.maximum(kept.norms, 1e-12) / smallest) ** -tau  # the unit of logits does not matter
            fits.append(calibrated_loss(linear * scale.astype(np.float32), labels, weights, fits[-1].sharpness))
        losses = np.stack([fit.by_sample for fit in fits], axis=1)
        total = weights @ losses
        best = int(np.argmin(total))
        others = np.full(self.labels.size, best)
        others[kept.positions] = np.argmin(total - weights[:, None] * losses, axis=1)
        decided = np.take_along_axis(self.samples.predictions, others[:, None], axis=1)[:, 0]
        amounts = np.array([0.0, *taus])
        return _Amounts(float(amounts[best]), amounts[others], decided == self.labels)

    # ---------------------------------------------------------------------------------------------- the numbers

    def _hits(self, amounts: FloatArray) -> NDArray[np.bool_]:
        """Whether each label has the largest logit after that multiple of the log prior is taken off, (samples,)."""
        least, most = self.samples.wins.T
        hits: NDArray[np.bool_] = (least <= amounts) & (amounts <= most)
        return hits

    def _called(self, amounts: FloatArray) -> IntArray | None:
        """The class decided for by each sample, or None if not all logits were kept."""
        if len(self.kept.positions) < self.labels.size or self.kept.log_prior is None:
            return None
        logits = torch.from_numpy(self.kept.logits)
        if self.shifted is None:
            self.shifted = torch.empty_like(logits)
        prior, multiples = (torch.from_numpy(v).to(logits) for v in (self.kept.log_prior, amounts))
        return first_largest(torch.addr(logits, multiples, prior, alpha=-1, out=self.shifted)).numpy()

    def _counts(self, hits: NDArray[np.bool_]) -> FloatArray:
        return np.bincount(self.labels[hits], minlength=len(self.classes)).astype(np.float64)

    def _put(self, index: int, tau: float, hits: NDArray[np.bool_], called: NDArray[np.integer] | None) -> None:
        size = len(self.classes)
        calls = np.full(size, np.nan) if called is None else np.bincount(called, minlength=size).astype(np.float64)
        changed = self._counts(hits != self.as_trained)
        self.outcomes.append(_Outcome(index, tau, self._counts(hits), calls, changed, float(hits.mean())))

    def _fill_in(self) -> None:
        """The numbers of all outcomes."""
        table, rows = self.table, [outcome.row for outcome in self.outcomes]
        counts, calls, changed = (np.stack([o[part] for o in self.outcomes]) for part in (2, 3, 4))
        table.put(rows, "tau", np.array([outcome.tau for outcome in self.outcomes]))
        table.put(rows, "accuracy", np.array([outcome.accuracy for outcome in self.outcomes]))
        precision, _, f1 = scores_of(counts, calls, self.support)
        for group, weights in self.by_group.items():
            members = self.classes.members(group)
            table.put_estimate(rows, f"{group}_recall", recall_means(counts, self.support, weights).within(0, 1))
            for metric, values in (("precision", precision), ("f1", f1)):
                table.put(rows, f"{group}_{metric}", group_means(values, members))
        table.put(rows, "balanced_accuracy", recall_means(counts, self.support, self.by_group[ALL]).value)
        table.put(rows, "objective", recall_means(counts, self.support, self.weights).value)
        gains = {"head_gain": self.by_group[HEAD], "tail_gain": self.by_group[TAIL], "objective_gain": self.weights}
        gained = counts - self._counts(self.as_trained)
        for column, weights in gains.items():
            table.put_estimate(rows, column, paired_means(gained, changed, self.support, weights))
        if self.fit is not None:
            adjusted = [row for row in rows if table.rows[row].remedy == LOGIT_ADJUSTMENT]
            table.put(adjusted, "temperature", self.fit.temperature)
