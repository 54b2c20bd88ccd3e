"""Families of classes: who is in which, and what is refused."""

import re

import pytest

from tbmetrics import ClassGroups

COUNTS = {"cat": 900, "trout": 50, "dog": 9, "rock": 3}
FAMILIES = {"trout": "fish", "cat": "mammal", "dog": "mammal"}


def _family_of(groups, attribute="class"):
    return dict(zip(groups[attribute].names, groups[attribute].families, strict=True))


EXPECTED = {"cat": "mammal", "trout": "fish", "dog": "mammal", "rock": "other"}


@pytest.mark.parametrize(
    "groups",
    [
        ClassGroups.from_counts(COUNTS, families=FAMILIES),
        ClassGroups.from_counts({"class": COUNTS}, families={"class": FAMILIES}),
        ClassGroups.from_labels([0, 0, 1, 2, 3], names=list(COUNTS), families=FAMILIES),
        ClassGroups.from_groups({"class": dict.fromkeys(COUNTS, "tail")}, families=FAMILIES),
        ClassGroups.from_hmt_info({"class": COUNTS}, families=FAMILIES),
        ClassGroups(ClassGroups.from_counts(COUNTS), families=FAMILIES),
    ],
)
def test_every_way_takes_families_and_the_rest_is_other(groups):
    assert _family_of(groups) == EXPECTED


def test_names_of_classes_may_be_numbers_and_only_some_attributes_have_families():
    groups = ClassGroups.from_counts({"a": [5, 6, 7], "b": [1, 2]}, families={"a": {0: "even", 2: "even", 1: "odd"}})
    assert groups["a"].families == ("even", "odd", "even")
    assert groups["b"].families == ()
    assert list(groups["a"].family_members("even")) == [0, 2]


def test_families_are_part_of_equality():
    assert ClassGroups.from_counts(COUNTS)["class"] != ClassGroups.from_counts(COUNTS, families=FAMILIES)["class"]


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (
            {"wolf": "mammal"},
            "1 unknown classes, such as ['wolf']; classes are called 'cat', 'trout', 'dog', 'rock', …",
        ),
        ({"digit": FAMILIES}, "families of unknown attributes ['digit']; known are 'class'"),
        ({"cat": "all"}, "a family has a name other than 'all' and 'gap', got 'all'"),
        ({"cat": ""}, "a family has a name"),
        ({"cat": None}, "a family has a name"),
        (["mammal"], "families must be a dictionary, got list"),
    ],
)
def test_what_does_not_fit_is_refused(families, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ClassGroups.from_counts(COUNTS, families=families)


def test_too_many_families_and_families_of_no_attribute_are_refused():
    many = {str(i): f"family {i}" for i in range(101)}
    with pytest.raises(ValueError, match="101, at most 100 are possible; give a coarser level"):
        ClassGroups.from_counts([1] * 101, families=many)
    with pytest.raises(ValueError, match=r"families of which attribute\?"):
        ClassGroups.from_counts({"a": [1], "b": [1]}, families={"0": "x"})
