"""The verdict: a table of rules that turn measurements into findings, each with its evidence and its reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.diagnostics.numbers import mean_of, rank_correlation
from tbmetrics.class_performance.diagnostics.verdict import Diagnosis, Finding, Judgement, Rule
from tbmetrics.records import HEAD, LOGIT_ADJUSTMENT, REMEDIES, TAIL
from tbmetrics.statistics.intervals import wilson

FEW_SAMPLES = 5  # validation positives of a class below which its own recall says little
OVERLAPS_BELOW = 1.0  # standard deviations between two class means
LEARNT = 0.9  # training accuracy of the tail from which on nothing keeps it from being learnt
CHANCE = 0.05  # of a rank correlation as large, above which it is not believed

_NAN = float("nan")


def verdict(diagnosis: Diagnosis) -> list[Finding]:
    """One finding a rule, in the order of `RULES`."""
    return [Finding(rule, rule.judge(diagnosis)) for rule in RULES]


def _untold(why: str, noted_at: float, strong_at: float) -> Judgement:
    return Judgement(_NAN, noted_at, strong_at, why)


def _tail_gap(d: Diagnosis) -> Judgement:
    gap, low, high = d.remedies.gap
    if np.isnan(gap):
        return _untold("head or tail have no validation samples", 0.05, 0.2)
    head, tail = d.mean("recall", HEAD), d.mean("recall", TAIL)
    says = f"recall of the head {head:.2f}, of the tail {tail:.2f}: a gap of {gap:.2f} ({low:.2f} to {high:.2f})"
    return Judgement(gap, 0.05, 0.2, says, head, tail, d.known("recall", TAIL), holds=bool(low > 0))


def _too_few(d: Diagnosis) -> Judgement:
    tail = d.of(TAIL)
    if not tail.size:
        return _untold("there are no tail classes", 0.1, 0.2)
    support, recall = d.columns["support"][tail], d.columns["recall"][tail]
    seen = support > 0
    if not seen.any():
        return Judgement(1.0, 0.1, 0.2, "no tail class has a validation sample", tail=0.0, n_classes=int(tail.size))
    low, high = wilson(recall[seen] * support[seen], support[seen])
    half = float(np.sqrt((((high - low) / 2) ** 2).sum())) / int(seen.sum())
    few = int((support < FEW_SAMPLES).sum())
    says = (
        f"the mean recall of the tail is known to ± {half:.2f}; {few} of {tail.size} tail classes have fewer than "
        f"{FEW_SAMPLES} validation samples (median {np.median(support):g})"
    )
    return Judgement(half, 0.1, 0.2, says, tail=float(np.median(support)), n_classes=int(tail.size))


def _classifier_bias(d: Diagnosis) -> Judgement:
    counts = np.where(d.classes.counts >= 0, d.classes.counts, np.nan).astype(np.float64)
    if np.isnan(counts).all():
        counts = d.columns["samples_seen"]
    norms = d.columns["weight_norm"]
    head, tail = d.mean("weight_norm", HEAD), d.mean("weight_norm", TAIL)
    if np.isnan(head) or np.isnan(tail):
        return _untold(_why(d, "classifier", "head or tail have no classes"), 1.1, 1.3)
    by_norm = rank_correlation(norms, counts)
    if np.isnan(by_norm.rho):
        return _untold("the training counts are unknown or all alike", 1.1, 1.3)
    followed = by_norm.rho >= 0.5 and by_norm.p_value <= CHANCE
    bias_gap = d.mean("bias", HEAD) - d.mean("bias", TAIL)
    by_bias = rank_correlation(d.columns["bias"], counts)
    biased = by_bias.rho >= 0.5 and by_bias.p_value <= CHANCE and bias_gap > 0
    value = max(head / max(tail, 1e-12) if followed else 1.0, 1 + 0.2 * bias_gap if biased else 1.0)
    says = (
        f"weight norm of the head {head:.2f}, of the tail {tail:.2f}; it follows the training counts with rank "
        f"correlation {by_norm.rho:.2f} (chance {by_norm.p_value:.3f})"
    )
    if not np.isnan(by_bias.rho):
        says += f"; the bias of the head is {bias_gap:+.2f} above the tail's (rank correlation {by_bias.rho:.2f})"
    return Judgement(value, 1.1, 1.3, says, head, tail, by_norm.pairs, holds=followed or biased)


def _pooled_ratio(d: Diagnosis, group: str) -> float:
    """Positive gradient of all the group's logits divided by the negative."""
    positive, negative = (float(np.nansum(d.columns[f"{s}_gradient"][d.of(group)])) for s in ("positive", "negative"))
    return positive / negative if negative > 0 else _NAN


def _starved(d: Diagnosis) -> Judgement:
    head, tail = (_pooled_ratio(d, group) for group in (HEAD, TAIL))
    if np.isnan(tail):
        return _untold(_why(d, "gradients", "no gradient was seen on the tail's logits"), 0.5, 0.2)
    if not d.known("training_loss", TAIL):
        return _untold("no training sample of the tail was shown since the validation before", 0.5, 0.2)
    says = f"per unit of negative gradient the tail's logits get {tail:.2f} of positive gradient"
    says += "" if np.isnan(head) else f", the head's {head:.2f}"
    learnt = d.mean("training_accuracy", TAIL)
    holds = bool((np.isnan(head) or tail <= head / 2) and learnt < LEARNT)
    return Judgement(tail, 0.5, 0.2, says, head, tail, d.known("gradient_ratio", TAIL), holds)


def collapsed(d: Diagnosis) -> NDArray[np.bool_]:
    """Tail classes whose features lie within `OVERLAPS_BELOW` standard deviations of a head class."""
    with np.errstate(invalid="ignore"):
        near = d.columns["head_separation"] < OVERLAPS_BELOW
    found = np.zeros(len(d.classes), dtype=np.bool_)
    found[d.of(TAIL)] = near[d.of(TAIL)]
    return found


def _features_collapsed(d: Diagnosis) -> Judgement:
    known = d.known("head_separation", TAIL)
    wanted = int((d.columns["support"][d.of(TAIL)] > 0).sum())
    if not known or known < wanted / 2:
        few = f"the validation samples are too few to tell for {wanted - known} of {wanted} tail classes"
        return _untold(_why(d, "features", few), 0.2, 0.5)
    share = float(collapsed(d).sum()) / known
    head, tail = d.median("head_separation", HEAD), d.median("head_separation", TAIL)
    says = (
        f"{collapsed(d).sum()} of {known} tail classes lie less than {OVERLAPS_BELOW:g} standard deviation from a head "
        f"class (median {tail:.1f}"
    )
    says += ")" if np.isnan(head) else f"; head classes lie {head:.1f} from one another)"
    return Judgement(share, 0.2, 0.5, says, head, tail, known, holds=bool(np.isnan(head) or head > 1.5 * tail))


def _label_noise(d: Diagnosis) -> Judgement:
    explained = collapsed(d)
    if _memorised(d).severity > 0:
        explained[d.of(TAIL)] = True
    apart = np.flatnonzero(~explained)
    suspects, support = d.columns["suspect_share"][apart], d.columns["support"][apart]
    usable = np.isfinite(suspects) & (support > 0)
    if not usable.any():
        return _untold(_why(d, "suspects", "only single-label attributes with training counts tell"), 0.1, 0.2)
    share = float(suspects[usable] @ support[usable] / support[usable].sum())
    head, tail = d.mean("suspect_share", HEAD), d.mean("suspect_share", TAIL)
    says = (
        f"{share:.0%} of the validation samples are confidently taken for another class even with the training prior "
        f"taken off (head {head:.0%}, tail {tail:.0%}): wrong labels, or classes that look alike; see the gallery"
    )
    return Judgement(share, 0.1, 0.2, says.replace("nan%", "unknown"), head, tail, int(usable.sum()))


def _memorised(d: Diagnosis) -> Judgement:
    excess = d.columns["training_accuracy"] - d.columns["recall"]
    head, tail = mean_of(excess, d.of(HEAD)), mean_of(excess, d.of(TAIL))
    if np.isnan(tail):
        return _untold(_why(d, "training", "the tail was not seen both in training and in validation"), 0.3, 0.5)
    says = (
        f"the tail is recognised in {d.mean('training_accuracy', TAIL):.2f} of its training samples and in "
        f"{d.mean('recall', TAIL):.2f} of its validation samples"
    )
    says += "" if np.isnan(head) else f"; for the head the difference is {head:.2f}"
    holds = bool(np.isnan(head) or tail > head + 0.2)
    return Judgement(tail, 0.3, 0.5, says, head, tail, int(np.isfinite(excess[d.of(TAIL)]).sum()), holds)


def _forgotten(d: Diagnosis) -> Judgement:
    head, tail = d.mean("forgetting_events", HEAD), d.mean("forgetting_events", TAIL)
    if np.isnan(tail):
        return _untold("it takes two validations on the same samples in the same order", 0.5, 1.0)
    says = f"a validation sample of the tail was found and then missed again {tail:.2f} times on average"
    says += "" if np.isnan(head) else f", one of the head {head:.2f} times"
    holds = bool(np.isnan(head) or tail >= 2 * head)
    return Judgement(tail, 0.5, 1.0, says, head, tail, d.known("forgetting_events", TAIL), holds)


def _remedy(d: Diagnosis) -> Judgement:
    table = d.remedies
    tried = [r for r in (table.row(remedy, None) for remedy in REMEDIES) if r is not None]
    sure = [(table.value(r, "tail_gain_lower"), r) for r in tried]
    sure = [(low, r) for low, r in sure if not np.isnan(low)]
    if not sure:
        return _untold(_why(d, LOGIT_ADJUSTMENT, "no remedy could be tried"), 0.01, 0.1)
    low, best = max(sure)
    gain, cost = table.value(best, "tail_gain"), table.value(best, "head_gain")
    name = best.remedy.replace("_", " ")
    says = f"{name} would change the recall of the tail by {gain:+.2f} (at least {low:+.2f})"
    says += "" if np.isnan(cost) else f", that of the head by {cost:+.2f}"
    return Judgement(low, 0.01, 0.1, says, cost, gain, d.known("recall", TAIL))


def _why(d: Diagnosis, part: str, otherwise: str) -> str:
    return d.left_out.get(part, otherwise)


#: What is looked for, in the order it is told: measured first, then causes, then what would help.
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
