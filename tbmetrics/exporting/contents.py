"""What a history holds, by area and attribute, with fingerprints that tell what has changed since the last export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tbmetrics.exporting.options import OTHER, Options
from tbmetrics.records import (
    AREAS,
    ATTENTION,
    DYNAMICS,
    OPTIMIZER_STEP_TAG,
    PARAMETERS_TAG,
    RESOURCES,
    TAB_PREFIX,
    ClassList,
    class_list_payload,
    untag_part,
)
from tbmetrics.records.history import History, Series

CLASS_PERFORMANCE = AREAS[0]
CLASS_LISTS, TABLES, SCALARS, HISTOGRAMS = "class_lists", "tables", "scalars", "histograms"
PR_CURVES, IMAGES, TEXTS = "pr_curves", "images", "texts"
KINDS = (CLASS_LISTS, TABLES, SCALARS, HISTOGRAMS, PR_CURVES, IMAGES, TEXTS)
_AREA_OF = {
    **{area: area for area in (CLASS_PERFORMANCE, DYNAMICS, RESOURCES, ATTENTION)},
    TAB_PREFIX.rstrip("/"): CLASS_PERFORMANCE,
}
_DYNAMICS_HISTOGRAMS = ("gradients", "weights", "activations")


class Entry(NamedTuple):
    """One thing in a history.

    Attributes:
        kind: one of `KINDS`.
        tag: of a class list, its attribute.
        attribute: that it belongs to, or "".
    """

    kind: str
    tag: str
    area: str
    attribute: str

    def of(self, history: History) -> Any:
        """The series, or the class list."""
        return getattr(history, self.kind)[self.tag]


def entries(history: History, options: Options) -> list[Entry]:
    """What `history` holds of what was asked for, sorted by kind and tag; empty series are left out."""
    found = []
    for kind in KINDS:
        by_tag: Mapping[str, Any] = getattr(history, kind)
        for tag in sorted(by_tag):
            entry = Entry(kind, tag, *_place(history, kind, tag))
            if _is_wanted(entry, options) and (kind == CLASS_LISTS or len(by_tag[tag])):
                found.append(entry)
    return found


def _is_wanted(entry: Entry, options: Options) -> bool:
    unwanted = options.attributes is not None and entry.attribute and entry.attribute not in options.attributes
    return entry.area in options.areas and not unwanted


def _place(history: History, kind: str, tag: str) -> tuple[str, str]:
    """(area, attribute or "")."""
    if kind == CLASS_LISTS:
        return CLASS_PERFORMANCE, tag
    first, _, rest = tag.partition("/")
    if kind == HISTOGRAMS and first in _DYNAMICS_HISTOGRAMS and PARAMETERS_TAG in history.tables:
        return DYNAMICS, ""
    area = _AREA_OF.get(first, OTHER)
    return area, untag_part(rest.partition("/")[0]) if area == CLASS_PERFORMANCE else ""


def subset(history: History, chosen: Iterable[Entry]) -> History:
    """A history of the chosen entries only, and of what joins steps to epochs; series are shared, not copied."""
    found = History(history.run)
    found.hparams, found.problems = history.hparams, history.problems
    for entry in chosen:
        getattr(found, entry.kind)[entry.tag] = entry.of(history)
    if OPTIMIZER_STEP_TAG in history.scalars:
        found.scalars.setdefault(OPTIMIZER_STEP_TAG, history.scalars[OPTIMIZER_STEP_TAG])
    return found


def fingerprint(content: Any) -> str:
    """Of a series read from disk, or of a class list: equal for equal steps, times and values."""
    digest = hashlib.blake2b(digest_size=12)
    if isinstance(content, ClassList):
        digest.update(class_list_payload(content))
        return digest.hexdigest()
    for part in _parts(content):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _parts(series: Series[Any]) -> Iterator[Any]:
    yield series.steps
    yield series.wall_times
    stored = series.stored()
    yield np.array([getattr(item, "checksum", item) for item in stored], dtype=np.float64)
    yield np.array([getattr(item, "occurrence", -1) for item in stored], dtype=np.int64)
