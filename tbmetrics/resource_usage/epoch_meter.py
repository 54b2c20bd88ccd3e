"""Measures one epoch after the other: what the monitor's verbs are told, put together as an `Epoch`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from tbmetrics.resource_usage import memory
from tbmetrics.resource_usage.device import Device, checked_device, open_device
from tbmetrics.resource_usage.epoch import Epoch, with_rest
from tbmetrics.resource_usage.flops import StepFlops
from tbmetrics.resource_usage.flops import peak_flops as known_peak_flops
from tbmetrics.resource_usage.memory import PeakByComponent
from tbmetrics.resource_usage.snapshots import PeakSnapshots
from tbmetrics.resource_usage.steps import StepRecorder
from tbmetrics.resource_usage.throughput import SmoothedRate, ThinnedPoints
from tbmetrics.resource_usage.timers import ComponentTimer

#: Under this name timing's own cost is counted: the tracker's.
NAME = "resource_usage"


class EpochMeter:
    """Clock, counters, memory and device of the epoch that is open.

    Args:
        device: what to measure; None = the accelerator in use, once there is one.
        clock: nanoseconds, monotonic.
        peak_flops: peak of the device in FLOP/s; None = from the table of known devices.
        snapshots: takes allocator snapshots when the peak rises.
        flops: count the floating-point operations of one step.

    Attributes:
        timer: times the components.
        epoch: the one that is open, or was last; None before the first.
        is_open: whether one is open.
        flops_per_step: as counted on request; 0 = unknown.
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
        self._wanted = checked_device(device)
        self._device: Device | None = None
        self._clock = clock
        self._peak_flops = peak_flops
        self._snapshots = snapshots
        self._step_flops = StepFlops() if flops else None
        self._waited = 0
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
        self._rates = ThinnedPoints()
        self._steps.start_epoch()
        self._rate.pause()

    # --------------------------------------------------------------------------------------- while training

    def start_epoch(self, epoch: int) -> None:
        """Begins `epoch`; the one before must be ended."""
        self.settle_device()
        self._begin_counting()
        self.timer.drop_all()
        if self._peaks is not None:
            self._peaks.start_epoch()
        self._memory_before = self._memory()
        self.epoch, self.is_open = epoch, True
        self._began = self._clock()
        if self._ended is None:  # what the start of the session took belongs to no epoch
            self._overhead, self._ended = {}, self._began

    def count_samples(self, samples: int, tokens: int) -> None:
        """One batch was handed out."""
        self._samples += samples
        self._tokens += tokens
        self._batches += 1
        if samples > self._largest_batch:
            self._largest_batch = samples
        now = self._clock()
        self._rate.count(samples, now)
        self.boundary("count_samples", now)

    def after_step(self, step: int) -> None:
        """One optimizer step is done."""
        self._optimizer_steps += 1
        if self._step_flops is not None and not self.flops_per_step:
            self._step_flops.step_ended()
            self.flops_per_step = self._step_flops.flops
        if self._rates.wanted() and not math.isnan(self._rate.value):
            self._rates.put(step, time.time(), self._rate.value)
        self.boundary("after_step")

    def boundary(self, kind: str, now: int | None = None) -> None:
        """A step may end here; the next one is observed if it is one of the sampled ones."""
        if not self.is_open or not self._steps.boundary(kind, self._clock() if now is None else now):
            return
        if self.timer.observer is not None and self._peaks is not None:
            self._peaks.end_step()
            if self._snapshots is not None:
                self._snapshots.check(self._peaks.epoch_peak())
        self.timer.observer = self if self._steps.sampling else None

    def entered(self, name: str) -> None:
        """A component of a sampled step was entered; called by the timer."""
        if self._peaks is not None:
            self._peaks.entered(name)

    def left(self, name: str, began: int, ended: int) -> None:
        """A component of a sampled step was left; called by the timer."""
        self._steps.left(name, began, ended)
        if self._peaks is not None:
            self._peaks.left(name)

    def add_overhead(self, tracker_name: str, nanoseconds: int) -> None:
        """tbmetrics itself took this long."""
        self._overhead[tracker_name] = self._overhead.get(tracker_name, 0) + nanoseconds

    def take_wait(self) -> int:
        """Nanoseconds that the last end of an epoch waited for the device, once: they are the device's, not ours."""
        waited, self._waited = self._waited, 0
        return waited

    def end_epoch(self, batch_size: int | None, num_samples: int | None) -> Epoch:
        """Ends the open epoch, and says what it was; the last marks on the device are waited for."""
        self.timer.close_all()
        self._stop_observing()
        came = self._clock()
        totals = self.timer.take()  # an epoch is over when the device is through with it
        now = self._clock()
        self._waited = now - came
        self.is_open = False
        elapsed = now - self._began
        own, self.timer.own_nanoseconds = self.timer.own_nanoseconds, 0
        self.add_overhead(NAME, own)
        mean_size = self._samples / self._batches if self._batches else None
        meters = self._device.meters if self._device is not None else None
        measured = Epoch(
            number=self.epoch or 0,
            nanoseconds=elapsed,
            components=with_rest(totals, elapsed),
            samples=self._samples if num_samples is None else num_samples,
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
            overhead_of_nanoseconds=now - (self._began if self._ended is None else self._ended),
            flops_per_step=self.flops_per_step,
            peak_flops=self._peak_flops,
            rates=tuple(self._rates.points),
        )
        self._overhead, self._ended = {}, now
        return measured

    # ----------------------------------------------------------------------------------------------- device

    def settle_device(self) -> Device | None:
        """The accelerator that is measured, found as soon as one is in use; None on the CPU."""
        if self._device is None:
            self._device = self._wanted if isinstance(self._wanted, Device) else open_device(self._wanted)
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
        """Bytes that this process could hold on the device; None without one."""
        device = self._device
        return device.memory.capacity() if device is not None and device.memory is not None else None

    def stop(self) -> None:
        """Ends the background thread and the recording of allocations; may be called more than once."""
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
        found: dict[str, float] = {name: float(value) for name, value in memory.host_bytes().items()}
        if self._device is not None and self._device.memory is not None:
            found |= self._device.memory.read()
        if self._peaks is not None and (peak := self._peaks.epoch_peak()) is not None:
            found["peak_bytes"] = float(peak)
        return found

    def _since_epoch_began(self, now: dict[str, float]) -> dict[str, float]:
        """Counters as what was added in the epoch; the rest as it is."""
        counters = {name: now[name] - self._memory_before.get(name, 0.0) for name in memory.COUNTERS if name in now}
        return now | counters
