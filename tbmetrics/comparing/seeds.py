"""Runs that differ in their seed only: which experiment a run belongs to, by a pattern on its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from tbmetrics.errors import InputError

#: What says seed in run names: such a word by itself, with a whole number; `bs32` and `s0.1` are none.
USUAL_PATTERN = r"(^|[-_/.])(seed|s|run|rep)[-_=]?\d+(?![0-9a-z]|\.\d)"
#: How JavaScript, and so the tab, opens a named group.
_NAMED_GROUP = re.compile(r"\(\?<(?=[A-Za-z_])")


def seed_pattern(pattern: str) -> Callable[[str], str]:
    """A function from a run's name to its experiment's.

    Args:
        pattern: a regular expression, found anywhere, in either case. Its group called `name` (`(?<name>…)` or
            `(?P<name>…)`) is the experiment's name; without one it is what is left without the match. An empty pattern
            makes each run an experiment of its own.

    Raises:
        InputError: it is no regular expression.
    """
    try:
        expression = re.compile(_NAMED_GROUP.sub("(?P<", pattern), re.IGNORECASE)
    except re.error as error:
        raise InputError(f"seeds must be a regular expression, got {pattern!r}: {error}") from error

    def experiment_of(run: str) -> str:
        match = expression.search(run) if pattern else None
        if match is None:
            return run
        named = match.groupdict().get("name")
        return named if named is not None else run[: match.start()] + run[match.end() :] or run

    return experiment_of


def experiments(runs: Iterable[str], experiment_of: Callable[[str], str]) -> Mapping[str, tuple[str, ...]]:
    """The runs of each experiment, in the order of their first run."""
    by_name = dict[str, tuple[str, ...]]()
    for run in runs:
        name = experiment_of(run)
        by_name[name] = (*by_name.get(name, ()), run)
    return by_name
