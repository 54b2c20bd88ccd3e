"""Log directory → history → PNG, JSON and CSV: everything measured, for use without TensorBoard."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tbmetrics.errors import InputError
from tbmetrics.events.reader import read_logdir
from tbmetrics.file_names import slug, writable_directory
from tbmetrics.history import History, Series, to_jsonable
from tbmetrics.records import (
    ACTIVATIONS_TAG,
    AREAS,
    ATTENTION,
    CLASS_COLUMNS,
    DYNAMICS,
    GALLERY,
    PARAMETERS_TAG,
    RESOURCES,
    SCHEMA_VERSION,
    ClassList,
    PRCurve,
    Table,
    class_table_tag,
    confusion_tag,
    diagnostics_tag,
    findings_table_tag,
    group_table_tag,
    remedies_tag,
    untag_part,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_FORMATS = ("png", "svg", "pdf")
CLASS_PERFORMANCE = AREAS[0]
DATA_FORMATS = ("json", "csv")
FORMATS = (*FIGURE_FORMATS, *DATA_FORMATS)

_NO_DATES = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@dataclass(slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        files: every file written.
        problems: by run, what was damaged in its log or failed in its export.
        skipped: runs without data of ours.
    """

    files: list[Path] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


class NothingToShowError(InputError):
    """The log directory holds nothing that tbmetrics wrote, or nothing that was asked for."""


def export(
    logdir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    runs: str | None = None,
    attributes: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    formats: Sequence[str] = ("png", "json", "csv"),
    dpi: int = 150,
    progress: Callable[[str], None] = lambda run: None,
) -> ExportReport:
    """Writes figures and data of every run in `logdir` below `out`, one directory a run.

    The same log gives the same bytes every time. A file appears whole or not at all. A run that fails does not stop
    the others; the report says what was wrong.

    Args:
        logdir: any TensorBoard log directory; it may still be being written.
        out: made if missing.
        runs: regular expression; only runs in whose name it is found.
        attributes: only these.
        only: areas, any of "class_performance", "training_dynamics", "resource_usage", "attention"; None = all.
        formats: any of "png", "svg", "pdf", "json", "csv".
        dpi: dots per inch of the PNG files.
        progress: called with each run's name before it is exported.

    Raises:
        NothingToShowError: no run has data of ours.
        InputError: `logdir` is missing, `out` cannot be written, or an option is not known.
    """
    pattern = _checked(runs, formats, dpi)
    areas = _areas(only)
    histories = read_logdir(logdir)
    chosen = {run: h for run, h in histories.items() if pattern.search(run)}
    report = ExportReport(skipped=[run for run, history in chosen.items() if not _has_data(history, attributes, areas)])
    with_data = {run: history for run, history in chosen.items() if run not in report.skipped}
    if not with_data:
        raise NothingToShowError(_why_nothing(logdir, histories, chosen, runs, attributes))
    target = writable_directory(out, "out")
    for run, history in with_data.items():
        progress(run)
        if history.problems:
            report.problems[run] = list(history.problems)
        try:
            report.files += _export_run(history, target / slug(run), attributes, areas, formats, dpi)
        except Exception as error:  # one odd run must not stop the others
            report.problems.setdefault(run, []).append(f"the export failed: {type(error).__name__}: {error}")
    return report


def run_metrics(
    history: History, attributes: Sequence[str] | None = None, areas: Sequence[str] = AREAS
) -> dict[str, Any]:
    """The content of `metrics.json`: every step and class of one run, non-finite numbers as None."""
    chosen = _attributes(history, attributes) if CLASS_PERFORMANCE in areas else []
    left_out = set(AREAS) - set(areas)
    return {
        "schema_version": SCHEMA_VERSION,
        "run": history.run,
        "attributes": {a: _attribute_json(history, history.class_lists[a]) for a in chosen},
        "scalars": {
            tag: {"steps": s.steps.tolist(), "values": to_jsonable(s.values)}
            for tag, s in history.scalars.items()
            if tag.partition("/")[0] not in left_out
        },
        "training_dynamics": {
            tag.partition("/")[2]: _table_json(history.tables[tag])
            for tag in (PARAMETERS_TAG, ACTIVATIONS_TAG)
            if tag in history.tables and DYNAMICS in areas
        },
        "hparams": to_jsonable(dict(history.hparams.hparams)) if history.hparams else None,
        "problems": list(history.problems),
    }


# --------------------------------------------------------------------------------------------------- one run


def _export_run(
    history: History,
    folder: Path,
    attributes: Sequence[str] | None,
    areas: Sequence[str],
    formats: Sequence[str],
    dpi: int,
) -> Iterator[Path]:
    metrics = run_metrics(history, attributes, areas)
    if "json" in formats:
        text = json.dumps(metrics, allow_nan=False, sort_keys=True, ensure_ascii=False, indent=1)
        yield _write(folder / "metrics.json", (text + "\n").encode())
    if "csv" in formats and metrics["attributes"]:
        yield _write(folder / "classes.csv", _classes_csv(history, _attributes(history, attributes)))
    if "png" in formats:
        yield from _write_images(history, folder, attributes, areas)
    wanted = [f for f in formats if f in FIGURE_FORMATS]
    if wanted:
        yield from _write_figures(history, folder, attributes, areas, wanted, dpi)


def _write_images(
    history: History, folder: Path, attributes: Sequence[str] | None, areas: Sequence[str]
) -> Iterator[Path]:
    """The last image of every tag of attention and of the gallery: the log does not hold what they were drawn from."""
    from PIL import Image as Picture

    for tag, series in history.images.items():
        area, *inner, kind = map(untag_part, tag.split("/"))
        of_gallery = area == CLASS_PERFORMANCE and GALLERY in inner[1:] and inner[0] in (attributes or [inner[0]])
        if area in areas and (area == ATTENTION or of_gallery) and len(series):
            content = io.BytesIO()
            Picture.fromarray(series[-1].pixels).save(content, format="PNG")
            yield _write(folder.joinpath(area, *map(slug, inner)) / f"{slug(kind)}.png", content.getvalue())


def _write_figures(
    history: History,
    folder: Path,
    attributes: Sequence[str] | None,
    areas: Sequence[str],
    formats: Sequence[str],
    dpi: int,
) -> Iterator[Path]:
    import matplotlib as mpl

    for area, figures in ((area, figures) for area, figures in _FIGURES if area in areas):
        for name, figure in figures(history, attributes):
            *inner, kind = name.rsplit("/", 1)
            target = folder.joinpath(area, *map(slug, inner))
            for fmt in formats:
                content = io.BytesIO()
                with mpl.rc_context({"svg.hashsalt": "tbmetrics"}):
                    figure.savefig(content, format=fmt, dpi=dpi, metadata=_NO_DATES[fmt])
                yield _write(target / f"{kind}.{fmt}", content.getvalue())


_Figures: TypeAlias = "Callable[[History, Sequence[str] | None], Iterator[tuple[str, Figure]]]"


def _class_performance(history: History, attributes: Sequence[str] | None) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures.class_metrics import figures

    return figures(history, attributes=attributes)


def _diagnostics(history: History, attributes: Sequence[str] | None) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures.diagnostics import figures

    return figures(history, attributes=attributes)


def _resource_usage(history: History, _: Sequence[str] | None) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures.resource_usage import figures

    return figures(history)


def _training_dynamics(history: History, _: Sequence[str] | None) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures.training_dynamics import figures

    return figures(history)


#: Folder of a run → the figures in it, each with its name: a file's, below a folder of its own where it has a "/".
_FIGURES: tuple[tuple[str, _Figures], ...] = (
    (CLASS_PERFORMANCE, _class_performance),
    (CLASS_PERFORMANCE, _diagnostics),
    (DYNAMICS, _training_dynamics),
    (RESOURCES, _resource_usage),
)


def _attribute_json(history: History, classes: ClassList) -> dict[str, Any]:
    attribute = classes.attribute
    tables: Series[Table] = history.tables.get(class_table_tag(attribute), Series())
    groups: Series[Table] = history.tables.get(group_table_tag(attribute), Series())
    return {
        "classes": list(classes.names),
        "counts": [int(c) if c >= 0 else None for c in classes.counts],
        "groups": list(classes.groups),
        "rule": classes.rule,
        "decision": classes.decision,
        "steps": tables.steps.tolist(),
        "class_metrics": _by_column(tables),
        "group_metrics": _by_group(groups),
        "confusion": _whole_tables(history, confusion_tag(attribute)),
        "diagnostics": _by_column(history.tables.get(diagnostics_tag(attribute), Series())),
        "remedies": _whole_tables(history, remedies_tag(attribute)),
        "findings": _whole_tables(history, findings_table_tag(attribute)),
        "pr_curves": {name: _curve_json(series) for name, series in sorted(_curves_of(history, attribute).items())},
    }


def _whole_tables(history: History, tag: str) -> list[dict[str, Any]]:
    return [
        {"step": int(step), "rows": list(t.rows), "columns": list(t.columns), "values": to_jsonable(t.values)}
        for step, t in _items(history.tables.get(tag, Series()))
    ]


def _items(series: Series[Any]) -> Iterator[tuple[int, Any]]:
    return zip(series.steps, series, strict=True)


def _by_column(tables: Series[Table]) -> dict[str, Any]:
    """Column → one list a step, of one value a class."""
    if not len(tables):
        return {}
    stacked = np.stack([table.values for table in tables])
    return {column: to_jsonable(stacked[:, :, i]) for i, column in enumerate(tables[0].columns)}


def _by_group(tables: Series[Table]) -> dict[str, Any]:
    """Group → column → one value a step."""
    if not len(tables):
        return {}
    stacked, first = np.stack([table.values for table in tables]), tables[0]
    return {
        group: {column: to_jsonable(stacked[:, row, i]) for i, column in enumerate(first.columns)}
        for row, group in enumerate(first.rows)
    }


def _table_json(tables: Series[Table]) -> dict[str, Any]:
    """Steps, and row → column → one value a step (None where it was not measured)."""
    rows = max((table.rows for table in tables), key=len)
    columns = tables[0].columns
    found = np.full((len(tables), len(rows), len(columns)), np.nan, dtype=np.float32)
    for i, table in enumerate(tables):
        found[i, : len(table.values)] = table.values
    values = {row: {c: to_jsonable(found[:, r, k]) for k, c in enumerate(columns)} for r, row in enumerate(rows)}
    return {"steps": tables.steps.tolist(), "values": values}


def _curves_of(history: History, attribute: str) -> dict[str, Series[PRCurve]]:
    """PR curves of `attribute` by group, or by "class/name" for chosen classes."""
    found = {}
    for tag, series in history.pr_curves.items():
        area, of, kind, *rest = tag.split("/", 3) if tag.count("/") >= 3 else ("", "", "")
        if area == "class_performance" and kind == "pr" and untag_part(of) == attribute:
            name = rest[0]
            found[f"class/{untag_part(name[6:])}" if name.startswith("class/") else name] = series
    return found


def _curve_json(series: Series[PRCurve]) -> list[dict[str, Any]]:
    return [
        {
            "step": int(step),
            **{name: to_jsonable(getattr(curve, name)) for name in ("thresholds", "precision", "recall")},
        }
        for step, curve in _items(series)
    ]


def _classes_csv(history: History, attributes: Sequence[str]) -> bytes:
    """One row per attribute, step and class; empty cells where undefined."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["attribute", "step", "class", "training_count", "group", *CLASS_COLUMNS])
    for attribute in attributes:
        classes = history.class_lists[attribute]
        for step, table in _items(history.tables.get(class_table_tag(attribute), Series())):
            columns = [
                table.column(c) if c in table.columns else np.full(len(table.values), np.nan) for c in CLASS_COLUMNS
            ]
            for i, values in enumerate(np.stack(columns, axis=1).tolist()):
                count = int(classes.counts[i])
                cells = ["" if v != v else f"{v:.9g}" for v in values]
                rows.writerow(
                    [attribute, step, classes.names[i], "" if count < 0 else count, classes.groups[i], *cells]
                )
    return text.getvalue().encode("utf-8", "backslashreplace")


# -------------------------------------------------------------------------------------------- files and checks


def _write(path: Path, content: bytes) -> Path:
    """Writes a file so that it appears whole: under another name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _checked(runs: str | None, formats: Sequence[str], dpi: int) -> re.Pattern[str]:
    unknown = [f for f in formats if f not in FORMATS]
    if unknown or not formats:
        raise InputError(f"formats must be some of {', '.join(FORMATS)}; got {', '.join(map(repr, formats)) or 'none'}")
    if not 10 <= dpi <= 1200:
        raise InputError(f"dpi must lie in 10..1200, got {dpi}")
    try:
        return re.compile(runs or "")
    except re.error as error:
        raise InputError(f"runs must be a regular expression, got {runs!r}: {error}") from error


def _attributes(history: History, wanted: Sequence[str] | None) -> list[str]:
    return [a for a in sorted(history.class_lists) if wanted is None or a in wanted]


def _areas(only: Sequence[str] | None) -> Sequence[str]:
    unknown = [area for area in only or () if area not in AREAS]
    if unknown or (only is not None and not only):
        came = ", ".join(map(repr, unknown)) or "none"
        raise InputError(f"only must be some of {', '.join(AREAS)}; got {came}")
    return AREAS if only is None else tuple(only)


def _has_data(history: History, wanted: Sequence[str] | None, areas: Sequence[str]) -> bool:
    """Whether there is anything to export: class performance, or, unless attributes are asked for, any other area."""
    if CLASS_PERFORMANCE in areas and _attributes(history, wanted):
        return True
    begins = tuple(f"{area}/" for area in areas if area != CLASS_PERFORMANCE)
    tags = (*history.scalars, *history.tables, *history.images)
    return wanted is None and any(tag.startswith(begins) for tag in tags)


def _why_nothing(
    logdir: str | os.PathLike[str],
    found: dict[str, History],
    chosen: dict[str, History],
    runs: str | None,
    attributes: Sequence[str] | None,
) -> str:
    where = f"nothing to show in {os.fspath(logdir)!r}"
    if not found:
        return f"{where}: it holds no event files; train with `with TBMetrics({os.fspath(logdir)!r}, classes=…)` first"
    if not chosen:
        return f"{where}: no run matches {runs!r}; there are {', '.join(map(repr, list(found)[:10]))}"
    known = sorted({a for history in chosen.values() for a in history.class_lists})
    if known:
        there = ", ".join(map(repr, known[:10]))
        return f"{where}: no run has an attribute in {list(attributes or ())}; there are {there}"
    damage = "".join(f"; {p}" for history in chosen.values() for p in history.problems[:3])
    return (
        f"{where}: its event files hold nothing that tbmetrics measured; train with "
        f"`with TBMetrics({os.fspath(logdir)!r}, classes=…, model=…)` first{damage}"
    )
