"""One epoch as measured: its rows, its records and images, and its bottleneck."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tbmetrics.figures.resource_data import markdown_cell, timeline_text
from tbmetrics.records import RESOURCES, Image, Record, Scalar, Text, tag_part
from tbmetrics.records.history import History
from tbmetrics.resource_usage.batch_memory import BatchMemory
from tbmetrics.resource_usage.steps import SampledStep
from tbmetrics.resource_usage.timers import ComponentTotal
from tbmetrics.tracking.drawing import DrawingTime

TAG = RESOURCES
DATA_LOADING, OTHER = "data_loading", "other"

#: An epoch is input-bound if it waits for data for this share of its time.
INPUT_BOUND_SHARE = 1 / 3
#: The device is the bottleneck if it is behind in half of the components, or falls behind by a tenth of the epoch.
BEHIND_SHARE, LAG_SHARE = 0.5, 0.1

ADVICE = {
    "input-bound": "Training waits for data. More DataLoader workers, `pin_memory=True`, `persistent_workers=True` or "
    "less work per sample help.",
    "compute-bound": "The model's own arithmetic takes the time. Mixed precision, `torch.compile` or a faster device "
    "help.",
    "host-bound": "The device waits for Python. Larger batches, `torch.compile`, CUDA graphs or fewer `.item()` calls "
    "help.",
}


@dataclass(frozen=True, slots=True)
class Epoch:
    """The measurements of one epoch; times in nanoseconds, memory in bytes."""

    number: int
    nanoseconds: int
    components: Mapping[str, ComponentTotal]  # with OTHER, so that their self times add up to the epoch
    samples: int
    batches: int
    steps: int
    tokens: int
    batch_size: float | None
    memory: Mapping[str, float]
    memory_before: Mapping[str, float]
    on_device: bool
    component_peaks: Mapping[str, int] = field(default_factory=dict)
    meters: Mapping[str, float] = field(default_factory=dict)
    step_times: Mapping[str, float] = field(default_factory=dict)
    typical_step: SampledStep | None = None
    overhead: Mapping[str, int] = field(default_factory=dict)
    overhead_period_nanoseconds: int = 0  # since the epoch before ended
    flops_per_step: int = 0
    peak_flops: float | None = None
    largest_batch: int = 0
    rates: Sequence[tuple[int, float, float]] = ()  # (optimizer step, wall time, samples per second, smoothed)

    @property
    def seconds(self) -> float:
        """Wall clock."""
        return self.nanoseconds / 1e9

    def per_second(self, count: float) -> float | None:
        """`count` over the epoch's wall clock; None if it is 0."""
        return count / self.seconds if count and self.nanoseconds > 0 else None

    @property
    def flops_per_second(self) -> float | None:
        """Achieved floating-point operations per second; None if those of a step were not counted."""
        return self.per_second(self.flops_per_step * self.steps)

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: achieved over peak; None if either is unknown."""
        achieved = self.flops_per_second
        return achieved / self.peak_flops if achieved and self.peak_flops else None

    @property
    def overhead_share(self) -> float | None:
        """Share of the time since the epoch before ended that tbmetrics itself took."""
        period = self.overhead_period_nanoseconds
        return sum(self.overhead.values()) / period if period > 0 else None


def with_rest(totals: Mapping[str, ComponentTotal], nanoseconds: int) -> dict[str, ComponentTotal]:
    """The components and OTHER, the rest of the epoch; a component that the user called OTHER is added to it."""
    rest = nanoseconds - sum(total.self_nanoseconds for total in totals.values())
    named = dict(totals)
    other = named.pop(OTHER, ComponentTotal())
    other.nanoseconds += rest
    other.self_nanoseconds += rest
    other.count = max(other.count, 1)
    return {**named, OTHER: other}


def bottleneck(epoch: Epoch) -> str | None:
    """The bottleneck of the epoch: "input-bound", "compute-bound" or "host-bound"; None if it cannot be told.

    Input-bound: a third or more of the epoch waits for data; with a device, only the time that it waits too counts.
    Otherwise, on the CPU, the epoch is compute-bound. With a device it is compute-bound if the device is behind the
    host (it had not begun a component when the host ended it, or it fell behind inside components by a tenth of the
    epoch) and host-bound if it keeps up; None if no component but `data_loading` was timed.
    """
    loading = epoch.components.get(DATA_LOADING)
    if epoch.nanoseconds <= 0:
        return None
    if loading is not None and _waiting_nanoseconds(loading) / epoch.nanoseconds >= INPUT_BOUND_SHARE:
        return "input-bound"
    if not epoch.on_device:
        return "compute-bound" if loading is not None else None
    timed = [t for name, t in epoch.components.items() if name not in {DATA_LOADING, OTHER} and t.device_count]
    if not timed:
        return None
    behind = sum(t.device_behind for t in timed) / sum(t.device_count for t in timed)
    lag = sum(t.device_lag_milliseconds for t in timed) * 1e6 / epoch.nanoseconds
    return "compute-bound" if behind >= BEHIND_SHARE or lag >= LAG_SHARE else "host-bound"


def _waiting_nanoseconds(loading: ComponentTotal) -> float:
    """Time that training waited for data: the host, and the device too if its time is known."""
    if not loading.device_count:
        return loading.nanoseconds
    device = loading.device_milliseconds * 1e6 * loading.count / loading.device_count
    return min(loading.nanoseconds, device)


def epoch_row(epoch: Epoch, remaining_seconds: float | None) -> dict[str, Any]:
    """The epoch's entry in `ResourceMonitor.epoch_data`."""
    key = "allocated_bytes" if "allocated_bytes" in epoch.memory else "host_rss_bytes"
    now, before = epoch.memory.get(key), epoch.memory_before.get(key)
    loading = epoch.components.get(DATA_LOADING)
    return {
        "epoch": epoch.number,
        "time": epoch.seconds,
        "memory": None if now is None else int(now),
        "memory_change": None if now is None or before is None else int(now - before),
        "peak_memory": int(epoch.memory["peak_bytes"]) if "peak_bytes" in epoch.memory else None,
        "batch_size": epoch.batch_size,
        "num_samples": None if epoch.batches and not epoch.samples else epoch.samples,
        "batches": epoch.batches,
        "steps": epoch.steps,
        "throughput": epoch.per_second(epoch.samples),
        "steps_per_second": epoch.per_second(epoch.steps),
        "tokens_per_second": epoch.per_second(epoch.tokens),
        "data_loading_share": loading.nanoseconds / epoch.nanoseconds if loading and epoch.nanoseconds > 0 else None,
        "bottleneck": bottleneck(epoch),
        "mfu": epoch.mfu,
        "remaining_seconds": remaining_seconds,
        "tbmetrics_overhead": epoch.overhead_share,
    }


def component_row(epoch: int, total: ComponentTotal, peak_bytes: int | None) -> dict[str, Any]:
    """A component's entry in `ResourceMonitor.component_data`."""
    return {
        "epoch": epoch,
        "time": total.nanoseconds / 1e9,
        "self_time": total.self_nanoseconds / 1e9,
        "count": total.count,
        "device_time": total.device_milliseconds / 1e3 if total.device_count else None,
        "device_count": total.device_count,
        "peak_memory": peak_bytes,
    }


def epoch_records(epoch: Epoch, remaining_seconds: float | None) -> Iterator[Record]:
    """The epoch's records; the step of each is the epoch."""
    values: dict[str, float | None] = {
        "epoch_time_seconds": epoch.seconds,
        "batch_size": epoch.batch_size,
        "largest_batch_size": epoch.largest_batch or None,
        "throughput_samples_per_second": epoch.per_second(epoch.samples),
        "throughput_steps_per_second": epoch.per_second(epoch.steps),
        "throughput_tokens_per_second": epoch.per_second(epoch.tokens),
        "flops_per_second": epoch.flops_per_second,
        "model_flops_utilisation": epoch.mfu,
        "remaining_seconds": remaining_seconds,
        "tbmetrics_overhead": epoch.overhead_share,
        **_component_values(epoch),
        **{f"step_seconds/{name}": value for name, value in epoch.step_times.items()},
        **{f"memory/{name}": value for name, value in epoch.memory.items()},
        **{f"device/{name}": value for name, value in epoch.meters.items()},
    }
    if (period := epoch.overhead_period_nanoseconds) > 0:
        values |= {f"tbmetrics_overhead/{tag_part(name)}": spent / period for name, spent in epoch.overhead.items()}
    yield from (Scalar(f"{TAG}/{name}", float(value)) for name, value in values.items() if value is not None)
    if epoch.typical_step is not None:
        step = epoch.typical_step
        yield Text(f"{TAG}/typical_step", timeline_text(step.seconds, step.spans))
    yield Text(f"{TAG}/summary", summary(epoch))


def _component_values(epoch: Epoch) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, total in epoch.components.items():
        values[f"component_seconds/{tag_part(name)}"] = total.self_nanoseconds / 1e9
        if total.device_count:
            values[f"component_device_seconds/{tag_part(name)}"] = total.device_milliseconds / 1e3
    for name, peak in epoch.component_peaks.items():
        values[f"memory/component_peak_bytes/{tag_part(name)}"] = peak
    if DATA_LOADING in epoch.components and epoch.nanoseconds > 0:
        values["data_loading_share"] = epoch.components[DATA_LOADING].nanoseconds / epoch.nanoseconds
    return values


def batch_memory_records(measured: BatchMemory) -> Iterator[Record]:
    """The line of memory over batch size and the largest batch predicted; values that are not finite are left out."""
    if measured.line is None:
        return
    values = {
        "fixed_bytes": measured.line.fixed_bytes,
        "bytes_per_sample": measured.line.bytes_per_sample,
        "bytes_per_sample_lower": measured.line.bytes_per_sample_lower,
        "bytes_per_sample_upper": measured.line.bytes_per_sample_upper,
        "largest_batch": measured.largest_batch,
        "largest_batch_lower": measured.largest_batch_lower,
        "largest_batch_upper": measured.largest_batch_upper,
        "capacity_bytes": math.nan if measured.capacity_bytes is None else float(measured.capacity_bytes),
    }
    for name, value in values.items():
        if math.isfinite(value):
            yield Scalar(f"{TAG}/batch_memory/{name}", value)


def summary(epoch: Epoch) -> str:
    """The epoch in words and as a table of components, as Markdown."""
    speed = epoch.per_second(epoch.samples)
    lines = [f"Epoch {epoch.number}: {epoch.seconds:.2f} s" + (f", {speed:,.1f} samples/s" if speed else "")]
    verdict = bottleneck(epoch)
    if verdict is not None:
        lines += ["", f"**{verdict}.** {ADVICE[verdict]}"]
    lines += ["", "| component | times | seconds | share |", "|---|---:|---:|---:|"]
    for name, total in sorted(epoch.components.items(), key=lambda item: -item[1].self_nanoseconds):
        share = total.self_nanoseconds / epoch.nanoseconds if epoch.nanoseconds > 0 else math.nan
        lines.append(f"| {markdown_cell(name)} | {total.count:,} | {total.self_nanoseconds / 1e9:.3f} | {share:.1%} |")
    return "\n".join(lines)


class ComponentDrawing:
    """Images of an epoch's component times.

    Args:
        clock: nanoseconds, monotonic.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._time = DrawingTime(lambda: clock() / 1e9)
        self._epoch: int | None = None

    def images(self, history: History, epoch: int) -> list[Image]:
        """The images of `epoch`; none if the last drawing was too recent, or matplotlib is not loaded yet."""
        return self.draw(history, epoch) if self._time.affordable() else []

    def draw(self, history: History, epoch: int) -> list[Image]:
        """The images of `epoch`; none if they were drawn before."""
        if epoch == self._epoch:
            return []
        from tbmetrics.figures.resource_usage import component_images

        with self._time:
            drawn = [Image(f"{TAG}/{name}", pixels) for name, pixels in component_images(history, epoch)]
        self._epoch = epoch
        return drawn
