"""The contents of a history by area and attribute, with fingerprints that change when the contents do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tbmetrics.exporting.options import OTHER, Options
from tbmetrics.records import (
    AREAS,
    ATTENTION,
    ATTENTION_PREFIX,
    DYNAMICS,
    GROUP_ROWS,
    OPTIMIZER_STEP_TAG,
    PARAMETERS_TAG,
    RESOURCES,
    TAB_PREFIX,
    ClassList,
    class_list_payload,
    group_table_tag,
    mean_metrics,
    untag_part,
)
from tbmetrics.records.history import History, Series, to_jsonable

CLASS_PERFORMANCE = AREAS[0]
CLASS_LISTS, TABLES, SCALARS, HISTOGRAMS = "class_lists", "tables", "scalars", "histograms"
PR_CURVES, IMAGES, TEXTS = "pr_curves", "images", "texts"
KINDS = (CLASS_LISTS, TABLES, SCALARS, HISTOGRAMS, PR_CURVES, IMAGES, TEXTS)
_AREA_BY_PREFIX = {
    **{area: area for area in (CLASS_PERFORMANCE, DYNAMICS, RESOURCES, ATTENTION)},
    TAB_PREFIX.rstrip("/"): CLASS_PERFORMANCE,
}
_DYNAMICS_HISTOGRAMS = ("gradients", "weights", "activations")
_MOST_LAST_VALUES = 24
_MOST_TEXT_CHARACTERS = 20_000


class Entry(NamedTuple):
    """A series or a class list of a history.

    Attributes:
        kind: one of `KINDS`.
        tag: the tag of a series, the attribute of a class list.
        area: the area it belongs to.
        attribute: the attribute it belongs to, or "".
    """

    kind: str
    tag: str
    area: str
    attribute: str

    def content(self, history: History) -> Any:
        """The series or class list itself."""
        return getattr(history, self.kind)[self.tag]


def list_entries(history: History, options: Options) -> list[Entry]:
    """The entries of `history` that the options select, sorted by kind and tag, without empty series."""
    selected = []
    for kind in KINDS:
        content_by_tag: Mapping[str, Any] = getattr(history, kind)
        for tag in sorted(content_by_tag):
            entry = Entry(kind, tag, *_area_and_attribute(history, kind, tag))
            if _is_selected(entry, options) and (kind == CLASS_LISTS or len(content_by_tag[tag])):
                selected.append(entry)
    return selected


def _is_selected(entry: Entry, options: Options) -> bool:
    unwanted = options.attributes is not None and entry.attribute and entry.attribute not in options.attributes
    return entry.area in options.areas and not unwanted


def _area_and_attribute(history: History, kind: str, tag: str) -> tuple[str, str]:
    if kind == CLASS_LISTS:
        return CLASS_PERFORMANCE, tag
    prefix, _, rest = tag.partition("/")
    if kind == HISTOGRAMS and prefix in _DYNAMICS_HISTOGRAMS and PARAMETERS_TAG in history.tables:
        return DYNAMICS, ""
    area = ATTENTION if tag.startswith(ATTENTION_PREFIX) else _AREA_BY_PREFIX.get(prefix, OTHER)
    return area, untag_part(rest.partition("/")[0]) if area == CLASS_PERFORMANCE else ""


def subset(history: History, entries: Iterable[Entry]) -> History:
    """A history of these entries and of the series that maps steps to epochs; series are shared, not copied."""
    part = History(history.run)
    part.hparams, part.problems = history.hparams, history.problems
    for entry in entries:
        getattr(part, entry.kind)[entry.tag] = entry.content(history)
    if OPTIMIZER_STEP_TAG in history.scalars:
        part.scalars.setdefault(OPTIMIZER_STEP_TAG, history.scalars[OPTIMIZER_STEP_TAG])
    return part


def fingerprint(content: Any) -> str:
    """Hash of a class list, or of the steps, times and values of a series read from disk."""
    digest = hashlib.blake2b(digest_size=12)
    if isinstance(content, ClassList):
        digest.update(class_list_payload(content))
        return digest.hexdigest()
    for array in _arrays(content):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _arrays(series: Series[Any]) -> Iterator[Any]:
    yield series.steps
    yield series.wall_times
    stored = series.stored()
    yield np.array([getattr(item, "checksum", item) for item in stored], dtype=np.float64)
    yield np.array([getattr(item, "occurrence", -1) for item in stored], dtype=np.int64)


def group_by_files(
    fingerprints: Mapping[Entry, str], units: Iterable[tuple[Iterable[Entry], list[str]]]
) -> dict[str, list[dict[str, Any]]]:
    """Kind → {"files": those that show the tags, "tags": tag → fingerprint}, for the tags that are in the same files.

    Args:
        fingerprints: by entry.
        units: (entries, files) of each unit.
    """
    files: dict[Entry, set[str]] = {entry: set() for entry in fingerprints}
    for entries, paths in units:
        for entry in entries:
            files[entry].update(paths)
    groups: dict[str, dict[tuple[str, ...], dict[str, str]]] = {}
    for entry, shown_in in files.items():
        groups.setdefault(entry.kind, {}).setdefault(tuple(sorted(shown_in)), {})[entry.tag] = fingerprints[entry]
    return {
        kind: [{"files": list(paths), "tags": tags} for paths, tags in by_files.items()]
        for kind, by_files in groups.items()
    }


# ------------------------------------------------------------------------------------------------------ summary


def summarize(history: History, entries: list[Entry]) -> dict[str, Any]:
    """Plain JSON values for the page: steps, duration, groups, hyperparameters, last values of scalars, and texts."""
    series = [entry.content(history) for entry in entries if entry.kind != CLASS_LISTS]
    steps = [int(s.steps[-1]) for s in series]
    class_lists: list[ClassList] = [entry.content(history) for entry in entries if entry.kind == CLASS_LISTS]
    scalars = {e.tag: e.content(history)[-1] for e in entries if e.kind == SCALARS and _is_users(e)}
    texts = {e.tag: e.content(history)[-1].markdown for e in entries if e.kind == TEXTS}
    return {
        "points": sum(len(s) for s in series),
        "last_step": max(steps, default=None),
        "began": min((float(s.wall_times[0]) for s in series), default=None),
        "ended": max((float(s.wall_times[-1]) for s in series), default=None),
        "hparams": to_jsonable(dict(history.hparams.hparams)) if history.hparams else {},
        "attributes": {classes.attribute: _summarize_groups(history, classes) for classes in class_lists},
        "last_values": to_jsonable(dict(list(scalars.items())[:_MOST_LAST_VALUES])),
        "texts": {tag: text[:_MOST_TEXT_CHARACTERS] for tag, text in texts.items()},
        "tables": sorted(e.tag for e in entries if e.kind == TABLES),
    }


def _is_users(entry: Entry) -> bool:
    return entry.area == OTHER and not entry.tag.startswith("tbmetrics/")


def _summarize_groups(history: History, classes: ClassList) -> dict[str, Any]:
    summary: dict[str, Any] = {"classes": len(classes.names), "rule": classes.rule, "step": None, "groups": {}}
    tables = history.tables.get(group_table_tag(classes.attribute))
    if tables is None or not len(tables):
        return summary
    last = tables[-1]
    summary |= {"step": int(tables.steps[-1]), "validations": len(tables)}
    metrics = mean_metrics(last.columns)
    means = [f"{metric}{end}" for metric in metrics for end in ("", "_lower", "_upper")]
    counts = [*(f"{metric}_n_classes" for metric in metrics), "n_classes", "ap_n_few_positives"]
    for group in GROUP_ROWS:
        if group not in last.rows or (group == "unknown" and group not in classes.groups):
            continue
        row = last.values[last.rows.index(group)]
        values = {name: float(row[last.columns.index(name)]) for name in (*means, *counts) if name in last.columns}
        if any(value == value for name, value in values.items() if name in means):
            summary["groups"][group] = to_jsonable(values)
    return summary
