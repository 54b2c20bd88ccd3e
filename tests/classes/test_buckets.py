"""Buckets of training counts: complete, ordered, true to groups and to the bounds of every rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics import ClassGroups
from tbmetrics.classes.buckets import count_buckets
from tbmetrics.classes.rules import RULE_NAMES, RULES, tercile_groups


@given(st.lists(st.integers(-1, 5000), min_size=1, max_size=300), st.sampled_from(RULE_NAMES), st.integers(2, 60))
def test_every_class_is_in_one_bucket_of_its_group(counts, rule, most):
    classes = ClassGroups.from_counts(counts, rule=rule)["class"]
    buckets = count_buckets(classes, most)
    assert len(set(buckets.names())) == len(buckets)
    assert buckets.n_classes.sum() == len(counts)
    for c, bucket in enumerate(buckets.of_class.tolist()):
        assert buckets.groups[bucket] == classes.groups[c]
        assert buckets.lowest[bucket] <= classes.counts[c] <= buckets.highest[bucket]
    for other, named in RULES.items():  # no bucket crosses the bounds of any rule
        low, high = named.groups(buckets.lowest), named.groups(buckets.highest)
        assert low == high, other


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=500, unique=True))
def test_terciles_can_be_drawn_from_any_buckets(counts):
    classes = ClassGroups.from_counts(counts)["class"]
    buckets = count_buckets(classes, 20)
    groups = np.array(tercile_groups(np.array(counts)))
    for bucket in range(len(buckets)):
        assert len(set(groups[buckets.of_class == bucket])) == 1


def test_few_counts_have_a_bucket_each():
    buckets = count_buckets(ClassGroups.from_counts({"a": 500, "b": 500, "c": 40, "d": 3})["class"], 48)
    assert buckets.names() == ("head 500", "medium 40", "tail 3")
    assert buckets.to_json()[0] == {"group": "head", "lowest": 500, "highest": 500, "n_classes": 2}


def test_many_counts_share_a_bounded_number():
    buckets = count_buckets(ClassGroups.from_counts(list(range(1, 9001)))["class"], 48)
    assert 40 < len(buckets) <= 60
    assert buckets.groups[0] == "head"
    assert buckets.lowest[0] == 101
    assert buckets.highest[-1] == 19


@pytest.mark.parametrize("groups", [{"a": "head", "b": "tail", "c": "unknown"}])
def test_groups_without_counts_are_one_bucket_each(groups):
    buckets = count_buckets(ClassGroups.from_groups({"x": groups})["x"], 48)
    assert buckets.groups == ("head", "tail", "unknown")
    assert buckets.lowest.tolist() == buckets.highest.tolist() == [-1, -1, -1]
