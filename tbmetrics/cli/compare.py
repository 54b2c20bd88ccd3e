"""`tbmetrics compare`: two runs in the terminal, and a gate for continuous integration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tbmetrics.cli.status import FAILED, OK, PARTLY, print_problems
from tbmetrics.comparing.conditions import Condition
from tbmetrics.events.places import is_url

if TYPE_CHECKING:
    from tbmetrics.comparing.runs import RunComparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("run_a", metavar="RUN_A", help="a run's directory, or its name below --logdir")
    parser.add_argument("run_b", metavar="RUN_B")
    parser.add_argument("--logdir", default="", metavar="DIR", help="directory that holds both runs")
    parser.add_argument("--attribute", metavar="NAME", help="a single one (default: all that both runs have)")
    parser.add_argument("--metric", default="f1", metavar="NAME", help="a mean over classes (default: %(default)s)")
    parser.add_argument("--step", type=int, help="the validation to compare (default: the last that both runs have)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="gains and losses to list (default: 5)")
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="CONDITION",
        help="exit with status 4 if it holds for RUN_B, e.g. 'tail.f1 < baseline - 0.02', or only on evidence: "
        "'tail.f1 significantly < baseline'; may be given again",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison and judge the conditions; return the exit status."""
    from tbmetrics.comparing.printing import print_comparison
    from tbmetrics.comparing.runs import compare_runs
    from tbmetrics.comparing.validations import attributes_with
    from tbmetrics.events.reader import read_run

    conditions = [Condition.parse(text) for text in arguments.fail_if]
    run_a, run_b = (read_run(_place_of(arguments.logdir, run), run=run) for run in (arguments.run_a, arguments.run_b))

    def compared(metric: str) -> list[RunComparison]:
        names = attributes_with(run_a, run_b, metric) if arguments.attribute is None else [arguments.attribute]
        return [compare_runs(run_a, run_b, attribute=name, metric=metric, step=arguments.step) for name in names]

    print_comparison(compared(arguments.metric), arguments.run_a, arguments.run_b, arguments.top)
    problems = print_problems([run_a, run_b])
    judged = [(result, condition) for condition in conditions for result in compared(condition.metric)]
    failed = [f"{r.attribute}: {message}" for r, c in judged if (message := c.failure(r)) is not None]
    for message in failed:
        print(f"tbmetrics: {message}", file=sys.stderr)
    return FAILED if failed else PARTLY if problems else OK


def _place_of(logdir: str, run: str) -> str | Path:
    """The directory or URL of a run."""
    if is_url(run) or is_url(logdir):
        return run if is_url(run) else f"{logdir.rstrip('/')}/{run}"
    return Path(logdir, run)
