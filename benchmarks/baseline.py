"""Whether a ratio has got worse than a kept one by more than the two of them scatter; seconds are not compared.

A baseline keeps several runs of each area. The tolerance of a ratio is made of the scatter of the turns of a run, of
the scatter between the runs that are kept, and of a floor, on the scale of logarithms.
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
#: Runs of an area that are kept, the latest.
MOST_RUNS = 5
#: Standard errors that a ratio may be off, and what it may be off in any case: of a ratio near one (a share of a
#: step), and of any other (times faster than something else).
ERRORS, FLOOR_NEAR_ONE, FLOOR = 4.0, 0.02, 0.25
NEAR_ONE = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Kept:
    """One ratio of one run."""

    ratio: float
    error: float


def ratios(area: str, results: list[dict[str, Any]]) -> dict[str, tuple[Kept, bool]]:
    """The watched ratios of an area's results and whether a smaller one is a loss, by a name that stays the same."""
    found = {}
    for result in from_json(results):
        if isinstance(result, Comparison):
            for way in result.watched or [w for w in result.values if w != result.base]:
                if way in result.values:
                    own = result.ratios(way)
                    kept = Kept(statistics.median(own), median_error(np.log(own)))
                    found[f"{area}: {result.title}: {way}"] = kept, result.falling_is_worse
    return found


def read(path: Path) -> dict[str, Any]:
    """The kept baseline; an empty one where there is none."""
    if not path.exists():
        return {"version": VERSION, "machine": "", "ratios": {}}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found.get("version") != VERSION:
        raise ValueError(f"{path} is of version {found.get('version')!r}, this reads {VERSION}: make a new one")
    return found


def keep(baseline: dict[str, Any], areas: Mapping[str, Mapping[str, Any]], size: str, machine: str) -> dict[str, Any]:
    """`baseline` with these results added; those of another machine are forgotten."""
    known = baseline["ratios"] if baseline["machine"] == machine else {}
    for area, entry in areas.items():
        for name, (kept, _) in ratios(area, entry["results"]).items():
            runs = known.setdefault(f"{size}: {name}", [])
            runs.append({"ratio": kept.ratio, "error": None if math.isnan(kept.error) else kept.error})
            del runs[:-MOST_RUNS]
    return {"version": VERSION, "machine": machine, "ratios": known}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one ratio stands: `change` and `tolerance` as factors, above one is worse."""

    name: str
    before: float
    now: float
    change: float
    tolerance: float

    @property
    def worse(self) -> bool:
        """Whether it has got worse by more than it scatters."""
        return self.change > self.tolerance

    def __str__(self) -> str:
        word = "WORSE" if self.worse else "ok"
        return f"{word:6}{self.name}: {self.before:.4g} → {self.now:.4g}, a loss of {self.change - 1:+.1%}" + (
            f" (tolerated: {self.tolerance - 1:.1%})"
        )


def verdicts(baseline: Mapping[str, Any], areas: Mapping[str, Mapping[str, Any]], size: str) -> Iterator[Verdict]:
    """One for each ratio that is both measured and kept."""
    for area, entry in areas.items():
        for name, (now, falling_is_worse) in ratios(area, entry["results"]).items():
            runs = baseline["ratios"].get(f"{size}: {name}")
            if runs:
                yield _judged(name, runs, now, falling_is_worse)


def _judged(name: str, runs: list[dict[str, Any]], now: Kept, falling_is_worse: bool) -> Verdict:
    logs = np.log([run["ratio"] for run in runs])
    before = float(np.median(logs))
    within = statistics.median([run["error"] or 0.0 for run in runs])
    between = float(np.std(logs, ddof=1)) if len(logs) > 1 else 0.0
    own = 0.0 if math.isnan(now.error) else now.error
    floor = FLOOR_NEAR_ONE if NEAR_ONE[0] < math.exp(before) < NEAR_ONE[1] else FLOOR
    tolerance = max(floor, ERRORS * math.sqrt(within**2 + between**2 + own**2))
    change = (before - math.log(now.ratio)) if falling_is_worse else (math.log(now.ratio) - before)
    return Verdict(name, math.exp(before), now.ratio, math.exp(change), math.exp(tolerance))
