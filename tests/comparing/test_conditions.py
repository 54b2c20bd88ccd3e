"""Conditions for gates."""

import pytest

from tbmetrics.comparing.conditions import Condition
from tbmetrics.errors import InputError


@pytest.mark.parametrize(
    ("text", "baseline", "value", "holds"),
    [
        ("tail.f1 < baseline - 0.02", 0.5, 0.47, True),
        ("tail.f1 < baseline - 0.02", 0.5, 0.49, False),
        ("tail.f1<baseline-.02", 0.5, 0.47, True),
        ("all.recall >= baseline + 1e-1", 0.5, 0.6, True),
        ("gap.ap > 0.3", 0.0, 0.31, True),
        ("gap.ap > baseline", 0.3, 0.3, False),
        ("gap.ap <= -0.5", 0.0, -0.6, True),
        ("head.f1 < 0.9", 0.0, float("nan"), False),
    ],
)
def test_a_condition_says_what_it_means(text, baseline, value, holds):
    assert Condition.parse(text).holds(baseline, value) is holds


@pytest.mark.parametrize(
    ("text", "interval", "holds"),
    [
        ("tail.f1 significantly < baseline", (-0.05, -0.01), True),
        ("tail.f1 significantly < baseline", (-0.05, 0.01), False),
        ("tail.f1 significantly < baseline - 0.02", (-0.05, -0.01), False),
        ("tail.f1 significantly < baseline - 0.02", (-0.09, -0.03), True),
        ("gap.recall significantly > baseline + 0.1", (0.11, 0.2), True),
        ("gap.recall significantly > 0.3", (0.29, 0.4), False),
    ],
)
def test_evidence_is_the_whole_interval(text, interval, holds):
    condition = Condition.parse(text)
    assert condition.needs_evidence
    assert condition.holds_with_evidence(*interval) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tail.f1", "expected GROUP.METRIC < NUMBER"),
        ("tail.f1 < base", "expected GROUP.METRIC < NUMBER"),
        ("tail.f1 certainly < 0.3", "expected GROUP.METRIC < NUMBER"),
        ("tail.f1 == 0.3", "expected GROUP.METRIC < NUMBER"),
        ("tails.f1 < 1", "group 'tails' is unknown; use one of head, medium, tail"),
    ],
)
def test_another_form_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        Condition.parse(text)
