"""Families: a second grouping of the classes, by names instead of frequency (a taxonomy, domains)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from tbmetrics.classes.attributes import OTHER, AttributeClasses, family_names
from tbmetrics.classes.rules import ALL, GAP
from tbmetrics.classes.sources import mapping

#: `{attribute: {class name: family}}`, or the inner part alone for a single attribute.
Families: TypeAlias = Mapping[Any, Any]
#: More would be no table that anyone reads.
MOST_FAMILIES = 100


def with_families(attributes: Mapping[str, AttributeClasses], families: Families) -> dict[str, AttributeClasses]:
    """The attributes with the families of their classes; `ValueError` if the two do not fit."""
    by_attribute = _by_attribute(attributes, families)
    unknown = [attribute for attribute in by_attribute if attribute not in attributes]
    if unknown:
        raise ValueError(f"families of unknown attributes {unknown}; known are {', '.join(map(repr, attributes))}")
    return {
        name: replace(classes, families=_families(classes, by_attribute[name])) if name in by_attribute else classes
        for name, classes in attributes.items()
    }


def _by_attribute(attributes: Mapping[str, AttributeClasses], families: Families) -> dict[str, Any]:
    given = mapping(families, "families")
    if any(isinstance(value, Mapping) for value in given.values()):
        return {str(attribute): family_by_class for attribute, family_by_class in given.items()}
    if len(attributes) > 1:
        raise ValueError(f"families of which attribute? Give {{attribute: {{class: family}}}} of {list(attributes)}")
    return dict.fromkeys(attributes, given)


def _families(classes: AttributeClasses, family_by_class: Any) -> tuple[str, ...]:
    """The family of each class."""
    what = f"the families of attribute {classes.attribute!r}"
    given = {str(c): _name(what, family) for c, family in mapping(family_by_class, what).items()}
    unknown = sorted(set(given) - set(classes.names))
    if unknown:
        raise ValueError(
            f"{what} name {len(unknown):,} unknown classes, such as {unknown[:5]}; classes are called "
            f"{', '.join(map(repr, classes.names[:5]))}, …"
        )
    families = tuple(given.get(name, OTHER) for name in classes.names)
    if len(family_names(families)) > MOST_FAMILIES:
        raise ValueError(
            f"{what} are {len(family_names(families)):,}, at most {MOST_FAMILIES} are possible; give a coarser level"
        )
    return families


def _name(what: str, family: Any) -> str:
    name = str(family)
    if not isinstance(family, str | int) or not name or name in (ALL, GAP):
        raise ValueError(f"{what}: a family has a name other than {ALL!r} and {GAP!r}, got {family!r}")
    return name
