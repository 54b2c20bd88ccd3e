"""Saving and restoring histories and results as plain containers, numbers, strings and tensors.

Everything packed here can be read by `torch.load(..., weights_only=True)`: arrays become tensors that share their
memory, records become dictionaries of their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tbmetrics import records
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.errors import InputError
from tbmetrics.records.history import History, ScalarSeries, Series
from tbmetrics.statistics.bucket_means import MeanUncertainty

if TYPE_CHECKING:
    from tbmetrics.tracking.tracker import Tracker

STATE_VERSION = 1
_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (*vars(records).values(), CountBuckets, MeanUncertainty)
    if isinstance(kind, type) and is_dataclass(kind)
}
_SERIES_KINDS = ("scalars", "pr_curves", "histograms", "images", "texts", "tables")


def checked(state: Any, what: str, **expected: Any) -> Mapping[str, Any]:
    """Return `state` after checking that it is ours, not newer than this tbmetrics, and made for the same thing.

    Args:
        state: the result of a `state_dict()`.
        what: name of the caller, for messages.
        expected: entries that must have these values.

    Raises:
        InputError: the state does not fit; the message says what was expected.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("version"), int):
        raise InputError(f"{what}: expected what its state_dict() gave, got {type(state).__name__} without a version")
    if state["version"] > STATE_VERSION:
        raise InputError(
            f"{what}: the state is of version {state['version']}, this tbmetrics reads up to {STATE_VERSION}; update it"
        )
    for name, value in expected.items():
        if state.get(name) != value:
            raise InputError(f"{what}: the state does not fit: {_difference(name, state.get(name), value)}")
    return state


def _difference(name: str, saved: Any, expected: Any) -> str:
    if isinstance(saved, Mapping) and isinstance(expected, Mapping):
        for key in [*expected, *saved]:
            if saved.get(key) != expected.get(key):
                return _difference(f"{name} of {key!r}", saved.get(key), expected.get(key))
    if isinstance(saved, list) and isinstance(expected, list):
        only_saved = [str(item) for item in saved if item not in expected][:3]
        only_expected = [str(item) for item in expected if item not in saved][:3]
        only = f"only in the state: {only_saved}, only here: {only_expected}"
        return f"its {name} are {len(saved)}, here there are {len(expected)}; {only}"
    return f"its {name} is {saved!r}, here it is {expected!r}"


def pack(value: Any) -> Any:
    """Convert `value` to plain containers, numbers, strings and tensors; arrays share their memory with the tensors."""
    if isinstance(value, np.ndarray):
        is_shareable = value.flags.writeable and all(stride >= 0 for stride in value.strides)
        return torch.from_numpy(value if is_shareable else value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(pack(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return {"record": type(value).__name__, **{f.name: pack(getattr(value, f.name)) for f in fields(value)}}
    return value


def unpack(value: Any) -> Any:
    """Invert `pack`: tensors become arrays, and dictionaries of fields become records."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, dict) and "record" in value:
        kind = _KINDS[value["record"]]
        names = {f.name for f in fields(kind)}
        return kind(**{name: unpack(item) for name, item in value.items() if name in names})
    if isinstance(value, dict):
        return {key: unpack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(unpack(item) for item in value)
    return value


def history_state(history: History) -> dict[str, Any]:
    """Pack all of `history`, which must be in memory."""
    series = {kind: {tag: s.state() for tag, s in getattr(history, kind).items()} for kind in _SERIES_KINDS}
    packed: dict[str, Any] = pack({**series, "class_lists": history.class_lists})
    return packed


def restore_history(history: History, state: Mapping[str, Any]) -> None:
    """Replace the content of `history` by that of `history_state`."""
    for kind in _SERIES_KINDS:
        series_by_tag: dict[str, Any] = getattr(history, kind)
        series_by_tag.clear()
        for tag, series in state[kind].items():
            series_by_tag[tag] = (ScalarSeries if kind == "scalars" else Series).from_state(unpack(series))
    history.class_lists = unpack(state["class_lists"])


def tracker_state(tracker: Tracker, **entries: Any) -> dict[str, Any]:
    """A tracker's `state_dict`: `entries`, the version, and its own history if it is used without a session."""
    history = {} if tracker.in_session else {"history": history_state(tracker.history)}
    return {"version": STATE_VERSION, **entries, **history}


def checked_tracker_state(tracker: Tracker, state: Any, **expected: Any) -> Mapping[str, Any]:
    """Check `state` for `load_state_dict`; restore the history of a tracker that is used without a session.

    Raises:
        InputError: see `checked`.
    """
    valid = checked(state, f"{type(tracker).__name__}.load_state_dict", **expected)
    if not tracker.in_session and "history" in valid:
        restore_history(tracker.history, valid["history"])
    return valid
