"""Cost of timing a component, compared with other timers, and of the resource monitor in a step."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from importlib import import_module

import torch
from torch.profiler import record_function

from benchmarks.measuring import Comparison, Facts, Results, Run, in_turns, median
from benchmarks.tables import number
from tbmetrics import ResourceMonitor, TBMetrics

STEP_MILLISECONDS = 20.0
STEPS = 200
TORCH = "torch's `record_function`, no profiler running"
OURS = (
    "`ResourceMonitor.start_component`/`end_component`",
    "`tb.start_component`/`end_component`",
    "`with tb.component(...)`",
)


def measure(run: Run) -> Results:
    """Compare timers, then measure a session with its monitor in an empty loop."""
    with tempfile.TemporaryDirectory() as root:
        monitor = ResourceMonitor()
        session = TBMetrics(f"{root}/session").start()
        monitor.start_epoch(0)
        session.start_epoch(0)
        calls = run.choose(2_000, 20_000)
        ways = {name: _per_call(way, calls) for name, way in _timers(session, monitor, run).items()}
        values = in_turns(ways, run.choose(5, 15))
        session.finalize()
        steps = [step_cost(f"{root}/steps{i}") for i in range(run.choose(2, 9))]
    title = "start and stop of one component"
    return [Comparison(title, "µs", TORCH, values, inverse=True, watched=OURS), _in_a_step(steps)]


def _per_call(action: Callable[[], object], calls: int) -> Callable[[], float]:
    """Return a function that measures microseconds per call."""

    def microseconds() -> float:
        start = time.perf_counter_ns()
        for _ in range(calls):
            action()
        return (time.perf_counter_ns() - start) / calls / 1e3

    return microseconds


def _timers(session: TBMetrics, monitor: ResourceMonitor, run: Run) -> dict[str, Callable[[], object]]:
    """Functions that start and stop one component, by name of the timer."""
    clock = time.perf_counter_ns

    def bare() -> None:
        clock()
        clock()

    def with_monitor() -> None:
        monitor.start_component("forward_pass")
        monitor.end_component("forward_pass")

    def with_session() -> None:
        session.start_component("forward_pass")
        session.end_component("forward_pass")

    def with_session_block() -> None:
        with session.component("forward_pass"):
            pass

    def with_torch() -> None:
        with record_function("forward_pass"):
            pass

    ways = {TORCH: with_torch, **dict(zip(OURS, (with_monitor, with_session, with_session_block), strict=True))}
    ways["two reads of `perf_counter_ns`"] = bare
    if not run.has("pytorch_lightning", "Lightning"):
        return ways
    profiler = import_module("pytorch_lightning.profilers").SimpleProfiler()

    def with_lightning() -> None:
        profiler.start("forward_pass")
        profiler.stop("forward_pass")

    return {**ways, "Lightning's `SimpleProfiler.start`/`stop`": with_lightning}


def step_cost(folder: str) -> tuple[float, float]:
    """Microseconds per step and milliseconds per end of epoch of a session with its monitor in an empty loop."""
    batches = [torch.zeros(16, 8)] * STEPS
    with TBMetrics(folder, model=torch.nn.Linear(8, 8)) as tb:
        tb.start_epoch(0)
        for _ in tb.batches(batches):
            pass
        tb.end_epoch()
        tb.start_epoch(1)
        start = time.perf_counter_ns()
        for _ in tb.batches(batches):
            for name in ("forward_pass", "backward_pass", "optimizer_step"):
                with tb.component(name):
                    pass
        last_step = time.perf_counter_ns()
        tb.end_epoch()
        end = time.perf_counter_ns()
    return (last_step - start) / STEPS / 1e3, (end - last_step) / 1e6


def _in_a_step(steps: list[tuple[float, float]]) -> Facts:
    per_step, per_epoch = (median(values) for values in zip(*steps, strict=True))
    rows = [
        ["a step, with `batches` and three components", f"{number(per_step)} µs"],
        [f"the same, of a step of {STEP_MILLISECONDS:.0f} ms", f"{per_step / 1e3 / STEP_MILLISECONDS:.2%}"],
        ["the end of an epoch", f"{number(per_epoch)} ms"],
    ]
    return Facts("session and monitor in an empty loop", ["what", "median"], rows)
