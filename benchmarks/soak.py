"""A long run of small steps: memory, open files, threads and bytes on disk, watched all the way.

Fails (exit status 1) where memory grows with the steps, a file or thread is left open, or the event file is not of the
size that docs/scaling.md computes. Needs Linux with glibc: it reads /proc, and trims the heap.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tbmetrics import ClassGroups, ResourceMonitor, TBMetrics
from tbmetrics.training_dynamics.gradients.tracker import DETAILS_BEFORE_THINNING

CLASSES = {"head": 900, "medium": 50, "tail": 5}
#: Bytes of the event file, as docs/scaling.md gives them: of the file as such, of each step (one scalar and one
#: component, a model of two parameters that keeps moving), of each of its detailed samples (histograms), and of each
#: epoch with a validation of `CLASSES`.
FILE_BYTES, STEP_BYTES, DETAIL_BYTES, EPOCH_BYTES = 5_600, 93, 1_000, 32_250
DETAIL_EVERY = 100  # the default of `GradientTracker`
#: The share by which the file may be off.
SIZE_TOLERANCE = 0.05
#: One number kept of each step would be so much. Below it are the histories: full, they swing between their bound of
#: points and half of it, over ever longer stretches.
FLAT_BYTES_PER_STEP = 8.0
_LIBC = ctypes.CDLL(None)
PAGE = os.sysconf("SC_PAGE_SIZE")
BLOCKS = 10  # of the second half; memory within one is no independent sample


@dataclass
class Course:
    """What was seen at each look: the step, and then resident bytes, open files, threads, bytes of the event file."""

    steps: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    on_disk: list[int] = field(default_factory=list)
    final_bytes: int = 0
    seconds: float = 0.0

    def look(self, step: int, folder: Path) -> None:
        """Notes how things stand at `step`, without what the allocator keeps for later and cycles not yet collected."""
        gc.collect()
        _LIBC.malloc_trim(0)
        self.steps.append(step)
        self.resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE)
        self.files.append(len(os.listdir("/proc/self/fd")))
        self.threads.append(len(os.listdir("/proc/self/task")))
        self.on_disk.append(size_of(folder))

    def second_half_slope(self) -> tuple[float, float]:
        """Bytes a step by which resident memory grows over the second half, and the standard error of that.

        Neighbouring looks are alike, so the line is fitted through the means of `BLOCKS` blocks.
        """
        half = len(self.steps) // 2
        steps, resident = (
            np.array([np.mean(block) for block in np.array_split(np.array(values[half:], float), BLOCKS)])
            for values in (self.steps, self.resident)
        )
        away = steps - steps.mean()
        slope = float(away @ resident / (away @ away))
        residuals = resident - resident.mean() - slope * away
        return slope, math.sqrt(float(residuals @ residuals) / (BLOCKS - 2) / float(away @ away))


def size_of(folder: Path) -> int:
    """Bytes of the event files in `folder`."""
    return sum(path.stat().st_size for path in folder.glob("*tfevents*"))


def detailed_samples(steps: int) -> int:
    """How often gradients are sampled in detail: at step 1, then every 100 steps, more and more seldom."""
    found, step, every = 1, 1, DETAIL_EVERY
    while step < steps:
        if found % DETAILS_BEFORE_THINNING == 0:
            every *= 2
        step += every - step % every
        found += step <= steps
    return found


def predicted_bytes(steps: int, epochs: int) -> int:
    """The size of the event file by docs/scaling.md."""
    return FILE_BYTES + STEP_BYTES * steps + DETAIL_BYTES * detailed_samples(steps) + EPOCH_BYTES * epochs


def soak(log_dir: Path, steps: int, epochs: int, looks: int, *, pictures: bool = False) -> Course:
    """So many training steps in so many epochs, a validation after each, with everything that is on by default.

    The overhead budget is off: it would let trackers sample less often on steps as short as these. So are the pictures
    of component times, unless asked for: they come with time, not with steps, ever more seldom, and a drawing leaves
    memory with matplotlib.
    """
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    labels = torch.arange(30) % 3
    every, course = max(steps // looks, 1), Course()
    began = time.perf_counter()
    groups = ClassGroups.from_counts({"x": CLASSES})
    monitor = ResourceMonitor(images=pictures)
    with TBMetrics(
        log_dir, model=model, optimizer=optimizer, classes=groups, resources=monitor, overhead_budget=None
    ) as tb:
        for _ in tb.epochs(range(epochs)):
            for _ in range(steps // epochs):
                inputs = torch.randn(30, 4)  # always new: what never converges writes as much at the end as at first
                with tb.component("forward_pass"):
                    loss = torch.nn.functional.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                tb.log_scalar("loss", loss)
                if tb.global_step % every == 0:
                    course.look(tb.global_step, log_dir)
            with torch.no_grad():
                tb.update(model(torch.randn(30, 4)), labels)
    course.final_bytes, course.seconds = size_of(log_dir), time.perf_counter() - began
    return course


def warm_up() -> None:
    """What happens once a process: modules are loaded, and with the first picture matplotlib opens its fonts."""
    with tempfile.TemporaryDirectory() as folder:
        soak(Path(folder), steps=20, epochs=1, looks=1, pictures=True)


def faults(course: Course, steps: int, epochs: int) -> list[str]:
    """What is out of bounds, in words."""
    found = []
    slope, error = course.second_half_slope()
    if slope > FLAT_BYTES_PER_STEP and slope > 2 * error:
        found.append(f"memory grows by {slope:.2f} ± {error:.2f} bytes a step")
    for what, counts in (("open files", course.files), ("threads", course.threads)):
        if len(set(counts)) > 1:
            found.append(f"{what} went from {min(counts)} to {max(counts)}")
    predicted = predicted_bytes(steps, epochs)
    if abs(course.final_bytes - predicted) > SIZE_TOLERANCE * predicted:
        found.append(f"the event file has {course.final_bytes:,} bytes, not {predicted:,}")
    return found


def table(course: Course, rows: int) -> str:
    """The course at `rows` evenly spread looks, in Markdown."""
    chosen: Sequence[int] = np.linspace(0, len(course.steps) - 1, rows).round().astype(int).tolist()
    lines = ["| step | resident | open files | threads | event file |", "|---:|---:|---:|---:|---:|"]
    for i in chosen:
        megabytes = course.resident[i] / 1e6
        counts = f"{course.files[i]} | {course.threads[i]} | {course.on_disk[i]:,}"
        lines.append(f"| {course.steps[i]:,} | {megabytes:.2f} MB | {counts} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=2, help="more keep more: results of 200 epochs")
    parser.add_argument("--looks", type=int, default=400)
    parser.add_argument("--pictures", action="store_true", help="draw component times, as by default in training")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        course = soak(Path(folder), given.steps, given.epochs, given.looks, pictures=given.pictures)
    print(table(course, 11))
    slope, error = course.second_half_slope()
    predicted = predicted_bytes(given.steps, given.epochs)
    print(f"\nmemory, second half: {slope:+.3f} ± {error:.3f} bytes a step")
    print(f"event file: {course.final_bytes:,} bytes; predicted {predicted:,} ({course.final_bytes / predicted:.3f})")
    print(f"{1e3 * course.seconds / given.steps:.2f} ms a step")
    found = faults(course, given.steps, given.epochs)
    print("\n".join(found) or "within bounds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
