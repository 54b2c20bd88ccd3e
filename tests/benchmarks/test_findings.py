"""The table of false alarms in small: planted causes are found, and nothing is found that was not planted."""

import numpy as np
import pytest

from benchmarks.findings import diagnosed, gains, judged, rates, severities
from benchmarks.findings_problems import GAUSSIAN, gaussian, multi_label, trained

SEEDS = range(6)


@pytest.fixture(scope="module")
def outcomes():
    by_cause = {}
    for cause in GAUSSIAN:
        problems = [gaussian(10, cause, seed) for seed in SEEDS]
        validations = [problem.draw(30) for problem in problems]
        pairs = zip(problems, validations, strict=True)
        by_cause[cause] = [list(judged(p, v, diagnosed(p, v))) for p, v in pairs]
    return by_cause


@pytest.mark.parametrize("cause", GAUSSIAN)
def test_a_planted_cause_is_found_and_no_other(outcomes, cause):
    every = [outcome for validation in outcomes[cause] for outcome in validation]
    absent = [o.severity for o in every if not o.is_there]
    there = [o.severity for o in every if o.is_there]
    assert 2.0 not in absent
    assert np.mean([s > 0 for s in absent]) <= 0.1
    assert not there or np.mean([s > 0 for s in there]) >= 0.8
    table = rates({(o.rule, "x"): [o] for o in every})
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_scale_of_the_logits_changes_no_finding():
    for cause in ("training prior", "wrong labels"):
        problem = gaussian(10, cause, 0)
        validation = problem.draw(30)._replace(features=None)
        first, *others = [severities(diagnosed(problem, validation, scale)) for scale in (1.0, 0.05, 20.0)]
        for other in others:
            np.testing.assert_array_equal(list(other.values()), list(first.values()))


def test_predicted_gains_are_those_on_fresh_data():
    pairs = []
    for seed in range(12):
        problem = gaussian(10, "training prior", seed)
        validation = problem.draw(15)
        pairs += gains(problem, validation, problem.draw(1000), diagnosed(problem, validation))
    predicted, true = (np.array([getattr(pair, name) for pair in pairs]) for name in ("predicted", "true"))
    assert predicted.mean() == pytest.approx(true.mean(), abs=0.2 * true.mean())
    assert np.mean([pair.lower <= pair.true <= pair.upper for pair in pairs]) > 0.8


def test_remedies_of_several_labels_help_only_where_they_do():
    for cause, expected in (("nothing to learn", (0,)), ("best thresholds in use", (0,)), ("threshold 0.5", (2, 3))):
        problems = [multi_label(10, cause, seed) for seed in range(3)]
        found = [severities(diagnosed(p, p.draw(30)))["remedy_would_help"] > 0 for p in problems]
        assert sum(found) in expected


def test_a_network_trained_on_clean_labels_has_no_wrong_ones():
    problem = trained(10, "cross-entropy", 0, epochs=4)
    validation = problem.draw(30)
    assert severities(diagnosed(problem, validation))["label_noise"] == 0
    assert 0 < problem.notes["gradient ratio, epoch 2"] < 1
