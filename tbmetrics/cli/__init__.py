"""The `tbmetrics` command.

    tbmetrics board LOGDIR                 TensorBoard with the Long Tail tab open
    tbmetrics compare RUN_A RUN_B          two runs in the terminal
    tbmetrics table LOGDIR                 all runs by group, as a table for a paper
    tbmetrics export LOGDIR --out DIR      figures, tables, JSON and a page of every run
    tbmetrics evaluate FILE... --counts COUNTS --out RUN    predictions that are there already become a run
    tbmetrics doctor [LOGDIR]              checks the installation and a log directory, and suggests fixes
    tbmetrics demo                         trains two methods on long-tailed numbers, to look at

LOGDIR and runs may be URLs (`s3://…`, `gs://…`).

Exit status: 0 all went well; 1 a log was damaged or a run could not be exported (the rest was), or a check failed;
2 wrong usage or bad input; 3 there was nothing to show; 4 a condition of `compare --fail-if` holds or cannot be judged.
"""

from __future__ import annotations

import argparse
import codecs
import io
import sys
from collections.abc import Sequence

from tbmetrics.cli import board, compare, demo, doctor, evaluate, export, table
from tbmetrics.cli.status import NOTHING, USAGE
from tbmetrics.errors import InputError

_COMMANDS = (
    ("board", board, "open TensorBoard on the Long Tail tab"),
    ("compare", compare, "compare two runs in the terminal"),
    ("table", table, "all runs by head, medium and tail, as a table for a paper"),
    ("export", export, "write figures, tables, JSON and a page of every run"),
    ("evaluate", evaluate, "write predictions in files as a run for TensorBoard"),
    ("doctor", doctor, "check the installation, the device and a log directory"),
    ("demo", demo, "train two methods on long-tailed numbers, to look at"),
)
_PLAIN_SIGNS = {"−": "-", "★": "*", "≈": "~", "→": "->", "≥": ">=", "≤": "<=", "τ": "tau"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    from tbmetrics.exporting.options import NothingToShowError

    _tolerate_narrow_encodings()
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except NothingToShowError as error:
        return _complain(str(error), NOTHING)
    except InputError as error:
        return _complain(str(error), USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    return status


def _tolerate_narrow_encodings() -> None:
    """Replace what an encoding lacks when printing: on Windows that of a file or a pipe lacks "−" and "★"."""
    codecs.register_error("tbmetrics.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tbmetrics.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN_SIGNS.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def _complain(message: str, status: int) -> int:
    print(f"tbmetrics: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    from tbmetrics import __version__

    parser = argparse.ArgumentParser("tbmetrics", description="Head, medium and tail results of TensorBoard logs.")
    parser.add_argument("--version", action="version", version=f"tbmetrics {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, summary in _COMMANDS:
        command.add_arguments(commands.add_parser(name, help=summary))
    return parser
