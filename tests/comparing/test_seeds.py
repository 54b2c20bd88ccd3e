"""Patterns on run names: as the tab reads them."""

import pytest

from tbmetrics import InputError
from tbmetrics.comparing.seeds import USUAL_PATTERN, experiments, seed_pattern


@pytest.mark.parametrize(
    ("pattern", "run", "expected"),
    [
        ("", "focal/seed1", "focal/seed1"),
        (r"/seed\d+", "focal/SEED12/x", "focal/x"),
        (r"^(?<name>.*)-\d+$", "focal-3", "focal"),
        (r"^(?P<name>.*)-\d+$", "focal-3", "focal"),
        (r"(?<!x)\d", "x1y2", "x1y"),
        (USUAL_PATTERN, "focal_s1", "focal"),
        (USUAL_PATTERN, "bs32", "bs32"),
        (".*", "all", "all"),
    ],
)
def test_the_experiment_is_what_is_named_or_left(pattern, run, expected):
    assert seed_pattern(pattern)(run) == expected


def test_experiments_keep_the_order_of_their_first_runs():
    runs = ("b/s1", "a/s0", "b/s0", "c")
    assert experiments(runs, seed_pattern(r"/s\d")) == {"b": ("b/s1", "b/s0"), "a": ("a/s0",), "c": ("c",)}


def test_what_is_no_pattern_is_refused():
    with pytest.raises(InputError, match=r"seeds must be a regular expression, got '\['"):
        seed_pattern("[")
