"""Class names, training counts and the head/medium/tail rule that sorts classes into groups; numpy only."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tbmetrics.records import ALL, GROUPS, HEAD, MEDIUM, TAIL, UNKNOWN

UNKNOWN_COUNT = -1
MOST_COUNT = 2**63
#: Classes that labels alone may stand for; beyond it `num_classes` must say that they are meant.
MOST_COUNTED = 2**24
DEFAULT_ATTRIBUTE = "class"

Label: TypeAlias = str | int
CountsOfAttribute: TypeAlias = Mapping[Any, int] | Sequence[int] | NDArray[Any]


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Head, medium or tail by training count: head where `count >= head_min`, tail where `count <= tail_max`.

    `terciles` has no fixed bounds: it takes the 33rd and 67th percentile of the counts at hand, head above the
    upper, tail below the lower.
    """

    name: str
    head_min: float
    tail_max: float

    def __post_init__(self) -> None:
        if not self.tail_max < self.head_min:
            raise ValueError(
                f"rule {self.name!r}: the tail must end below the head, "
                f"got tail <= {self.tail_max:g} and head >= {self.head_min:g}"
            )

    def groups(self, counts: NDArray[np.int64]) -> tuple[str, ...]:
        """The group of each count; a negative count is "unknown"."""
        return tuple(self._group(int(count)) for count in counts)

    def _group(self, count: int) -> str:
        if count < 0:
            return UNKNOWN
        if count >= self.head_min:
            return HEAD
        return TAIL if count <= self.tail_max else MEDIUM


#: The named rules of the field; the boundary moves published numbers, so each record carries its rule's name.
RULES: Mapping[str, GroupRule] = {
    # Kang et al., ICLR 2020: ImageNet-LT, Places-LT, iNaturalist 2018: head > 100, tail < 20.
    "decoupling": GroupRule("decoupling", head_min=101, tail_max=19),
    # Liu et al., CVPR 2019 (OLTR).
    "oltr": GroupRule("oltr", head_min=100, tail_max=20),
    # Wu et al., ECCV 2020 (Distribution-Balanced Loss): VOC-LT, COCO-LT.
    "dbl": GroupRule("dbl", head_min=100, tail_max=19),
    # Gupta et al., CVPR 2019 (LVIS): frequent, common, rare.
    "lvis": GroupRule("lvis", head_min=100, tail_max=9),
}
TERCILES = "terciles"
RULE_NAMES = (*RULES, TERCILES)


def tercile_groups(counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Head above the 67th percentile of the known counts, tail below the 33rd, medium between (ties included)."""
    known = counts[counts >= 0]
    if known.size == 0:
        return (UNKNOWN,) * len(counts)
    low, high = np.percentile(known, [33, 67])
    return tuple(UNKNOWN if c < 0 else HEAD if c > high else TAIL if c < low else MEDIUM for c in counts.tolist())


@dataclass(frozen=True, eq=False)
class AttributeClasses:
    """The classes of one attribute, in the order of the logits' columns.

    Attributes:
        attribute: the attribute's name.
        names: one name per class.
        counts: training examples per class, int64 of shape (classes,); -1 where unknown.
        groups: "head", "medium", "tail" or "unknown" per class.
        rule: the name of the rule that made the groups ("given" where they were given).
    """

    attribute: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    groups: tuple[str, ...]
    rule: str

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.counts) == len(self.groups):
            raise ValueError(
                f"attribute {self.attribute!r}: {len(self.names)} names, {len(self.counts)} counts and "
                f"{len(self.groups)} groups; give one of each per class"
            )
        if not self.names:
            raise ValueError(f"attribute {self.attribute!r} has no classes; give at least one")
        _refuse_duplicates(self.attribute, self.names)
        _refuse_unknown_groups(self.attribute, self.groups)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AttributeClasses) and (
            (self.attribute, self.names, self.groups, self.rule)
            == (other.attribute, other.names, other.groups, other.rule)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]  # it holds an array

    def members(self, group: str) -> NDArray[np.int64]:
        """Indices of the classes in `group` ("head", "medium", "tail", "unknown" or "all"), int64, ascending."""
        if group == ALL:
            return np.arange(len(self), dtype=np.int64)
        _refuse_unknown_groups(self.attribute, (group,))
        return np.flatnonzero(np.asarray(self.groups) == group).astype(np.int64)

    def sizes(self) -> dict[str, int]:
        """Number of classes per group, for the groups that have any."""
        return {g: self.groups.count(g) for g in (*GROUPS, UNKNOWN) if g in self.groups}


class ClassGroups(Mapping[str, AttributeClasses]):
    """The classes of every attribute: a mapping from attribute name to `AttributeClasses`.

    Build it from training counts, from training labels, or from the `hmt_info` dictionary of older code:

        ClassGroups.from_counts({"digit": {"0": 900, "1": 512, "2": 9}})
        ClassGroups.from_labels({"digit": train_labels}, names={"digit": ["zero", "one", "two"]})
        ClassGroups.from_hmt_info(hmt_info, label_to_idx_dict=label_to_idx_dict)

    A single attribute needs no name: `ClassGroups.from_counts({"cat": 900, "dog": 12})` calls it "class".
    """

    def __init__(self, attributes: Mapping[str, AttributeClasses]) -> None:
        if not attributes:
            raise ValueError("no attributes given; ClassGroups needs at least one, e.g. {'digit': {'0': 900, '1': 12}}")
        self._attributes = dict(attributes)

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
        rule: str | GroupRule = "decoupling",
        head_above: float | None = None,
        tail_below: float | None = None,
    ) -> ClassGroups:
        """Groups from training counts.

        Args:
            counts: `{attribute: {class name: count}}`, `{attribute: [count, …]}` (names "0", "1", …), or the inner
                part alone for one attribute. The order is the order of the logits' columns. -1 = unknown.
            rule: "decoupling" (head > 100, medium 20..100, tail < 20), "oltr", "dbl", "lvis", "terciles", or a
                `GroupRule`.
            head_above, tail_below: custom thresholds instead of a rule: head where count > `head_above`, tail where
                count < `tail_below`. Give both.

        Raises:
            ValueError: no classes, a count that is no whole number >= -1, an unknown rule.
        """
        chosen = _custom_rule(rule, head_above, tail_below)
        by_attribute: Any = counts if _is_by_attribute(counts) else {DEFAULT_ATTRIBUTE: counts}
        return cls({str(a): _from_counts(str(a), c, chosen) for a, c in by_attribute.items()})

    @classmethod
    def from_labels(
        cls,
        labels: Mapping[str, ArrayLike] | ArrayLike,
        *,
        names: Mapping[str, Sequence[Label]] | Sequence[Label] | None = None,
        num_classes: Mapping[str, int] | int | None = None,
        rule: str | GroupRule = "decoupling",
        head_above: float | None = None,
        tail_below: float | None = None,
    ) -> ClassGroups:
        """Groups from the training labels themselves, counted.

        Args:
            labels: `{attribute: labels}` or labels alone; class indices of shape (N,) or multi-hot of shape (N, C).
                Tensors and arrays both work. -1 = unknown, not counted.
            names: class names per attribute (or of the only one); "0", "1", … by default.
            num_classes: number of classes, where the labels may lack the last ones and no names are given.
            rule, head_above, tail_below: as in `from_counts`.
        """
        by_attribute = labels if isinstance(labels, Mapping) else {DEFAULT_ATTRIBUTE: labels}
        counts = {}
        for attribute, values in by_attribute.items():
            of_attribute = _of_attribute(attribute, names, "names")
            size = _of_attribute(attribute, num_classes, "num_classes")
            _refuse_odd_options(attribute, of_attribute, size)
            counts[attribute] = _count_labels(attribute, _as_numpy(values), of_attribute, size)
        return cls.from_counts(counts, rule=rule, head_above=head_above, tail_below=tail_below)

    @classmethod
    def from_groups(cls, groups: Mapping[str, Mapping[Any, str]]) -> ClassGroups:
        """Groups given outright, `{attribute: {class name: "head" | "medium" | "tail" | "unknown"}}`."""
        return cls({str(a): _given(str(a), of_class) for a, of_class in _mapping(groups, "groups").items()})

    @classmethod
    def from_hmt_info(
        cls,
        hmt_info: Mapping[str, Mapping[Any, Any]],
        *,
        label_to_idx_dict: Mapping[str, Mapping[Any, int]] | None = None,
        rule: str | GroupRule = "terciles",
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
        """
        info = _mapping(hmt_info, "hmt_info")
        order = {} if label_to_idx_dict is None else _mapping(label_to_idx_dict, "label_to_idx_dict")
        return cls({str(a): _from_hmt(str(a), info.get(a, {}), order.get(a), rule) for a in order or info})


def macro_mean(values: NDArray[np.floating[Any]], members: NDArray[np.int64]) -> tuple[float, int]:
    """Mean of `values[members]` over its defined (non-NaN) entries, and their number; (NaN, 0) where there is none."""
    chosen = values[members].astype(np.float64)
    defined = chosen[~np.isnan(chosen)]
    return (float(defined.mean()), int(defined.size)) if defined.size else (float("nan"), 0)


# ------------------------------------------------------------------------------------------------- details


def _custom_rule(rule: str | GroupRule, head_above: float | None, tail_below: float | None) -> str | GroupRule:
    if head_above is None and tail_below is None:
        return rule
    if head_above is None or tail_below is None:
        raise ValueError("custom thresholds come in pairs: give both head_above and tail_below")
    if tail_below > head_above + 1:
        raise ValueError(f"tail_below ({tail_below:g}) must not lie above head_above ({head_above:g})")
    return GroupRule(
        f"head > {head_above:g}, tail < {tail_below:g}",
        head_min=float(np.floor(head_above) + 1),
        tail_max=float(np.ceil(tail_below) - 1),
    )


def _is_by_attribute(counts: Any) -> bool:
    return isinstance(counts, Mapping) and any(isinstance(v, Mapping | Sequence | np.ndarray) for v in counts.values())


def _mapping(value: Any, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a dictionary, got {type(value).__name__}")
    return value


def _of_attribute(attribute: Any, option: Any, name: str) -> Any:
    if not isinstance(option, Mapping):
        return option
    if attribute not in option:
        raise ValueError(f"{name} lacks attribute {attribute!r}; it has {', '.join(map(repr, option)) or 'none'}")
    return option[attribute]


def _refuse_odd_options(attribute: Any, names: Any, size: Any) -> None:
    if names is not None and (isinstance(names, str) or not isinstance(names, Sequence | np.ndarray)):
        raise ValueError(f"attribute {attribute!r}: names must be a list of names, got {names!r}")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1):
        raise ValueError(f"attribute {attribute!r}: num_classes must be a whole number of at least 1, got {size!r}")


def _given(attribute: str, of_class: Any) -> AttributeClasses:
    groups = _mapping(of_class, f"the groups of attribute {attribute!r}")
    unknown = np.full(len(groups), UNKNOWN_COUNT, dtype=np.int64)
    return AttributeClasses(attribute, tuple(map(str, groups)), unknown, tuple(groups.values()), "given")


def _from_counts(attribute: str, counts: CountsOfAttribute, rule: str | GroupRule) -> AttributeClasses:
    if isinstance(counts, Mapping):
        by_name: dict[Any, Any] = dict(counts)
    else:
        listed = _as_numpy(counts)
        if listed.ndim != 1:
            raise ValueError(
                f"attribute {attribute!r}: counts must be {{class name: count}} or a list of them, got {counts!r:.200}"
            )
        by_name = {str(i): count for i, count in enumerate(listed.tolist())}
    values = np.array([_whole_count(attribute, n, c) for n, c in by_name.items()], dtype=np.int64)
    name = rule if isinstance(rule, str) else rule.name
    return AttributeClasses(attribute, tuple(map(str, by_name)), values, _apply_rule(rule, values), name)


def _apply_rule(rule: str | GroupRule, counts: NDArray[np.int64]) -> tuple[str, ...]:
    if isinstance(rule, GroupRule):
        return rule.groups(counts)
    if rule == TERCILES:
        return tercile_groups(counts)
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"rule {rule!r} is unknown; use one of {', '.join(map(repr, RULE_NAMES))}, or a GroupRule")
    return RULES[rule].groups(counts)


def _whole_count(attribute: str, name: Any, count: Any) -> int:
    try:
        whole = int(count) if float(count).is_integer() else operator.index(count)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        raise ValueError(
            f"attribute {attribute!r}, class {name!r}: the count must be a whole number, got {count!r}"
        ) from None
    if not UNKNOWN_COUNT <= whole < MOST_COUNT:
        raise ValueError(
            f"attribute {attribute!r}, class {name!r}: the count must be >= 0, or -1 = unknown, got {whole}"
        )
    return whole


def _count_labels(
    attribute: str, labels: NDArray[Any], names: Sequence[Label] | None, num_classes: int | None
) -> dict[str, int]:
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all() or (labels % 1 != 0).any():
        raise ValueError(f"attribute {attribute!r}: labels must be whole numbers, got {labels.dtype} {labels!r:.200}")
    if labels.ndim == 2:
        counts = (labels > 0).sum(axis=0)
    elif labels.ndim == 1:
        counts = _bincount(attribute, labels, len(names) if names is not None else num_classes)
    else:
        raise ValueError(
            f"attribute {attribute!r}: labels must be class indices (N,) or multi-hot (N, C), got shape {labels.shape}"
        )
    chosen = [str(i) for i in range(len(counts))] if names is None else [str(n) for n in names]
    if len(chosen) != len(counts):
        raise ValueError(f"attribute {attribute!r}: {len(chosen)} names for {len(counts)} classes; give one per class")
    _refuse_duplicates(attribute, chosen)
    return dict(zip(chosen, counts.tolist(), strict=True))


def _bincount(attribute: str, labels: NDArray[Any], size: int | None) -> NDArray[np.int64]:
    known = labels[labels != UNKNOWN_COUNT].astype(np.int64)
    if known.size and known.min() < 0:
        raise ValueError(f"attribute {attribute!r}: class indices must be >= 0, or -1 = unknown, got {known.min()}")
    if size is None and known.size and known.max() >= MOST_COUNTED:
        raise ValueError(f"attribute {attribute!r}: class index {known.max()} is very large; give num_classes if meant")
    if size is not None and known.size and known.max() >= size:
        raise ValueError(f"attribute {attribute!r}: class index {known.max()} is out of range for {size} classes")
    return np.bincount(known, minlength=size or 0).astype(np.int64)


def _from_hmt(
    attribute: str, info: Mapping[Any, Any], label_to_idx: Mapping[Any, int] | None, rule: str | GroupRule
) -> AttributeClasses:
    counts, groups = _read_hmt(attribute, _mapping(info, f"hmt_info of attribute {attribute!r}"))
    names = _names_in_order(attribute, label_to_idx) if label_to_idx is not None else list(counts)
    values = np.array([counts.get(n, UNKNOWN_COUNT) for n in names], dtype=np.int64)
    if groups is None:
        return _from_counts(attribute, dict(zip(names, values.tolist(), strict=True)), rule)
    return AttributeClasses(attribute, tuple(names), values, tuple(groups.get(n, UNKNOWN) for n in names), "given")


def _read_hmt(attribute: str, info: Mapping[Any, Any]) -> tuple[dict[str, int], dict[str, str] | None]:
    """Counts by label, and groups by label where the form gives them."""
    by_group = {g: info[g] for g in GROUPS if g in info and not isinstance(info[g], str | int | float)}
    for group, labels in by_group.items():
        if not isinstance(labels, Iterable):
            raise ValueError(f"attribute {attribute!r}: {group!r} must list its labels, got {labels!r}")
    if by_group:
        groups = {str(label): g for g, labels in by_group.items() for label in labels}
        counts = {
            str(label): _whole_count(attribute, label, labels[label] if isinstance(labels, Mapping) else UNKNOWN_COUNT)
            for labels in by_group.values()
            for label in labels
        }
        return counts, groups
    if info and all(isinstance(v, str) for v in info.values()):
        groups = {str(label): g for label, g in info.items()}
        return dict.fromkeys(groups, UNKNOWN_COUNT), groups
    return {str(label): _whole_count(attribute, label, c) for label, c in info.items()}, None


def _names_in_order(attribute: str, label_to_idx: Mapping[Any, int]) -> list[str]:
    columns = {
        label: _column(attribute, column) for label, column in _mapping(label_to_idx, "label_to_idx_dict").items()
    }
    order = sorted(columns, key=columns.__getitem__)
    if [columns[label] for label in order] != list(range(len(order))):
        raise ValueError(
            f"attribute {attribute!r}: label_to_idx_dict must number its {len(order)} labels 0..{len(order) - 1}, "
            f"got {sorted(columns.values())[:10]}"
        )
    return [str(label) for label in order]


def _column(attribute: str, column: Any) -> int:
    try:
        return int(column)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        raise ValueError(
            f"attribute {attribute!r}: label_to_idx_dict must give the column of each label, got {column!r}"
        ) from None


def _as_numpy(values: Any) -> NDArray[Any]:
    """Arrays, lists and tensors (recognised by their methods: this module imports no torch) as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def _refuse_duplicates(attribute: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})[:5]
        raise ValueError(f"attribute {attribute!r}: class names must be unique, these occur twice: {twice}")


def _refuse_unknown_groups(attribute: str, groups: Sequence[str]) -> None:
    allowed = (*GROUPS, UNKNOWN)
    for group in groups:
        if not isinstance(group, str) or group not in allowed:
            raise ValueError(f"attribute {attribute!r}: group {group!r} is unknown; use one of {', '.join(allowed)}")
