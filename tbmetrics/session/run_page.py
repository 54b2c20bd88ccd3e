"""What a run says of itself: the Custom Scalars layout and the text shown in TensorBoard's Text tab; no measuring."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.records import (
    ALL,
    DYNAMICS,
    GAP,
    GROUPS,
    MEAN_METRICS,
    Layout,
    MarginChart,
    MultilineChart,
    Text,
    scalar_tag,
)
from tbmetrics.records.history import History

RUN_TEXT_TAG = "tbmetrics/run"
RESULTS_TEXT_TAG = "tbmetrics/results"


def layout(classes: ClassGroups | None, *, training_dynamics: bool = False) -> Layout:
    """Charts for the Custom Scalars tab: per attribute the group means with their intervals, and the gap.

    Args:
        classes: the run's classes.
        training_dynamics: whether gradients are measured.
    """
    categories: dict[str, dict[str, MultilineChart | MarginChart]] = {}
    for attribute, of_attribute in (classes or {}).items():
        groups = [*of_attribute.sizes(), ALL]
        charts: dict[str, MultilineChart | MarginChart] = {
            f"{metric} with 95 % interval": MarginChart(tuple(_triple(attribute, metric, group) for group in groups))
            for metric in MEAN_METRICS
        }
        charts["gap (head − tail)"] = MultilineChart(
            tuple(_exactly(scalar_tag(attribute, metric, GAP)) for metric in MEAN_METRICS)
        )
        categories[f"class performance: {attribute}"] = charts
    categories["resource usage"] = {
        "seconds by component": MultilineChart(("resource_usage/component_seconds/.*",)),
        "samples per second": MultilineChart(("resource_usage/throughput_samples_per_second",)),
        "bytes of memory": MultilineChart(("resource_usage/memory/[a-z_]*bytes$",)),
        "share of time that tbmetrics takes": MultilineChart(("resource_usage/tbmetrics_overhead.*",)),
    }
    if training_dynamics:
        categories["training dynamics"] = {
            "gradient norms": MultilineChart((f"{DYNAMICS}/gradient_norm.*",)),
            "update ratio": MultilineChart((f"^{DYNAMICS}/update_ratio$",)),
            "gradient cosine": MultilineChart((f"^{DYNAMICS}/gradient_cosine$",)),
            "weight norm": MultilineChart((f"^{DYNAMICS}/weight_norm$",)),
        }
    return Layout(categories)


def _triple(attribute: str, metric: str, group: str) -> tuple[str, str, str]:
    value, lower, upper = (scalar_tag(attribute, f"{metric}{end}", group) for end in ("", "_lower", "_upper"))
    return value, lower, upper


def _exactly(tag: str) -> str:
    """`tag` as a regular expression that both Python and JavaScript read as itself."""
    return "^" + "".join(f"\\{c}" if c in r".^$*+?{}[]\|()" else c for c in tag) + "$"


def run_text(classes: ClassGroups | None, hparams: Mapping[str, Any] | None, model_parameters: int | None) -> Text:
    """What the run is: classes by group, hyperparameters, versions."""
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
    for attribute, of_attribute in classes.items():
        sizes = of_attribute.sizes()
        counts = " | ".join(str(sizes.get(group, 0)) for group in (*GROUPS, "unknown"))
        yield f"| {_cell(attribute)} | {len(of_attribute)} | {counts} | {_cell(of_attribute.rule)} |"
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


def results_text(type_metrics: Mapping[str, Mapping[str, Mapping[str, Any]]], faults: Mapping[str, str]) -> Text:
    """The last validation in one table per attribute, and what tbmetrics could not measure."""
    parts = ["# Results of the last validation", ""]
    for attribute, groups in type_metrics.items():
        parts += [f"## {_cell(attribute)}", "", "| group | classes | precision | recall | F1 | AP |"]
        parts += ["|---|---:|---:|---:|---:|---:|"]
        parts += [_group_line(group, metrics) for group, metrics in groups.items()]
        parts.append("")
    if faults:
        parts += ["## Not measured", "", *(f"- {_cell(name)}: {_cell(fault)}" for name, fault in faults.items())]
    return Text(RESULTS_TEXT_TAG, "\n".join(parts))


def _group_line(group: str, metrics: Mapping[str, Any]) -> str:
    values = " | ".join(_figure(metrics.get(metric)) for metric in MEAN_METRICS)
    count = metrics.get("count")
    return f"| {_cell(group)} | {'' if count is None else count} | {values} |"


def _figure(value: Any) -> str:
    return "undefined" if value is None or value != value else f"{value:.3f}"


def _cell(value: Any) -> str:
    """Untrusted text for one table cell of Markdown: no line breaks, no column or HTML characters."""
    text = " ".join(str(value).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        text = text.replace(character, entity)
    return text


def final_metrics(history: History) -> dict[str, float]:
    """The last value of each group metric, for the HParams tab."""
    shown = ("/f1/", "/recall/", "/ap/", "/accuracy/", "/balanced_accuracy/")
    series = {tag: s for tag, s in history.scalars.items() if tag.startswith("class_performance/")}
    return {tag: float(s.values[-1]) for tag, s in series.items() if any(part in tag for part in shown)}
