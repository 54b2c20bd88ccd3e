"""Answers of the routes about diagnostics: why the tail fails, what would help, one class in detail, its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.records import ALL, EVERY_CLASS, GALLERY_KINDS, gallery_tag
from tbmetrics.records.sentences import filled
from tbmetrics_longtail.data import Attribute
from tbmetrics_longtail.tables import CLASS_IMAGES, DIAGNOSTICS, FINDINGS, REMEDIES, RequestError, or_null, shown

#: Blobs of a picture that come before the image itself: width and height.
_BEFORE_IMAGE = 2
#: Words of a rule that do not depend on its numbers, and the longest sentence that is filled with them.
WORDS = ("title", "rests_on", "advice", "reference", "errors")
MAX_TEMPLATE = 2000
#: Columns that hold the index of another class.
CLASS_COLUMNS = ("nearest_weight_class", "nearest_mean_class", "nearest_head_class")


class Picture(NamedTuple):
    """One picture, PNG or JPEG."""

    content: bytes

    @property
    def media_type(self) -> str:
        """As HTTP names it."""
        return "image/jpeg" if self.content.startswith(b"\xff\xd8") else "image/png"


def diagnosis(attribute: Attribute, step: int) -> dict[str, Any]:
    """Findings, strongest first, and remedies, at the last diagnosis up to `step`."""
    table, diagnosed = _last(attribute, FINDINGS, step)
    findings = list(_findings(attribute, table))
    answer: dict[str, Any] = {"step": diagnosed, "findings": findings, "remedies": [], "objective": ""}
    if REMEDIES in attribute.tags:
        details = attribute.tag(REMEDIES).details
        answer |= {"remedies": list(_remedies(attribute, step)), "objective": str(details.get("objective", ""))}
    return answer


def class_diagnosis(attribute: Attribute, step: int, index: int) -> dict[str, Any]:
    """Every diagnostic of one class at the last diagnosis up to `step`; other classes by name."""
    table, diagnosed = _last(attribute, DIAGNOSTICS, step)
    values: dict[str, Any] = _row(attribute.tag(DIAGNOSTICS).columns, table[index])
    for column in (c for c in CLASS_COLUMNS if values.get(c) is not None):
        other = int(values[column])
        values[column] = attribute.class_list.names[other] if 0 <= other < len(attribute.class_list.names) else None
    return {"class": attribute.class_list.names[index], "step": diagnosed, "values": values}


def class_gallery(attribute: Attribute, step: int, index: int) -> dict[str, Any]:
    """The images of class `index`, and the contact sheets of its recorded group, each of the last step up to `step`.

    They are not recorded at every validation: before the first, it is the first.
    """
    group = attribute.class_list.groups[index]
    steps = {kind: [datum.step for datum in _sheets(attribute, kind, group)] for kind in GALLERY_KINDS}
    sheets = [{"kind": kind, "step": _nearest(known, step)} for kind, known in steps.items() if known]
    images = _class_images(attribute, step, index)
    return {"class": attribute.class_list.names[index], "group": group, "sheets": sheets, "images": images}


def _class_images(attribute: Attribute, step: int, index: int) -> dict[str, Any] | None:
    """The images in which a class is the true or the predicted one, and their places in the sheet; None without."""
    if CLASS_IMAGES not in attribute.tags:
        return None
    tag, series = attribute.tag(CLASS_IMAGES), attribute.series(CLASS_IMAGES)
    drawn = {datum.step for datum in _sheets(attribute, EVERY_CLASS, ALL)}
    steps = [recorded for recorded in series.steps.tolist() if recorded in drawn]
    if not steps:
        return None
    chosen = _nearest(steps, step)
    table = series.at(chosen).astype(np.float64)
    ends = [tag.column_index(name) for name in ("label", "predicted")]
    rows = table[(table[:, ends] == index).any(axis=1)]
    images = [_image(attribute, _row(tag.columns, row)) for row in rows]
    return {"step": chosen, "n_stored": int((~np.isnan(table[:, ends[0]])).sum()), "images": images}


def _image(attribute: Attribute, row: dict[str, float | None]) -> dict[str, Any]:
    """An image of the sheet, its classes by name."""
    names = attribute.class_list.names
    indices = {end: -1 if (value := row.get(end)) is None else int(value) for end in ("label", "predicted")}
    classes = {end: names[i] if 0 <= i < len(names) else None for end, i in indices.items()}
    place = [row.get(name) for name in ("left", "top", "width", "height")]
    return {**classes, "probability": row.get("probability"), "place": place}


def sheet(attribute: Attribute, kind: str, group: str, step: int) -> Picture:
    """The contact sheet of `kind` and `group` at one step.

    Raises:
        RequestError: there is no such sheet.
    """
    groups = {*attribute.class_list.groups, ALL}
    for word, value, known in (("kind", kind, (*GALLERY_KINDS, EVERY_CLASS)), ("group", group, groups)):
        if value not in known:
            raise RequestError(f"{word} {shown(value)} is unknown", f"use one of {', '.join(sorted(known))}")
    for datum in _sheets(attribute, kind, group):
        if datum.step == step:
            return Picture(attribute.blob(datum.values[_BEFORE_IMAGE].blob_key))
    raise RequestError(f"no sheet was drawn at step {step}", "the route `gallery` lists the steps")


def _findings(attribute: Attribute, table: NDArray[Any]) -> Iterator[dict[str, Any]]:
    tag = attribute.tag(FINDINGS)
    tag.check_rows(len(table))
    rules, remedies = tag.details.get("rules", {}), tag.details.get("remedies", ())
    severities = table[:, tag.column_index("severity")]
    for i in np.argsort(-np.nan_to_num(severities, nan=-1.0), kind="stable"):
        about = rules.get(tag.rows[i]) if isinstance(rules, Mapping) else None
        about = about if isinstance(about, Mapping) else {}
        words = {name: str(about.get(name, "")) for name in WORDS}
        numbers = _row(tag.columns, table[i])
        says = _sentence(str(about.get("says", "")), numbers, remedies)
        yield {"name": tag.rows[i], **words, "says": says, **numbers}


def _sentence(template: str, numbers: Mapping[str, float | None], remedies: Any) -> str:
    """The finding in words; "" in logs that recorded none."""
    index = numbers.get("remedy")
    is_named = isinstance(remedies, list) and index is not None and 0 <= index < len(remedies)
    remedy = str(remedies[int(index)]) if is_named and index is not None else ""
    return filled(template[:MAX_TEMPLATE].replace("{remedy}", remedy), numbers)


def _remedies(attribute: Attribute, step: int) -> Iterator[dict[str, Any]]:
    tag, (table, _) = attribute.tag(REMEDIES), _last(attribute, REMEDIES, step)
    tag.check_rows(len(table))
    for name, values in zip(tag.rows, table, strict=True):
        remedy, _, parameter = name.partition("/")
        yield {"remedy": remedy, "best": parameter == "best", **_row(tag.columns, values)}


def _last(attribute: Attribute, kind: str, step: int) -> tuple[NDArray[Any], int]:
    series = attribute.series(kind)
    index = series.last_index(step)
    if index is None:
        raise RequestError(
            f"nothing was diagnosed up to step {step}", f"the first diagnosis is of step {series.steps[0]}"
        )
    return series.values[index], int(series.steps[index])


def _row(columns: tuple[str, ...], values: NDArray[Any]) -> dict[str, float | None]:
    return dict(zip(columns, map(or_null, values.tolist()), strict=True))


def _sheets(attribute: Attribute, kind: str, group: str) -> Iterator[Any]:
    images = attribute.images(gallery_tag(attribute.name, kind, group))
    return (datum for datum in images if len(datum.values) > _BEFORE_IMAGE)


def _nearest(steps: list[int], step: int) -> int:
    return max((drawn for drawn in steps if drawn <= step), default=min(steps))
