"""`tbmetrics board`: TensorBoard on a log directory, with the Long Tail tab open."""

from __future__ import annotations

import argparse
import contextlib
import threading
import webbrowser

from tbmetrics.cli.status import OK
from tbmetrics.errors import InputError
from tbmetrics.events.places import TAB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("logdir", metavar="LOGDIR", help="directory of runs, or a URL")
    parser.add_argument("--port", type=int, metavar="N", help="default: 6006, or the next that is free")
    parser.add_argument("--host", default="localhost", metavar="NAME", help="to serve on (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; return the exit status."""
    address = launch(arguments.logdir, host=arguments.host, port=arguments.port)
    print(f"{address}   (Ctrl+C ends it)", flush=True)
    if not arguments.no_browser:
        webbrowser.open(address)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    return OK


def launch(logdir: str, *, host: str = "localhost", port: int | None = None) -> str:
    """Start TensorBoard on a thread of this process; return the address of its Long Tail tab.

    Raises:
        InputError: the port is taken, or TensorBoard does not start.
    """
    from tensorboard import program

    server = program.TensorBoard()
    chosen = [] if port is None else ["--port", str(port)]
    server.configure(argv=["tensorboard", "--logdir", logdir, "--host", host, *chosen])
    try:
        return f"{server.launch()}{TAB}"
    except program.TensorBoardServerException as error:
        raise InputError(f"TensorBoard did not start: {error.msg}") from error
