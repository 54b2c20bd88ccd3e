"""ResourceMonitor: time of each epoch and component, throughput, and memory."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tbmetrics.errors import InputError
from tbmetrics.records import Image, Record, Scalar
from tbmetrics.records.history import TimedRecord, to_jsonable
from tbmetrics.resource_usage import batch_memory
from tbmetrics.resource_usage.batch_memory import BatchMemory, ProbedStep
from tbmetrics.resource_usage.device import Device
from tbmetrics.resource_usage.epoch import (
    DATA_LOADING,
    OTHER,
    TAG,
    ComponentDrawing,
    Epoch,
    batch_memory_records,
    component_row,
    epoch_records,
    epoch_row,
)
from tbmetrics.resource_usage.epoch_meter import EpochMeter
from tbmetrics.resource_usage.flops import FlopCount, count_flops
from tbmetrics.resource_usage.memory import PeakSnapshots
from tbmetrics.resource_usage.ranks import rank_records
from tbmetrics.resource_usage.steps import remaining_seconds
from tbmetrics.resource_usage.timers import ComponentBlock
from tbmetrics.tracking.checks import whole_epoch
from tbmetrics.tracking.state import checked_tracker_state, tracker_state
from tbmetrics.tracking.tracker import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DATA_LOADING", "OTHER", "ResourceMonitor"]


class ResourceMonitor(Tracker):
    """Times epochs and their components, counts samples, and reads memory; usable alone or in a session.

        monitor = ResourceMonitor("visualizations/resource_usage")
        monitor.start_epoch(0)
        with monitor.component("forward_pass"):
            ...
        monitor.end_epoch(batch_size=32, num_samples=1000)
        monitor.visualize()

    A step costs two reads of the clock per component. On CUDA, components are also timed by events on the current
    stream, which are read once the device has reached them; only the end of an epoch waits for the last ones. In a few
    sampled steps of an epoch the peak memory of each component is measured (this resets
    `torch.cuda.max_memory_allocated`) and the step's timeline is recorded. All calls come from one thread.

    Args:
        save_dir: directory for the PNG files of `visualize` and for allocator snapshots.
        device: the device to measure; None = the accelerator in use, if there is one.
        clock: nanoseconds, monotonic.
        total_epochs: number of epochs, for the time left.
        peak_flops: peak of the device in FLOP/s, for the utilisation; None = from a table of known devices.
        images: record the bar and the pie of component times as images, at growing intervals and in less than 1 % of
            the time.
        snapshots: write a snapshot of the CUDA allocator into `save_dir` when the peak rises.
        flops: count the floating-point operations of the third optimizer step for `mfu`; that step runs slower, and
            a compiled model uncompiled.

    Attributes:
        epoch_data: a dictionary per epoch: `epoch`, `time` (seconds), `memory`, `memory_change` and `peak_memory`
            (bytes of the device if one is in use, otherwise of the process, without a peak), `batch_size`,
            `num_samples`, `batches`, `steps`, `throughput` (samples per second), `steps_per_second`,
            `tokens_per_second`, `data_loading_share`, `bottleneck`, `mfu`, `remaining_seconds`, `tbmetrics_overhead`
            (share); unknown values are None.
        component_data: by component, a dictionary per epoch: `epoch`, `time` and `self_time` (seconds), `count`,
            `device_time` (seconds, over `device_count` entries; None without CUDA), `peak_memory` (bytes, None without
            CUDA). `other` is the rest of the epoch.
        history: all records of this monitor.
        total_epochs: as given or expected; None if unknown.

    Raises:
        InputError: torch does not know the device or it is not available, or `snapshots` lacks a `save_dir`.
    """

    name = "resource_usage"

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | Device | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
        total_epochs: int | None = None,
        peak_flops: float | None = None,
        images: bool = False,
        snapshots: bool = False,
        flops: bool = False,
    ) -> None:
        if snapshots and save_dir is None:
            raise InputError("snapshots=True needs a place for the files: give save_dir")
        self.save_dir = save_dir
        self.total_epochs = total_epochs
        self._is_total_given = total_epochs is not None
        self.epoch_data: list[dict[str, Any]] = []
        self.component_data: dict[str, list[dict[str, Any]]] = {}
        peak_snapshots = PeakSnapshots(Path(save_dir)) if snapshots and save_dir is not None else None
        self._meter = EpochMeter(device, clock, peak_flops, peak_snapshots, flops)
        self._timer = self._meter.timer
        self._batch_points: list[tuple[float, float]] = []
        self._drawing = ComponentDrawing(clock) if images else None
        self._ready: list[TimedRecord] = []
        self._undrawn_epoch: int | None = None

    # --------------------------------------------------------------------------------------- while training

    def expect_epochs(self, epochs: int) -> None:
        """Announce further epochs, for the time left; has no effect if `total_epochs` was given."""
        if not self._is_total_given:
            self.total_epochs = len(self.epoch_data) + epochs

    def start_epoch(self, epoch: int) -> None:
        """Begin `epoch`; an epoch that is still open ends first."""
        epoch = whole_epoch(epoch)
        self.end_epoch()
        self._meter.start_epoch(epoch)

    def start_component(self, name: str) -> None:
        """Start timing `name`; components nest, also in themselves."""
        if name == DATA_LOADING:
            self._meter.start_loading()
        self._timer.start(name)

    def end_component(self, name: str | None = None) -> None:
        """Stop timing `name`, or the innermost component."""
        self._timer.end(name)

    def component(self, name: str, call: Callable[..., Any] | None = None) -> ComponentBlock:
        """A context manager that times its block as component `name`; through `call(action, name)`, if given."""
        if call is None:
            return ComponentBlock(self.start_component, self.end_component, name)
        return ComponentBlock(partial(call, self.start_component), partial(call, self.end_component), name)

    def count_samples(self, samples: int | None, *, tokens: int = 0) -> None:
        """Count a batch of `samples` samples (None if unknown, as the epoch's are then) and `tokens` tokens."""
        self._meter.count_samples(samples, tokens)

    @property
    def next_step(self) -> int:  # type: ignore[override]
        """The step at which `after_step` has to be called next, at the latest."""
        return self._meter.next_step

    def after_step(self, step: int) -> None:
        """Count the optimizer steps since the last call: one, or in a session all up to `step`."""
        self._meter.after_step(step)

    def skip_to(self, step: int) -> None:
        """Go on counting after `step`: the session's count was set anew."""
        self._meter.skip_to(step)

    def add_overhead(self, tracker_name: str, nanoseconds: int) -> None:
        """Add to the time that tbmetrics itself took, by tracker; timing of components is already counted."""
        if tracker_name == self.name:
            nanoseconds = max(0, nanoseconds - self._meter.take_wait())
        self._meter.add_overhead(tracker_name, nanoseconds)

    @contextmanager
    def measure_flops(self) -> Iterator[FlopCount]:
        """Count the floating-point operations of the block, which must be one whole step, for the utilisation."""
        with count_flops() as count:
            yield count
        self._meter.flops_per_step = count.flops

    def end_epoch(self, batch_size: int | None = None, num_samples: int | None = None) -> None:
        """End the open epoch, if there is one.

        Args:
            batch_size, num_samples: needed if batches were not counted with `count_samples`.

        Raises:
            InputError: a negative number.
        """
        for argument, value in (("batch_size", batch_size), ("num_samples", num_samples)):
            if value is not None and not value >= 0:
                raise InputError(f"{argument} must be a number of at least 0, got {value!r}")
        if not self._meter.is_open:
            return
        measured = self._meter.end_epoch(batch_size, num_samples)
        self.epoch_data.append(epoch_row(measured, self._remaining(measured)))
        for name, total in measured.components.items():
            row = component_row(measured.number, total, measured.component_peaks.get(name))
            self.component_data.setdefault(name, []).append(row)
        self._record(measured.number, epoch_records(measured, self._remaining(measured)))
        for step, wall_time, rate in measured.rates:
            self._ready.append(TimedRecord(step, wall_time, Scalar(f"{TAG}/smoothed_samples_per_second", rate)))
        self._learn_batch_memory(measured)
        self._undrawn_epoch = measured.number
        self._file_if_alone(self._complete)

    def closing(self) -> list[Image]:
        """The images of the last epoch, if `images` is set and they were not drawn yet."""
        if self._drawing is None or not self.epoch_data or self._undrawn_epoch is not None:  # not filed: interrupted
            return []
        return self._drawing.draw(self.history, self.epoch_data[-1]["epoch"])

    # ---------------------------------------------------------------------------------------------- results

    def records(self, epoch: int) -> Iterable[TimedRecord]:
        """Everything recorded since the last call; ends `epoch` if it is still open."""
        self.end_epoch()
        return self._complete()

    def get_metrics(self) -> dict[str, Any]:
        """`{"epoch_data": [...], "component_data": {...}}`, JSON-ready."""
        metrics: dict[str, Any] = to_jsonable({"epoch_data": self.epoch_data, "component_data": self.component_data})
        return metrics

    def save_metrics(self, path: str | os.PathLike[str]) -> None:
        """Write `get_metrics()` as JSON to `path`, making its directory if missing."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(self.get_metrics(), indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def visualize(self) -> dict[str, Figure]:
        """The figures of all epochs so far, by name; also written to `save_dir` as PNG, if given."""
        from tbmetrics.figures.output import collect_figures
        from tbmetrics.figures.resource_usage import figures

        return collect_figures(figures(self.history), self.save_dir)

    def probe_batch_sizes(self, step: ProbedStep, sizes: Sequence[int]) -> BatchMemory:
        """Run `step` once per batch size, and record its peak memory and the largest batch predicted from it.

        The peaks are scalars whose step is the batch size.

        Args:
            step: a function that does one step with a batch of the given size, or `(model, make_batch, loss)`; see
                `tbmetrics.resource_usage.batch_memory.probe_batch_sizes`.
            sizes: at least two.

        Raises:
            InputError: sizes that cannot be measured.
        """
        measured = batch_memory.probe_batch_sizes(step, sizes, device=self._meter.settle_device())
        now = time.time()
        for size, peak in zip(measured.sizes, measured.peak_bytes, strict=True):
            self._ready.append(TimedRecord(size, now, Scalar(f"{TAG}/memory_by_batch_size/peak_bytes", float(peak))))
        self._record(self._meter.epoch or 0, batch_memory_records(measured))
        self._file_if_alone(self._complete)
        return measured

    def stop(self) -> None:
        """End the background thread and the recording of allocations; idempotent."""
        self._meter.stop()

    # ------------------------------------------------------------------------------- several ranks, resuming

    def announce(self) -> dict[str, Any] | None:
        """The row of the last epoch, with its components and the host's name."""
        if not self.epoch_data:
            return None
        row = self.epoch_data[-1]
        last = {name: rows[-1] for name, rows in self.component_data.items() if rows[-1]["epoch"] == row["epoch"]}
        return {**row, "components": last, "host": platform.node()}

    def share(self, announced: list[Any], rank: int) -> None:
        """Record the comparison of the ranks; all that it needs has been announced."""
        if self.epoch_data:
            self._record(self.epoch_data[-1]["epoch"], rank_records(announced))

    def state_dict(self) -> dict[str, Any]:
        """The rows of all epochs; what an open epoch has measured so far is not in it."""
        return tracker_state(
            self,
            epoch_data=[dict(row) for row in self.epoch_data],
            component_data={name: [dict(row) for row in rows] for name, rows in self.component_data.items()},
            batch_points=list(self._batch_points),
            flops_per_step=self._meter.flops_per_step,
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave.

        Raises:
            InputError: it is not a monitor's state, or of a newer version.
        """
        restored = checked_tracker_state(self, state)
        self.epoch_data = [dict(row) for row in restored["epoch_data"]]
        self.component_data = {name: [dict(row) for row in rows] for name, rows in restored["component_data"].items()}
        self._batch_points = [(float(size), float(peak)) for size, peak in restored["batch_points"]]
        self._meter.flops_per_step = restored["flops_per_step"]

    # -------------------------------------------------------------------------------------------- internals

    def _remaining(self, measured: Epoch) -> float | None:
        past = [row["time"] for row in self.epoch_data if row["epoch"] != measured.number]
        return remaining_seconds([*past, measured.seconds], self.total_epochs)

    def _learn_batch_memory(self, measured: Epoch) -> None:
        """Fit memory over batch size; epochs of one size give no line."""
        peak = measured.memory.get("peak_bytes")
        if not measured.largest_batch or peak is None:
            return
        self._batch_points.append((measured.largest_batch, peak))
        sizes, peaks = zip(*self._batch_points, strict=True)
        fitted = batch_memory.summarise(sizes, peaks, None, self._meter.device_capacity())
        self._record(measured.number, batch_memory_records(fitted))

    def _record(self, step: int, records: Iterable[Record]) -> None:
        now = time.time()
        self._ready += [TimedRecord(step, now, record) for record in records]

    def _complete(self) -> Iterator[TimedRecord]:
        """What was recorded, then the images of the last epoch, which are drawn from it once it is filed."""
        yield from self.pending()
        epoch, self._undrawn_epoch = self._undrawn_epoch, None
        if self._drawing is not None and epoch is not None and not self.is_interrupted:
            now = time.time()
            yield from (TimedRecord(epoch, now, image) for image in self._drawing.images(self.history, epoch))
