"""What grows with classes, samples, ranks, steps and runs: measured slopes, in bytes and seconds.

Each quantity is measured at a few sizes and fitted by a line; the slope, and what it makes of the target size, stand
beside the largest size that was run.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import Facts, Results, Run, seconds
from tbmetrics import ClassGroups, ClassPerformanceTracker, TBMetrics, read_logdir

#: What grows by less than this share of its largest value over all sizes does not grow.
_FLAT = 0.05
Measured = dict[str, float]


def validation(classes: int, samples: int, log_dir: Path | None = None) -> Measured:
    """One single-label validation, streamed, evaluated, saved and (where there is a place) written."""
    counts = np.maximum(1000 / (1 + np.arange(classes)), 1).astype(int)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": counts}))
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(size, classes, generator=generator), torch.randint(classes, (size,), generator=generator))
        for size in [min(256, samples - first) for first in range(0, samples, 256)]
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    update = seconds(lambda: [tracker.update(*batch) for batch in batches])
    held = tracker._states["x"].scores.bytes  # type: ignore[union-attr]
    share = seconds(lambda: tracker._states["x"].share())
    evaluate = seconds(lambda: tracker.records(0))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    found = {"update s": update, "held bytes": held, "share s": share, "evaluate s": evaluate, "peak bytes": peak}
    file = io.BytesIO()
    found["save s"] = seconds(lambda: torch.save(tracker.state_dict(), file))
    found["state bytes"] = file.tell()
    if log_dir is not None:
        with TBMetrics(log_dir, class_performance=tracker, resources=False) as tb:
            tb.update(*batches[0])
        found["event bytes"] = size_of(log_dir)
    return found


def ranks(number: int, classes: int, samples: int) -> Measured:
    """The reduction of one validation over so many processes on this machine, over gloo."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            context.Process(target=_rank, args=(r, number, classes, samples, f"{folder}/store", queue))
            for r in range(number)
        ]
        for job in jobs:
            job.start()
        found = [queue.get(timeout=300) for _ in jobs]
        for job in jobs:
            job.join()
    return {"reduce s": max(found)}


def _rank(rank: int, number: int, classes: int, samples: int, store: str, queue: Any) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=number)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": [5] * classes}), n_bootstrap=1)
    own = samples // number
    tracker.update(torch.randn(own, classes), torch.arange(own) % classes, indices=torch.arange(own) * number + rank)
    torch.distributed.barrier()
    queue.put(seconds(tracker.reduce))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def steps(number: int, log_dir: Path) -> Measured:
    """A loop that logs one scalar a step, with a component and an optimizer step."""
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, overhead_budget=None) as tb:
        tb.start_epoch(0)
        began = time.perf_counter()
        for _ in range(number):
            with tb.component("forward_pass"):
                model(torch.ones(1, 4)).sum().backward()
            optimizer.step()
            tb.log_scalar("loss", 1.0)
        spent = time.perf_counter() - began
        file = io.BytesIO()
        torch.save(tb.state_dict(), file)
    return {"loop s": spent, "event bytes": size_of(log_dir), "state bytes": file.tell()}


def runs(number: int, root: Path) -> Measured:
    """Reading so many runs of 1,000 scalars each."""
    for run in range(number):
        with TBMetrics(root / f"run{run}", resources=False) as tb:
            tb.start_epoch(0)
            for step in range(1000):
                tb.log_scalar("loss", 1.0, step=step)
    return {"read s": seconds(lambda: read_logdir(root))}


def size_of(folder: Path) -> int:
    """Bytes of all files in `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(title: str, sizes: Sequence[int], target: int, measure: Callable[[int], Measured]) -> Facts:
    """Slope, largest measured and projected value of each quantity."""
    found = [measure(size) for size in sizes]
    rows = []
    for name in found[0]:
        values = [of_size[name] for of_size in found]
        slope, constant = np.polyfit(sizes, values, 1)
        if slope * (sizes[-1] - sizes[0]) < _FLAT * values[-1]:  # it does not grow, but for what scatters
            slope, constant = 0.0, values[-1]
        unit = name.rpartition(" ")[2]
        rows.append([name, f"{slope:.3g} {unit}", f"{values[-1]:.3g}", f"{slope * target + constant:.3g}"])
    columns = ["what", "slope", f"at {sizes[-1]:,}", f"projected to {target:,}"]
    return Facts(title, columns, rows, about=", ".join(f"{size:,}" for size in sizes))


def measure(run: Run) -> Results:
    """Classes, samples, ranks, steps and runs; the large size goes to 100,000 classes and 8 ranks and needs 8 GB."""
    torch.set_num_threads(1)
    validation(100, 256)  # warms up
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        normal = [1_000, 4_000, 10_000]
        of_classes = run.choose([100, 500], normal, [*normal, 30_000, 100_000])
        of_samples = run.choose([500, 2_000], [5_000, 20_000, 50_000])
        of_ranks, of_steps = run.choose([2], [2, 4], [2, 4, 8]), run.choose([200, 1_000], [1_000, 5_000, 10_000])
        of_runs = run.choose([2, 5], [5, 20, 50])
        found = [
            table("classes (512 samples)", of_classes, 1_000_000, lambda n: validation(n, 512, root / f"c{n}")),
            table("samples (100 classes)", of_samples, 1_000_000, lambda n: validation(100, n)),
            table("steps", of_steps, 1_000_000, lambda n: steps(n, root / f"s{n}")),
            table("runs (1,000 scalars each)", of_runs, 1_000, lambda n: runs(n, root / f"r{n}")),
        ]
        if len(of_ranks) > 1:
            title = "ranks (1,000 classes, 8,192 samples in all)"
            found.append(table(title, of_ranks, 1_024, lambda n: ranks(n, 1_000, 8_192)))
        return found
