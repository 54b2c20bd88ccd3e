"""ResourceMonitor: what an epoch costs in time, by component, in throughput and in memory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbmetrics.history import History, Stamped, to_jsonable
from tbmetrics.records import Scalar, tag_part
from tbmetrics.resource_usage import memory
from tbmetrics.resource_usage.timers import ComponentTimer, ComponentTotal
from tbmetrics.tracker import Tracker

DATA_LOADING = "data_loading"
OTHER = "other"
_TAG = "resource_usage"


class ResourceMonitor(Tracker):
    """Times epochs and their components, counts samples, and reads memory; usable alone or in a session.

        monitor = ResourceMonitor()
        monitor.start_epoch(0)
        with monitor.component("forward_pass"):
            ...
        monitor.end_epoch(batch_size=32, num_samples=1000)

    Args:
        clock: nanoseconds, monotonic.

    Attributes:
        epoch_data: one dictionary an epoch: `epoch`, `time` (seconds), `memory` and `memory_change` (bytes; of the CUDA
            device where one is in use, of the process on the host otherwise), `batch_size`, `num_samples`, `steps`,
            `throughput` (samples per second, None without samples), `bottleneck`.
        component_data: by component one dictionary an epoch: `epoch`, `time` and `self_time` (seconds), `count`,
            `device_time` (seconds, None without CUDA). `other` is the rest of the epoch.
    """

    name = "resource_usage"

    def __init__(self, *, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.epoch_data: list[dict[str, Any]] = []
        self.component_data: dict[str, list[dict[str, Any]]] = {}
        self.history = History()
        self._clock = clock
        self._timer = ComponentTimer(clock)
        self._epoch: int | None = None
        self._began = 0
        self._outside = 0
        self._samples = self._batches = self._steps = 0
        self._overhead: dict[str, int] = {}
        self._memory_before: dict[str, int] = {}
        self._ready: list[Stamped] = []

    def start_epoch(self, epoch: int) -> None:
        """Begins `epoch`; one still open is ended first."""
        self.end_epoch()
        self._epoch, self._began = epoch, self._clock()
        self._samples = self._batches = self._steps = 0
        self._overhead.clear()
        self._timer.take()
        memory.start_peak()
        self._memory_before = memory.in_use()

    def start_component(self, name: str) -> None:
        """Starts timing `name`; components nest."""
        self._timer.start(name)

    def end_component(self, name: str) -> None:
        """Stops timing `name`."""
        self._timer.end(name)

    @contextmanager
    def component(self, name: str) -> Iterator[None]:
        """Times the block as component `name`."""
        self._timer.start(name)
        try:
            yield
        finally:
            self._timer.end(name)

    def count_samples(self, samples: int) -> None:
        """Counts one batch of `samples` samples."""
        self._samples += samples
        self._batches += 1

    def after_step(self, step: int) -> None:
        """Counts one optimizer step."""
        self._steps += 1

    def add_overhead(self, name: str, nanoseconds: int) -> None:
        """Adds to the time that tbmetrics itself took, by tracker."""
        self._overhead[name] = self._overhead.get(name, 0) + nanoseconds

    def end_epoch(self, batch_size: int | None = None, num_samples: int | None = None) -> None:
        """Ends the open epoch; does nothing where none is open.

        Args:
            batch_size, num_samples: where the batches were not counted one by one with `count_samples`.
        """
        if self._epoch is None:
            return
        elapsed = self._clock() - self._began
        self._timer.close_all()
        epoch, self._epoch = self._epoch, None
        components = self._components(elapsed)
        samples = self._samples if num_samples is None else num_samples
        size = self._samples / self._batches if batch_size is None and self._batches else batch_size
        used = memory.in_use()
        self.epoch_data.append(self._epoch_row(epoch, elapsed, samples, size, used, components))
        for name, total in components.items():
            self.component_data.setdefault(name, []).append(_component_row(epoch, total))
        now = time.time()
        self._ready += [Stamped(epoch, now, scalar) for scalar in self._scalars(elapsed, samples, used, components)]

    def _components(self, elapsed: int) -> dict[str, ComponentTotal]:
        totals = self._timer.take()
        rest = elapsed - sum(total.self_nanoseconds for total in totals.values())
        return {**totals, OTHER: ComponentTotal(1, max(rest, 0), max(rest, 0))}

    def _epoch_row(
        self,
        epoch: int,
        elapsed: int,
        samples: int,
        batch_size: float | None,
        used: dict[str, int],
        components: dict[str, ComponentTotal],
    ) -> dict[str, Any]:
        key = "allocated_bytes" if "allocated_bytes" in used else "host_rss_bytes"
        now, before = used.get(key), self._memory_before.get(key)
        return {
            "epoch": epoch,
            "time": elapsed / 1e9,
            "memory": now,
            "memory_change": None if now is None or before is None else now - before,
            "batch_size": batch_size,
            "num_samples": samples,
            "steps": self._steps,
            "throughput": samples / elapsed * 1e9 if samples and elapsed else None,
            "bottleneck": _bottleneck(components, elapsed),
        }

    def _scalars(
        self, elapsed: int, samples: int, used: dict[str, int], components: dict[str, ComponentTotal]
    ) -> Iterator[Scalar]:
        yield Scalar(f"{_TAG}/epoch_time_seconds", elapsed / 1e9)
        if samples and elapsed:
            yield Scalar(f"{_TAG}/throughput_samples_per_second", samples / elapsed * 1e9)
        for name, total in components.items():
            yield Scalar(f"{_TAG}/component_seconds/{tag_part(name)}", total.self_nanoseconds / 1e9)
            if total.device_milliseconds == total.device_milliseconds:
                yield Scalar(f"{_TAG}/component_device_seconds/{tag_part(name)}", total.device_milliseconds / 1e3)
        if DATA_LOADING in components and elapsed:
            yield Scalar(f"{_TAG}/data_loading_share", components[DATA_LOADING].nanoseconds / elapsed)
        for name, value in used.items():
            yield Scalar(f"{_TAG}/memory/{name}", float(value))
        if elapsed:
            yield Scalar(f"{_TAG}/tbmetrics_overhead", sum(self._overhead.values()) / elapsed)
            for name, spent in self._overhead.items():
                yield Scalar(f"{_TAG}/tbmetrics_overhead/{tag_part(name)}", spent / elapsed)

    def records(self, epoch: int) -> Iterable[Stamped]:
        """The scalars of the epochs ended since the last call."""
        self.end_epoch()
        ready, self._ready = self._ready, []
        for stamped in ready:
            self.history.add(stamped)
        return ready

    def get_metrics(self) -> dict[str, Any]:
        """`{"epoch_data": [...], "component_data": {...}}`, JSON-ready."""
        found: dict[str, Any] = to_jsonable({"epoch_data": self.epoch_data, "component_data": self.component_data})
        return found

    def save_metrics(self, path: str | os.PathLike[str]) -> None:
        """Writes `get_metrics()` as JSON to `path`."""
        Path(path).write_text(json.dumps(self.get_metrics(), indent=2, allow_nan=False), encoding="utf-8")


def _component_row(epoch: int, total: ComponentTotal) -> dict[str, Any]:
    device = total.device_milliseconds / 1e3
    return {
        "epoch": epoch,
        "time": total.nanoseconds / 1e9,
        "self_time": total.self_nanoseconds / 1e9,
        "count": total.count,
        "device_time": device if device == device else None,
    }


def _bottleneck(components: dict[str, ComponentTotal], elapsed: int) -> str | None:
    """What bounds the epoch: "input" where a third or more of it waits for data, else "compute"; None if unknown."""
    if DATA_LOADING not in components or not elapsed:
        return None
    return "input" if components[DATA_LOADING].nanoseconds / elapsed >= 1 / 3 else "compute"
