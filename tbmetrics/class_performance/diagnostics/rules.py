"""What each rule of the verdict measures, and how far its number must go to be a finding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis, mean_of
from tbmetrics.class_performance.diagnostics.label_noise import MATERIAL_SHARE
from tbmetrics.class_performance.diagnostics.multi_label import LEAST_POSITIVES
from tbmetrics.class_performance.diagnostics.remedies import Estimate, class_weights, recall_mean
from tbmetrics.records import HEAD, LOGIT_ADJUSTMENT, REMEDIES, TAIL
from tbmetrics.statistics.intervals import Z95, wilson

#: Rule → from which value on its finding is noted, and strong.
BOUNDS = {
    "tail_gap": (0.05, 0.2),
    "too_few_validation_samples": (0.1, 0.2),
    "classifier_bias": (0.01, 0.05),
    "features_collapsed": (0.2, 0.5),
    "label_noise": (0.05, MATERIAL_SHARE),
    "tail_memorised": (0.3, 0.5),
    "remedy_would_help": (0.01, 0.05),
}
#: Normal quantiles that the evidence must exceed: for "noted" (95 %, two-sided), for "strong" (99 %), and, one-sided
#: against the strong bound, for "not found".
NOTED_Z, STRONG_Z, ABSENT_Z = Z95, 2.5758293035489004, 1.6448536269514722
FEW_SAMPLES = 5  # validation positives of a class below which its recall says little
MORE_THAN_HEAD = 0.1  # by which the tail's excess of training accuracy must exceed the head's, beyond doubt
ENOUGH_SAMPLES = 10  # validation samples of a tail class, in the median, for collapsed features to be "strong"
OVERLAPS_BELOW = 1.0  # standard deviations between two class means
_NAN = float("nan")


class Judgement(NamedTuple):
    """What a rule measures.

    Attributes:
        value: its number; NaN if it could not be told.
        why: why it could not be told, or "".
        head, tail: the numbers of the groups, if the rule compares.
        n_classes: behind the value.
        holds: whether the further conditions of the rule are met.
        lower, upper: 95 % interval of the value.
        is_sure: whether the evidence suffices for "strong".
        is_decided: whether the samples suffice to say "not found".
        applies: whether what the rule rests on was given, and can be for this attribute.
        tau, remedy: of the remedy (its index), if the rule is about one.
        noted_at, strong_at: the bounds.
    """

    value: float
    why: str = ""
    head: float = _NAN
    tail: float = _NAN
    n_classes: int = 0
    holds: bool = True
    lower: float = _NAN
    upper: float = _NAN
    is_sure: bool = True
    is_decided: bool = True
    applies: bool = True
    tau: float = _NAN
    remedy: float = _NAN
    noted_at: float = _NAN
    strong_at: float = _NAN

    @property
    def severity(self) -> float:
        """0 not found, 1 noted, 2 strong, NaN could not be told."""
        if np.isnan(self.value):
            return _NAN
        if self.holds and self.value >= self.noted_at:
            return 2.0 if self.value >= self.strong_at and self.is_sure else 1.0
        return 0.0 if self.is_decided else _NAN


def untold(why: str, *, applies: bool = True) -> Judgement:
    """A judgement that nothing can be told, and why; without `applies` because something was not given."""
    return Judgement(_NAN, why, applies=applies)


def estimated(estimate: Estimate, rule: str, head: float, tail: float, n_classes: int) -> Judgement:
    """A judgement of a number with an interval: found if it lies above 0, not found if it lies below the strong bound.

    Args:
        estimate: the number.
        rule: its name, for its bounds.
        head, tail, n_classes: see `Judgement`.
    """
    error = max((estimate.upper - estimate.lower) / (2 * Z95), 1e-12)
    z = estimate.value / error
    absent = estimate.value + ABSENT_Z * error < BOUNDS[rule][1]
    return Judgement(
        estimate.value, head=head, tail=tail, n_classes=n_classes, lower=estimate.lower, upper=estimate.upper,
        holds=z > NOTED_Z, is_sure=z > STRONG_Z, is_decided=absent,
    )  # fmt: skip


NO_TAIL = untold("there are no tail classes", applies=False)

# ------------------------------------------------------------------------------------------------- what fails


def tail_gap(d: Diagnosis) -> Judgement:
    """Recall of the head less that of the tail."""
    if not d.members(TAIL).size:
        return NO_TAIL
    if np.isnan(d.remedies.gap.value):
        return untold("head or tail have no validation samples")
    head, tail = d.mean("recall", HEAD), d.mean("recall", TAIL)
    return estimated(d.remedies.gap, "tail_gap", head, tail, d.known("recall", TAIL))


def too_few_samples(d: Diagnosis) -> Judgement:
    """Half of the interval of the tail's mean recall."""
    tail = d.members(TAIL)
    if not tail.size:
        return NO_TAIL
    support, recall = d.columns["support"][tail], d.columns["recall"][tail]
    seen, few = support > 0, float((support < FEW_SAMPLES).sum())
    if not seen.any():
        return Judgement(1.0, tail=0.0, n_classes=int(tail.size), head=few)
    low, high = wilson(recall[seen] * support[seen], support[seen])
    half = float(np.sqrt((((high - low) / 2) ** 2).sum())) / int(seen.sum())
    return Judgement(half, head=few, tail=float(np.median(support)), n_classes=int(tail.size))


# ------------------------------------------------------------------------------------------------------ causes


def classifier_bias(d: Diagnosis) -> Judgement:
    """What balanced accuracy gains when the training prior is taken off the logits."""
    if not d.is_single_label:
        return untold("for single-label attributes only", applies=False)
    if d.remedies.lean is None:
        return untold(d.left_out.get("logits") or d.left_out.get(LOGIT_ADJUSTMENT, "there are no validation samples"))
    lean = d.remedies.lean
    head, tail = d.mean("weight_norm", HEAD), d.mean("weight_norm", TAIL)
    return estimated(lean.gain, "classifier_bias", head, tail, d.remedies.n_classes)._replace(tau=lean.tau)


def collapsed(d: Diagnosis) -> NDArray[np.bool_]:
    """Tail classes whose features lie within `OVERLAPS_BELOW` standard deviations of a head class."""
    with np.errstate(invalid="ignore"):
        near = d.columns["head_separation"] < OVERLAPS_BELOW
    is_collapsed = np.zeros(len(d.classes), dtype=np.bool_)
    is_collapsed[d.members(TAIL)] = near[d.members(TAIL)]
    return is_collapsed


def features_collapsed(d: Diagnosis) -> Judgement:
    """Share of tail classes whose features overlap those of a head class."""
    if not d.members(TAIL).size:
        return NO_TAIL
    if "features" in d.left_out:
        return untold(d.left_out["features"], applies=False)
    known = d.known("head_separation", TAIL)
    validated = int((d.columns["support"][d.members(TAIL)] > 0).sum())
    if not known or known < validated / 2:
        return untold(f"the validation samples are too few to tell for {validated - known} of {validated} tail classes")
    share = float(collapsed(d).sum()) / known
    head, tail = d.median("head_separation", HEAD), d.median("head_separation", TAIL)
    is_apart = bool(np.isnan(head) or head > 1.5 * tail)
    is_sure = bool(np.median(d.columns["support"][d.members(TAIL)]) >= ENOUGH_SAMPLES)
    return Judgement(share, head=head, tail=tail, n_classes=known, holds=is_apart, is_sure=is_sure)


def label_noise(d: Diagnosis) -> Judgement:
    """Share of wrong labels, by likelihood."""
    if not d.is_single_label:
        return untold("for single-label attributes only", applies=False)
    noise = d.noise
    if noise is None:
        return untold(d.left_out.get("logits", "fewer than two classes outside the tail have validation samples"))
    return Judgement(
        noise.share, n_classes=noise.n_classes, holds=noise.z > NOTED_Z, is_sure=noise.z > STRONG_Z,
        is_decided=noise.z_material < -ABSENT_Z,
    )  # fmt: skip


def tail_memorised(d: Diagnosis) -> Judgement:
    """Training accuracy of the tail less its validation recall."""
    if not d.members(TAIL).size:
        return NO_TAIL
    if "training" in d.left_out:
        return untold(d.left_out["training"], applies=False)
    excess = d.columns["training_accuracy"] - d.columns["recall"]
    head, tail = mean_of(excess, d.members(HEAD)), mean_of(excess, d.members(TAIL))
    if np.isnan(tail):
        return untold("the tail was not seen both in training and in validation")
    n = int(np.isfinite(excess[d.members(TAIL)]).sum())
    more, error = tail - np.nan_to_num(head), _recall_error(d, np.isfinite(excess))
    return Judgement(
        tail, head=head, tail=tail, n_classes=n, holds=more - ABSENT_Z * error > MORE_THAN_HEAD,
        is_sure=more - NOTED_Z * error > MORE_THAN_HEAD,
        is_decided=tail + ABSENT_Z * error < BOUNDS["tail_memorised"][1],
    )  # fmt: skip


def _recall_error(d: Diagnosis, known: NDArray[np.bool_]) -> float:
    """Standard error of the difference between the mean recalls of head and tail, over the known classes."""
    support = np.nan_to_num(d.columns["support"])
    weights = sum(class_weights(known, d.classes, {group: 1.0}) for group in (HEAD, TAIL))
    estimate = recall_mean(np.nan_to_num(d.columns["recall"]) * support, support, np.asarray(weights))
    return (estimate.upper - estimate.lower) / (2 * Z95)


# ---------------------------------------------------------------------------------------------- what would help


def remedy_would_help(d: Diagnosis) -> Judgement:
    """What the objective gains by the best remedy."""
    table = d.remedies
    tried = [row for row in (table.row(remedy, None) for remedy in REMEDIES) if row is not None]
    gains = [(table.estimate(row, "objective_gain"), row) for row in tried]
    gains = [(gain, row) for gain, row in gains if not np.isnan(gain.lower)]
    if not gains:
        why = f"no class has {LEAST_POSITIVES} validation positives" if not table.n_classes else ""
        return untold(d.left_out.get("logits") or why or d.left_out.get(LOGIT_ADJUSTMENT, "no remedy could be tried"))
    gain, best = max(gains, key=lambda pair: pair[0].lower)
    head, tail = table.value(best, "head_gain"), table.value(best, "tail_gain")
    judgement = estimated(gain, "remedy_would_help", head, tail, table.n_classes)
    return judgement._replace(tau=table.value(best, "tau"), remedy=float(REMEDIES.index(best.remedy)))
