"""The meter of the current epoch, which gathers what the monitor's methods report into an `Epoch`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from tbmetrics.resource_usage import memory
from tbmetrics.resource_usage.device import Device, checked_device, open_device
from tbmetrics.resource_usage.epoch import DATA_LOADING, Epoch, with_rest
from tbmetrics.resource_usage.flops import StepFlops
from tbmetrics.resource_usage.flops import peak_flops as known_peak_flops
from tbmetrics.resource_usage.memory import PeakByComponent, PeakSnapshots
from tbmetrics.resource_usage.steps import SmoothedRate, StepRecorder, ThinnedPoints
from tbmetrics.resource_usage.timers import ComponentTimer

#: Tracker whose overhead includes that of the timing.
NAME = "resource_usage"


class EpochMeter:
    """Clock, counters, memory and device of the current epoch.

    Args:
        device: the device to measure; None = the accelerator in use, once there is one.
        clock: nanoseconds, monotonic.
        peak_flops: peak of the device in FLOP/s; None = from the table of known devices.
        snapshots: takes allocator snapshots when the peak rises.
        flops: count the floating-point operations of one step.

    Attributes:
        timer: times the components.
        epoch: the current or last one; None before the first.
        is_open: whether an epoch is open.
        flops_per_step: counted on request; 0 = unknown.
    """

    def __init__(
        self,
        device: str | torch.device | Device | None,
        clock: Callable[[], int],
        peak_flops: float | None,
        snapshots: PeakSnapshots | None,
        flops: bool,
    ) -> None:
        self.timer = ComponentTimer(clock)
        self.epoch: int | None = None
        self.is_open = False
        self.flops_per_step = 0
        self._requested_device = checked_device(device)
        self._device: Device | None = None
        self._clock = clock
        self._peak_flops = peak_flops
        self._snapshots = snapshots
        self._step_flops = StepFlops() if flops else None
        self._waited_nanoseconds = 0
        self._peaks: PeakByComponent | None = None
        self._steps = StepRecorder()
        self._rate = SmoothedRate()
        self._overhead: dict[str, int] = {}
        self._began = 0
        self._ended: int | None = None
        self._memory_before: dict[str, float] = {}
        self._begin_counting()

    def _begin_counting(self) -> None:
        self._samples = self._batches = self._optimizer_steps = self._tokens = self._largest_batch = 0
        self._has_unknown_batch = False
        self._last_step: int | None = None
        self._rates = ThinnedPoints()
        self._steps.start_epoch()
        self._rate.pause()

    # --------------------------------------------------------------------------------------- while training

    def start_epoch(self, epoch: int) -> None:
        """Begin `epoch`; the one before must have ended."""
        self.settle_device()
        self._begin_counting()
        self.timer.drop_all()
        if self._peaks is not None:
            self._peaks.start_epoch()
        self._memory_before = self._memory()
        self.epoch, self.is_open = epoch, True
        self._began = self._clock()
        if self._ended is None:  # the start of the session belongs to no epoch
            self._overhead, self._ended = {}, self._began

    def start_loading(self) -> None:
        """Note that the next batch is loaded, which ends a step."""
        self.boundary(DATA_LOADING, self._clock())

    def count_samples(self, samples: int | None, tokens: int) -> None:
        """Count a batch that is handed out; with one of unknown size, the number of samples in the epoch is unknown."""
        self._tokens += tokens
        self._batches += 1
        now = self._clock()
        if samples is None:
            self._has_unknown_batch = True
            self._rate.pause()
        else:
            self._samples += samples
            self._largest_batch = max(self._largest_batch, samples)
            self._rate.count(samples, now)
        if self._steps.kind != DATA_LOADING:
            self.boundary("count_samples", now)

    @property
    def next_step(self) -> int:
        """The step at which `after_step` has to be called next, at the latest; those between are counted then."""
        counts_flops = self._step_flops is not None and not self.flops_per_step
        if self._last_step is None or counts_flops or self._steps.kind in (None, "after_step"):
            return 0
        return self._last_step + self._rates.until_next(self._optimizer_steps)

    def skip_to(self, step: int) -> None:
        """Go on counting after `step`."""
        self._last_step = step

    def after_step(self, step: int) -> None:
        """Count the optimizer steps up to `step`."""
        self._optimizer_steps += 1 if self._last_step is None else max(step - self._last_step, 1)
        self._last_step = step
        if self._step_flops is not None and not self.flops_per_step:
            self._step_flops.step_ended()
            self.flops_per_step = self._step_flops.flops
        if self._rates.accepts(self._optimizer_steps) and not math.isnan(self._rate.value):
            self._rates.put(step, time.time(), self._rate.value)
        if self._steps.kind in (None, "after_step"):
            self.boundary("after_step", self._clock())

    def boundary(self, kind: str, now: int) -> None:
        """Note a possible end of a step, and observe the next one if it is to be sampled."""
        if not self.is_open or not self._steps.boundary(kind, now):
            return
        if self.timer.observer is None and not self._steps.is_sampling:
            return
        if self.timer.observer is not None and self._peaks is not None:
            self._peaks.end_step()
            if self._snapshots is not None:
                self._snapshots.check(self._peaks.epoch_peak())
        self.timer.observer = self if self._steps.is_sampling else None

    def entered(self, name: str) -> None:
        """Note that a component of a sampled step was entered; called by the timer."""
        if self._peaks is not None:
            self._peaks.entered(name)

    def left(self, name: str, began: int, ended: int) -> None:
        """Note that a component of a sampled step was left; called by the timer."""
        self._steps.left(name, began, ended)
        if self._peaks is not None:
            self._peaks.left(name)

    def add_overhead(self, tracker_name: str, nanoseconds: int) -> None:
        """Add to the time that tbmetrics itself took."""
        self._overhead[tracker_name] = self._overhead.get(tracker_name, 0) + nanoseconds

    def take_wait(self) -> int:
        """Nanoseconds that the last `end_epoch` waited for the device, which is no overhead; 0 on the second call."""
        waited, self._waited_nanoseconds = self._waited_nanoseconds, 0
        return waited

    def end_epoch(self, batch_size: int | None, num_samples: int | None) -> Epoch:
        """End the open epoch and return its measurements; waits for the last marks on the device."""
        self.timer.close_all()
        self._stop_observing()
        called = self._clock()
        totals = self.timer.take()  # an epoch ends when the device has finished it
        now = self._clock()
        self._waited_nanoseconds = now - called
        self.is_open = False
        elapsed = now - self._began
        self.add_overhead(NAME, self.timer.overhead_nanoseconds)
        self.timer.overhead_nanoseconds = 0
        counted = 0 if self._has_unknown_batch else self._samples
        mean_size = counted / self._batches if counted else None
        meters = self._device.meters if self._device is not None else None
        measured = Epoch(
            number=self.epoch or 0,
            nanoseconds=elapsed,
            components=with_rest(totals, elapsed),
            samples=counted if num_samples is None else num_samples,
            batches=self._batches,
            steps=self._optimizer_steps,
            tokens=self._tokens,
            batch_size=mean_size if batch_size is None else batch_size,
            largest_batch=self._largest_batch if batch_size is None else batch_size,
            memory=self._since_epoch_began(self._memory()),
            memory_before=self._memory_before,
            on_device=self.timer.device is not None,
            component_peaks=dict(self._peaks.by_component) if self._peaks is not None else {},
            meters=meters.take() if meters is not None else {},
            step_times=self._steps.times(),
            typical_step=self._steps.typical(),
            overhead=self._overhead,
            overhead_period_nanoseconds=now - (self._began if self._ended is None else self._ended),
            flops_per_step=self.flops_per_step,
            peak_flops=self._peak_flops,
            rates=tuple(self._rates.points),
        )
        self._overhead, self._ended = {}, now
        return measured

    # ----------------------------------------------------------------------------------------------- device

    def settle_device(self) -> Device | None:
        """The accelerator to measure, once one is in use; None on the CPU."""
        if self._device is None:
            self._device = (
                self._requested_device
                if isinstance(self._requested_device, Device)
                else open_device(self._requested_device)
            )
            if self._device is not None:
                self._use(self._device)
        return self._device

    def _use(self, device: Device) -> None:
        self.timer.device = device.clock
        if device.memory is not None and device.memory.peak() is not None:
            self._peaks = PeakByComponent(device.memory)
        if device.meters is not None:
            device.meters.start()
        if self._peak_flops is None:
            self._peak_flops = known_peak_flops(device.name)
        if self._snapshots is not None:
            self._snapshots.start()

    def device_capacity(self) -> int | None:
        """Bytes that this process could hold on the device, or None without one."""
        device = self._device
        return device.memory.capacity() if device is not None and device.memory is not None else None

    def stop(self) -> None:
        """End the background thread and the recording of allocations; idempotent."""
        self._stop_observing()
        if self._device is not None and self._device.meters is not None:
            self._device.meters.stop()
        if self._snapshots is not None:
            self._snapshots.stop()

    def _stop_observing(self) -> None:
        self.timer.observer = None
        if self._step_flops is not None:
            self._step_flops.drop()

    def _memory(self) -> dict[str, float]:
        values: dict[str, float] = {name: float(value) for name, value in memory.host_bytes().items()}
        if self._device is not None and self._device.memory is not None:
            values |= self._device.memory.read()
        if self._peaks is not None and (peak := self._peaks.epoch_peak()) is not None:
            values["peak_bytes"] = float(peak)
        return values

    def _since_epoch_began(self, now: dict[str, float]) -> dict[str, float]:
        """Counters as their increase in the epoch; other values unchanged."""
        counters = {name: now[name] - self._memory_before.get(name, 0.0) for name in memory.COUNTERS if name in now}
        return now | counters
