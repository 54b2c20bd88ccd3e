"""Compare ratios with a baseline: is one worse by more than random variation? Seconds are not compared.

A baseline keeps several runs of each area. On a logarithmic scale, the tolerance of a ratio combines the variation
between turns of a run and between the kept runs, and is at least a fixed floor.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Comparison, median_error
from benchmarks.tables import from_json

VERSION = 1
#: Number of latest runs to keep per area.
MOST_RUNS = 5
#: Tolerance in standard errors, and its floors: for ratios near one (a share of a step) and for all others (times
#: faster than something else).
ERRORS, FLOOR_NEAR_ONE, FLOOR = 4.0, 0.02, 0.25
NEAR_ONE = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio measured in one run, with the standard error of its logarithm."""

    value: float
    error: float


def ratios(area: str, results: list[dict[str, Any]]) -> dict[str, tuple[Ratio, bool]]:
    """The watched ratios of an area by stable name, each with whether a smaller one is worse."""
    named = {}
    for result in from_json(results):
        if isinstance(result, Comparison):
            for way in result.watched or [w for w in result.values if w != result.base]:
                if way in result.values:
                    values = result.ratios(way)
                    ratio = Ratio(statistics.median(values), median_error(np.log(values)))
                    named[f"{area}: {result.title}: {way}"] = ratio, result.falling_is_worse
    return named


def read(path: Path) -> dict[str, Any]:
    """Read the baseline, or return an empty one if there is no file."""
    if not path.exists():
        return {"version": VERSION, "machine": "", "ratios": {}}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.get("version") != VERSION:
        raise ValueError(f"{path} is of version {content.get('version')!r}, this reads {VERSION}: make a new one")
    return content


def keep(baseline: dict[str, Any], areas: Mapping[str, Mapping[str, Any]], size: str, machine: str) -> dict[str, Any]:
    """Return `baseline` with these results added; drop results of another machine."""
    runs_by_name = baseline["ratios"] if baseline["machine"] == machine else {}
    for area, entry in areas.items():
        for name, (ratio, _) in ratios(area, entry["results"]).items():
            runs = runs_by_name.setdefault(f"{size}: {name}", [])
            runs.append({"ratio": ratio.value, "error": None if math.isnan(ratio.error) else ratio.error})
            del runs[:-MOST_RUNS]
    return {"version": VERSION, "machine": machine, "ratios": runs_by_name}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison of one ratio with the baseline; `change` and `tolerance` are factors, above one is worse."""

    name: str
    before: float
    now: float
    change: float
    tolerance: float

    @property
    def worse(self) -> bool:
        """Whether the ratio got worse by more than the tolerance."""
        return self.change > self.tolerance

    def __str__(self) -> str:
        word = "WORSE" if self.worse else "ok"
        return f"{word:6}{self.name}: {self.before:.4g} → {self.now:.4g}, a loss of {self.change - 1:+.1%}" + (
            f" (tolerated: {self.tolerance - 1:.1%})"
        )


def verdicts(baseline: Mapping[str, Any], areas: Mapping[str, Mapping[str, Any]], size: str) -> Iterator[Verdict]:
    """Yield a verdict on each ratio that is both measured and in the baseline."""
    for area, entry in areas.items():
        for name, (now, falling_is_worse) in ratios(area, entry["results"]).items():
            runs = baseline["ratios"].get(f"{size}: {name}")
            if runs:
                yield _judged(name, runs, now, falling_is_worse)


def _judged(name: str, runs: list[dict[str, Any]], now: Ratio, falling_is_worse: bool) -> Verdict:
    logs = np.log([run["ratio"] for run in runs])
    before = float(np.median(logs))
    within = statistics.median([run["error"] or 0.0 for run in runs])
    between = float(np.std(logs, ddof=1)) if len(logs) > 1 else 0.0
    error = 0.0 if math.isnan(now.error) else now.error
    floor = FLOOR_NEAR_ONE if NEAR_ONE[0] < math.exp(before) < NEAR_ONE[1] else FLOOR
    tolerance = max(floor, ERRORS * math.sqrt(within**2 + between**2 + error**2))
    change = (before - math.log(now.value)) if falling_is_worse else (math.log(now.value) - before)
    return Verdict(name, math.exp(before), now.value, math.exp(change), math.exp(tolerance))
