"""The sections of the page: runs, groups, the classes that moved most, and the figures of every run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from tbmetrics.comparing.runs import ClassComparison, RunComparison
from tbmetrics.exporting.contents import SCALARS
from tbmetrics.exporting.manifest import RunEntry
from tbmetrics.exporting.options import EXPORTED_AREAS, OTHER
from tbmetrics.exporting.report_parts import Page, Section, escape, figure, name, number, table
from tbmetrics.exporting.summary import MOVER_METRIC, movers
from tbmetrics.records import GAP, GROUP_ROWS, MEAN_METRICS

MOVERS_SHOWN = 8
METRIC_NAMES = {"precision": "Precision", "recall": "Recall", "f1": "F1", "ap": "AP"}

#: File name → what the figure shows.
_SAID = {
    "class_distribution": "Training examples of each class, most frequent first.",
    "metrics_by_group": "Means over the group's classes at the last validation; whiskers: 95 %.",
    "metrics_over_steps": "The same means at every validation; bands: 95 %.",
    "pr_curves": "Precision against recall, mean over the group's classes.",
    "f1_by_training_count": "One point for each class: do rare classes fail?",
    "confusion_by_group": "Where the examples of each group go.",
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


def runs_section(page: Page) -> Iterator[Section]:
    """What was read: a row for each run."""
    yield Section("runs", "Runs", _runs(page))


def _runs(page: Page) -> Iterator[str]:
    heads = ("run", "attributes", "hyperparameters", "last step", "points", "duration", "last written (UTC)")
    yield from table(heads, (_run_row(run, entry) for run, entry in page.runs.items()), texts=3)
    problems = [(run, problem) for run, entry in page.runs.items() for problem in entry.problems]
    if problems:
        yield '<ul class="problems">'
        yield from (f"<li>{name(run)}: {escape(problem)}</li>" for run, problem in problems)
        yield "</ul>\n"


def _run_row(run: str, entry: RunEntry) -> list[str]:
    found: dict[str, Any] = entry.summary or {}
    attributes = ", ".join(f"{name(a)} ({of['classes']:,})" for a, of in sorted(found["attributes"].items()))
    hparams = ", ".join(f"{name(key)} = {escape(_short(value))}" for key, value in sorted(found["hparams"].items()))
    began, ended = found["began"], found["ended"]
    written = "–" if ended is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ended))
    last = "–" if found["last_step"] is None else f"{found['last_step']:,}"
    duration = "–" if began is None else _duration(ended - began)
    return [name(run), attributes or "–", hparams or "–", last, f"{found['points']:,}", duration, written]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------------------------------- groups


def groups_section(page: Page) -> Iterator[Section]:
    """A table for each attribute: every run's groups at its last validation."""
    attributes = sorted({a for entry in page.runs.values() for a in _attributes(entry)})
    if attributes:
        yield Section("groups", "Head, medium and tail", _groups(page, attributes))


def _attributes(entry: RunEntry) -> dict[str, Any]:
    found: dict[str, Any] = (entry.summary or {}).get("attributes", {})
    return {a: of for a, of in found.items() if of["groups"]}


def _groups(page: Page, attributes: list[str]) -> Iterator[str]:
    yield (
        "<p>Means over the group's classes at the last validation, with 95 % intervals from resampling this validation"
        " set; none covers the spread over seeds. The gap is head minus tail. Undefined is –.</p>\n"
    )
    heads = ("run", "group", "classes", *(METRIC_NAMES[m] for m in MEAN_METRICS))
    for attribute in attributes:
        found = {run: of for run, entry in page.runs.items() if (of := _attributes(entry).get(attribute))}
        rules = sorted({of["rule"] for of in found.values()})
        yield f"<h3>{name(attribute)}</h3>\n<p>Rule: {escape('; '.join(rules))}</p>\n"
        yield from table(heads, (row for run, of in found.items() for row in _group_rows(run, of)), texts=2)


def _group_rows(run: str, found: dict[str, Any]) -> Iterator[list[str]]:
    groups = [g for g in GROUP_ROWS if g in found["groups"]]
    for i, group in enumerate(groups):
        values = found["groups"][group]
        size = values.get("n_classes")
        shown = "" if group == GAP or size is None else f"{size:,.0f}"
        first = f"{name(run)} <small>step {found['step']:,}</small>" if i == 0 else ""
        cells = [_interval(values, metric, signed=group == GAP) for metric in MEAN_METRICS]
        yield [first, f'<i class="swatch {group}"></i>{group}', shown, *cells]


def _interval(values: dict[str, float | None], metric: str, *, signed: bool) -> str:
    middle, low, high = (values.get(f"{metric}{end}") for end in ("", "_lower", "_upper"))
    interval = "" if low is None or middle is None else f" <small>{number(low, 2)} to {number(high, 2)}</small>"
    return f"{number(middle, signed=signed)}{interval}"


# ------------------------------------------------------------------------------------------------------ classes


def classes_section(page: Page) -> Iterator[Section]:
    """The classes that gained and lost most from the first run to the second."""
    attributes = {run: sorted(_attributes(entry)) for run, entry in page.runs.items()}
    compared = movers(page.folders, attributes)
    if any(comparison.classes for comparison in compared):
        yield Section("movers", "Biggest movers", _movers(list(page.runs)[:2], compared))


def _movers(runs: list[str], compared: list[RunComparison]) -> Iterator[str]:
    metric = METRIC_NAMES[MOVER_METRIC]
    a, b = map(name, runs)
    yield f"<p>{metric} of single classes: A is {a}, B is {b}, each at its last validation.</p>\n"
    for comparison in compared:
        gains = [c for c in comparison.classes if c.difference > 0][:MOVERS_SHOWN]
        losses = [c for c in reversed(comparison.classes) if c.difference < 0][:MOVERS_SHOWN]
        yield f"<h3>{name(comparison.attribute)}</h3>\n"
        yield f"<p>{_balance(comparison)}</p>\n"
        for heading, chosen in (("Gains of B", gains), ("Losses of B", losses)):
            if chosen:
                yield f"<h4>{heading}</h4>\n"
                rows = (_mover_row(c) for c in chosen)
                yield from table(("class", "group", "A", "B", "B − A", ""), rows, texts=2)


def _balance(comparison: RunComparison) -> str:
    gained = sum(c.difference > 0 for c in comparison.classes)
    lost = sum(c.difference < 0 for c in comparison.classes)
    same = len(comparison.classes) - gained - lost
    all_of_them = f"Of {len(comparison.classes):,} classes that both runs have and define"
    apart = len(comparison.only_in_a) + len(comparison.only_in_b)
    more = f"; {apart:,} are in one run only" if apart else ""
    return f"{all_of_them}, {gained:,} gained, {lost:,} lost, {same:,} stayed the same{more}."


def _mover_row(moved: ClassComparison) -> list[str]:
    side = "gain" if moved.difference > 0 else "loss"
    bar = f'<i class="bar {side}" style="width:{min(abs(moved.difference), 1) * 100:.1f}px"></i>'
    group = f'<i class="swatch {escape(moved.group)}"></i>{escape(moved.group)}'
    difference = number(moved.difference, signed=True)
    return [name(moved.name), group, number(moved.a), number(moved.b), difference, bar]


# ------------------------------------------------------------------------------------------------------ figures


def figures_sections(page: Page) -> Iterator[Section]:
    """The figures of every run, area by area, and its texts."""
    for i, (run, entry) in enumerate(page.runs.items(), start=1):
        yield Section(f"run-{i}", f"Run {run}", _own_values(entry))
        for area in EXPORTED_AREAS:
            paths = _figure_paths(entry, area)
            if paths:
                title = "Everything else" if area == OTHER else area.replace("_", " ").capitalize()
                yield Section(f"run-{i}-{area.replace('_', '-')}", title, _figures(page, paths), level=3)
        texts = (entry.summary or {}).get("texts", {})
        if texts:
            yield Section(f"run-{i}-texts", "Texts", _texts(texts), level=3)


def _own_values(entry: RunEntry) -> Iterator[str]:
    values = (entry.summary or {}).get("last_values", {})
    if values:
        rows = ([name(tag), "–" if v is None else f"{v:.5g}".replace("-", "−")] for tag, v in values.items())
        yield from table(("scalar", "last value"), rows)


def _figure_paths(entry: RunEntry, area: str) -> list[str]:
    """PNG files of an area; of images over steps only the last."""
    makers = (f"figures/{area}/{SCALARS}", f"figures/{area}", "images/")
    units = sorted(entry.units, key=lambda unit: (not unit.startswith(makers[0]), unit))
    found = [path for unit in units if unit.startswith(makers) for path in entry.units[unit].files]
    marks = f"/{area}/"
    return [p for p in found if p.endswith(".png") and "/step=" not in p and marks in p]


def _figures(page: Page, paths: list[str]) -> Iterator[str]:
    yield '<div class="figures">\n'
    for path in paths:
        of = PurePosixPath(path)
        title = of.stem.replace("_", " ").capitalize()
        inside = of.parent.name.replace("_", " ")
        yield from figure(page.out.joinpath(*of.parts), f"{title} ({inside})", _SAID.get(of.stem, ""))
    yield "</div>\n"


def _texts(texts: dict[str, str]) -> Iterator[str]:
    for tag, markdown in sorted(texts.items()):
        yield f"<details><summary>{name(tag)}</summary><pre>{escape(markdown)}</pre></details>\n"
