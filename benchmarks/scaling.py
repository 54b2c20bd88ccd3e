"""Scaling of time and memory with classes, samples, parameters, ranks, steps and runs.

Each quantity is measured at a few sizes and fitted by a line; the tables show its value at each size, its slope, and
its projection to the target size. `python -m benchmarks.growth` draws the results that were written.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import Facts, Results, Run, seconds
from tbmetrics import ClassGroups, ClassPerformanceTracker, GradientTracker, TBMetrics, read_logdir

#: A quantity that grows by less than this share over all sizes counts as constant.
_FLAT = 0.05
Measured = dict[str, float]


def validation(classes: int, samples: int, log_dir: Path | None = None) -> Measured:
    """Measure one single-label validation: streaming, evaluating, saving and, given `log_dir`, writing."""
    counts = np.maximum(1000 / (1 + np.arange(classes)), 1).astype(int)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": counts}))
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(size, classes, generator=generator), torch.randint(classes, (size,), generator=generator))
        for size in [min(256, samples - first) for first in range(0, samples, 256)]
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    update = seconds(lambda: [tracker.update(*batch) for batch in batches])
    scores_bytes = tracker._states["x"].scores.bytes  # type: ignore[union-attr]
    share = seconds(lambda: tracker._states["x"].share())
    evaluate = seconds(lambda: tracker.records(0))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    measured = {"update s": update, "held bytes": scores_bytes, "share s": share}
    measured |= {"evaluate s": evaluate, "peak bytes": peak}
    file = io.BytesIO()
    measured["save s"] = seconds(lambda: torch.save(tracker.state_dict(), file))
    measured["state bytes"] = file.tell()
    if log_dir is not None:
        with TBMetrics(log_dir, class_performance=tracker, resources=False) as tb:
            tb.update(*batches[0])
        measured["event bytes"] = size_of(log_dir)
    return measured


def ranks(number: int, classes: int, samples: int) -> Measured:
    """Measure the reduction of one validation over `number` processes on this machine with gloo."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            context.Process(target=_rank, args=(r, number, classes, samples, f"{folder}/store", queue))
            for r in range(number)
        ]
        for job in jobs:
            job.start()
        times = [queue.get(timeout=300) for _ in jobs]
        for job in jobs:
            job.join()
    return {"reduce s": max(times)}


def _rank(rank: int, number: int, classes: int, samples: int, store: str, queue: Any) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=number)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": [5] * classes}))
    rows = torch.arange(samples // number)
    tracker.update(torch.randn(len(rows), classes), rows % classes, indices=rows * number + rank)
    torch.distributed.barrier()
    queue.put(seconds(tracker.reduce))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def steps(number: int, log_dir: Path) -> Measured:
    """Measure a loop with a component, an optimizer step and one logged scalar per step."""
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, overhead_budget=None) as tb:
        tb.start_epoch(0)
        start = time.perf_counter()
        for _ in range(number):
            with tb.component("forward_pass"):
                model(torch.ones(1, 4)).sum().backward()
            optimizer.step()
            tb.log_scalar("loss", 1.0)
        elapsed = time.perf_counter() - start
        file = io.BytesIO()
        torch.save(tb.state_dict(), file)
    return {"loop s": elapsed, "event bytes": size_of(log_dir), "state bytes": file.tell()}


def parameters(number: int, log_dir: Path) -> Measured:
    """Measure a step of a model with `number` parameters of 64 values each, bare, without a sample, and with one."""
    watched = {"bare": None, "unsampled": 10**9, "sampled": 1}
    measured = {}
    for way, every in watched.items():
        model = torch.nn.Sequential(*(torch.nn.Linear(8, 8, bias=False) for _ in range(number)))
        for weight in model.parameters():
            torch.nn.init.orthogonal_(weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        options: dict[str, Any] = {"resources": False, "overhead_budget": None}
        if every is not None:
            options["gradients"] = GradientTracker(model, optimizer, every=every, detail_every=every)
        with TBMetrics(log_dir / way, optimizer=optimizer, enabled=every is not None, **options) as tb:
            tb.start_epoch(0)
            measured[f"{way} step s"] = float(np.median([seconds(partial(_step, model, optimizer)) for _ in range(9)]))
    measured["sampled step bytes"] = size_of(log_dir / "sampled") / 9
    return measured


def _step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()


def runs(number: int, root: Path) -> Measured:
    """Measure reading `number` runs of 1,000 scalars each."""
    for run in range(number):
        with TBMetrics(root / f"run{run}", resources=False) as tb:
            tb.start_epoch(0)
            for step in range(1000):
                tb.log_scalar("loss", 1.0, step=step)
    return {"read s": seconds(lambda: read_logdir(root))}


def size_of(folder: Path) -> int:
    """Total size in bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(title: str, sizes: Sequence[int], target: int, measure: Callable[[int], Measured]) -> Facts:
    """Tabulate the values, the slope and the projection of each quantity."""
    results = [measure(size) for size in sizes]
    rows = []
    for name in results[0]:
        values = [result[name] for result in results]
        slope, constant = np.polyfit(sizes, values, 1)
        if slope * (sizes[-1] - sizes[0]) < _FLAT * values[-1]:  # only random variation
            slope, constant = 0.0, values[-1]
        unit = name.rpartition(" ")[2]
        cells = [f"{value:.3g}" for value in (*values, slope * target + constant)]
        rows.append([name, *cells[:-1], f"{slope:.3g} {unit}", cells[-1]])
    columns = ["what", *(f"at {size:,}" for size in sizes), "slope", f"projected to {target:,}"]
    return Facts(title, columns, rows)


def measure(run: Run) -> Results:
    """Measure all quantities; the large size goes up to 100,000 classes and 8 ranks and needs 8 GB."""
    torch.set_num_threads(1)
    validation(100, 256)  # warms up
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        normal = [1_000, 4_000, 10_000]
        class_counts = run.choose([100, 500], normal, [*normal, 30_000, 100_000])
        sample_counts = run.choose([500, 2_000], [5_000, 20_000, 50_000])
        rank_counts, step_counts = run.choose([2], [2, 4], [2, 4, 8]), run.choose([200, 1_000], [1_000, 5_000, 10_000])
        run_counts, tensor_counts = run.choose([2, 5], [5, 20, 50]), run.choose([20, 100], [100, 500, 2_000])
        tables = [
            table("classes (512 samples)", class_counts, 1_000_000, lambda n: validation(n, 512, root / f"c{n}")),
            table("samples (100 classes)", sample_counts, 1_000_000, lambda n: validation(100, n)),
            table("parameters (64 values each)", tensor_counts, 10_000, lambda n: parameters(n, root / f"p{n}")),
            table("steps", step_counts, 1_000_000, lambda n: steps(n, root / f"s{n}")),
            table("runs (1,000 scalars each)", run_counts, 1_000, lambda n: runs(n, root / f"r{n}")),
        ]
        if len(rank_counts) > 1:
            title = "ranks (1,000 classes, 8,192 samples in all)"
            tables.append(table(title, rank_counts, 1_024, lambda n: ranks(n, 1_000, 8_192)))
        return tables
