"""Cost of a step: a small model trained bare, with the default trackers, and with everything on; and its Python calls.

The ways take turns in one process, in blocks of a second or so: samples are taken by the clock, which also runs while
the other ways have their turn, so that shorter blocks would hold more samples than a run of its own. Within a block the
median step is one without a sample, the mean holds all samples. The number of Python calls does not depend on the
machine.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.measuring import Comparison, Facts, Results, Run
from tbmetrics import ClassGroups, LongTailDiagnostics, TBMetrics

WIDTH, CLASSES, BATCH, BLOCK, COUNTED = 32, 10, 16, 3000, 100
BARE, DEFAULT, EVERYTHING = "bare loop", "default trackers", "everything on"
COUNTS = (900, 500, 200, 90, 50, 30, 20, 10, 5, 2)


class Training:
    """A perceptron trained on one batch, step by step.

    Args:
        way: how it is watched.
        layers: linear layers of the model.
        folder: of the log.
    """

    def __init__(self, way: str, layers: int, folder: str) -> None:
        torch.manual_seed(0)
        hidden = [module for _ in range(layers - 1) for module in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
        self.model = nn.Sequential(*hidden, nn.Linear(WIDTH, CLASSES))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        batch = torch.randn(BATCH, WIDTH), torch.randint(0, CLASSES, (BATCH,))
        self.session = None if way == BARE else self._session(way, folder)
        loaded: Iterator[Any] = repeat(batch)
        if self.session is not None:
            self.session.start_epoch(0)
            loaded = self.session.batches(loaded)
        self._steps = self._watched(loaded, self.session) if way == EVERYTHING else self._plain(loaded)

    def _session(self, way: str, folder: str) -> TBMetrics:
        options: dict[str, Any] = {}
        if way == EVERYTHING:
            last = str(len(self.model) - 1)
            options = {"attention": True, "diagnostics": LongTailDiagnostics(classifiers={"x": last})}
        groups = ClassGroups.from_counts({"x": {str(i): count for i, count in enumerate(COUNTS)}})
        return TBMetrics(folder, model=self.model, optimizer=self.optimizer, classes=groups, **options).start()

    def step(self) -> None:
        """Train one step."""
        next(self._steps)

    def block(self) -> tuple[float, float]:
        """Mean and median microseconds of a step in a block."""
        times = []
        for _ in range(BLOCK):
            start = time.perf_counter()
            self.step()
            times.append(1e6 * (time.perf_counter() - start))
        return statistics.fmean(times), statistics.median(times)

    def _plain(self, batches: Iterator[Any]) -> Iterator[None]:
        for images, labels in batches:
            F.cross_entropy(self.model(images), labels).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            yield

    def _watched(self, batches: Iterator[Any], tb: TBMetrics) -> Iterator[None]:
        for images, labels in batches:
            with tb.component("forward_pass"):
                logits = self.model(images)
                loss = F.cross_entropy(logits, labels)
            tb.observe({"x": logits}, {"x": labels})
            with tb.component("backward_pass"):
                loss.backward()
            with tb.component("optimizer_step"):
                self.optimizer.step()
                self.optimizer.zero_grad()
            tb.log_scalar("loss", loss.detach())
            yield


def calls(action: Callable[[], object]) -> int:
    """Number of Python functions that `action` calls, the generators that it resumes included."""
    number = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal number
        number += event == "call"

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return number


def measure(run: Run) -> Results:
    """Compare the ways on a model of 3 and one of 20 layers."""
    torch.set_num_threads(1)
    results = []
    for layers in (3, 20):
        with tempfile.TemporaryDirectory() as folder:
            ways = {way: Training(way, layers, f"{folder}/{way}") for way in (BARE, DEFAULT, EVERYTHING)}
            results += _compare(run, ways, layers)
            for training in ways.values():
                if training.session is not None:
                    training.session.finalize()
    return results


def _compare(run: Run, ways: dict[str, Training], layers: int) -> list[Comparison | Facts]:
    means: dict[str, list[float]] = {way: [] for way in ways}
    medians: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(-1, run.choose(3, 10)):
        for way, training in ways.items():
            mean, median = training.block()
            if turn >= 0:
                means[way].append(mean)
                medians[way].append(median)
    watched = (DEFAULT, EVERYTHING)
    counted = {way: [calls(training.step) for _ in range(COUNTED)] for way, training in ways.items()}
    bare = statistics.median(counted[BARE])
    rows = [
        [way, f"{statistics.median(n):.0f}", f"{statistics.median(n) - bare:.0f}", f"{max(n) - bare:.0f}"]
        for way, n in counted.items()
    ]
    columns = ["way", "a step without a sample", "more than the bare loop", "most in a step"]
    model = f"model of {layers} layers"
    return [
        Comparison(f"{model}: a step without a sample", "µs", BARE, medians, watched=watched),
        Comparison(f"{model}: a step, samples included", "µs", BARE, means, watched=watched),
        Facts(f"{model}: Python calls in a step", columns, rows),
    ]
