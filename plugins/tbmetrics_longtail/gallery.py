"""The contact sheets of diagnosed classes: which there are for the group of a class, and each as PNG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tbmetrics.records import GALLERY_KINDS, gallery_tag
from tbmetrics_longtail.data import Attribute, RequestError, shown

#: Blobs that come before the images at a step: width and height.
_BEFORE = 2


class Png(NamedTuple):
    """One picture."""

    content: bytes


def class_gallery(found: Attribute, step: int, index: int) -> dict[str, Any]:
    """The sheets of the recorded group of class `index`: of each kind the last up to `step`, else the first after it.

    Sheets are drawn now and then, and at the end of a run: not at every validation.
    """
    group = found.list.groups[index]
    steps = {kind: [datum.step for datum in _sheets(found, kind, group)] for kind in GALLERY_KINDS}
    sheets = [{"kind": kind, "step": _nearest(known, step)} for kind, known in steps.items() if known]
    return {"class": found.list.names[index], "group": group, "sheets": sheets}


def sheet(found: Attribute, kind: str, group: str, step: int) -> Png:
    """The sheet of `kind` and `group` at one step.

    Raises:
        RequestError: there is no such sheet.
    """
    groups = set(found.list.groups)
    for word, value, known in (("kind", kind, GALLERY_KINDS), ("group", group, groups)):
        if value not in known:
            raise RequestError(f"{word} {shown(value)} is unknown", f"use one of {', '.join(sorted(known))}")
    for datum in _sheets(found, kind, group):
        if datum.step == step:
            return Png(found.blob(datum.values[_BEFORE].blob_key))
    raise RequestError(f"no sheet was drawn at step {step}", "the route `gallery` lists the steps")


def _sheets(found: Attribute, kind: str, group: str) -> Iterator[Any]:
    return (datum for datum in found.images(gallery_tag(found.name, kind, group)) if len(datum.values) > _BEFORE)


def _nearest(steps: list[int], step: int) -> int:
    return max((s for s in steps if s <= step), default=min(steps))
