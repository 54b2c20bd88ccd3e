"""How a run presents itself in TensorBoard: its Custom Scalars layout and its pages in the Text tab."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from operator import itemgetter
from typing import Any

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.records import (
    ALL,
    DYNAMICS,
    FEW_POSITIVES,
    GAP,
    GROUPS,
    HEAD,
    MEAN_METRICS,
    ROWS_WITH_MARGIN,
    TAIL,
    Layout,
    MarginChart,
    MultilineChart,
    Text,
    main_metric,
    mean_metrics,
    metric_name,
    scalar_metrics,
    scalar_tag,
)
from tbmetrics.records.history import History

RUN_TEXT_TAG = "tbmetrics/run"
RESULTS_TEXT_TAG = "tbmetrics/results"


def layout(
    classes: ClassGroups | None, *, metrics: Sequence[str] = MEAN_METRICS, training_dynamics: bool = False
) -> Layout:
    """Charts for the Custom Scalars tab: tail and gap of each attribute with intervals, then all groups.

    Args:
        classes: the run's classes, or None.
        metrics: means over classes that will be measured.
        training_dynamics: whether gradients are measured.
    """
    categories: dict[str, Mapping[str, MultilineChart | MarginChart]] = {}
    for attribute, attribute_classes in (classes or {}).items():
        groups = attribute_classes.sizes()
        categories[f"class performance: {attribute}"] = _charts_with_interval(attribute, groups, main_metric(metrics))
        categories[f"class performance by group: {attribute}"] = _charts_by_group(attribute, groups, metrics)
    categories["resource usage"] = {
        "seconds by component": MultilineChart(("resource_usage/component_seconds/.*",)),
        "samples per second": MultilineChart(("resource_usage/throughput_samples_per_second",)),
        "memory in bytes": MultilineChart(("resource_usage/memory/[a-z_]*bytes$",)),
        "share of time that tbmetrics takes": MultilineChart(("resource_usage/tbmetrics_overhead.*",)),
    }
    if training_dynamics:
        categories["training dynamics"] = {
            "gradient norm, of all and of the largest parameters": MultilineChart((f"^{DYNAMICS}/gradient_norm.*",)),
            "update ratio": MultilineChart((f"^{DYNAMICS}/update_ratio$",)),
            "gradient cosine": MultilineChart((f"^{DYNAMICS}/gradient_cosine$",)),
            "weight norm": MultilineChart((f"^{DYNAMICS}/weight_norm$",)),
        }
    return Layout(categories)


def _charts_with_interval(attribute: str, groups: Collection[str], metric: str) -> dict[str, MarginChart]:
    """By which runs are compared: the main metric of the tail, and its gap."""
    titles = {TAIL: f"{metric_name(metric)} of the tail", GAP: f"gap of {metric_name(metric)} (head − tail)"}
    rows = [row for row in ROWS_WITH_MARGIN if row in groups or (row == GAP and {HEAD, TAIL} <= {*groups})]
    return {f"{titles[row]}, 95 % interval": MarginChart((_band_tags(attribute, metric, row),)) for row in rows}


def _charts_by_group(attribute: str, groups: Collection[str], metrics: Sequence[str]) -> dict[str, MultilineChart]:
    charts = {}
    for metric in scalar_metrics(metrics):
        tags = (scalar_tag(attribute, metric, group) for group in (*groups, ALL))
        charts[metric_name(metric)] = MultilineChart(tuple(map(_exact_pattern, tags)))
    return charts


def _band_tags(attribute: str, metric: str, group: str) -> tuple[str, str, str]:
    value, lower, upper = (scalar_tag(attribute, f"{metric}{end}", group) for end in ("", "_lower", "_upper"))
    return value, lower, upper


def _exact_pattern(tag: str) -> str:
    """Regular expression that matches exactly `tag`, in Python and in JavaScript."""
    return "^" + "".join(f"\\{c}" if c in r".^$*+?{}[]\|()" else c for c in tag) + "$"


def run_text(classes: ClassGroups | None, hparams: Mapping[str, Any] | None, model_parameters: int | None) -> Text:
    """Page about the run: classes by group, hyperparameters and versions."""
    parts = ["# Run", *_class_lines(classes), *_hparam_lines(hparams), "## Environment", "", "| | |", "|---|---|"]
    if model_parameters is not None:
        parts.append(f"| model parameters | {model_parameters:,} |")
    parts += [f"| {name} | {value} |" for name, value in _versions()]
    return Text(RUN_TEXT_TAG, "\n".join(parts))


def _class_lines(classes: ClassGroups | None) -> Iterable[str]:
    if not classes:
        return
    yield from ("## Classes", "", "| attribute | classes | head | medium | tail | unknown | rule |")
    yield "|---|---:|---:|---:|---:|---:|---|"
    for attribute, attribute_classes in classes.items():
        sizes = attribute_classes.sizes()
        counts = " | ".join(str(sizes.get(group, 0)) for group in (*GROUPS, "unknown"))
        yield f"| {_cell(attribute)} | {len(attribute_classes)} | {counts} | {_cell(attribute_classes.rule)} |"
    yield ""


def _hparam_lines(hparams: Mapping[str, Any] | None) -> Iterable[str]:
    if not hparams:
        return
    yield from ("## Hyperparameters", "", "| name | value |", "|---|---|")
    yield from (f"| {_cell(name)} | {_cell(value)} |" for name, value in sorted(hparams.items()))
    yield ""


def _versions() -> Iterable[tuple[str, str]]:
    yield "python", platform.python_version()
    for package in ("tbmetrics", "torch", "tensorboard", "numpy"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


#: What is said at the end of a run that was given classes and no validation.
NO_VALIDATION = "classes were given, but no validation: call tb.update(logits, labels) for each validation batch"


def results_text(type_metrics: Mapping[str, Mapping[str, Mapping[str, Any]]], faults: Mapping[str, str]) -> Text:
    """Page about the last validation: one table per attribute, and what could not be measured."""
    parts = ["# Results of the last validation", ""]
    for attribute, groups in type_metrics.items():
        means = mean_metrics({column: None for metrics in groups.values() for column in metrics})
        headings = " | ".join(map(metric_name, means))
        parts += [f"## {_cell(attribute)}", "", f"| group | classes | {headings} |"]
        parts += [f"|---|---:|{'---:|' * len(means)}"]
        parts += [_group_line(group, metrics, means) for group, metrics in groups.items()]
        parts.append("")
    if faults:
        parts += ["## Not measured", "", *(f"- {_cell(name)}: {_cell(fault)}" for name, fault in faults.items())]
    return Text(RESULTS_TEXT_TAG, "\n".join(parts))


def _group_line(group: str, metrics: Mapping[str, Any], means: Sequence[str]) -> str:
    values = " | ".join(_mean(metrics, metric) for metric in means)
    count = metrics.get("count")
    return f"| {_cell(group)} | {'' if count is None else count} | {values} |"


def _mean(metrics: Mapping[str, Any], metric: str) -> str:
    """A mean, with the number of classes it covers if not all of the group, and of those with few positives."""
    text, covered, size = _three_decimals(metrics.get(metric)), metrics.get(f"{metric}_n_classes"), metrics.get("count")
    few = metrics.get(f"{metric}_n_few_positives")
    notes = [] if None in (covered, size) or covered == size else [f"{covered:.0f} of {size}"]
    notes += [f"{few:.0f} with under {FEW_POSITIVES} positives"] if few else []
    return f"{text} ({', '.join(notes)})" if notes else text


def _three_decimals(value: Any) -> str:
    return "undefined" if value is None or value != value else f"{value:.3f}"


def _cell(value: Any) -> str:
    """Escape untrusted text for one Markdown table cell: no line breaks, no column or HTML characters."""
    text = " ".join(str(value).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        text = text.replace(character, entity)
    return text


def final_metrics(history: History) -> dict[str, float]:
    """Last value of tail, all and gap, for the HParams tab: of each attribute's main metric, then of the others."""
    tables = [series[-1] for series in history.tables.values() if series[-1].kind == "groups"]
    ranked = []
    for table in tables:
        main = main_metric(table.columns)
        metrics = (main, *(m for m in scalar_metrics(mean_metrics(table.columns)) if m != main), "accuracy")
        ranked += [(i, scalar_tag(table.attribute, m, row)) for i, m in enumerate(metrics) for row in (TAIL, ALL, GAP)]
    tags = [tag for _, tag in sorted(ranked, key=itemgetter(0)) if tag in history.scalars]
    return {tag: float(history.scalars[tag].values[-1]) for tag in tags}
