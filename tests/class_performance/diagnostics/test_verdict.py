"""Planted causes are told apart; the rule table is what the documentation says."""

from pathlib import Path

import numpy as np
import pytest

from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis
from tbmetrics.class_performance.diagnostics.remedies import RemedyTable, remedy_rows
from tbmetrics.class_performance.diagnostics.verdict import RULES, Judgement, verdict
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
        ("plant_starvation", "tail_starved"),
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


def test_nothing_known_is_could_not_be_told_with_the_reason():
    columns = {name: np.full(10, np.nan) for name in DIAGNOSTIC_COLUMNS} | {"support": np.zeros(10)}
    findings = verdict(Diagnosis(GROUPS["x"], columns, NO_REMEDIES, {"classifier": "no model was given"}))
    by_name = {f.rule.name: f for f in findings}
    assert by_name["classifier_bias"].judgement.says == "no model was given"
    untold = {name for name, f in by_name.items() if f.severity == "could not be told"}
    assert untold == set(by_name) - {"too_few_validation_samples"}
    assert by_name["too_few_validation_samples"].judgement.says == "no tail class has a validation sample"
    assert all(len(f.row()) == len(FINDING_COLUMNS) for f in findings)


def test_forgetting_of_the_tail_is_found_where_the_head_keeps_what_it_learnt():
    columns = {name: np.full(10, np.nan) for name in DIAGNOSTIC_COLUMNS} | {"support": np.full(10, 9.0)}
    for head_events, severity in ((0.1, "strong"), (0.9, "not found")):
        columns["forgetting_events"] = np.array([head_events] * 5 + [0.5] * 2 + [1.2] * 3)
        by_name = {f.rule.name: f for f in verdict(Diagnosis(GROUPS["x"], columns, NO_REMEDIES))}
        assert by_name["tail_forgotten"].severity == severity


def test_without_tail_classes_nothing_is_said_of_the_tail():
    classes = ClassGroups.from_counts({"x": [500, 400, 300]})["x"]
    columns = {name: np.full(3, 0.5) for name in DIAGNOSTIC_COLUMNS}
    findings = verdict(Diagnosis(classes, columns, NO_REMEDIES))
    assert {f.severity for f in findings if f.rule.name != "label_noise"} == {"could not be told"}


@pytest.mark.parametrize(
    ("value", "noted", "strong", "holds", "severity"),
    [(0.3, 0.1, 0.2, True, 2), (0.15, 0.1, 0.2, True, 1), (0.05, 0.1, 0.2, True, 0), (0.3, 0.1, 0.2, False, 0),
     (0.1, 0.5, 0.2, True, 2), (0.3, 0.5, 0.2, True, 1), (0.6, 0.5, 0.2, True, 0)],
)  # fmt: skip
def test_thresholds_run_either_way(value, noted, strong, holds, severity):
    assert Judgement(value, "", holds=holds, noted_at=noted, strong_at=strong).severity == severity


def test_every_rule_is_documented_with_its_reference_and_its_thresholds():
    page = PAGE.read_text(encoding="utf-8")
    lines = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")}
    columns = {name: np.full(10, np.nan) for name in DIAGNOSTIC_COLUMNS} | {"support": np.zeros(10)}
    for finding in verdict(Diagnosis(GROUPS["x"], columns, NO_REMEDIES)):
        line = lines[finding.rule.name]
        assert finding.rule.reference.split(",")[0].split(" et al.")[0] in line
        assert f"{finding.judgement.noted_at:g}" in line
        assert f"{finding.judgement.strong_at:g}" in line
    assert len({rule.name for rule in RULES}) == len(RULES)
