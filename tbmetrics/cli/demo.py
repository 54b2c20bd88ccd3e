"""`tbmetrics demo`: train two methods on long-tailed numbers, and say what they show."""

from __future__ import annotations

import argparse
from pathlib import Path

from tbmetrics.cli.status import OK
from tbmetrics.events.places import how_to_look


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--log-dir", type=Path, default=Path("runs/demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, metavar="N", help="of each run (default: the ones that were tuned)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each method (default: %(default)s)")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train all runs and print the table; return the exit status."""
    from rich.console import Console

    from tbmetrics.comparing.printing import print_table
    from tbmetrics.demo.command import SHOWN, run_demo
    from tbmetrics.demo.training import METHODS

    options = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    table, sentence = run_demo(
        arguments.log_dir, seeds=arguments.seeds, jobs=arguments.jobs, quiet=arguments.quiet, **options
    )
    print_table(table, Console())
    print(f"\nOn the test set, seed 0, with A = {METHODS[0]} and B = {METHODS[1]}: {sentence}\n")
    print(how_to_look(arguments.log_dir, **SHOWN))
    return OK
