"""Names in figures: cut, and still told apart."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics.figures.style import _apart, distinct, short

LAYERS = [
    f"fusion_film.{attribute}.{part}_generator.{layer}"
    for attribute in ("crop", "part", "symptomCategories", "symptomTags")
    for part in ("gamma", "beta")
    for layer in (0, 2)
]


def test_layers_that_differ_in_the_middle_are_told_apart():
    shown = distinct(LAYERS)
    assert len(set(shown)) == len(LAYERS)
    assert max(map(len, shown)) <= 28
    for name, text in zip(LAYERS, shown, strict=True):
        assert name.split(".")[1][:10] in text


def test_short_names_stay_and_the_same_name_is_shown_alike():
    assert distinct(["a", "b", "a"]) == ["a", "b", "a"]
    assert distinct(["x" * 40, "x" * 40]) == [short("x" * 40)] * 2


@given(st.lists(st.floats(0, 1), max_size=20).map(sorted))
def test_names_beside_lines_keep_their_order_and_distance_within_the_axes(heights):
    moved = _apart(heights, 0.05)
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(moved))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in moved)
    assert _apart([0.1, 0.5, 0.9], 0.05) == [0.1, 0.5, 0.9]


@pytest.mark.parametrize("most", [10, 17, 28])
@given(st.lists(st.text(st.sampled_from("ab.\u00e9"), max_size=60), max_size=12))
def test_names_that_differ_are_shown_differently(most, names):
    shown = distinct(names, most)
    assert len(set(shown)) == len(set(names))
    assert all(len(text) <= most for text in shown)
