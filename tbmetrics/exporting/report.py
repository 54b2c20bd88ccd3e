"""The page: one HTML file that embeds everything it shows and sends no requests.

A section is a function from the page's data to fragments of HTML; `SECTIONS` lists them in order. A fragment with
scripts must say so in `Section.has_scripts`, for the page forbids them otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tbmetrics.exporting.contents import CLASS_PERFORMANCE, SCALARS
from tbmetrics.exporting.files import RunEntry
from tbmetrics.exporting.html_parts import Page, Section, escape, figure, name, number, table
from tbmetrics.exporting.options import EXPORTED_AREAS, OTHER
from tbmetrics.exporting.units import digest, versions_for
from tbmetrics.records import EVERY_CLASS, FEW_POSITIVES, GALLERY, GAP, GROUP_ROWS, mean_metrics, metric_name

_FIRST_METRICS = ("f1", "ap", "recall", "precision")
#: File name → what the figure shows.
_DESCRIPTIONS = {
    "gradient_flow": "Gradient norm of each layer while training.",
    "gradient_by_depth": "Gradient norm from the first layer to the last.",
    "gradient_heatmap": "Gradient norm of every layer at every sample.",
    "update_ratio": "What one step changes, relative to the weights.",
    "weight_norm_change": "How far each layer's weights have moved.",
    "weight_distribution": "Histograms of the largest weights.",
    "activations": "Zero, dead and saturated outputs by module.",
    "component_times": "Seconds of each epoch by component.",
    "component_shares": "Share of each component in the last epoch.",
    "throughput": "Samples per second.",
    "memory": "Memory over epochs.",
    "memory_by_batch_size": "Memory against batch size, and the largest batch that fits.",
    "typical_step": "What happens when in a step of middle length.",
}


def report_key(runs: dict[str, RunEntry], files: dict[str, dict[str, Any]]) -> str:
    """Hash that changes when the page does."""
    content = {
        run: [entry.summary, entry.problems, entry.tags.get("tables"), [files[path] for path in entry.paths()]]
        for run, entry in runs.items()
    }
    return digest([list(content.items()), versions_for("html")])


def report_page(out: Path, runs: dict[str, RunEntry], tab: Section | None) -> Iterator[bytes]:
    """The page, piece by piece.

    Args:
        out: directory of the export, which has the figures.
        runs: what is known of each run.
        tab: the section with the Long Tail tab.
    """
    page = Page(out, runs, tab)
    sections = [section for list_sections in SECTIONS for section in list_sections(page)]
    for piece in _pieces(page, sections):
        yield piece.encode("utf-8", "replace")


def _pieces(page: Page, sections: list[Section]) -> Iterator[str]:
    scripts = "; script-src 'unsafe-inline'" if any(section.has_scripts for section in sections) else ""
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'{scripts}"
    title = "Training runs" if len(page.runs) > 1 else f"Training run {next(iter(page.runs))}"
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
    yield '<nav aria-label="Contents"><h2>Contents</h2>\n<ul>\n'
    for section in sections:
        kinds = "printed" if section.is_printed_only else "inner" if section.level > 2 else ""
        level = f' class="{kinds}"' if kinds else ""
        yield f'<li{level}><a href="#{section.anchor}">{escape(section.title)}</a></li>\n'
    yield f"</ul></nav>\n<main>\n<h1>{escape(title)}</h1>\n"
    for section in sections:
        printed = ' class="printed"' if section.is_printed_only else ""
        yield f'<section id="{section.anchor}"{printed}><h{section.level}>{escape(section.title)}</h{section.level}>\n'
        yield from section.body
        yield "</section>\n"
    yield "</main>\n</body>\n</html>\n"


# --------------------------------------------------------------------------------------------------------- runs


def _tab_section(page: Page) -> Iterator[Section]:
    if page.tab is not None:
        yield page.tab


def _runs_section(page: Page) -> Iterator[Section]:
    yield Section("runs", "Runs", _runs(page))


def _runs(page: Page) -> Iterator[str]:
    headings = ("run", "attributes", "hyperparameters", "last step", "points", "duration", "last written (UTC)")
    yield from table(headings, (_run_row(run, entry) for run, entry in page.runs.items()), text_columns=3)
    problems = [(run, problem) for run, entry in page.runs.items() for problem in entry.problems]
    if problems:
        yield '<ul class="problems">'
        yield from (f"<li>{name(run)}: {escape(problem)}</li>" for run, problem in problems)
        yield "</ul>\n"


def _run_row(run: str, entry: RunEntry) -> list[str]:
    summary: dict[str, Any] = entry.summary or {}
    attributes = ", ".join(f"{name(a)} ({about['classes']:,})" for a, about in sorted(summary["attributes"].items()))
    hparams = ", ".join(f"{name(key)} = {escape(_short(value))}" for key, value in sorted(summary["hparams"].items()))
    began, ended = summary["began"], summary["ended"]
    written = "–" if ended is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ended))
    last = "–" if summary["last_step"] is None else f"{summary['last_step']:,}"
    duration = "–" if began is None else _duration(ended - began)
    return [name(run), attributes or "–", hparams or "–", last, f"{summary['points']:,}", duration, written]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------------------------------- groups


def _groups_section(page: Page) -> Iterator[Section]:
    """A table for each attribute, in print: on a screen the tab shows it."""
    attributes = sorted({attribute for entry in page.runs.values() for attribute in _group_summaries(entry)})
    if attributes:
        yield Section("groups", "Head, medium and tail", _groups(page, attributes), is_printed_only=True)


def _group_summaries(entry: RunEntry) -> dict[str, Any]:
    """Attribute → its summary, of attributes that have groups."""
    summaries: dict[str, Any] = (entry.summary or {}).get("attributes", {})
    return {attribute: summary for attribute, summary in summaries.items() if summary["groups"]}


def _groups(page: Page, attributes: list[str]) -> Iterator[str]:
    yield (
        "<p>Means over the group's classes at the last validation, with 95 % intervals from resampling this validation"
        " set; none covers the spread over seeds. The gap is head minus tail. Undefined is –. Where a mean covers fewer"
        f" classes than the group has, it says so. Few positives: fewer than {FEW_POSITIVES}; the AP of such a class is"
        " too high on average (0.05 where chance is 0.01, with one positive).</p>\n"
    )
    summaries = {run: _group_summaries(entry) for run, entry in page.runs.items()}
    for attribute in attributes:
        by_run = {run: by_attribute[attribute] for run, by_attribute in summaries.items() if attribute in by_attribute}
        rules = sorted({summary["rule"] for summary in by_run.values()})
        yield f"<h3>{name(attribute)}</h3>\n<p>Rule: {escape('; '.join(rules))}</p>\n"
        metrics = _metrics_of(by_run.values())
        headings = ("run", "group", "classes", *map(escape, map(metric_name, metrics)))
        rows = (row for run, summary in by_run.items() for row in _group_rows(run, summary, metrics))
        yield from table(headings, rows, text_columns=2)


def _metrics_of(summaries: Iterable[dict[str, Any]]) -> list[str]:
    """The mean metrics of any of these runs, in the order of the tab."""
    groups = (values for summary in summaries for values in summary["groups"].values())
    metrics = dict.fromkeys(metric for values in groups for metric in mean_metrics(values))
    return [*(m for m in _FIRST_METRICS if m in metrics), *(m for m in metrics if m not in _FIRST_METRICS)]


def _group_rows(run: str, summary: dict[str, Any], metrics: list[str]) -> Iterator[list[str]]:
    groups = [g for g in GROUP_ROWS if g in summary["groups"]]
    for i, group in enumerate(groups):
        values = summary["groups"][group]
        size = values.get("n_classes")
        classes = "" if group == GAP or size is None else f"{size:,.0f}"
        run_cell = f"{name(run)} <small>step {summary['step']:,}</small>" if i == 0 else ""
        cells = [mean_with_interval(values, metric, signed=group == GAP) for metric in metrics]
        yield [run_cell, f'<i class="swatch {group}"></i>{group}', classes, *cells]


def mean_with_interval(values: dict[str, float | None], metric: str, *, signed: bool) -> str:
    """A group's mean as a cell: its value, interval, and how many classes it covers."""
    mean, low, high = (values.get(f"{metric}{end}") for end in ("", "_lower", "_upper"))
    interval = "" if low is None or mean is None else f" <small>{number(low, 2)} to {number(high, 2)}</small>"
    return f"{number(mean, signed=signed)}{interval}{_counted(values, metric)}"


def _counted(values: dict[str, float | None], metric: str) -> str:
    """How many classes the mean covers, if not all of the group, and how many of them have few positives."""
    covered, size = values.get(f"{metric}_n_classes"), values.get("n_classes")
    few = values.get(f"{metric}_n_few_positives")
    texts = [] if covered is None or covered == size else [f"{covered:,.0f} of {size:,.0f} classes"]
    texts += [f"{few:,.0f} with few positives"] if few else []
    return f" <small>({', '.join(texts)})</small>" if texts else ""


# ------------------------------------------------------------------------------------------------------ figures


def _figures_sections(page: Page) -> Iterator[Section]:
    """The last values, texts and figures of every run, without those whose content the tab shows."""
    for i, (run, entry) in enumerate(page.runs.items(), start=1):
        inner = list(_figures_by_area(page, entry, f"run-{i}"))
        texts = (entry.summary or {}).get("texts", {})
        if texts:
            inner.append(Section(f"run-{i}-texts", "Texts", _texts(texts), level=3))
        values = list(_last_values(entry))
        if inner or values:
            yield Section(f"run-{i}", f"Run {run}", values)
            yield from inner


def _figures_by_area(page: Page, entry: RunEntry, anchor: str) -> Iterator[Section]:
    for area in sorted(EXPORTED_AREAS, key=(CLASS_PERFORMANCE, OTHER).__contains__):  # curves before pictures
        paths = _figure_paths(entry, area)
        if paths:
            title = {OTHER: "Everything else", CLASS_PERFORMANCE: "Images of classes"}.get(area)
            title = title or area.replace("_", " ").capitalize()
            yield Section(f"{anchor}-{area.replace('_', '-')}", title, _figures(page, paths), level=3)


def _last_values(entry: RunEntry) -> Iterator[str]:
    values = (entry.summary or {}).get("last_values", {})
    if values:
        rows = ([name(tag), "–" if v is None else f"{v:.5g}".replace("-", "−")] for tag, v in values.items())
        yield from table(("scalar", "last value"), rows)


def _figure_paths(entry: RunEntry, area: str) -> list[str]:
    """PNG files of an area, scalars first; of images over steps only the last.

    Left out are figures of class performance, since the tab shows what they do, and the sheet with images of every
    class, which needs a table to be read.
    """
    scalars = f"figures/{area}/{SCALARS}"
    units = sorted(entry.units, key=lambda unit: (not unit.startswith(scalars), unit))
    makers = ("images/",) if area == CLASS_PERFORMANCE else (f"figures/{area}", "images/")
    paths = [path for unit in units if unit.startswith(makers) for path in entry.units[unit].files]
    others = ("/step=", f"/{GALLERY}/{EVERY_CLASS}/")
    return [p for p in paths if p.endswith(".png") and f"/{area}/" in p and not any(part in p for part in others)]


def _figures(page: Page, paths: list[str]) -> Iterator[str]:
    yield '<div class="figures">\n'
    for path in map(PurePosixPath, paths):
        title = path.stem.replace("_", " ").capitalize()
        folder = path.parent.name.replace("_", " ")
        yield from figure(page.out.joinpath(*path.parts), f"{title} ({folder})", _DESCRIPTIONS.get(path.stem, ""))
    yield "</div>\n"


def _texts(texts: dict[str, str]) -> Iterator[str]:
    for tag, markdown in sorted(texts.items()):
        yield f"<details><summary>{name(tag)}</summary><pre>{escape(markdown)}</pre></details>\n"


SECTIONS: tuple[Callable[[Page], Iterable[Section]], ...] = (
    _tab_section,
    _groups_section,
    _runs_section,
    _figures_sections,
)
