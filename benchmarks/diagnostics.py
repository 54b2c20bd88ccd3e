"""What the diagnostics cost: a training step with `observe` against plain ones, and a validation, at many classes.

A network of two layers before a classifier of 2,048 features × 8,142 classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.measuring import Comparison, Facts, Results, Run, in_turns, seconds, two_threads
from benchmarks.tables import number
from tbmetrics import ClassGroups, ClassPerformanceTracker, LongTailDiagnostics
from tbmetrics.tracking.batches import TrainingBatch

PASSES = "passes of the model"


def measure(run: Run) -> Results:
    """Training steps in turns; then a validation, batch by batch, and its end."""
    device = two_threads()
    torch.manual_seed(0)
    classes, features, batch = run.choose((500, 256, 64), (8142, 2048, 256))
    counts = np.maximum(1, 1000 * 0.002 ** np.linspace(0, 1, classes)).astype(int)
    groups = ClassGroups.from_counts({"x": counts})
    model = _network(features, classes).to(device)
    tracker = LongTailDiagnostics(model, groups)
    about = f"{features:,} features × {classes:,} classes behind two layers, batches of {batch}, {device}"
    inputs = torch.randn(batch, features, device=device)
    labels = torch.randint(0, classes, (batch,), device=device)
    training = in_turns(_training(model, tracker, inputs, labels), run.choose(8, 40))
    batches, ends = _validation(model, tracker, groups, inputs, run.choose(4, 20))
    return [
        Comparison("a training step", "ms", "plain step", training, watched=("observed",), about=about),
        Comparison(
            "a validation batch", "ms", PASSES, batches, watched=("diagnostics", "class performance"), about=about
        ),
        Facts("the end of the epoch", ["what", "seconds"], [[name, number(taken)] for name, taken in ends.items()]),
    ]


def _network(features: int, classes: int) -> nn.Module:
    layers = [nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(features, classes))


def _training(model: nn.Module, tracker: LongTailDiagnostics, inputs: torch.Tensor, labels: torch.Tensor):  # type: ignore[no-untyped-def]
    """Milliseconds of one forward and backward pass, by way."""

    def step(*, observed: bool) -> None:
        logits = model(inputs)
        if observed:
            tracker.observe(TrainingBatch(logits, labels))
        F.cross_entropy(logits, labels).backward()
        model.zero_grad()

    def taken(*, hooked: bool = False, observed: bool = False) -> float:
        if hooked:
            tracker.start()
        found = seconds(lambda: step(observed=observed), inputs.device)
        tracker.stop()
        return 1e3 * found

    return {
        "plain step": taken,
        "plain again": taken,
        "hooks set, not observed": lambda: taken(hooked=True),
        "observed": lambda: taken(hooked=True, observed=True),
    }


@torch.no_grad()
def _validation(
    model: nn.Module, tracker: LongTailDiagnostics, groups: ClassGroups, like: torch.Tensor, batches: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """(milliseconds of each batch, seconds of the end), by what takes them."""
    model.eval()
    performance = ClassPerformanceTracker(classes=groups)
    taken: dict[str, list[float]] = {PASSES: [], "class performance": [], "diagnostics": []}
    tracker.start()
    for number_of_batch in range(batches):
        inputs = torch.randn_like(like)
        labels = (torch.arange(len(like), device=like.device) + number_of_batch * len(like)) % len(groups["x"])
        images = torch.rand(len(like), 3, 64, 64)
        found: list[torch.Tensor] = []
        actions = {
            PASSES: lambda x=inputs, to=found: to.append(model(x)),
            "class performance": lambda y=labels, of=found: performance.update(of[0], y),
            "diagnostics": lambda y=labels, of=found, i=images: tracker.update(of[0], y, i),
        }
        for name, action in actions.items():
            taken[name].append(1e3 * seconds(action, like.device))
    tracker.stop()
    ends = {"class performance": performance, "diagnostics": tracker}
    return taken, {name: seconds(lambda one=one: list(one.records(0))) for name, one in ends.items()}  # type: ignore[misc]
