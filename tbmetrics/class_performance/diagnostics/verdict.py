"""The verdict: rules that turn the measurements of an attribute into findings, each with evidence and reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis, mean_of
from tbmetrics.class_performance.diagnostics.numbers import rank_correlation
from tbmetrics.records import FINDING_COLUMNS, HEAD, LOGIT_ADJUSTMENT, REMEDIES, TAIL
from tbmetrics.statistics.intervals import wilson

#: Rule → from which value on its finding is noted, and strong; if the second is smaller, small values are bad.
BOUNDS = {
    "tail_gap": (0.05, 0.2),
    "too_few_validation_samples": (0.1, 0.2),
    "classifier_bias": (1.1, 1.3),
    "tail_starved": (0.5, 0.2),
    "features_collapsed": (0.2, 0.5),
    "label_noise": (0.1, 0.2),
    "tail_memorised": (0.3, 0.5),
    "tail_forgotten": (0.5, 1.0),
    "remedy_would_help": (0.01, 0.1),
}
FEW_SAMPLES = 5  # validation positives of a class below which its recall says little
OVERLAPS_BELOW = 1.0  # standard deviations between two class means
LEARNT = 0.9  # training accuracy from which on nothing keeps the tail from being learnt
CORRELATED = 0.5  # rank correlation from which on a quantity follows the training counts
CHANCE = 0.05  # p-value above which a rank correlation is not believed
SEVERITIES = ("not found", "noted", "strong")
_NAN = float("nan")


class Judgement(NamedTuple):
    """What a rule measures: its number, NaN if it cannot tell, the evidence in words, and the bounds of the rule."""

    value: float
    says: str
    head: float = _NAN
    tail: float = _NAN
    n_classes: int = 0
    holds: bool = True  # whether the rule's further conditions are met
    noted_at: float = _NAN
    strong_at: float = _NAN

    @property
    def severity(self) -> float:
        """0 not found, 1 noted, 2 strong, NaN could not be told."""
        if np.isnan(self.value):
            return _NAN
        sign = 1 if self.strong_at >= self.noted_at else -1
        reached = sum(sign * self.value >= sign * bound for bound in (self.noted_at, self.strong_at))
        return float(reached) if self.holds else 0.0


class Rule(NamedTuple):
    """One row of the rule table."""

    name: str
    title: str
    measure: Callable[[Diagnosis], Judgement]
    advice: str
    reference: str


class Finding(NamedTuple):
    """A rule and its judgement of one attribute."""

    rule: Rule
    judgement: Judgement

    @property
    def severity(self) -> str:
        """ "strong", "noted", "not found" or "could not be told"."""
        value = self.judgement.severity
        return "could not be told" if np.isnan(value) else SEVERITIES[int(value)]

    def row(self) -> list[float]:
        """The numbers, in the order of `FINDING_COLUMNS`."""
        values = self.judgement._asdict() | {"severity": self.judgement.severity}
        return [float(values[column]) for column in FINDING_COLUMNS]


def verdict(diagnosis: Diagnosis) -> list[Finding]:
    """One finding per rule, in the order of `RULES`."""
    return [Finding(rule, _bounded(rule.name, rule.measure(diagnosis))) for rule in RULES]


def _bounded(rule: str, judgement: Judgement) -> Judgement:
    noted_at, strong_at = BOUNDS[rule]
    return judgement._replace(noted_at=noted_at, strong_at=strong_at)


def _reason(d: Diagnosis, part: str, otherwise: str) -> str:
    return d.left_out.get(part, otherwise)


def _tail_gap(d: Diagnosis) -> Judgement:
    gap, low, high = d.remedies.gap
    if np.isnan(gap):
        return Judgement(_NAN, "head or tail have no validation samples")
    head, tail = d.mean("recall", HEAD), d.mean("recall", TAIL)
    says = f"recall of the head {head:.2f}, of the tail {tail:.2f}: a gap of {gap:.2f} ({low:.2f} to {high:.2f})"
    return Judgement(gap, says, head, tail, d.known("recall", TAIL), holds=bool(low > 0))


def _too_few(d: Diagnosis) -> Judgement:
    tail = d.members(TAIL)
    if not tail.size:
        return Judgement(_NAN, "there are no tail classes")
    support, recall = d.columns["support"][tail], d.columns["recall"][tail]
    seen = support > 0
    if not seen.any():
        return Judgement(1.0, "no tail class has a validation sample", tail=0.0, n_classes=int(tail.size))
    low, high = wilson(recall[seen] * support[seen], support[seen])
    half = float(np.sqrt((((high - low) / 2) ** 2).sum())) / int(seen.sum())
    few = int((support < FEW_SAMPLES).sum())
    says = (
        f"the mean recall of the tail is known to ± {half:.2f}; {few} of {tail.size} tail classes have fewer than "
        f"{FEW_SAMPLES} validation samples (median {np.median(support):g})"
    )
    return Judgement(half, says, tail=float(np.median(support)), n_classes=int(tail.size))


def _classifier_bias(d: Diagnosis) -> Judgement:
    counts = np.where(d.classes.counts >= 0, d.classes.counts, np.nan).astype(np.float64)
    if np.isnan(counts).all():
        counts = d.columns["samples_seen"]
    norms = d.columns["weight_norm"]
    head, tail = d.mean("weight_norm", HEAD), d.mean("weight_norm", TAIL)
    if np.isnan(head) or np.isnan(tail):
        return Judgement(_NAN, _reason(d, "classifier", "head or tail have no classes"))
    by_norm = rank_correlation(norms, counts)
    if np.isnan(by_norm.rho):
        return Judgement(_NAN, "the training counts are unknown or all alike")
    followed = by_norm.rho >= CORRELATED and by_norm.p_value <= CHANCE
    bias_gap = d.mean("bias", HEAD) - d.mean("bias", TAIL)
    by_bias = rank_correlation(d.columns["bias"], counts)
    biased = by_bias.rho >= CORRELATED and by_bias.p_value <= CHANCE and bias_gap > 0
    value = max(head / max(tail, 1e-12) if followed else 1.0, 1 + 0.2 * bias_gap if biased else 1.0)
    says = (
        f"weight norm of the head {head:.2f}, of the tail {tail:.2f}; it follows the training counts with rank "
        f"correlation {by_norm.rho:.2f} (chance {by_norm.p_value:.3f})"
    )
    if not np.isnan(by_bias.rho):
        says += f"; the bias of the head is {bias_gap:+.2f} above the tail's (rank correlation {by_bias.rho:.2f})"
    return Judgement(value, says, head, tail, by_norm.pairs, holds=followed or biased)


def _pooled_ratio(d: Diagnosis, group: str) -> float:
    """Positive gradient of all the group's logits divided by the negative."""
    members = d.members(group)
    positive, negative = (float(np.nansum(d.columns[f"{sign}_gradient"][members])) for sign in ("positive", "negative"))
    return positive / negative if negative > 0 else _NAN


def _starved(d: Diagnosis) -> Judgement:
    head, tail = (_pooled_ratio(d, group) for group in (HEAD, TAIL))
    if np.isnan(tail):
        return Judgement(_NAN, _reason(d, "gradients", "no gradient was seen on the tail's logits"))
    if not d.known("training_loss", TAIL):
        return Judgement(_NAN, "no training sample of the tail was shown since the validation before")
    says = f"per unit of negative gradient the tail's logits get {tail:.2f} of positive gradient"
    says += "" if np.isnan(head) else f", the head's {head:.2f}"
    learnt = d.mean("training_accuracy", TAIL)
    holds = bool((np.isnan(head) or tail <= head / 2) and learnt < LEARNT)
    return Judgement(tail, says, head, tail, d.known("gradient_ratio", TAIL), holds)


def collapsed(d: Diagnosis) -> NDArray[np.bool_]:
    """Tail classes whose features lie within `OVERLAPS_BELOW` standard deviations of a head class."""
    with np.errstate(invalid="ignore"):
        near = d.columns["head_separation"] < OVERLAPS_BELOW
    is_collapsed = np.zeros(len(d.classes), dtype=np.bool_)
    is_collapsed[d.members(TAIL)] = near[d.members(TAIL)]
    return is_collapsed


def _features_collapsed(d: Diagnosis) -> Judgement:
    known = d.known("head_separation", TAIL)
    validated = int((d.columns["support"][d.members(TAIL)] > 0).sum())
    if not known or known < validated / 2:
        few = f"the validation samples are too few to tell for {validated - known} of {validated} tail classes"
        return Judgement(_NAN, _reason(d, "features", few))
    share = float(collapsed(d).sum()) / known
    head, tail = d.median("head_separation", HEAD), d.median("head_separation", TAIL)
    says = (
        f"{collapsed(d).sum()} of {known} tail classes lie less than {OVERLAPS_BELOW:g} standard deviation from a head "
        f"class (median {tail:.1f}"
    )
    says += ")" if np.isnan(head) else f"; head classes lie {head:.1f} from one another)"
    return Judgement(share, says, head, tail, known, holds=bool(np.isnan(head) or head > 1.5 * tail))


def _label_noise(d: Diagnosis) -> Judgement:
    explained = collapsed(d)
    if _bounded("tail_memorised", _memorised(d)).severity > 0:
        explained[d.members(TAIL)] = True
    apart = np.flatnonzero(~explained)
    suspects, support = d.columns["suspect_share"][apart], d.columns["support"][apart]
    usable = np.isfinite(suspects) & (support > 0)
    if not usable.any():
        return Judgement(_NAN, _reason(d, "suspects", "only single-label attributes with training counts tell"))
    share = float(suspects[usable] @ support[usable] / support[usable].sum())
    head, tail = d.mean("suspect_share", HEAD), d.mean("suspect_share", TAIL)
    says = (
        f"{share:.0%} of the validation samples are confidently taken for another class even with the training prior "
        f"taken off (head {head:.0%}, tail {tail:.0%}): wrong labels, or classes that look alike; see the gallery"
    )
    return Judgement(share, says.replace("nan%", "unknown"), head, tail, int(usable.sum()))


def _memorised(d: Diagnosis) -> Judgement:
    excess = d.columns["training_accuracy"] - d.columns["recall"]
    head, tail = mean_of(excess, d.members(HEAD)), mean_of(excess, d.members(TAIL))
    if np.isnan(tail):
        return Judgement(_NAN, _reason(d, "training", "the tail was not seen both in training and in validation"))
    says = (
        f"the tail is recognised in {d.mean('training_accuracy', TAIL):.2f} of its training samples and in "
        f"{d.mean('recall', TAIL):.2f} of its validation samples"
    )
    says += "" if np.isnan(head) else f"; for the head the difference is {head:.2f}"
    holds = bool(np.isnan(head) or tail > head + 0.2)
    return Judgement(tail, says, head, tail, int(np.isfinite(excess[d.members(TAIL)]).sum()), holds)


def _forgotten(d: Diagnosis) -> Judgement:
    head, tail = d.mean("forgetting_events", HEAD), d.mean("forgetting_events", TAIL)
    if np.isnan(tail):
        return Judgement(_NAN, "it takes two validations on the same samples in the same order")
    says = f"a validation sample of the tail was found and then missed again {tail:.2f} times on average"
    says += "" if np.isnan(head) else f", one of the head {head:.2f} times"
    holds = bool(np.isnan(head) or tail >= 2 * head)
    return Judgement(tail, says, head, tail, d.known("forgetting_events", TAIL), holds)


def _remedy(d: Diagnosis) -> Judgement:
    table = d.remedies
    tried = [r for r in (table.row(remedy, None) for remedy in REMEDIES) if r is not None]
    sure = [(table.value(r, "tail_gain_lower"), r) for r in tried]
    sure = [(low, r) for low, r in sure if not np.isnan(low)]
    if not sure:
        return Judgement(_NAN, _reason(d, LOGIT_ADJUSTMENT, "no remedy could be tried"))
    low, best = max(sure)
    gain, cost = table.value(best, "tail_gain"), table.value(best, "head_gain")
    name = best.remedy.replace("_", " ")
    says = f"{name} would change the recall of the tail by {gain:+.2f} (at least {low:+.2f})"
    says += "" if np.isnan(cost) else f", that of the head by {cost:+.2f}"
    return Judgement(low, says, cost, gain, d.known("recall", TAIL))


#: In the order of the report: what fails, then causes, then what would help.
RULES = (
    Rule(
        "tail_gap",
        "The tail fails",
        _tail_gap,
        "Read the causes below; without this finding they explain nothing.",
        "Liu et al., Large-scale long-tailed recognition in an open world, CVPR 2019",
    ),
    Rule(
        "too_few_validation_samples",
        "Too few validation samples to tell",
        _too_few,
        "Compare runs by interval, not by number; enlarge the validation set of the tail, or pool several seeds.",
        "Wilson, Probable inference, JASA 1927",
    ),
    Rule(
        "classifier_bias",
        "Classifier bias",
        _classifier_bias,
        "Train the classifier again on balanced samples, or use logit adjustment or τ-normalisation.",
        "Kang et al., Decoupling representation and classifier, ICLR 2020",
    ),
    Rule(
        "tail_starved",
        "Tail starved of positive gradient",
        _starved,
        "Weigh the gradients (equalization loss), use a balanced softmax, or sample the tail more often.",
        "Tan et al., Equalization loss v2, CVPR 2021",
    ),
    Rule(
        "features_collapsed",
        "Features collapsed",
        _features_collapsed,
        "No classifier can part them: change what the backbone learns (resampling, augmentation, contrastive losses).",
        "Fang et al., Exploring deep neural networks via layer-peeled model, PNAS 2021; Papyan et al., PNAS 2020",
    ),
    Rule(
        "label_noise",
        "Labels in doubt",
        _label_noise,
        "Look at the most confident mistakes and correct what is wrong before anything is tuned on it.",
        "Northcutt et al., Confident learning, JAIR 2021",
    ),
    Rule(
        "tail_memorised",
        "Tail learnt by heart",
        _memorised,
        "Regularise the tail: augmentation, larger margins for rare classes, fewer repetitions.",
        "Cao et al., Label-distribution-aware margin loss, NeurIPS 2019; Feldman, STOC 2020",
    ),
    Rule(
        "tail_forgotten",
        "Tail forgotten again and again",
        _forgotten,
        "Lower the learning rate at the end, average weights, or show the tail more evenly over time.",
        "Toneva et al., An empirical study of example forgetting, ICLR 2019",
    ),
    Rule(
        "remedy_would_help",
        "A remedy without training would help",
        _remedy,
        "See the table of remedies for what it costs.",
        "Menon et al., Long-tail learning via logit adjustment, ICLR 2021; Kang et al., ICLR 2020",
    ),
)
