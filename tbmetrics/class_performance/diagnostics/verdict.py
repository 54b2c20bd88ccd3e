"""The verdict: rules that turn the measurements of an attribute into findings, in words, with their measured errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tbmetrics.class_performance.diagnostics import rules
from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis
from tbmetrics.class_performance.diagnostics.rules import BOUNDS, Judgement
from tbmetrics.records import FINDING_COLUMNS, REMEDIES
from tbmetrics.records.sentences import filled

SEVERITIES = ("not found", "noted", "strong")
REMEDY_TITLES = dict(zip(REMEDIES, ("logit adjustment", "τ-normalisation", "a threshold for each class"), strict=True))


def _measured(validations: int, noted: float, strong: float, many: float, few: float) -> str:
    """How often a rule was wrong where the truth is known: shares in per cent."""
    absent = f"{noted:.1f} % of {validations} validations without the cause are noted, {strong:.1f} % strong"
    there = f"{many:.0f} % are found with 30 samples a class and {few:.0f} % with 5"
    return f"In simulations: {absent}; where it is planted, {there}".replace(" %", "\N{NO-BREAK SPACE}%")


#: Rule → how often it was wrong, as measured by `python -m benchmarks --only findings`.
ERRORS = {
    "tail_gap": _measured(276, 0.4, 0.0, 97, 67),
    "classifier_bias": _measured(406, 0.7, 0.0, 97, 48),
    "features_collapsed": _measured(368, 1.6, 0.0, 100, 48),
    "label_noise": _measured(612, 0.8, 0.2, 100, 65),
    "tail_memorised": _measured(64, 3.1, 0.0, 98, 87),
    "remedy_would_help": _measured(510, 0.6, 0.0, 97, 51),
    "too_few_validation_samples": "It states the width of an interval: there is no cause to be wrong about",
}


class Rule(NamedTuple):
    """One row of the rule table.

    Attributes:
        name, title: of the rule.
        measure: its number for a diagnosis.
        says: the finding in words, a template of `tbmetrics.records.sentences`; "{objective}" is the metric that
            remedies are chosen for, "{remedy}" the best remedy.
        rests_on: what is measured, and how.
        advice: what to try.
        reference: the paper that the rule is after.
        errors: how often it was wrong in simulations with a known cause.
    """

    name: str
    title: str
    measure: Callable[[Diagnosis], Judgement]
    says: str
    rests_on: str
    advice: str
    reference: str
    errors: str


class Finding(NamedTuple):
    """A rule and its judgement of one attribute."""

    rule: Rule
    judgement: Judgement
    aim: str = "balanced accuracy"

    @property
    def severity(self) -> str:
        """ "strong", "noted", "not found" or "could not be told"."""
        value = self.judgement.severity
        return "could not be told" if value != value else SEVERITIES[int(value)]

    @property
    def says(self) -> str:
        """The finding in one sentence, or why it could not be told."""
        judgement = self.judgement
        if judgement.value != judgement.value:
            return judgement.why
        remedy = "" if judgement.remedy != judgement.remedy else REMEDY_TITLES[REMEDIES[int(judgement.remedy)]]
        template = self.rule.says.replace("{objective}", self.aim).replace("{remedy}", remedy)
        sentence = filled(template, dict(zip(FINDING_COLUMNS, self.row(), strict=True)))
        undecided = "" if judgement.severity == judgement.severity else "the samples do not decide: "
        return undecided + sentence

    def row(self) -> list[float]:
        """The numbers, in the order of `FINDING_COLUMNS`."""
        values = self.judgement._asdict() | {"severity": self.judgement.severity}
        return [float(values[column]) for column in FINDING_COLUMNS]


def verdict(diagnosis: Diagnosis) -> list[Finding]:
    """One finding per rule, in the order of `RULES`."""
    return [Finding(rule, _bounded(rule.name, rule.measure(diagnosis)), diagnosis.aim) for rule in RULES]


def _bounded(rule: str, judgement: Judgement) -> Judgement:
    noted_at, strong_at = BOUNDS[rule]
    return judgement._replace(noted_at=noted_at, strong_at=strong_at)


#: In the order of the report: what fails, then causes, then what would help.
RULES = (
    Rule(
        "tail_gap",
        "The tail fails",
        rules.tail_gap,
        "mean recall is {head:.2f} in the head and {tail:.2f} in the tail: a gap of {value:.2f} ({lower:.2f} to "
        "{upper:.2f})",
        "The mean recall of the classes of each group, with a 95 % interval of the difference.",
        "Read the causes below; without this finding they explain nothing.",
        "Liu et al., Large-scale long-tailed recognition in an open world, CVPR 2019",
        ERRORS["tail_gap"],
    ),
    Rule(
        "too_few_validation_samples",
        "Too few validation samples to tell",
        rules.too_few_samples,
        "the mean recall of the tail is known to ± {value:.2f}; {head:g} of {n_classes:g} tail classes have fewer than "
        f"{rules.FEW_SAMPLES} validation samples (median {{tail:g}})",
        "Wilson's interval of each tail class's recall; the number of validation samples.",
        "Compare runs by interval, not by number; enlarge the validation set of the tail, or pool several seeds.",
        "Wilson, Probable inference, JASA 1927",
        ERRORS["too_few_validation_samples"],
    ),
    Rule(
        "classifier_bias",
        "Classifier bias",
        rules.classifier_bias,
        "decisions lean towards frequent classes: without the training prior (τ = {tau:.2f} of its logarithm) balanced "
        "accuracy would change by {value:+.2f} ({lower:+.2f} to {upper:+.2f})[; mean weight norm of the head "
        "{head:.2f}, of the tail {tail:.2f}]",
        "Temperature and τ fitted by likelihood, each sample judged with a fit without it. Norms and biases are "
        "evidence, not judged.",
        "Use logit adjustment with this τ, train the classifier again on balanced samples, or use a balanced softmax.",
        "Kang et al., Decoupling representation and classifier, ICLR 2020; Menon et al., ICLR 2021",
        ERRORS["classifier_bias"],
    ),
    Rule(
        "features_collapsed",
        "Features collapsed",
        rules.features_collapsed,
        f"{{value:.0%}} of {{n_classes:g}} tail classes lie less than {rules.OVERLAPS_BELOW:g} standard deviation from "
        "a head class (median {tail:.1f})[; head classes lie {head:.1f} from one another]",
        "Class means of the classifier's input, in standard deviations of the pooled scatter between them.",
        "No classifier can part them: change what the backbone learns (resampling, augmentation, contrastive losses).",
        "Fang et al., Exploring deep neural networks via layer-peeled model, PNAS 2021; Papyan et al., PNAS 2020",
        ERRORS["features_collapsed"],
    ),
    Rule(
        "label_noise",
        "Labels in doubt",
        rules.label_noise,
        "about {value:.0%} of the validation labels outside the tail look wrong: they contradict the model where it "
        "expects no doubt",
        "The likelihood of labels replaced at random, against none, at the fitted temperature and prior.",
        "Look at the most confident mistakes in the gallery, and correct labels before anything is tuned on them.",
        "Northcutt et al., Confident learning, JAIR 2021; Angluin and Laird, Machine Learning 1988",
        ERRORS["label_noise"],
    ),
    Rule(
        "tail_memorised",
        "Tail learnt by heart",
        rules.tail_memorised,
        "the tail's training accuracy is {tail:.2f} above its validation recall[; the head's is {head:.2f} above]",
        "Training accuracy as observed since the last validation, and validation recall, by class.",
        "Regularise the tail: augmentation, larger margins for rare classes, fewer repetitions.",
        "Cao et al., Label-distribution-aware margin loss, NeurIPS 2019; Feldman, STOC 2020",
        ERRORS["tail_memorised"],
    ),
    Rule(
        "remedy_would_help",
        "A remedy without training would help",
        rules.remedy_would_help,
        "{remedy}[ with τ = {tau:.2f}] would change {objective} by {value:+.2f} ({lower:+.2f} to {upper:+.2f})[, "
        "recall of the tail by {tail:+.2f} and of the head by {head:+.2f}]",
        "Each validation sample judged with what the others choose; a 95 % interval of the gain in the objective.",
        "Apply it to the logits when deciding, and judge it once on other data.",
        "Menon et al., Long-tail learning via logit adjustment, ICLR 2021; Kang et al., ICLR 2020",
        ERRORS["remedy_would_help"],
    ),
)
