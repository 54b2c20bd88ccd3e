"""Class groups: every rule at its boundaries, every way to build them, every mistake; buckets of like counts."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import (
    PAIRED_BUCKETS,
    ClassGroups,
    count_buckets,
    covariance_buckets,
    fine_buckets,
    macro_mean,
)
from tbmetrics.classes.rules import RULE_NAMES, RULES, GroupRule, tercile_groups


@pytest.mark.parametrize(
    ("rule", "head", "medium", "tail"),
    [
        ("decoupling", [101, 5000], [20, 100], [0, 19]),
        ("oltr", [100, 101], [21, 99], [0, 20]),
        ("dbl", [100, 101], [20, 99], [0, 19]),
        ("lvis", [100, 101], [10, 99], [0, 9]),
    ],
)
def test_named_rules_at_their_boundaries(rule, head, medium, tail):
    groups = ClassGroups.from_counts({"x": [*head, *medium, *tail, -1]}, rule=rule)["x"]
    assert groups.groups == ("head",) * 2 + ("medium",) * 2 + ("tail",) * 2 + ("unknown",)
    assert groups.rule == rule


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60))
def test_terciles_follow_numpys_percentiles(counts):
    groups = np.array(ClassGroups.from_counts({"x": counts}, rule="terciles")["x"].groups)
    low, high = np.percentile(counts, [33, 67])
    np.testing.assert_array_equal(groups == "head", np.array(counts) > high)
    np.testing.assert_array_equal(groups == "tail", np.array(counts) < low)


def test_custom_thresholds_and_rules():
    counts = {"x": [51, 50, 5, 4]}
    assert ClassGroups.from_counts(counts, head_above=50, tail_below=5)["x"].groups == (
        "head",
        "medium",
        "medium",
        "tail",
    )
    own = GroupRule("mine", head_min=50, tail_max=5)
    assert ClassGroups.from_counts(counts, rule=own)["x"].groups == ("head", "head", "tail", "tail")


def test_counts_by_name_by_position_and_for_one_attribute():
    by_name = ClassGroups.from_counts({"x": {"a": 900, "b": 3}})
    assert by_name["x"].names == ("a", "b")
    assert ClassGroups.from_counts({"x": np.array([900, 3])})["x"].names == ("0", "1")
    assert list(ClassGroups.from_counts({"a": 900, "b": 3})) == ["class"]
    assert ClassGroups.from_counts([900, 3])["class"].counts.tolist() == [900, 3]


def test_counts_by_attribute_may_be_tensors_and_series():
    counts = torch.bincount(torch.tensor([0] * 900 + [1] * 60 + [2] * 4))
    by_attribute = ClassGroups.from_counts({"digit": counts})
    assert by_attribute["digit"].counts.tolist() == [900, 60, 4]
    assert by_attribute["digit"].groups == ClassGroups.from_counts(counts)["class"].groups
    animals = pandas.Series(["dog"] * 900 + ["ant"] * 4).value_counts()
    for made in (ClassGroups.from_counts(animals)["class"], ClassGroups.from_counts({"animal": animals})["animal"]):
        assert made.names == ("dog", "ant")
        assert made.counts.tolist() == [900, 4]
    assert ClassGroups.from_counts({"a": torch.tensor(900), "b": np.int64(4)})["class"].names == ("a", "b")


@given(st.lists(st.integers(-1, 12), min_size=1).filter(lambda labels: max(labels) >= 0))
def test_counted_indices_are_in_the_order_of_the_columns(labels):
    expected = ClassGroups.from_labels(labels)["class"]
    counted = Counter(labels)
    for counts in (counted, pandas.Series(labels).value_counts(), Counter(map(np.int64, labels))):
        made = ClassGroups.from_counts(counts)["class"]
        assert (made.names, made.counts.tolist()) == (expected.names, expected.counts.tolist())
    shuffled = dict(sorted(((i, i + 1) for i in range(5)), key=lambda item: item[0] % 3))
    assert ClassGroups.from_counts(shuffled)["class"].counts.tolist() == [1, 2, 3, 4, 5]


def test_numbers_that_name_classes_stay_in_the_order_given():
    assert ClassGroups.from_counts({2023: 900, 1999: 4})["class"].names == ("2023", "1999")


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_labels_are_counted(make):
    indices = make([0, 0, 2, -1, 0])
    assert ClassGroups.from_labels({"x": indices}, num_classes=4)["x"].counts.tolist() == [3, 0, 1, 0]
    multi_hot = make([[1, 0], [1, 1], [-1, 0]])
    groups = ClassGroups.from_labels({"x": multi_hot}, names={"x": ["a", "b"]})["x"]
    assert (groups.names, groups.counts.tolist()) == (("a", "b"), [2, 1])


@pytest.mark.parametrize(
    "info",
    [
        {"head": {"a": 900}, "medium": {"b": 50}, "tail": {3: 2}, "33_percentile": 10.0, "67_percentile": 100},
        {"head": ["a"], "medium": ["b"], "tail": [3]},
        {"a": "head", "b": "medium", 3: "tail"},
        {"a": 900, "b": 50, 3: 2},
    ],
)
def test_every_form_of_hmt_info(info):
    groups = ClassGroups.from_hmt_info({"x": info})["x"]
    assert groups.names == ("a", "b", "3")
    assert groups.groups == ("head", "medium", "tail")
    order = {"x": {3: 0, "b": 1, "a": 2}}
    assert ClassGroups.from_hmt_info({"x": info}, label_to_idx_dict=order)["x"].groups == ("tail", "medium", "head")


def test_labels_that_hmt_info_lacks_are_unknown():
    groups = ClassGroups.from_hmt_info({"x": {"head": ["a"]}}, label_to_idx_dict={"x": {"a": 0, "z": 1}, "y": {"q": 0}})
    assert groups["x"].groups == ("head", "unknown")
    assert groups["y"].groups == ("unknown",)


def test_members_sizes_and_macro_mean():
    groups = ClassGroups.from_counts({"x": [900, 50, 3, 2]})["x"]
    assert groups.members("tail").tolist() == [2, 3]
    assert groups.members("all").tolist() == [0, 1, 2, 3]
    assert groups.sizes() == {"head": 1, "medium": 1, "tail": 2}
    values = np.array([1.0, 0.5, np.nan, 0.25])
    assert macro_mean(values, groups.members("tail")) == (0.25, 1)
    mean, count = macro_mean(values, groups.members("unknown"))
    assert np.isnan(mean)
    assert count == 0
    assert ClassGroups.from_groups({"x": {"a": "head"}})["x"].counts.tolist() == [-1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassGroups.from_counts({"x": ["cat", "lynx"]}), "got 'cat'; names of classes need their training"),
        (lambda: ClassGroups.from_counts({"x": {"a": 1.5}}), "class 'a': the count must be a whole number, got 1.5"),
        (lambda: ClassGroups.from_counts({"x": {"a": -2}}), "must be >= 0, or -1 = unknown, got -2"),
        (lambda: ClassGroups.from_counts({"x": {"a": "many"}}), "must be a whole number, got 'many'"),
        (lambda: ClassGroups.from_counts({"x": {}}), "has no classes"),
        (lambda: ClassGroups.from_counts({"x": [1]}, rule="rare"), "rule 'rare' is unknown; use one of 'decoupling'"),
        (lambda: ClassGroups.from_counts({"x": [1]}, head_above=5), "come in pairs"),
        (lambda: ClassGroups.from_counts({"x": [1]}, head_above=5, tail_below=9), "must not lie above"),
        (lambda: GroupRule("r", head_min=5, tail_max=5), "the tail must end below the head"),
        (lambda: ClassGroups({}), "no attributes given"),
        (lambda: ClassGroups.from_labels({"x": [[[1]]]}), r"got shape \(1, 1, 1\)"),
        (lambda: ClassGroups.from_labels({"x": [0, 5]}, num_classes=3), "class index 5 is out of range for 3 classes"),
        (lambda: ClassGroups.from_labels({"x": [0, -3]}), "must be >= 0, or -1 = unknown, got -3"),
        (lambda: ClassGroups.from_labels({"x": [[1, 0]]}, names={"x": ["a"]}), "1 names for 2 classes"),
        (lambda: ClassGroups.from_groups({"x": {"a": "rare"}}), "group 'rare' is unknown; use one of head"),
        (
            lambda: ClassGroups.from_hmt_info({}, label_to_idx_dict={"x": {"a": 0, "b": 2}}),
            r"must number its 2 labels 0\.\.1",
        ),
        (
            lambda: AttributeClasses("x", ("a", "a"), np.array([1, 2]), ("head", "head"), "r"),
            r"these occur twice: \['a'\]",
        ),
    ],
)
def test_mistakes_name_the_attribute_the_value_and_the_remedy(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_attribute_names_the_known_ones():
    with pytest.raises(KeyError, match="attribute 'y' is unknown; known are 'x'"):
        ClassGroups.from_counts({"x": [1]})["y"]


def test_every_named_rule_is_consistent():
    assert all(rule.name == name and rule.tail_max < rule.head_min for name, rule in RULES.items())


# ------------------------------------------------------------------------------------------------- buckets


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


@given(
    st.lists(st.tuples(st.integers(-1, 5000), st.sampled_from(["head", "medium", "tail"])), min_size=1, max_size=600),
    st.booleans(),
)
def test_fine_buckets_lie_within_those_of_covariances_which_are_bounded(classes, given_groups):
    counts = [count for count, _ in classes]
    groups = tuple(group for _, group in classes)
    by_rule = ClassGroups.from_counts(counts)["class"]
    attribute = replace(by_rule, groups=groups, rule="given") if given_groups else by_rule
    fine, coarse = fine_buckets(attribute), covariance_buckets(attribute)
    assert len(coarse) <= PAIRED_BUCKETS
    for bucket in range(len(fine)):
        assert len(set(coarse.of_class[fine.of_class == bucket].tolist())) == 1
