"""Planted causes are told apart; the rule table is what the documentation says."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis
from tbmetrics.class_performance.diagnostics.remedies import Estimate, Lean, RemedyTable, remedy_rows
from tbmetrics.class_performance.diagnostics.rules import Judgement
from tbmetrics.class_performance.diagnostics.verdict import RULES, verdict
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.records import DIAGNOSTIC_COLUMNS, FINDING_COLUMNS
from tests.class_performance.diagnostics.problems import GROUPS, Problem, causes

NO_REMEDIES = RemedyTable.untried(remedy_rows(True, (1.0,)), 0)
PAGE = Path(__file__).parents[3] / "docs" / "diagnostics.md"


@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_model_has_no_findings(seed):
    assert Problem(seed).diagnosed().get_metrics()["findings"] == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("plant", "cause"),
    [
        ("plant_norm_bias", "classifier_bias"),
        ("plant_collapse", "features_collapsed"),
        ("plant_label_noise", "label_noise"),
        ("plant_rote", "tail_memorised"),
    ],
)
def test_a_planted_cause_is_found_and_no_other(plant, cause, seed):
    tracker = getattr(Problem(seed), plant)().diagnosed()
    assert causes(tracker) == {cause}
    (finding,) = (f for f in tracker.get_metrics()["findings"] if f["name"] == cause)
    assert finding["severity"] == "strong"


def test_a_biased_classifier_is_mended_by_normalising_it_and_collapsed_features_are_not():
    biased = Problem(spread=3.0).plant_norm_bias().diagnosed().get_metrics()
    collapsed = Problem().plant_collapse().diagnosed().get_metrics()
    best = {
        name: m["attributes"]["x"]["remedies"]["tau_normalization"]["best"]
        for name, m in (("b", biased), ("c", collapsed))
    }
    assert best["b"]["tail_recall"] > 0.9
    assert "remedy_would_help" in {f["name"] for f in biased["findings"]}
    # What is won for a collapsed class is lost by its twin: by chance the two share the samples.
    assert best["c"]["tail_recall"] + best["c"]["head_recall"] < 1.6


def test_few_samples_of_the_tail_are_said():
    problem = Problem(per_class=2, spread=1.2)
    by_name = {f["name"]: f for f in problem.diagnosed().get_metrics()["findings"]}
    assert "fewer than 5 validation samples" in by_name["too_few_validation_samples"]["says"]
    assert by_name["too_few_validation_samples"]["evidence"]["value"] > 0.1


def _unknown(support=0.0):
    return {name: np.full(10, np.nan) for name in DIAGNOSTIC_COLUMNS} | {"support": np.full(10, support)}


def test_nothing_known_is_could_not_be_told_with_the_reason():
    left_out = {"logit_adjustment": "the training counts are unknown", "features": "no model was given"}
    findings = verdict(Diagnosis(GROUPS["x"], _unknown(), NO_REMEDIES, left_out=left_out))
    by_name = {f.rule.name: f for f in findings}
    assert by_name["classifier_bias"].says == "the training counts are unknown"
    untold = {name for name, f in by_name.items() if f.severity == "could not be told"}
    assert untold == set(by_name) - {"too_few_validation_samples"}
    assert "3 of 3 tail classes have fewer than 5 validation samples" in by_name["too_few_validation_samples"].says
    assert all(len(f.row()) == len(FINDING_COLUMNS) for f in findings)
    assert not by_name["features_collapsed"].judgement.applies
    assert by_name["classifier_bias"].judgement.applies


def test_without_tail_classes_nothing_is_said_of_the_tail():
    classes = ClassGroups.from_counts({"x": [500, 400, 300]})["x"]
    columns = {name: np.full(3, 0.5) for name in DIAGNOSTIC_COLUMNS}
    findings = verdict(Diagnosis(classes, columns, NO_REMEDIES))
    assert {f.severity for f in findings if f.rule.name != "label_noise"} == {"could not be told"}
    of_tail = {"tail_gap", "too_few_validation_samples", "features_collapsed", "tail_memorised"}
    assert {f.rule.name for f in findings if not f.judgement.applies} == of_tail


def test_multi_label_attributes_are_not_judged_by_rules_of_one_label():
    findings = verdict(Diagnosis(GROUPS["x"], _unknown(), NO_REMEDIES, is_single_label=False))
    assert {"classifier_bias", "label_noise"} <= {f.rule.name for f in findings if not f.judgement.applies}


@pytest.mark.parametrize(
    ("value", "half", "severity"),
    [(0.3, 0.05, "strong"), (0.3, 0.29, "noted"), (0.03, 0.01, "noted"), (0.005, 0.001, "not found"),
     (0.0, 0.02, "not found"), (0.0, 0.4, "could not be told"), (-0.1, 0.05, "not found")],
)  # fmt: skip
def test_what_the_interval_leaves_open_is_not_told(value, half, severity):
    table = RemedyTable.untried(remedy_rows(True, (1.0,)), 10)
    table.lean = Lean(1.0, 0.9, Estimate(value, value - half, value + half))
    by_name = {f.rule.name: f for f in verdict(Diagnosis(GROUPS["x"], _unknown(), table))}
    assert by_name["classifier_bias"].severity == severity
    assert f"would change by {value:+.2f}" in by_name["classifier_bias"].says
    assert by_name["classifier_bias"].says.startswith("the samples do not decide") == (severity == "could not be told")


@pytest.mark.parametrize(
    ("value", "noted", "strong", "holds", "severity"),
    [(0.3, 0.1, 0.2, True, 2), (0.15, 0.1, 0.2, True, 1), (0.05, 0.1, 0.2, True, 0), (0.3, 0.1, 0.2, False, 0)],
)
def test_a_finding_needs_its_bound_and_its_further_conditions(value, noted, strong, holds, severity):
    assert Judgement(value, "", holds=holds, noted_at=noted, strong_at=strong).severity == severity


def test_every_rule_is_documented_with_its_reference_and_its_thresholds():
    page = PAGE.read_text(encoding="utf-8")
    lines: dict[str, str] = defaultdict(str)
    for line in page.splitlines():
        if line.startswith("| `"):
            lines[line.split("|")[1].strip(" `")] += line
    columns = {name: np.full(10, np.nan) for name in DIAGNOSTIC_COLUMNS} | {"support": np.zeros(10)}
    for finding in verdict(Diagnosis(GROUPS["x"], columns, NO_REMEDIES)):
        line = lines[finding.rule.name]
        assert finding.rule.reference.split(",")[0].split(" et al.")[0] in line
        assert f"{finding.judgement.noted_at:g}" in line
        assert f"{finding.judgement.strong_at:g}" in line
        assert finding.rule.errors
        assert finding.rule.errors in line
    assert len({rule.name for rule in RULES}) == len(RULES)
