"""Measures what batches of several sizes take in memory, on request, and predicts the largest that fits."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from tbmetrics.errors import InputError
from tbmetrics.resource_usage.device import Device
from tbmetrics.resource_usage.memory import DeviceMemory, host_available_bytes, host_rss_bytes
from tbmetrics.resource_usage.memory_fit import MemoryLine, fit_memory

#: One step with a batch of the given size: a function, or (model, make_batch, loss) as `probe_batch_sizes` says.
ProbedStep: TypeAlias = Callable[[int], object] | tuple[nn.Module, Callable[[int], tuple[Any, Any]], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class BatchMemory:
    """What a probe found.

    Attributes:
        sizes: batch sizes measured, ascending.
        peak_bytes: the peak of memory at each.
        failed_size: the size that did not fit, where one did not.
        capacity_bytes: what this process could hold; None if unknown.
        line: the fit; None with fewer than two sizes.
        largest_batch, largest_batch_lower, largest_batch_upper: predicted, with its interval; NaN if unknown.
    """

    sizes: tuple[int, ...]
    peak_bytes: tuple[int, ...]
    failed_size: int | None
    capacity_bytes: int | None
    line: MemoryLine | None
    largest_batch: float
    largest_batch_lower: float
    largest_batch_upper: float


def probe_batch_sizes(step: ProbedStep, sizes: Sequence[int], *, device: Device | None = None) -> BatchMemory:
    """Runs one step per batch size and measures its peak of memory.

    On CUDA the peak is the allocator's. On the CPU it is what the process holds before and, on top, the most that the
    tensors made in the step hold at once (torch's profiler counts them), so it does not depend on what the C library
    keeps back. A size that does not fit ends the probe and bounds the prediction.

    Args:
        step: called with each size and doing one whole step; or `(model, make_batch, loss)`, where `make_batch(size)`
            gives `(inputs, labels)` and `loss(outputs, labels)` a scalar: forward and backward are run, and buffers,
            gradients and the random state are as before when it is over. Memory of an optimizer that has not made a
            step yet is not in it.
        sizes: whole numbers of at least 1, two at least; measured in ascending order.
        device: where the step runs, as `ResourceMonitor` sees it; None = the CPU.

    Raises:
        InputError: sizes that cannot be measured.
    """
    ascending = _checked(sizes)
    peaks: list[int] = []
    failed: int | None = None
    with _as_function(step, device) as run:
        try:
            run(ascending[0])  # libraries take their workspaces at the first call
            held = host_rss_bytes() or 0
            for size in ascending:
                failed = size
                if device is not None and device.memory is not None:
                    peaks.append(_device_peak(run, size, device.memory))
                else:
                    peaks.append(held + _most_in_tensors(run, size))
                failed = None
        except torch.OutOfMemoryError:
            failed = failed or ascending[0]
            if device is not None and device.torch_device.type == "cuda":
                torch.cuda.empty_cache()
    return summarise(ascending[: len(peaks)], peaks, failed, _capacity(device))


def summarise(
    sizes: Sequence[int], peaks: Sequence[int], failed_size: int | None, capacity_bytes: int | None
) -> BatchMemory:
    """Line and largest batch from measured points."""
    line = fit_memory(sizes, peaks)
    best, lower, upper = math.nan, math.nan, math.nan
    if line is not None and capacity_bytes is not None:
        bound = math.inf if failed_size is None else failed_size - 1
        best, lower, upper = (x if math.isnan(x) else min(x, bound) for x in line.largest_batch(capacity_bytes))
    return BatchMemory(tuple(sizes), tuple(peaks), failed_size, capacity_bytes, line, best, lower, upper)


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


def _most_in_tensors(run: Callable[[int], object], size: int) -> int:
    """The most bytes of tensors that a step on the CPU held at once."""
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
    """Gradients, buffers and the random state come back as they were."""
    gradients = [p.grad for p in model.parameters()]
    buffers: list[Tensor] = [b.detach().clone() for b in model.buffers()]
    on = device is not None and device.torch_device.type == "cuda"
    with torch.random.fork_rng(devices=[device.torch_device] if device is not None and on else []):
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
