"""Soak test: monitor memory, open files, threads and bytes on disk over a long run of small steps.

Fails (exit status 1) if memory grows with the steps, a file or thread is left open, or the event file differs from the
size computed by docs/scaling.md. Needs Linux with glibc, since it reads /proc and trims the heap.
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

from tbmetrics import ClassGroups, GradientTracker, ResourceMonitor, TBMetrics
from tbmetrics.training_dynamics.gradients.tracker import DETAILS_BEFORE_THINNING

CLASSES = {"head": 900, "medium": 50, "tail": 5}
#: Bytes of the event file, as in docs/scaling.md: fixed, per step (one scalar, one component, a model with two
#: parameters that keeps changing), per detailed sample (histograms), and per epoch with a validation of `CLASSES`.
FILE_BYTES, STEP_BYTES, DETAIL_BYTES, EPOCH_BYTES = 4_000, 92, 1_000, 11_500
EVERY, DETAIL_EVERY = 10, 100  # given, since without a number the clock would decide
#: Tolerated relative difference from the computed size.
SIZE_TOLERANCE = 0.05
#: Growth if one number were kept per step. Full histories stay below it, although they oscillate between their maximum
#: number of points and half of it over ever longer periods.
FLAT_BYTES_PER_STEP = 8.0
_LIBC = ctypes.CDLL(None)
PAGE = os.sysconf("SC_PAGE_SIZE")
BLOCKS = 10  # in the second half; samples within a block are not independent


@dataclass
class Course:
    """Time series of resident bytes, open files, threads and bytes of the event file, by step."""

    steps: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    on_disk: list[int] = field(default_factory=list)
    final_bytes: int = 0
    seconds: float = 0.0

    def look(self, step: int, folder: Path) -> None:
        """Record the current state, without memory cached by the allocator and uncollected cycles."""
        gc.collect()
        _LIBC.malloc_trim(0)
        self.steps.append(step)
        self.resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE)
        self.files.append(len(os.listdir("/proc/self/fd")))
        self.threads.append(len(os.listdir("/proc/self/task")))
        self.on_disk.append(size_of(folder))

    def second_half_slope(self) -> tuple[float, float]:
        """Growth of resident memory over the second half in bytes per step, and its standard error.

        Neighbouring samples are correlated, so a line is fitted through the means of `BLOCKS` blocks.
        """
        half = len(self.steps) // 2
        steps, resident = (
            np.array([np.mean(block) for block in np.array_split(np.array(values[half:], float), BLOCKS)])
            for values in (self.steps, self.resident)
        )
        centred = steps - steps.mean()
        slope = float(centred @ resident / (centred @ centred))
        residuals = resident - resident.mean() - slope * centred
        return slope, math.sqrt(float(residuals @ residuals) / (BLOCKS - 2) / float(centred @ centred))


def size_of(folder: Path) -> int:
    """Total size in bytes of the event files in `folder`."""
    return sum(path.stat().st_size for path in folder.glob("*tfevents*"))


def detailed_samples(steps: int) -> int:
    """Number of detailed gradient samples: every 100 steps, less and less often."""
    samples, step, every = 0, 0, DETAIL_EVERY
    while step < steps:
        if samples and samples % DETAILS_BEFORE_THINNING == 0:
            every *= 2
        step += every - step % every
        samples += step <= steps
    return samples


def predicted_bytes(steps: int, epochs: int) -> int:
    """Size of the event file as computed by docs/scaling.md."""
    return FILE_BYTES + STEP_BYTES * steps + DETAIL_BYTES * detailed_samples(steps) + EPOCH_BYTES * epochs


def soak(log_dir: Path, steps: int, epochs: int, looks: int, *, pictures: bool = False) -> Course:
    """Train `steps` steps in `epochs` epochs with a validation after each and all defaults except two.

    Gradients are sampled by steps, as without a number they were by time. Pictures of component times are off unless
    `pictures`, since they depend on time, too, and matplotlib keeps memory after drawing.
    """
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    labels = torch.arange(30) % 3
    every, course = max(steps // looks, 1), Course()
    start = time.perf_counter()
    groups = ClassGroups.from_counts({"x": CLASSES})
    monitor = ResourceMonitor(images=pictures)
    gradients = GradientTracker(model, optimizer, every=EVERY, detail_every=DETAIL_EVERY)
    with TBMetrics(
        log_dir, model=model, optimizer=optimizer, classes=groups, gradients=gradients, resources=monitor
    ) as tb:
        for _ in tb.epochs(range(epochs)):
            for _ in range(steps // epochs):
                inputs = torch.randn(30, 4)  # always new, so that the model never converges and writes less
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
    course.final_bytes, course.seconds = size_of(log_dir), time.perf_counter() - start
    return course


def warm_up() -> None:
    """Do what happens once per process: import modules, and load fonts with a first picture."""
    with tempfile.TemporaryDirectory() as folder:
        soak(Path(folder), steps=20, epochs=1, looks=1, pictures=True)


def faults(course: Course, steps: int, epochs: int) -> list[str]:
    """Describe every quantity that is out of bounds."""
    violations = []
    slope, error = course.second_half_slope()
    if slope > FLAT_BYTES_PER_STEP and slope > 2 * error:
        violations.append(f"memory grows by {slope:.2f} ± {error:.2f} bytes a step")
    for quantity, counts in (("open files", course.files), ("threads", course.threads)):
        if len(set(counts)) > 1:
            violations.append(f"{quantity} went from {min(counts)} to {max(counts)}")
    predicted = predicted_bytes(steps, epochs)
    if abs(course.final_bytes - predicted) > SIZE_TOLERANCE * predicted:
        violations.append(f"the event file has {course.final_bytes:,} bytes, not {predicted:,}")
    return violations


def table(course: Course, rows: int) -> str:
    """Format `rows` evenly spread samples as a Markdown table."""
    indices: Sequence[int] = np.linspace(0, len(course.steps) - 1, rows).round().astype(int).tolist()
    lines = ["| step | resident | open files | threads | event file |", "|---:|---:|---:|---:|---:|"]
    for i in indices:
        megabytes = course.resident[i] / 1e6
        counts = f"{course.files[i]} | {course.threads[i]} | {course.on_disk[i]:,}"
        lines.append(f"| {course.steps[i]:,} | {megabytes:.2f} MB | {counts} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=2, help="memory also holds the results of up to 200 epochs")
    parser.add_argument("--looks", type=int, default=400)
    parser.add_argument("--pictures", action="store_true", help="draw component times, the default in training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        course = soak(Path(folder), options.steps, options.epochs, options.looks, pictures=options.pictures)
    print(table(course, 11))
    slope, error = course.second_half_slope()
    predicted = predicted_bytes(options.steps, options.epochs)
    print(f"\nmemory, second half: {slope:+.3f} ± {error:.3f} bytes a step")
    print(f"event file: {course.final_bytes:,} bytes; predicted {predicted:,} ({course.final_bytes / predicted:.3f})")
    print(f"{1e3 * course.seconds / options.steps:.2f} ms a step")
    violations = faults(course, options.steps, options.epochs)
    print("\n".join(violations) or "within bounds")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
