"""What the figures of resource usage draw, read from a history's scalars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tbmetrics.figures.step_timeline import Span, read_timeline
from tbmetrics.records import RESOURCES, FloatArray, IntArray, untag_part
from tbmetrics.records.history import History, ScalarSeries, Series

TAG = RESOURCES
OTHER = "other"
#: Components shown by name; the rest is added to `other`.
COMPONENTS_SHOWN = 8
#: Series of `resource_usage/memory/` that are drawn over epochs, in this order.
MEMORY = ("allocated_bytes", "peak_bytes", "reserved_bytes", "host_rss_bytes", "host_peak_rss_bytes")


@dataclass(frozen=True)
class Components:
    """Seconds by component and epoch: `seconds` float64 of shape (components, epochs); `other` is the last."""

    names: tuple[str, ...]
    epochs: IntArray
    seconds: FloatArray

    def index_of(self, epoch: int | None) -> int:
        """Where `epoch` is; the last for None.

        Raises:
            KeyError: nothing was recorded at that epoch.
        """
        if epoch is None:
            return len(self.epochs) - 1
        found = np.flatnonzero(self.epochs == epoch)
        if not found.size:
            raise KeyError(f"nothing was recorded at epoch {epoch}; there are {self.epochs[0]} to {self.epochs[-1]}")
        return int(found[0])


def _by_name(history: History, folder: str) -> dict[str, ScalarSeries]:
    """Series of the tags `resource_usage/{folder}/{name}` by name."""
    place = f"{TAG}/{folder}/"
    found = {tag.removeprefix(place): s for tag, s in history.scalars.items() if tag.startswith(place)}
    return {untag_part(rest): series for rest, series in found.items() if "/" not in rest and len(series)}


def read_components(history: History) -> Components | None:
    """Component times, the largest first and `other` last; those beyond `COMPONENTS_SHOWN` are added to `other`.

    None where no component was timed: `other` alone is the epoch.
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
    """Series of memory by name, those of `MEMORY` that hold anything."""
    found = _by_name(history, "memory")
    return {key: found[key] for key in MEMORY if key in found and np.isfinite(found[key].values).any()}


def batch_points(history: History) -> tuple[FloatArray, FloatArray]:
    """(batch sizes, bytes): those of a probe and one an epoch, once epochs had different batch sizes."""
    probed = history.scalars.get(f"{TAG}/memory_by_batch_size/peak_bytes", ScalarSeries())
    sizes, peaks = probed.steps.astype(np.float64), probed.values
    used = history.scalars.get(f"{TAG}/memory/peak_bytes") or history.scalars.get(f"{TAG}/memory/host_rss_bytes")
    chosen = history.scalars.get(f"{TAG}/largest_batch_size")
    if used is None or chosen is None or len(np.unique(chosen.values)) < 2:
        return sizes, peaks
    _, left, right = np.intersect1d(chosen.steps, used.steps, return_indices=True)
    return np.concatenate([sizes, chosen.values[left]]), np.concatenate([peaks, used.values[right]])


def read_typical_step(history: History, step: int | None) -> tuple[float, list[Span]]:
    """Length in seconds and components of the typical step of an epoch (None = the last); (NaN, []) without one."""
    texts = history.texts.get(f"{TAG}/typical_step", Series())
    if not len(texts) or (step is not None and step not in texts.steps):
        return float("nan"), []
    return read_timeline((texts[-1] if step is None else texts.at(step)).markdown)


def last_value(history: History, tag: str) -> float:
    """The last value of a scalar; NaN without any."""
    series = history.scalars.get(tag)
    return series[-1] if series is not None and len(series) else float("nan")
