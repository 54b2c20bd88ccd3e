"""`tbmetrics doctor`: what is missing if nothing shows."""

from __future__ import annotations

import argparse

from tbmetrics.cli.status import OK, PARTLY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("logdir", metavar="LOGDIR", nargs="?", help="also check this log directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Examine; return the exit status."""
    from tbmetrics.doctor import FAILED as ILL
    from tbmetrics.doctor import examine, to_json, to_text, worst

    findings = examine(arguments.logdir)
    print(to_json(findings) if arguments.json else to_text(findings))
    return PARTLY if worst(findings) == ILL else OK
