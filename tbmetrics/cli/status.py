"""Exit statuses of the command, and what several commands say."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tbmetrics.records.history import History

OK, PARTLY, USAGE, NOTHING, FAILED = 0, 1, 2, 3, 4


def print_problems(runs: Iterable[History]) -> list[str]:
    """Say what was wrong with the files of the runs, and return it."""
    problems = [f"run {run.run}: {problem}" for run in runs for problem in run.problems]
    for problem in problems:
        print(f"tbmetrics: {problem}", file=sys.stderr)
    return problems
