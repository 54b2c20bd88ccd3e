"""Memory by batch size: measured on request, fitted as a line, and the largest batch predicted from it."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tbmetrics.errors import InputError
from tbmetrics.resource_usage.device import Device
from tbmetrics.resource_usage.memory import DeviceMemory, host_available_bytes, host_rss_bytes

_Z95 = 1.959963984540054

#: One step with a batch of the given size: a function, or (model, make_batch, loss); see `probe_batch_sizes`.
ProbedStep: TypeAlias = Callable[[int], object] | tuple[nn.Module, Callable[[int], tuple[Any, Any]], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class BatchMemory:
    """Peak memory of several batch sizes, and the largest batch predicted from it.

    Attributes:
        sizes: batch sizes measured.
        peak_bytes: peak memory of each.
        failed_size: the size that did not fit, or None.
        capacity_bytes: memory that this process could hold; None if unknown.
        line: the fit; None with fewer than two sizes.
        largest_batch, largest_batch_lower, largest_batch_upper: prediction and its interval; NaN if unknown.
    """

    sizes: tuple[int, ...]
    peak_bytes: tuple[int, ...]
    failed_size: int | None
    capacity_bytes: int | None
    line: MemoryLine | None
    largest_batch: float
    largest_batch_lower: float
    largest_batch_upper: float


def summarise(
    sizes: Sequence[int], peaks: Sequence[int], failed_size: int | None, capacity_bytes: int | None
) -> BatchMemory:
    """Fit a line to measured points and predict the largest batch, which is smaller than `failed_size`."""
    line = fit_memory(sizes, peaks)
    best, lower, upper = math.nan, math.nan, math.nan
    if line is not None and capacity_bytes is not None:
        bound = math.inf if failed_size is None else failed_size - 1
        best, lower, upper = np.minimum(line.largest_batch(capacity_bytes), bound).tolist()
    return BatchMemory(tuple(sizes), tuple(peaks), failed_size, capacity_bytes, line, best, lower, upper)


# ------------------------------------------------------------------------------------------------------ the line


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """Memory = `fixed_bytes` + `bytes_per_sample` × batch size.

    Attributes:
        fixed_bytes: intercept: weights, gradients, optimizer state, workspaces.
        bytes_per_sample: slope.
        bytes_per_sample_lower, bytes_per_sample_upper: 95 % interval of the slope after Sen (1968); with too few points
            for one, the smallest and largest slope between two points; NaN with two sizes only.
        sizes, peaks: the fitted points, float64 of shape (points,).
    """

    fixed_bytes: float
    bytes_per_sample: float
    bytes_per_sample_lower: float
    bytes_per_sample_upper: float
    sizes: NDArray[np.float64]
    peaks: NDArray[np.float64]

    def at(self, size: float) -> float:
        """Bytes predicted for a batch of `size`."""
        return self.fixed_bytes + self.bytes_per_sample * size

    def largest_batch(self, capacity_bytes: float) -> tuple[float, float, float]:
        """(largest batch within `capacity_bytes`, lower, upper); the interval follows from that of the slope.

        Infinite if the line does not rise; the interval is NaN if the slope has none. No value is below the largest
        size that was measured to fit.
        """
        slopes = (self.bytes_per_sample, self.bytes_per_sample_upper, self.bytes_per_sample_lower)
        fitting = self.sizes[self.peaks <= capacity_bytes]
        floor = float(fitting.max()) if fitting.size else 0.0
        best, lower, upper = (float(np.maximum(self._largest(slope, capacity_bytes), floor)) for slope in slopes)
        return best, lower, upper

    def _largest(self, slope: float, capacity_bytes: float) -> float:
        if math.isnan(slope):
            return math.nan
        if slope <= 0:
            return math.inf
        fixed = float(np.median(self.peaks - slope * self.sizes))
        return max(0.0, math.floor((capacity_bytes - fixed) / slope))


def fit_memory(sizes: Sequence[float], peaks: Sequence[float]) -> MemoryLine | None:
    """The Theil–Sen line through (batch size, bytes); None with fewer than two sizes.

    The slope is the median of the slopes between all pairs of different size, which tolerates up to 29 % of outliers.
    The last 200 points are used.
    """
    x = np.asarray(sizes, dtype=np.float64)[-200:]
    y = np.asarray(peaks, dtype=np.float64)[-200:]
    first, second = np.triu_indices(len(x), k=1)
    rise, run = y[second] - y[first], x[second] - x[first]
    slopes = np.sort(rise[run != 0] / run[run != 0])
    if not slopes.size:
        return None
    slope = float(np.median(slopes))
    lower, upper = _slope_interval(slopes, x)
    return MemoryLine(float(np.median(y - slope * x)), slope, lower, upper, x, y)


def _slope_interval(slopes: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Sen's interval, by the variance of Kendall's tau with ties in the batch size (memory rarely ties)."""
    if len(np.unique(x)) < 3:
        return math.nan, math.nan
    n = len(x)
    ties = np.unique(x, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    half = _Z95 * math.sqrt(variance)
    low = max(0, math.floor((slopes.size - half) / 2))
    high = min(slopes.size - 1, math.ceil((slopes.size + half) / 2))
    return float(slopes[low]), float(slopes[high])


# ----------------------------------------------------------------------------------------------------- the probe


def probe_batch_sizes(step: ProbedStep, sizes: Sequence[int], *, device: Device | None = None) -> BatchMemory:
    """Run one step per batch size and measure its peak memory.

    On CUDA the peak is the allocator's. On the CPU it is the memory of the process before the step plus the most that
    the tensors made in it hold at once (counted by torch's profiler), so it does not depend on what the C library
    retains. A size that does not fit ends the probe and bounds the prediction.

    Args:
        step: a function that does one whole step with a batch of the given size; or `(model, make_batch, loss)`, where
            `make_batch(size)` gives `(inputs, labels)` and `loss(outputs, labels)` a scalar: forward and backward are
            run, and buffers, gradients and the random state are restored. This does not include the state of an
            optimizer that has not made a step yet.
        sizes: at least two different whole numbers of at least 1; measured in ascending order.
        device: the device of the step, as `ResourceMonitor` sees it; None = the CPU.

    Raises:
        InputError: sizes that cannot be measured.
    """
    ascending = _checked(sizes)
    peaks: list[int] = []
    failed: int | None = None
    with _as_function(step, device) as run:
        try:
            run(ascending[0])  # libraries allocate their workspaces in the first call
            held = host_rss_bytes() or 0
            for size in ascending:
                failed = size
                if device is not None and device.memory is not None:
                    peaks.append(_device_peak(run, size, device.memory))
                else:
                    peaks.append(held + _peak_of_tensors(run, size))
                failed = None
        except torch.OutOfMemoryError:
            failed = failed or ascending[0]
            if device is not None and device.torch_device.type == "cuda":
                torch.cuda.empty_cache()
    return summarise(ascending[: len(peaks)], peaks, failed, _capacity(device))


def _checked(sizes: Sequence[int]) -> list[int]:
    whole = [s for s in sizes if isinstance(s, int) and not isinstance(s, bool) and s >= 1]
    if len(whole) != len(sizes) or len(set(whole)) < 2:
        raise InputError(f"sizes must be at least two different whole numbers of at least 1, got {list(sizes)!r}")
    return sorted(set(whole))


def _device_peak(run: Callable[[int], object], size: int, memory: DeviceMemory) -> int:
    memory.reset_peak()
    run(size)
    peak = memory.peak()
    return int(memory.read()["reserved_bytes"]) if peak is None else peak


def _peak_of_tensors(run: Callable[[int], object], size: int) -> int:
    """The most bytes that the tensors of a step on the CPU held at once."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [
        (e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]" and e["args"]["Device Type"] == 0
    ]
    held = highest = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        held += change
        highest = max(highest, held)
    return highest


def _capacity(device: Device | None) -> int | None:
    if device is not None and device.memory is not None:
        return device.memory.capacity()
    available, held = host_available_bytes(), host_rss_bytes()
    return None if available is None or held is None else available + held


@contextmanager
def _as_function(step: ProbedStep, device: Device | None) -> Iterator[Callable[[int], object]]:
    if not isinstance(step, tuple):
        yield step
        return
    model, make_batch, loss = step

    def run(size: int) -> None:
        inputs, labels = make_batch(size)
        loss(model(inputs), labels).backward()
        _drop_gradients(model)

    with _unchanged(model, device):
        yield run


@contextmanager
def _unchanged(model: nn.Module, device: Device | None) -> Iterator[None]:
    """Restore gradients, buffers and the random state at the end of the block."""
    gradients = [p.grad for p in model.parameters()]
    buffers: list[Tensor] = [b.detach().clone() for b in model.buffers()]
    devices = [device.torch_device] if device is not None and device.torch_device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        _drop_gradients(model)
        try:
            yield
        finally:
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            with torch.no_grad():
                for buffer, before in zip(model.buffers(), buffers, strict=True):
                    buffer.copy_(before)


def _drop_gradients(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = None
