"""What timing and monitoring cost: a component against a bare pair of clock reads and its peers; the whole monitor.

Ways take turns in rounds in one process; the figures are medians over rounds. Run: python benchmarks/resource_usage.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from tbmetrics import ResourceMonitor

REPEATS, ROUNDS = 2000, 25
STEP_SECONDS = 0.020


def bare() -> Callable[[], None]:
    """Two reads of the clock and a sum, written into the loop by hand."""
    total = [0]

    def once() -> None:
        began = time.perf_counter_ns()
        total[0] += time.perf_counter_ns() - began

    return once


def verbs() -> Callable[[], None]:
    """`start_component` and `end_component`."""
    monitor = ResourceMonitor()
    monitor.start_epoch(0)

    def once() -> None:
        monitor.start_component("forward_pass")
        monitor.end_component("forward_pass")

    return once


def block() -> Callable[[], None]:
    """`with monitor.component(...)`."""
    monitor = ResourceMonitor()
    monitor.start_epoch(0)

    def once() -> None:
        with monitor.component("forward_pass"):
            pass

    return once


def record_function() -> Callable[[], None]:
    """`torch.profiler.record_function`, with no profiler running."""

    def once() -> None:
        with torch.profiler.record_function("forward_pass"):
            pass

    return once


def simple_profiler() -> Callable[[], None] | None:
    """Lightning's `SimpleProfiler`; None where Lightning is not installed."""
    try:
        from lightning.pytorch.profilers import SimpleProfiler
    except ImportError:
        return None
    profiler = SimpleProfiler()

    def once() -> None:
        profiler.start("forward_pass")
        profiler.stop("forward_pass")

    return once


def nanoseconds(once: Callable[[], None]) -> float:
    """Mean nanoseconds of one call in a round."""
    began = time.perf_counter_ns()
    for _ in range(REPEATS):
        once()
    return (time.perf_counter_ns() - began) / REPEATS


def whole_monitor() -> float:
    """Median nanoseconds that the monitor takes in one step of a loop: four components, a batch, a step."""
    monitor = ResourceMonitor()
    monitor.start_epoch(0)
    taken = []
    for step in range(1, REPEATS):
        began = time.perf_counter_ns()
        for name in ("data_loading", "forward_pass", "backward_pass", "optimizer_step"):
            monitor.start_component(name)
            monitor.end_component(name)
        monitor.count_samples(32)
        monitor.after_step(step)
        taken.append(time.perf_counter_ns() - began)
    began = time.perf_counter_ns()
    monitor.end_epoch()
    return statistics.mean(taken) + (time.perf_counter_ns() - began) / REPEATS


def main() -> None:
    """Prints the table."""
    ways: dict[str, Any] = {
        "bare perf_counter_ns pair": bare(),
        "start_component / end_component": verbs(),
        "with monitor.component(...)": block(),
        "torch.profiler.record_function": record_function(),
        "Lightning SimpleProfiler": simple_profiler(),
        "nothing (an empty with)": lambda: nullcontext().__enter__(),
    }
    ways = {name: once for name, once in ways.items() if once is not None}
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, once in ways.items():
            rounds[name].append(nanoseconds(once))
    base = statistics.median(rounds["bare perf_counter_ns pair"])
    print(f"{'':36}{'µs':>8}{'ratio to bare':>16}")
    for name, found in rounds.items():
        print(f"{name:36}{statistics.median(found) / 1e3:8.2f}{statistics.median(found) / base:16.1f}")
    whole = statistics.median(whole_monitor() for _ in range(5))
    print(
        f"\nwhole monitor, a step with four components: {whole / 1e3:.1f} µs, {whole / 1e9 / STEP_SECONDS:.3%} of 20 ms"
    )


if __name__ == "__main__":
    main()
