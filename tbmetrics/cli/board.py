"""`tbmetrics board`: TensorBoard on a log directory, with the Long Tail tab open."""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import webbrowser
from collections.abc import Mapping

from tbmetrics.cli.status import OK
from tbmetrics.errors import InputError
from tbmetrics.events.places import is_url, tab_address

#: Parts of the tab's state that the address can carry.
_STATE = {
    "attribute": "to show",
    "metric": "to show, such as recall",
    "a": "run to compare with, such as baseline/seed0",
    "b": "run to compare",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("logdir", metavar="LOGDIR", help="directory of runs, or a URL")
    parser.add_argument("--port", type=int, metavar="N", help="default: 6006, or the next that is free")
    parser.add_argument("--host", default="localhost", metavar="NAME", help="to serve on (default: %(default)s)")
    for name, about in _STATE.items():
        parser.add_argument(f"--{name}", metavar="NAME", help=about)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; return the exit status."""
    state = {name: getattr(arguments, name) for name in _STATE if getattr(arguments, name)}
    address = launch(arguments.logdir, host=arguments.host, port=arguments.port, state=state)
    print(f"{address}   (Ctrl+C ends it)", flush=True)
    if not arguments.no_browser:
        webbrowser.open(address)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    return OK


def launch(
    logdir: str, *, host: str = "localhost", port: int | None = None, state: Mapping[str, str] | None = None
) -> str:
    """Start TensorBoard on a thread of this process; return the address of its Long Tail tab.

    Args:
        logdir: directory of runs, or a URL.
        host, port: to serve on; None = 6006, or the next port that is free.
        state: what the tab shows: `attribute`, `metric`, and the runs `a` and `b`.

    Raises:
        InputError: there is no such directory, the port is taken, or TensorBoard does not start.
    """
    from tensorboard import program

    if not is_url(logdir) and not os.path.isdir(logdir):
        raise InputError(f"there is no directory {logdir!r}; give the one that holds the runs")
    server = program.TensorBoard()
    chosen = [] if port is None else ["--port", str(port)]
    server.configure(argv=["tensorboard", "--logdir", logdir, "--host", host, *chosen])
    try:
        return f"{server.launch()}{tab_address(state or {})}"
    except program.TensorBoardServerException as error:
        raise InputError(f"TensorBoard did not start: {error.msg}") from error
