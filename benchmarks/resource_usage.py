"""What timing a component costs beside a bare pair of clock reads and other timers; and the monitor in a step."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib import import_module

import torch
from torch.profiler import record_function

from tbmetrics import ResourceMonitor, TBMetrics

CALLS = 20_000
STEP_MILLISECONDS = 20.0
STEPS = 200


def per_call(action: Callable[[], object]) -> float:
    """Microseconds per call, of `CALLS` calls."""
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        action()
    return (time.perf_counter_ns() - began) / CALLS / 1e3


def ways_to_time(session: TBMetrics, monitor: ResourceMonitor) -> dict[str, Callable[[], object]]:
    """Each starts and stops one component."""
    clock = time.perf_counter_ns

    def bare() -> None:
        clock()
        clock()

    def of_monitor() -> None:
        monitor.start_component("forward_pass")
        monitor.end_component("forward_pass")

    def of_session() -> None:
        session.start_component("forward_pass")
        session.end_component("forward_pass")

    def of_session_with() -> None:
        with session.component("forward_pass"):
            pass

    def of_torch() -> None:
        with record_function("forward_pass"):
            pass

    ways = {
        "two reads of `perf_counter_ns`": bare,
        "`ResourceMonitor.start_component`/`end_component`": of_monitor,
        "`tb.start_component`/`end_component`": of_session,
        "`with tb.component(...)`": of_session_with,
        "torch's `record_function`, no profiler running": of_torch,
    }
    try:
        profiler = import_module("lightning.pytorch.profilers").SimpleProfiler()
    except ImportError:
        print("lightning is not installed: its SimpleProfiler is left out")
        return ways

    def of_lightning() -> None:
        profiler.start("forward_pass")
        profiler.stop("forward_pass")

    return {**ways, "Lightning's `SimpleProfiler.start`/`stop`": of_lightning}


def step_cost(folder: str) -> tuple[float, float]:
    """(microseconds a step, milliseconds an epoch's end) that a session with its monitor adds to an empty loop."""
    model = torch.nn.Linear(8, 8)
    batches = [torch.zeros(16, 8)] * STEPS
    with TBMetrics(folder, model=model) as tb:
        tb.start_epoch(0)
        for _ in tb.batches(batches):
            pass
        tb.end_epoch()
        tb.start_epoch(1)
        began = time.perf_counter_ns()
        for _ in tb.batches(batches):
            with tb.component("forward_pass"):
                pass
            with tb.component("backward_pass"):
                pass
            with tb.component("optimizer_step"):
                pass
        ended = time.perf_counter_ns()
        tb.end_epoch()
        closed = time.perf_counter_ns()
    return (ended - began) / STEPS / 1e3, (closed - ended) / 1e6


def main() -> None:
    """Prints medians over rounds, the ways in turn in each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as root:
        monitor = ResourceMonitor()
        session = TBMetrics(f"{root}/session").start()
        monitor.start_epoch(0)
        session.start_epoch(0)
        ways = ways_to_time(session, monitor)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, action in ways.items():
                times[name].append(per_call(action))
        session.finalize()
        steps = [step_cost(f"{root}/steps{i}") for i in range(rounds)]
    bare = times["two reads of `perf_counter_ns`"]
    print("| start and stop of a component | µs (median) | over the bare pair (median) |\n|---|---:|---:|")
    for name, taken in times.items():
        over = statistics.median(t - b for t, b in zip(taken, bare, strict=True))
        print(f"| {name} | {statistics.median(taken):.2f} | {over:.2f} |")
    per_step, per_epoch = (statistics.median(values) for values in zip(*steps, strict=True))
    share = per_step / 1e3 / STEP_MILLISECONDS
    print(f"\nSession and monitor, `batches` and three components: {per_step:.1f} µs a step", end="")
    print(f" = {share:.2%} of a step of {STEP_MILLISECONDS:.0f} ms; the end of an epoch {per_epoch:.1f} ms.")


if __name__ == "__main__":
    main()
