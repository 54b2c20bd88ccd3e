"""The classes of every attribute, from counts, labels or dictionaries of groups, and buckets of like counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tbmetrics.classes.attributes import AttributeClasses, family_names
from tbmetrics.classes.families import Families, with_families
from tbmetrics.classes.rules import (
    DEFAULT_RULE,
    GROUPS,
    RULES,
    TERCILES,
    UNKNOWN,
    GroupRule,
    custom_rule,
    groups_of_counts,
    tercile_bounds,
)
from tbmetrics.classes.sources import (
    UNKNOWN_COUNT,
    Label,
    as_numpy,
    count_labels,
    counts_by_name,
    is_by_attribute,
    mapping,
    names_in_order,
    option_for,
    read_hmt,
    refuse_odd_options,
    whole_count,
)

DEFAULT_ATTRIBUTE = "class"
#: The groups that partition the classes.
PARTITION = (*GROUPS, UNKNOWN)
#: Buckets of training counts for what is recorded between and by groups.
BUCKETS = 48
#: At most so many where every pair of them is recorded.
PAIRED_BUCKETS = 64
#: Buckets that the tab adds up while a threshold is dragged.
FINE_BUCKETS = 512


class ClassGroups(Mapping[str, AttributeClasses]):
    """The classes of every attribute: a mapping from attribute name to `AttributeClasses`.

    Build it from training counts, from training labels, or from the `hmt_info` dictionary of older code:

        ClassGroups.from_counts({"digit": {"0": 900, "1": 512, "2": 9}})
        ClassGroups.from_labels({"digit": train_labels}, names={"digit": ["zero", "one", "two"]})
        ClassGroups.from_hmt_info(hmt_info, label_to_idx_dict=label_to_idx_dict)

    A single attribute needs no name: `ClassGroups.from_counts({"cat": 900, "dog": 12})` calls it "class".

    Args:
        attributes: the classes by attribute.
        families: a second grouping, by names: `{attribute: {class name: family}}`, or the inner part alone if there is
            one attribute. Classes without a family are in "other". At most 100 families an attribute.

    Raises:
        ValueError: no attributes, an unknown attribute or class, too many families, or a name that no family can have.
    """

    def __init__(self, attributes: Mapping[str, AttributeClasses], families: Families | None = None) -> None:
        if not attributes:
            raise ValueError("no attributes given; ClassGroups needs at least one, e.g. {'digit': {'0': 900, '1': 12}}")
        self._attributes = dict(attributes) if families is None else with_families(attributes, families)

    def __getitem__(self, attribute: str) -> AttributeClasses:
        try:
            return self._attributes[attribute]
        except KeyError:
            raise KeyError(f"attribute {attribute!r} is unknown; known are {', '.join(map(repr, self))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)

    def __repr__(self) -> str:
        parts = (f"{name!r}: {len(c)} classes {c.sizes()} by {c.rule!r}" for name, c in self.items())
        return f"ClassGroups({', '.join(parts)})"

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[Any, Any] | Sequence[int] | NDArray[Any],
        *,
        rule: str | GroupRule = DEFAULT_RULE,
        head_above: float | None = None,
        tail_below: float | None = None,
        families: Families | None = None,
    ) -> ClassGroups:
        """Groups from training counts.

        Args:
            counts: `{attribute: {class name: count}}`, `{attribute: [count, …]}` (names "0", "1", …; any array or
                tensor), or the inner part alone for one attribute. The order is the order of the logits' columns; a
                `Counter` of class indices and pandas' `value_counts()` of them are put in that order. -1 = unknown.
            rule: a name in `tbmetrics.classes.rules.RULES`, "terciles", or a `GroupRule`.
            head_above, tail_below: custom thresholds instead of a rule: head where count > `head_above`, tail where
                count < `tail_below`. Give both.
            families: a second grouping, see `ClassGroups`.

        Raises:
            ValueError: no classes, a count that is not a whole number >= -1, an unknown rule.
        """
        chosen = custom_rule(rule, head_above, tail_below)
        by_attribute: Any = counts if is_by_attribute(counts) else {DEFAULT_ATTRIBUTE: counts}
        return cls({str(a): _from_counts(str(a), c, chosen) for a, c in by_attribute.items()}, families)

    @classmethod
    def from_labels(
        cls,
        labels: Mapping[str, ArrayLike] | ArrayLike,
        *,
        names: Mapping[str, Sequence[Label]] | Sequence[Label] | None = None,
        num_classes: Mapping[str, int] | int | None = None,
        rule: str | GroupRule = DEFAULT_RULE,
        head_above: float | None = None,
        tail_below: float | None = None,
        families: Families | None = None,
    ) -> ClassGroups:
        """Groups from training labels, which are counted.

        Args:
            labels: `{attribute: labels}` or labels alone; class indices of shape (N,) or multi-hot of shape (N, C).
                Tensors and arrays both work. -1 = unknown, not counted.
            names: class names per attribute (or of the only one); "0", "1", … by default.
            num_classes: number of classes, if the labels may lack the last ones and no names are given.
            rule, head_above, tail_below, families: as in `from_counts`.
        """
        by_attribute = labels if isinstance(labels, Mapping) else {DEFAULT_ATTRIBUTE: labels}
        counts = {}
        for attribute, values in by_attribute.items():
            given_names = option_for(attribute, names, "names")
            size = option_for(attribute, num_classes, "num_classes")
            refuse_odd_options(attribute, given_names, size)
            counts[attribute] = count_labels(attribute, as_numpy(values), given_names, size)
        return cls.from_counts(counts, rule=rule, head_above=head_above, tail_below=tail_below, families=families)

    @classmethod
    def from_groups(cls, groups: Mapping[str, Mapping[Any, str]], *, families: Families | None = None) -> ClassGroups:
        """Groups as given, `{attribute: {class name: "head" | "medium" | "tail" | "unknown"}}`, and families."""
        return cls({str(a): _given(str(a), given) for a, given in mapping(groups, "groups").items()}, families)

    @classmethod
    def from_hmt_info(
        cls,
        hmt_info: Mapping[str, Mapping[Any, Any]],
        *,
        label_to_idx_dict: Mapping[str, Mapping[Any, int]] | None = None,
        rule: str | GroupRule = TERCILES,
        families: Families | None = None,
    ) -> ClassGroups:
        """Groups from a head/medium/tail dictionary, in any of its four forms.

        `{attribute: {"head": {label: count}, "medium": …, "tail": …}}` (further keys with scalar values, such as
        "33_percentile", are ignored), `{attribute: {"head": [labels], …}}`, `{attribute: {label: count}}` (grouped by
        `rule`, default terciles) or `{attribute: {label: "head"}}`. Labels may be strings or ints.

        Args:
            hmt_info: the dictionary.
            label_to_idx_dict: `{attribute: {label: column of the logits}}`; fixes names and order of the classes.
                Classes it names and `hmt_info` lacks are "unknown". Without it the order is that of `hmt_info`.
            rule: for the plain-count form only.
            families: a second grouping, see `ClassGroups`.
        """
        info = mapping(hmt_info, "hmt_info")
        order = {} if label_to_idx_dict is None else mapping(label_to_idx_dict, "label_to_idx_dict")
        return cls({str(a): _from_hmt(str(a), info.get(a, {}), order.get(a), rule) for a in order or info}, families)


@dataclass(frozen=True, slots=True, eq=False)
class CountBuckets:
    """Classes of like training count, ordered by group, then by count, so that groups can be drawn anew after training.

    What is recorded by bucket (calibration, confusions between groups) can be added up for any head/medium/tail
    thresholds between buckets. A bucket never mixes groups of the run's own rule, so those are always exact.

    Attributes:
        of_class: bucket of each class, int64 (classes,).
        groups: group of each bucket by the run's own rule.
        lowest, highest: smallest and largest training count among its classes, int64 (buckets,); -1 = unknown.
        n_classes: int64 (buckets,).
    """

    of_class: NDArray[np.int64]
    groups: tuple[str, ...]
    lowest: NDArray[np.int64]
    highest: NDArray[np.int64]
    n_classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.groups)

    def names(self) -> tuple[str, ...]:
        """A unique name for each bucket, e.g. "tail 3-9"."""
        spans = zip(self.groups, self.lowest.tolist(), self.highest.tolist(), strict=True)
        return tuple(f"{group} {low if low == high else f'{low}-{high}'}" for group, low, high in spans)

    def to_json(self) -> list[dict[str, Any]]:
        """`[{"group", "lowest", "highest", "n_classes"}]`, as written in a table's details."""
        columns = zip(self.groups, self.lowest.tolist(), self.highest.tolist(), self.n_classes.tolist(), strict=True)
        return [dict(zip(("group", "lowest", "highest", "n_classes"), bucket, strict=True)) for bucket in columns]


def count_buckets(classes: AttributeClasses, most: int = BUCKETS) -> CountBuckets:
    """One bucket for each training count in a group, or, if that makes more than `most`, wider ones for larger counts.

    The bounds of the named rules are always bounds of buckets, so there can be a few more than `most`.
    """
    return _buckets_between(classes, _bucket_edges(classes.counts, most))


def covariance_buckets(classes: AttributeClasses) -> CountBuckets:
    """Buckets for what is recorded of every pair of buckets: `count_buckets`, at most `PAIRED_BUCKETS` where possible.

    Groups that were given and overlap in training count make more buckets, which are then wider.
    """
    return _buckets_between(classes, _covariance_edges(classes))


def fine_buckets(classes: AttributeClasses) -> CountBuckets:
    """Buckets to add up while a threshold moves; each lies within one of `covariance_buckets`."""
    edges = np.union1d(_covariance_edges(classes), _bucket_edges(classes.counts, FINE_BUCKETS))
    return _buckets_between(classes, edges)


def family_buckets(classes: AttributeClasses) -> CountBuckets:
    """A bucket for each family, whose name stands for the group."""
    names = family_names(classes.families)
    of_class = np.array([names.index(family) for family in classes.families], dtype=np.int64)
    return _described(classes.counts, of_class, names)


def macro_mean(values: NDArray[np.floating[Any]], members: NDArray[np.int64]) -> tuple[float, int]:
    """Mean of `values[members]` over its defined (non-NaN) entries, and their number; (NaN, 0) if there are none."""
    inside = values[members].astype(np.float64)
    defined = inside[~np.isnan(inside)]
    return (float(defined.mean()), int(defined.size)) if defined.size else (float("nan"), 0)


# ------------------------------------------------------------------------------------------------- details


def _given(attribute: str, group_by_class: Any) -> AttributeClasses:
    groups = mapping(group_by_class, f"the groups of attribute {attribute!r}")
    unknown = np.full(len(groups), UNKNOWN_COUNT, dtype=np.int64)
    return AttributeClasses(attribute, tuple(map(str, groups)), unknown, tuple(groups.values()), "given")


def _from_counts(attribute: str, counts: Any, rule: str | GroupRule) -> AttributeClasses:
    by_name = counts_by_name(attribute, counts)
    values = np.array([whole_count(attribute, n, c) for n, c in by_name.items()], dtype=np.int64)
    name = rule if isinstance(rule, str) else rule.name
    return AttributeClasses(attribute, tuple(map(str, by_name)), values, groups_of_counts(rule, values), name)


def _from_hmt(
    attribute: str, info: Mapping[Any, Any], label_to_idx: Mapping[Any, int] | None, rule: str | GroupRule
) -> AttributeClasses:
    counts, groups = read_hmt(attribute, mapping(info, f"hmt_info of attribute {attribute!r}"))
    names = names_in_order(attribute, label_to_idx) if label_to_idx is not None else list(counts)
    values = np.array([counts.get(n, UNKNOWN_COUNT) for n in names], dtype=np.int64)
    if groups is None:
        return _from_counts(attribute, dict(zip(names, values.tolist(), strict=True)), rule)
    return AttributeClasses(attribute, tuple(names), values, tuple(groups.get(n, UNKNOWN) for n in names), "given")


def _buckets_between(classes: AttributeClasses, edges: NDArray[np.int64]) -> CountBuckets:
    intervals = np.searchsorted(edges, classes.counts, side="right")  # 0 = unknown count
    numbers = {group: number for number, group in enumerate(PARTITION)}
    group_numbers = np.array([numbers[group] for group in classes.groups], dtype=np.int64)
    keys, of_class = np.unique(group_numbers * (len(edges) + 1) + intervals, return_inverse=True)
    groups = tuple(PARTITION[key // (len(edges) + 1)] for key in keys.tolist())
    return _described(classes.counts, of_class.astype(np.int64), groups)


def _described(counts: NDArray[np.int64], of_class: NDArray[np.int64], groups: tuple[str, ...]) -> CountBuckets:
    size = len(groups)
    lowest, highest = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)
    np.minimum.at(lowest, of_class, counts)
    np.maximum.at(highest, of_class, counts)
    return CountBuckets(of_class, groups, lowest, highest, np.bincount(of_class, minlength=size))


def _covariance_edges(classes: AttributeClasses) -> NDArray[np.int64]:
    for most in (BUCKETS, BUCKETS // 2, BUCKETS // 4, 1):
        edges = _bucket_edges(classes.counts, most)
        if len(_buckets_between(classes, edges)) <= PAIRED_BUCKETS:
            break
    return edges


def _bucket_edges(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The smallest count of each bucket, ascending."""
    known = np.unique(counts[counts >= 0])
    if len(known) <= most:
        return known
    spread = np.unique(np.geomspace(1, known[-1] + 1, most).astype(np.int64))
    low, high = tercile_bounds(counts)
    terciles = (int(np.ceil(low)), int(np.floor(high)) + 1)
    named = [bound for rule in RULES.values() for bound in (int(rule.tail_max) + 1, int(rule.head_min))]
    return np.unique(np.concatenate([[0], spread, named, terciles])).astype(np.int64)
