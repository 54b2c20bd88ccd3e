"""Cost of the diagnostics with many classes: a training step with `observe`, and a validation.

The model has two layers and a classifier with 2,048 features × 8,142 classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
    """Time training steps, then a validation batch by batch, and its end."""
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
        Facts("the end of the epoch", ["what", "seconds"], [[name, number(time)] for name, time in ends.items()]),
    ]


def _network(features: int, classes: int) -> nn.Module:
    layers = [nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(features, classes))


def _training(
    model: nn.Module, tracker: LongTailDiagnostics, inputs: torch.Tensor, labels: torch.Tensor
) -> dict[str, Callable[[], float]]:
    """Ways to measure the milliseconds of a forward and backward pass."""

    def step(*, observed: bool) -> None:
        logits = model(inputs)
        if observed:
            tracker.observe(TrainingBatch(logits, labels))
        F.cross_entropy(logits, labels).backward()
        model.zero_grad()

    def milliseconds(*, hooked: bool = False, observed: bool = False) -> float:
        if hooked:
            tracker.start()
        elapsed = seconds(partial(step, observed=observed), inputs.device)
        tracker.stop()
        return 1e3 * elapsed

    return {
        "plain step": milliseconds,
        "plain again": milliseconds,
        "hooks set, not observed": partial(milliseconds, hooked=True),
        "observed": partial(milliseconds, hooked=True, observed=True),
    }


@torch.no_grad()
def _validation(
    model: nn.Module, tracker: LongTailDiagnostics, groups: ClassGroups, like: torch.Tensor, batches: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the milliseconds of each batch and the seconds of the end, by measured part."""
    model.eval()
    performance = ClassPerformanceTracker(classes=groups)
    outputs: list[torch.Tensor] = []
    milliseconds: dict[str, list[float]] = {PASSES: [], "class performance": [], "diagnostics": []}

    def forward(inputs: torch.Tensor) -> None:
        outputs.append(model(inputs))

    def measure(part: str, action: Callable[..., None], *args: torch.Tensor) -> None:
        milliseconds[part].append(1e3 * seconds(partial(action, *args), like.device))

    tracker.start()
    for index in range(batches):
        labels = (torch.arange(len(like), device=like.device) + index * len(like)) % len(groups["x"])
        measure(PASSES, forward, torch.randn_like(like))
        logits = outputs.pop()
        measure("class performance", performance.update, logits, labels)
        measure("diagnostics", tracker.update, logits, labels, torch.rand(len(like), 3, 64, 64))
    tracker.stop()
    ends = {"class performance": performance.records, "diagnostics": tracker.records}
    return milliseconds, {part: seconds(partial(records, 0)) for part, records in ends.items()}
