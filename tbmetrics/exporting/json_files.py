"""JSON of a run, one file an area, written piece by piece; the schema is in `schema.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tbmetrics.exporting.contents import (
    CLASS_LISTS,
    HISTOGRAMS,
    IMAGES,
    PR_CURVES,
    SCALARS,
    TABLES,
    TEXTS,
    Entry,
)
from tbmetrics.exporting.numbers import json_list, json_numbers, text, times
from tbmetrics.exporting.tables import columns, row_names
from tbmetrics.records import (
    ClassList,
    Histogram,
    Image,
    PRCurve,
    Table,
    Text,
    class_table_tag,
    confusion_tag,
    group_table_tag,
    pr_curve_tag,
    untag_part,
)
from tbmetrics.records.history import History, ScalarSeries, Series, to_jsonable

JSON_VERSION = 1
Pieces = Iterator[str]


def run_json(history: History, areas: Iterable[str]) -> Pieces:
    """What is known of a run as a whole."""
    hparams = to_jsonable(dict(history.hparams.hparams)) if history.hparams else None
    parts = {"schema_version": JSON_VERSION, "run": history.run, "areas": list(areas)}
    yield text({**parts, "hparams": hparams, "problems": list(history.problems)})
    yield "\n"


def area_json(history: History, area: str, chosen: list[Entry], files: dict[str, list[str]]) -> Pieces:
    """Everything of one area.

    Args:
        history: of the run.
        area: its name.
        chosen: what belongs to it.
        files: of the images, by tag, one a step; empty where images are not exported.
    """
    of = {kind: [e for e in chosen if e.kind == kind] for kind in {e.kind for e in chosen}}
    yield f'{{"schema_version":{JSON_VERSION},"run":{text(history.run)},"area":{text(area)}'
    shown: set[str] = set()
    if CLASS_LISTS in of:
        lists: list[ClassList] = [e.of(history) for e in of[CLASS_LISTS]]
        yield ',"attributes":'
        yield from _object((c.attribute, _attribute(history, c)) for c in lists)
        shown = {tag for c in lists for tag in _shown_tags(c.attribute)}
    listed = {e.tag for e in of.get(CLASS_LISTS, ())}
    for kind, write in _WRITERS.items():
        rest = [e for e in of.get(kind, ()) if e.tag not in shown and not (kind == PR_CURVES and e.attribute in listed)]
        if rest:
            yield f',"{kind}":'
            yield from _object((e.tag, write(history, e.of(history))) for e in rest)
    if IMAGES in of:
        yield ',"images":'
        yield from _object((e.tag, _images(e.of(history), files.get(e.tag, []))) for e in of[IMAGES])
    yield "}\n"


def _shown_tags(attribute: str) -> tuple[str, ...]:
    return class_table_tag(attribute), group_table_tag(attribute), confusion_tag(attribute)


def _object(items: Iterable[tuple[str, Iterable[str]]]) -> Pieces:
    yield "{"
    for i, (key, value) in enumerate(items):
        yield f"{',' if i else ''}{text(key)}:"
        yield from value
    yield "}"


def _list(items: Iterable[Iterable[str]]) -> Pieces:
    yield "["
    for i, value in enumerate(items):
        if i:
            yield ","
        yield from value
    yield "]"


def _axis(series: Series[Any]) -> str:
    steps, seconds = json_numbers(series.steps), json_list(times(series.wall_times))
    return f'"steps":{steps},"wall_times":{seconds}'


# ------------------------------------------------------------------------------------------------ attributes


def _attribute(history: History, classes: ClassList) -> Pieces:
    known = {
        "classes": list(classes.names),
        "counts": [int(c) if c >= 0 else None for c in classes.counts],
        "groups": list(classes.groups),
        "rule": classes.rule,
        "decision": classes.decision,
    }
    yield text(known)[:-1]
    tables, groups, confusion = (history.tables.get(tag, Series()) for tag in _shown_tags(classes.attribute))
    yield f",{_axis(tables)}"
    yield ',"class_metrics":'
    yield from _object(_class_metrics(tables, len(classes.names)))
    yield ',"group_metrics":'
    yield from _object(_group_metrics(groups))
    yield ',"confusion":'
    yield from _list(_at_step(step, _matrix(t)) for step, t in zip(confusion.steps, confusion, strict=True))
    yield ',"pr_curves":'
    yield from _object((name, _curves(history, series)) for name, series in _curves_of(history, classes.attribute))
    yield "}"


def _class_metrics(tables: Series[Table], classes: int) -> Iterator[tuple[str, Pieces]]:
    """Column → one list a step, of one value a class."""
    for column, values in columns(tables, classes) if len(tables) else ():
        yield column, _list([json_numbers(of_step)] for of_step in values)


def _group_metrics(tables: Series[Table]) -> Iterator[tuple[str, Pieces]]:
    """Group → column → one value a step."""
    if not len(tables):
        return
    rows = tables[0].rows
    found = {column: values.copy() for column, values in columns(tables, len(rows))}
    for row, group in enumerate(rows):
        yield group, _object((column, [json_numbers(values[:, row])]) for column, values in found.items())


def _at_step(step: Any, fields: str) -> list[str]:
    return [f'{{"step":{int(step)},{fields}}}']


def _matrix(table: Table) -> str:
    rows, names = text(list(table.rows)), text(list(table.columns))
    return f'"rows":{rows},"columns":{names},"values":{json_numbers(table.values)}'


def _curves_of(history: History, attribute: str) -> list[tuple[str, Series[PRCurve]]]:
    """PR curves of `attribute` by group, or by "class/name" for chosen classes."""
    begin = pr_curve_tag(attribute, "")
    found = []
    for tag in sorted(t for t in history.pr_curves if t.startswith(begin)):
        name = tag.removeprefix(begin)
        found.append((f"class/{untag_part(name[6:])}" if name.startswith("class/") else name, history.pr_curves[tag]))
    return found


# ------------------------------------------------------------------------------------------- series of one tag


def _table(history: History, tables: Series[Table]) -> Pieces:
    first, rows = tables[0], row_names(history, tables)
    known = {"attribute": first.attribute, "kind": first.kind, "rows": rows, "columns": list(first.columns)}
    yield f"{text({**known, 'details': to_jsonable(dict(first.details))})[:-1]},{_axis(tables)}"
    yield ',"values":'
    found = columns(tables, len(rows))
    yield from _object((column, _list([json_numbers(step)] for step in values)) for column, values in found)
    yield "}"


def _scalars(_: History, series: ScalarSeries) -> Pieces:
    yield f'{{{_axis(series)},"values":{json_numbers(series.values)}}}'


def _texts(_: History, series: Series[Text]) -> Pieces:
    yield f'{{{_axis(series)},"values":'
    yield from _list([text(item.markdown)] for item in series)
    yield "}"


def _images(series: Series[Image], files: list[str]) -> Pieces:
    yield f'{{{_axis(series)},"files":{text(files)}}}'


def _histograms(_: History, series: Series[Histogram]) -> Pieces:
    yield f'{{{_axis(series)},"items":'
    yield from _list([_histogram(item)] for item in series)
    yield "}"


def _histogram(item: Histogram) -> str:
    moments = {"min": item.minimum, "max": item.maximum, "sum": item.total, "sum_squares": item.sum_of_squares}
    arrays = f'"limits":{json_numbers(item.limits)},"counts":{json_numbers(item.counts)}'
    return f"{text(to_jsonable(moments))[:-1]},{arrays}}}"


def _curves(_: History, series: Series[PRCurve]) -> Pieces:
    yield from _list(_at_step(step, _curve(curve)) for step, curve in zip(series.steps, series, strict=True))


def _curve(curve: PRCurve) -> str:
    return ",".join(f'"{name}":{json_numbers(getattr(curve, name))}' for name in _CURVE)


_CURVE = (
    "thresholds", "precision", "recall", "true_positives", "false_positives", "true_negatives", "false_negatives",
)  # fmt: skip
_WRITERS: dict[str, Callable[[History, Any], Pieces]] = {
    TABLES: _table,
    SCALARS: _scalars,
    HISTOGRAMS: _histograms,
    PR_CURVES: _curves,
    TEXTS: _texts,
}


def all_metrics(by_run: dict[str, dict[str, Callable[[], Iterator[bytes]]]]) -> Iterator[bytes]:
    """The files of all runs as one: run → part → what its file holds."""
    yield f'{{"schema_version":{JSON_VERSION},"runs":{{'.encode()
    for i, (run, parts) in enumerate(by_run.items()):
        yield f"{',' if i else ''}\n{text(run)}:{{".encode()
        for k, (part, content) in enumerate(parts.items()):
            yield f"{',' if k else ''}\n{text(part)}:".encode()
            yield from content()
        yield b"}"
    yield b"\n}}\n"
