"""The first table of docs/benchmarks.md: what is aimed at, and what the last results say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring import Comparison, Facts, Summary, median
from benchmarks.tables import from_json, number

PLACE = "at a glance"  # in the page
Areas = Mapping[str, Mapping[str, Any]]

SMALL, MEDIUM, SHORT = (f"digits, {size}: a whole run by the clock" for size in ("small", "medium", "short"))
OURS, LIGHTNING = "tbmetrics, everything on", "Lightning's callbacks, torchmetrics"
STEP, AMORTISED = "model of 3 layers: a step without a sample", "model of 3 layers: a step, samples included"
TWENTY, THOUSAND = "10,000 samples × 20 classes, multi-label", "10,000 samples × 1,000 classes, multi-label"
WHOLE, TRACKER = "updates and all results", "`ClassPerformanceTracker`, all results"


@dataclass(frozen=True)
class Aim:
    """A line of the table.

    Attributes:
        what: is measured, and against what.
        aim: in the same unit.
        measured: the value as text, from the results of all areas; raises KeyError if it was not measured.
    """

    what: str
    aim: str
    measured: Callable[[Areas], str]


def ratio(area: str, title: str, way: str, peer: str | None = None) -> Callable[[Areas], str]:
    """Ratio of a way with its interval, and the one of a peer in the same run."""

    def measured(areas: Areas) -> str:
        result = _comparison(areas, area, title)
        text = _with_interval(Summary.of(result, way))
        return f"{text}; {peer}: {number(Summary.of(result, peer).ratio)}" if peer in result.values else text

    return measured


def difference(area: str, title: str, way: str) -> Callable[[Areas], str]:
    """What a way takes more than the base, as the median over the turns."""

    def measured(areas: Areas) -> str:
        result = _comparison(areas, area, title)
        more = [a - b for a, b in zip(result.values[way], result.values[result.base], strict=True)]
        return f"{number(median(more))} {result.unit}"

    return measured


def cell(area: str, title: str, row: str, column: str) -> Callable[[Areas], str]:
    """A cell of a table of facts."""

    def measured(areas: Areas) -> str:
        facts = _result(areas, area, title)
        assert isinstance(facts, Facts)
        cells = next(cells for cells in facts.rows if cells[0].startswith(row))
        return cells[facts.columns.index(column)]

    return measured


def loop_against_evaluation(areas: Areas) -> str:
    """Time of scikit-learn's loop over the exact AP of all classes ÷ our whole evaluation."""
    alone = _comparison(areas, "class_performance", f"{THOUSAND}: exact AP")
    whole = _comparison(areas, "class_performance", f"{THOUSAND}: {WHOLE}")
    loop = median(alone.values["loop over scikit-learn's `average_precision_score`"])
    return number(loop / median(whole.values[TRACKER]))


AIMS = (
    Aim("a run with steps of 5 ms, everything on ÷ bare loop", "1.05", ratio("headline", SMALL, OURS, LIGHTNING)),
    Aim("a run with steps of 100 ms, everything on ÷ bare loop", "1.01", ratio("headline", MEDIUM, OURS, LIGHTNING)),
    Aim("a run of 60 steps of 5 ms, everything on ÷ bare loop", "1.10", ratio("headline", SHORT, OURS, LIGHTNING)),
    Aim("default trackers, a step without a sample", "15 µs", difference("steps", STEP, "default trackers")),
    Aim("default trackers, samples included", "60 µs", difference("steps", AMORTISED, "default trackers")),
    Aim("everything on, samples included", "150 µs", difference("steps", AMORTISED, "everything on")),
    Aim(
        "`import tbmetrics.session` ÷ `import torch`", "1.05",
        ratio("imports", "importing", "import tbmetrics.session", "import torch.utils.tensorboard"),
    ),
    Aim(
        "torchmetrics' exact mode ÷ ours, 10,000 × 20, all results", "2",
        ratio("class_performance", f"{TWENTY}: {WHOLE}", "torchmetrics, exact"),
    ),
    Aim("scikit-learn's loop of AP ÷ our whole evaluation, 10,000 × 1,000", "6", loop_against_evaluation),
    Aim(
        "torchmetrics' binned mode ÷ ours, 10,000 × 20, updates", "100",
        ratio("class_performance", f"{TWENTY}: updates", "torchmetrics, 100 bins"),
    ),
    Aim(
        "an update counted in bins ÷ one whose scores are held, 512 × 10,000, single-label", "3",
        ratio("class_performance", "512 samples × 10,000 classes, single-label: an update", "binned"),
    ),
    Aim(
        "`add_histogram` ÷ ours, all parameters", "20",
        ratio("training_dynamics", "histograms of all parameters", "ours"),
    ),
    Aim(
        "the tab's first chart, 8,142 classes × 10 runs × 100 validations, ms", "300",
        cell("tab", "in the tab", "first chart", "median (ms)"),
    ),
    Aim(
        "a frame while a threshold is dragged there, ms", "17",
        cell("tab", "in the tab", "frame while dragging", "median (ms)"),
    ),
)  # fmt: skip


def table(areas: Areas) -> str:
    """The lines of the table, as Markdown."""
    lines = ["| what | measured | aim |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {aim.what} | {_measured(aim, areas)} | {aim.aim} |" for aim in AIMS)])


def _measured(aim: Aim, areas: Areas) -> str:
    try:
        return aim.measured(areas)
    except (KeyError, StopIteration):
        return "not measured"


def _with_interval(summary: Summary) -> str:
    spread = f" ({number(summary.low)} to {number(summary.high)})" if summary.turns > 2 else ""
    return number(summary.ratio) + spread


def _result(areas: Areas, area: str, title: str) -> Comparison | Facts:
    results: Iterable[Comparison | Facts] = from_json(areas[area]["results"])
    for result in results:
        if result.title == title:
            return result
    raise KeyError(title)


def _comparison(areas: Areas, area: str, title: str) -> Comparison:
    result = _result(areas, area, title)
    assert isinstance(result, Comparison)
    return result
