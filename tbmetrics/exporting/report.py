"""The page: one HTML file that embeds everything it shows and sends no requests.

A section is a function from the page's data to fragments of HTML; `SECTIONS` lists them in order. A fragment with
scripts must say so in `Section.has_scripts`, for the page forbids them otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tbmetrics.comparing.evidence import chance_text, could_be_chance, gains, losses
from tbmetrics.comparing.runs import ClassComparison, RunComparison, compare_runs
from tbmetrics.comparing.wording import basis_text
from tbmetrics.errors import InputError
from tbmetrics.events.reader import read_run
from tbmetrics.exporting.contents import SCALARS
from tbmetrics.exporting.files import RunEntry
from tbmetrics.exporting.html_parts import Page, Section, escape, figure, name, number, table
from tbmetrics.exporting.longtail_tab import tab_section
from tbmetrics.exporting.options import EXPORTED_AREAS, OTHER
from tbmetrics.exporting.units import digest, versions_for
from tbmetrics.records import FEW_POSITIVES, GAP, GROUP_ROWS, group_table_tag, main_metric, mean_metrics, metric_name
from tbmetrics.records.tags import EVERY_CLASS

_MOVERS_SHOWN = 8
#: File name → what the figure shows.
_DESCRIPTIONS = {
    "class_distribution": "Training examples of each class, most frequent first.",
    "metrics_by_group": "Means over the group's classes at the last validation; whiskers: 95 %.",
    "metrics_by_family": "Means over the classes of each family at the last validation; bars: 95 %.",
    "metrics_over_steps": "The same means at every validation; bands: 95 %.",
    "pr_curves": "Mean precision of the group's classes at each recall; the area is their mean AP.",
    "f1_by_training_count": "One point for each class: do rare classes fail?",
    "confusion_by_group": (
        "Where the examples of each group go. With several labels per example: how many times as often a label is"
        " wrongly predicted where another is missed as in examples without the missed label (1 = independent)."
    ),
    "findings": "Why the tail fails: what was found, and the evidence.",
    "classifier_by_class": "The last layer: weights, bias, likeness of classes.",
    "training_signal_by_class": "What training gave each class.",
    "features_by_class": "Where each class lies before the last layer.",
    "remedies": "What known remedies would buy without training, head against tail.",
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


def report_page(out: Path, runs: dict[str, RunEntry], folders: dict[str, Path]) -> Iterator[bytes]:
    """The page, piece by piece.

    Args:
        out: directory of the export, which has the figures.
        runs: what is known of each run.
        folders: the directory of each run's event files.
    """
    page = Page(out, runs, {run: folders[run] for run in runs})
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
        level = ' class="inner"' if section.level > 2 else ""
        yield f'<li{level}><a href="#{section.anchor}">{escape(section.title)}</a></li>\n'
    yield f"</ul></nav>\n<main>\n<h1>{escape(title)}</h1>\n"
    for section in sections:
        yield f'<section id="{section.anchor}"><h{section.level}>{escape(section.title)}</h{section.level}>\n'
        yield from section.body
        yield "</section>\n"
    yield "</main>\n</body>\n</html>\n"


# --------------------------------------------------------------------------------------------------------- runs


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
    """A table for each attribute: every run's groups at its last validation."""
    attributes = sorted({attribute for entry in page.runs.values() for attribute in _group_summaries(entry)})
    if attributes:
        yield Section("groups", "Head, medium and tail", _groups(page, attributes))


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
    """The mean metrics of any of these runs, in the order of the first that has them."""
    groups = (values for summary in summaries for values in summary["groups"].values())
    return list(dict.fromkeys(metric for values in groups for metric in mean_metrics(values)))


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


# ------------------------------------------------------------------------------------------------------- movers


def _movers_section(page: Page) -> Iterator[Section]:
    """The classes that gained and lost most from the first run to the second."""
    attributes = {run: sorted(_group_summaries(entry)) for run, entry in page.runs.items()}
    comparisons = compare_first_runs({run: page.folders[run] for run in page.runs}, attributes)
    if any(comparison.classes for comparison in comparisons):
        yield Section("movers", "Biggest movers", _movers(list(page.runs)[:2], comparisons))


def compare_first_runs(folders: Mapping[str, Path], attributes: Mapping[str, Collection[str]]) -> list[RunComparison]:
    """Compare the first two runs at the last step that both validated, for each attribute that both have.

    Args:
        folders: directory of each run.
        attributes: of each run.
    """
    first_two = list(folders)[:2]
    if len(first_two) < 2:
        return []
    shared = [attribute for attribute in attributes[first_two[0]] if attribute in attributes[first_two[1]]]
    if not shared:
        return []
    a, b = (read_run(folders[run], run=run) for run in first_two)
    comparisons = []
    for attribute in shared:
        try:
            metric = main_metric(a.tables[group_table_tag(attribute)][-1].columns)
            comparisons.append(compare_runs(a, b, attribute=attribute, metric=metric))
        except (InputError, KeyError):
            continue  # one of them has no validation yet, or they have no metric in common
    return comparisons


def _movers(runs: list[str], comparisons: list[RunComparison]) -> Iterator[str]:
    a, b = map(name, runs)
    yield f"<p>Single classes: A is {a}, B is {b}, at the last step that both validated.</p>\n"
    for comparison in comparisons:
        yield f"<h3>{name(comparison.attribute)}: {escape(metric_name(comparison.a.metric))}</h3>\n"
        yield f"<p>{_balance(comparison)} {escape(basis_text(comparison))}</p>\n"
        for heading, movers in (("Gains of B", gains(comparison.classes)), ("Losses of B", losses(comparison.classes))):
            if movers:
                yield f"<h4>{heading}</h4>\n"
                rows = map(_mover_row, movers[:_MOVERS_SHOWN])
                columns = ("class", "group", "A", "B", "B − A", "95 %", "")
                yield from table(columns, rows, text_columns=2)


def _balance(comparison: RunComparison) -> str:
    gained = sum(c.difference > 0 for c in comparison.classes)
    lost = sum(c.difference < 0 for c in comparison.classes)
    same = len(comparison.classes) - gained - lost
    total = f"Of {len(comparison.classes):,} classes that both runs have and define"
    unshared = len(comparison.only_in_a) + len(comparison.only_in_b)
    rest = f"; {unshared:,} are in one run only" if unshared else ""
    clear = sum(not could_be_chance(c) for c in comparison.classes)
    return (
        f"{total}, {gained:,} gained, {lost:,} lost, {same:,} stayed the same{rest}. They are ranked by evidence: by "
        f"the end of their 95 % interval nearest 0. {clear:,} stand out; {chance_text(len(comparison.classes))}."
    )


def _mover_row(mover: ClassComparison) -> list[str]:
    is_unclear = could_be_chance(mover)
    side = "chance" if is_unclear else "gain" if mover.difference > 0 else "loss"
    ends = (
        "" if math.isnan(mover.lower) else f"{number(mover.lower, signed=True)} to {number(mover.upper, signed=True)}"
    )
    note = " could be chance" if is_unclear else ""
    bar = f'<i class="bar {side}" style="width:{min(abs(mover.difference), 1) * 100:.1f}px"></i>'
    group = f'<i class="swatch {escape(mover.group)}"></i>{escape(mover.group)}'
    difference = number(mover.difference, signed=True)
    return [name(mover.name), group, number(mover.a), number(mover.b), difference, ends, bar + note]


# ------------------------------------------------------------------------------------------------------ figures


def _figures_sections(page: Page) -> Iterator[Section]:
    """The last values, figures and texts of every run."""
    for i, (run, entry) in enumerate(page.runs.items(), start=1):
        yield Section(f"run-{i}", f"Run {run}", _last_values(entry))
        for area in EXPORTED_AREAS:
            paths = _figure_paths(entry, area)
            if paths:
                title = "Everything else" if area == OTHER else area.replace("_", " ").capitalize()
                yield Section(f"run-{i}-{area.replace('_', '-')}", title, _figures(page, paths), level=3)
        texts = (entry.summary or {}).get("texts", {})
        if texts:
            yield Section(f"run-{i}-texts", "Texts", _texts(texts), level=3)


def _last_values(entry: RunEntry) -> Iterator[str]:
    values = (entry.summary or {}).get("last_values", {})
    if values:
        rows = ([name(tag), "–" if v is None else f"{v:.5g}".replace("-", "−")] for tag, v in values.items())
        yield from table(("scalar", "last value"), rows)


def _figure_paths(entry: RunEntry, area: str) -> list[str]:
    """PNG files of an area, scalars first; of images over steps only the last.

    Without the sheet with images of every class, which needs a table to be read.
    """
    scalars = f"figures/{area}/{SCALARS}"
    units = sorted(entry.units, key=lambda unit: (not unit.startswith(scalars), unit))
    makers = (f"figures/{area}", "images/")
    paths = [path for unit in units if unit.startswith(makers) for path in entry.units[unit].files]
    others = ("/step=", f"/{EVERY_CLASS}/")
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
    _runs_section,
    _groups_section,
    tab_section,
    _movers_section,
    _figures_sections,
)
