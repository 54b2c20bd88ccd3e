"""What nobody means to give to `ClassGroups`: a ValueError that says what is wrong, or groups that hold together."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics import ClassGroups
from tbmetrics.classes.rules import GroupRule
from tbmetrics.records import GROUPS, UNKNOWN

numbers = st.one_of(
    st.integers(-3, 2000), st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.sampled_from(["7", "x", ""])
)
scalars = st.one_of(numbers, st.none(), st.text(max_size=4), st.sampled_from(["head", "medium", "tail", "unknown"]))
keys = st.one_of(st.text(max_size=4), st.integers(-2, 5), st.sampled_from([*GROUPS, "33_percentile"]), st.none())
leaves = st.one_of(
    scalars,
    st.lists(scalars, max_size=5),
    st.just(np.array([[1, 0], [0, 1]])),
    st.just(np.array([1.5, np.nan])),
    st.just(np.array(["a", "b"])),
    st.just(np.zeros((2, 2, 2))),
    st.just(torch.tensor([0, 1, 1])),
    st.just(torch.tensor([0.5])),
)
nested = st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=4), max_leaves=10)


def _holds_together(groups):
    for attribute, classes in groups.items():
        assert len(classes.names) == len(classes.counts) == len(classes.groups) > 0
        assert len(set(classes.names)) == len(classes.names)
        assert set(classes.groups) <= {*GROUPS, UNKNOWN}
        assert all(isinstance(name, str) for name in (attribute, *classes.names))
        assert (classes.counts >= -1).all()


def _made_or_refused(make):
    try:
        groups = make()
    except ValueError:
        return
    _holds_together(groups)


@given(nested, st.sampled_from(["decoupling", "terciles", "lvis", "no rule"]))
def test_from_counts(counts, rule):
    _made_or_refused(lambda: ClassGroups.from_counts(counts, rule=rule))


@given(nested, nested, nested)
def test_from_labels(labels, names, num_classes):
    _made_or_refused(lambda: ClassGroups.from_labels(labels, names=names, num_classes=num_classes))


@given(nested)
def test_from_groups(groups):
    _made_or_refused(lambda: ClassGroups.from_groups(groups))


@given(nested, st.one_of(st.none(), nested))
def test_from_hmt_info(info, order):
    _made_or_refused(lambda: ClassGroups.from_hmt_info(info, label_to_idx_dict=order))


@given(st.floats(), st.floats(), st.lists(st.integers(-1, 2**62), min_size=1, max_size=8))
def test_thresholds_sort_every_count_or_are_refused(head, tail, counts):
    _made_or_refused(lambda: ClassGroups.from_counts({"x": counts}, head_above=head, tail_below=tail))
    _made_or_refused(lambda: ClassGroups.from_counts({"x": counts}, rule=GroupRule("r", head, tail)))
