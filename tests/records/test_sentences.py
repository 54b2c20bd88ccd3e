"""Sentences are filled with numbers, and with nothing else."""

import math

import pytest

from tbmetrics.records.sentences import filled


@pytest.mark.parametrize(
    ("template", "numbers", "expected"),
    [
        ("a gap of {value:.2f}", {"value": 0.256}, "a gap of 0.26"),
        ("by {value:+.2f} ({share:.0%})", {"value": 0.1, "share": 0.254}, "by +0.10 (25\u00a0%)"),
        ("{n:g} classes[; head {head:.1f}]", {"n": 3.0, "head": 2.0}, "3 classes; head 2.0"),
        ("{n:g} classes[; head {head:.1f}]", {"n": 3.0, "head": math.nan}, "3 classes"),
        ("{n:g} classes", {"n": None}, ""),
        ("{n:g} classes", {}, ""),
        ("{n.real} {n!r} {n:99999999.2f} {", {"n": 1.0}, "{n.real} {n!r} {n:99999999.2f} {"),
    ],
)
def test_places_and_optional_parts(template, numbers, expected):
    assert filled(template, numbers) == expected
