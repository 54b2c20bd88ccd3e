"""`tbmetrics export`: figures, tables, JSON and a page of every run."""

from __future__ import annotations

import argparse
import sys

from tbmetrics.cli.status import OK, PARTLY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    from tbmetrics.exporting.options import DEFAULT_FORMATS, EXPORTED_AREAS, FORMATS

    parser.add_argument("logdir", metavar="LOGDIR", help="directory of one run or of many, or a URL")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write to, created if missing")
    parser.add_argument("--runs", metavar="REGEX", help="only runs in whose name REGEX is found")
    parser.add_argument("--attributes", nargs="+", metavar="NAME", help="only these attributes")
    parser.add_argument("--only", metavar="LIST", help=f"some of {','.join(EXPORTED_AREAS)} (default: all)")
    parser.add_argument(
        "--formats",
        default=",".join(DEFAULT_FORMATS),
        metavar="LIST",
        help=f"some of {','.join(FORMATS)} (default: %(default)s)",
    )
    parser.add_argument("--dpi", type=int, default=150, metavar="N", help="dots per inch of PNG (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes (default: one per core, up to 4, for large exports)"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export; return the exit status."""
    from tbmetrics.figures.progress import progress

    def say(message: str) -> None:
        if not arguments.quiet:
            print(message)

    with progress("export", shown=not arguments.quiet) as show:
        from tbmetrics.exporting import export  # takes a second, too

        report = export(
            arguments.logdir,
            arguments.out,
            runs=arguments.runs,
            attributes=arguments.attributes,
            only=None if arguments.only is None else names_in(arguments.only),
            formats=names_in(arguments.formats),
            dpi=arguments.dpi,
            jobs=arguments.jobs,
            progress=show,
        )
    for run in report.skipped:
        say(f"skipped {run}: nothing of what was asked for in it")
    for run, problems in report.problems.items():
        for problem in problems:
            print(f"tbmetrics: {run}: {problem}", file=sys.stderr)
    say(f"{len(report.files)} files in {arguments.out}: {len(report.written)} new, {len(report.removed)} removed")
    return PARTLY if report.problems else OK


def names_in(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
