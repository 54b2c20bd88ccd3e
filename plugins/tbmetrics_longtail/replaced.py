"""Runs whose files were removed and written anew, which TensorBoard's Python loader does not notice."""

from __future__ import annotations

import os
import re
from pathlib import Path

_BEGUN = re.compile(r"tfevents\.(\d{9,}(?:\.\d+)?)\.")  # seconds in the name of an event file
_SLACK_SECONDS = 1.0  # names may have whole seconds

REPLACED = (
    "this run was replaced after TensorBoard had read it, and TensorBoard still shows the earlier one; restart it to "
    "see the new one"
)


def is_replaced(logdir: str, run: str, latest: float) -> bool:
    """Whether every event file of a run was begun after all that is shown of it.

    Args:
        logdir: TensorBoard's log directory; where it is no local directory, this cannot be told.
        run: name of the run.
        latest: time of its latest shown record, Unix seconds.
    """
    try:
        names = os.listdir(Path(logdir, run))
    except (OSError, ValueError):
        return False
    begun = [float(match[1]) for name in names if (match := _BEGUN.search(name))]
    return bool(begun) and min(begun) > latest + _SLACK_SECONDS
