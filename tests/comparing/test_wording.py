"""One sentence on two runs: it says what the verdicts say, with their numbers."""

import re

import numpy as np
import pytest

from tbmetrics.comparing.runs import compare
from tbmetrics.comparing.validations import Validation
from tbmetrics.comparing.wording import sentence
from tbmetrics.records import DecidedSamples

EACH = 200
GROUPS = ("head", "head", "tail", "tail", "tail")


def _run(shares, *, metric="recall", groups=GROUPS, step=0, decided=True):
    """Of each class the first share of its samples is right."""
    shares = np.array(shares)
    labels = np.repeat(np.arange(len(shares)), EACH)
    is_right = np.tile(np.arange(EACH), len(shares)) < np.repeat(shares * EACH, EACH)
    predicted = np.where(is_right, labels, (labels + 1) % len(shares))
    samples = DecidedSamples.of_predictions(labels, predicted, len(shares), "same") if decided else None
    names = tuple(map(str, range(len(shares))))
    return Validation("x", metric, step, names, groups, shares, {}, "single_label", samples)


A = (0.9, 0.8, 0.3, 0.2, 0.4)


SPAN = r"\(0\.\d\d to 0\.\d\d\)"


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        ((0.9, 0.8, 0.6, 0.5, 0.7), rf"B gains 0\.30 recall on the tail {SPAN} and shows no clear change on the head"),
        ((0.5, 0.4, 0.6, 0.5, 0.7), rf"and loses 0\.40 on the head {SPAN}; 3 of 3 tail classes up\."),
        ((0.95, 0.95, 0.1, 0.05, 0.4), rf"B loses 0\.12 recall on the tail {SPAN} and gains 0\.10 .*; 0 of 3 tail"),
        (A, r"B shows no clear change of recall on the tail \([−+]0\.\d\d to \+0\.\d\d\) or on the head \("),
    ],
)
def test_gains_and_losses_have_the_numbers_of_the_comparison(b, expected):
    result = compare(_run(A), _run(b))
    text = sentence(result)
    assert re.search(expected, text), text
    tail = result.groups["tail"]
    if tail.verdict in ("better", "worse"):
        low, high = sorted(abs(end) for end in (tail.lower, tail.upper))
        assert f"{abs(tail.difference):.2f} recall on the tail ({low:.2f} to {high:.2f})" in text


def test_without_a_tail_it_speaks_of_all_classes():
    medium = ("medium",) * 5
    text = sentence(compare(_run(A, groups=medium), _run((0.95,) * 5, groups=medium)))
    assert re.fullmatch(rf"B gains 0\.43 recall over all classes {SPAN}; 5 of 5 classes up\.", text)


def test_what_keeps_it_from_being_said_is_said():
    withheld = sentence(compare(_run(A), _run(A, step=3)))
    assert withheld == "Nothing can be said of A and B: A is at step 0, B is at step 3."
    untold = sentence(compare(_run(A, decided=False), _run((0.95,) * 5, decided=False)))
    assert "B differs by +0.65 recall on the tail, which cannot be told from chance, and differs by" in untold
    undefined = sentence(compare(_run((np.nan,) * 5, decided=False), _run(A, decided=False)))
    assert undefined == "Nothing can be said of A and B: no class has a value in both."
