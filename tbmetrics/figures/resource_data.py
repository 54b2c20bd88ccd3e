"""The series behind the figures of resource usage, and the text that holds a typical step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tbmetrics.records import RESOURCES, FloatArray, IntArray, untag_part
from tbmetrics.records.history import History, ScalarSeries, Series

TAG = RESOURCES
OTHER = "other"
#: Components shown by name; the others are added to `other`.
COMPONENTS_SHOWN = 8
#: Series of `resource_usage/memory/` that are drawn over epochs, in this order.
MEMORY = ("allocated_bytes", "peak_bytes", "reserved_bytes", "host_rss_bytes", "host_peak_rss_bytes")

_MARKUP = "\\`*_{}[]<>()#+-.!|~&"
_LENGTH = re.compile(r"^A step of middle length: ([\d.]+) ms$", re.MULTILINE)
_ROW = re.compile(r"^\| (.*) \| ([\d.]+) \| ([\d.]+) \| [\d.]+ \|$", re.MULTILINE)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Components:
    """Seconds by component and epoch: `seconds` float64 of shape (components, epochs); `other` is the last."""

    names: tuple[str, ...]
    epochs: IntArray
    seconds: FloatArray

    def index_of(self, epoch: int | None) -> int:
        """Column of `epoch`, by default the last.

        Raises:
            KeyError: nothing was recorded at that epoch.
        """
        if epoch is None:
            return len(self.epochs) - 1
        if epoch not in self.epochs:
            raise KeyError(f"nothing was recorded at epoch {epoch}; there are {self.epochs[0]} to {self.epochs[-1]}")
        return int(np.searchsorted(self.epochs, epoch))


def _by_name(history: History, folder: str) -> dict[str, ScalarSeries]:
    """Series of the tags `resource_usage/{folder}/{name}` by name."""
    prefix = f"{TAG}/{folder}/"
    in_folder = {tag.removeprefix(prefix): s for tag, s in history.scalars.items() if tag.startswith(prefix)}
    return {untag_part(name): series for name, series in in_folder.items() if "/" not in name and len(series)}


def read_components(history: History) -> Components | None:
    """Component times, the largest first and `other` last; those beyond `COMPONENTS_SHOWN` are added to `other`.

    None if no component was timed: `other` alone is the whole epoch.
    """
    by_name = _by_name(history, "component_seconds")
    if not by_name.keys() - {OTHER}:
        return None
    epochs = np.unique(np.concatenate([series.steps for series in by_name.values()]))
    seconds = {name: np.zeros(len(epochs)) for name in by_name}
    for name, series in by_name.items():
        seconds[name][np.searchsorted(epochs, series.steps)] = np.nan_to_num(series.values)
    rest = seconds.pop(OTHER, np.zeros(len(epochs)))
    order = sorted(seconds, key=lambda name: (-seconds[name].sum(), name))
    for name in order[COMPONENTS_SHOWN:]:
        rest = rest + seconds[name]
    shown = order[:COMPONENTS_SHOWN]
    values = np.stack([*(seconds[name] for name in shown), rest])
    return Components((*shown, OTHER), epochs, values)


def memory_series(history: History) -> dict[str, ScalarSeries]:
    """The series of `MEMORY` that have finite values, by name."""
    by_name = _by_name(history, "memory")
    return {name: by_name[name] for name in MEMORY if name in by_name and np.isfinite(by_name[name].values).any()}


def batch_points(history: History) -> tuple[FloatArray, FloatArray]:
    """(batch sizes, bytes) of the probe, and of each epoch if epochs had different batch sizes."""
    probed = history.scalars.get(f"{TAG}/memory_by_batch_size/peak_bytes", ScalarSeries())
    sizes, peaks = probed.steps.astype(np.float64), probed.values
    used = history.scalars.get(f"{TAG}/memory/peak_bytes") or history.scalars.get(f"{TAG}/memory/host_rss_bytes")
    chosen = history.scalars.get(f"{TAG}/largest_batch_size")
    if used is None or chosen is None or len(np.unique(chosen.values)) < 2:
        return sizes, peaks
    _, left, right = np.intersect1d(chosen.steps, used.steps, return_indices=True)
    return np.concatenate([sizes, chosen.values[left]]), np.concatenate([peaks, used.values[right]])


def read_typical_step(history: History, step: int | None) -> tuple[float, list[Span]]:
    """Seconds and components of the typical step of an epoch (None = the last); (NaN, []) if there is none."""
    texts = history.texts.get(f"{TAG}/typical_step", Series())
    if not len(texts) or (step is not None and step not in texts.steps):
        return float("nan"), []
    return read_timeline((texts[-1] if step is None else texts.at(step)).markdown)


def last_value(history: History, tag: str) -> float:
    """The last value of a scalar, or NaN if it has none."""
    series = history.scalars.get(tag)
    return series[-1] if series is not None and len(series) else float("nan")


# -------------------------------------------------------------------------------------------- the typical step


class Span(NamedTuple):
    """When a component began and ended, in seconds since its step began."""

    name: str
    began: float
    ended: float


def markdown_cell(name: str) -> str:
    """`name` for a Markdown table: on one line, its markup escaped."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return "".join(f"\\{c}" if c in _MARKUP else c for c in printable)


def timeline_text(seconds: float, spans: Iterable[Span]) -> str:
    """A step of `seconds` and its `spans`, in the order in which they began, as Markdown; times to the nanosecond."""
    lines = [f"A step of middle length: {seconds * 1e3:.6f} ms", ""]
    lines += ["| component | began (ms) | ended (ms) | took (ms) |", "|---|---:|---:|---:|"]
    for name, began, ended in spans:
        lines.append(f"| {markdown_cell(name)} | {began * 1e3:.6f} | {ended * 1e3:.6f} | {(ended - began) * 1e3:.3f} |")
    return "\n".join(lines)


def read_timeline(markdown: str) -> tuple[float, list[Span]]:
    """The inverse of `timeline_text`; (NaN, []) for any other text."""
    length = _LENGTH.search(markdown)
    if length is None:
        return float("nan"), []
    rows = (match.groups() for match in _ROW.finditer(markdown))
    spans = [Span(_ESCAPED.sub(r"\1", name), float(a) / 1e3, float(b) / 1e3) for name, a, b in rows]
    return float(length[1]) / 1e3, spans
