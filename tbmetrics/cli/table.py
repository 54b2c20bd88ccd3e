"""`tbmetrics table`: all runs by group, as a table for a paper."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tbmetrics.cli.status import OK, PARTLY, print_problems
from tbmetrics.errors import InputError

if TYPE_CHECKING:
    from tbmetrics.comparing.tables import RunTable


#: Formats of a table by the suffix of the file that it goes to.
SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv"}


#: Characters of a line in a file, which does not wrap.
_FILE_WIDTH = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    from tbmetrics.comparing.tabulating import FREQUENCY, GROUPINGS

    parser.add_argument("logdir", metavar="LOGDIR", help="directory of runs, or a URL")
    parser.add_argument("--attribute", metavar="NAME", help="needed where the runs have several")
    parser.add_argument("--metric", default="recall", metavar="NAME", help="a mean over classes (default: %(default)s)")
    parser.add_argument(
        "--seeds", metavar="REGEX", help=r"what tells seeds of one experiment apart in their names, such as '/seed\d+'"
    )
    parser.add_argument(
        "--step",
        metavar="STEP",
        help="a number, or 'best' or 'last' of each run (default: the last that all have)",
    )
    parser.add_argument("--by", default=FREQUENCY, choices=GROUPINGS, help="columns (default: %(default)s)")
    parser.add_argument("--runs", metavar="REGEX", help="only runs in whose name REGEX is found")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write it to FILE, not to the terminal")
    parser.add_argument(
        "--format",
        choices=("rich", *SUFFIXES.values()),
        help=f"default: by the suffix of FILE ({', '.join(SUFFIXES)}), otherwise rich",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the table; return the exit status."""
    from tbmetrics.comparing.tabulating import table_of_histories
    from tbmetrics.exporting.run_table import read_matching

    step = int(arguments.step) if re.fullmatch(r"-?\d{1,18}", arguments.step or "") else arguments.step
    histories = read_matching(arguments.logdir, arguments.runs)
    result = table_of_histories(
        histories,
        attribute=arguments.attribute,
        metric=arguments.metric,
        by=arguments.by,
        step=step,
        seeds=arguments.seeds or "",
    )
    suffix = "" if arguments.out is None else arguments.out.suffix.lower()
    _write_table(result, arguments.format or SUFFIXES.get(suffix, "rich"), arguments.out)
    return PARTLY if print_problems(histories.values()) else OK


def _write_table(table: RunTable, form: str, out: Path | None) -> None:
    from rich.console import Console

    from tbmetrics.comparing.printing import print_table

    try:
        opened = contextlib.nullcontext(sys.stdout) if out is None else out.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{str(out)!r} cannot be written: {error.strerror}") from error
    with opened as file:
        if form == "rich":
            print_table(table, Console(file=file, width=None if out is None else _FILE_WIDTH))
        else:
            file.write({"markdown": table.markdown, "latex": table.latex, "csv": table.csv}[form]())
