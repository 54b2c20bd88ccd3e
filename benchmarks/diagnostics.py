"""What the diagnostics cost: a training step with `observe` against plain ones, and a validation, at many classes.

A network of two layers before a classifier of 2,048 features × 8,142 classes. Every watched step is paired with a plain
one of the same turn. Run: python benchmarks/diagnostics.py [--steps 20] [--device cuda]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups, ClassPerformanceTracker, LongTailDiagnostics


def network(features: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features), nn.ReLU(),
                         nn.Linear(features, classes))  # fmt: skip


def step(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, tracker: LongTailDiagnostics | None) -> float:
    """Seconds of one forward and backward pass."""
    _wait(inputs.device)
    began = time.perf_counter()
    logits = model(inputs)
    if tracker is not None:
        tracker.observe(logits, labels)
    F.cross_entropy(logits, labels).backward()
    model.zero_grad()
    _wait(inputs.device)
    return time.perf_counter() - began


def _observe_alone(
    model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, tracker: LongTailDiagnostics, steps: int
) -> float:
    """Median seconds of `observe` and of what it hangs on the backward pass, without the pass itself."""
    found = []
    for _ in range(steps):
        taken = {"call": 0.0, "hook": 0.0}
        tracker.guard = lambda action, *args, t=taken: _timed(  # type: ignore[method-assign]
            t, "hook", inputs.device, lambda: action(*args)
        )
        logits = model(inputs)
        _timed(taken, "call", inputs.device, lambda x=logits: tracker.observe(x, labels))
        F.cross_entropy(logits, labels).backward()
        model.zero_grad()
        found.append(sum(taken.values()))
    del tracker.guard
    return statistics.median(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def training(model: nn.Module, tracker: LongTailDiagnostics, arguments: argparse.Namespace) -> None:
    """Prints the paired ratios of training steps."""
    inputs = torch.randn(arguments.batch, arguments.features, device=arguments.device)
    labels = torch.randint(0, arguments.classes, (arguments.batch,), device=arguments.device)
    model.train()
    step(model, inputs, labels, None), step(model, inputs, labels, tracker)
    ratios: dict[str, list[float]] = {"plain again": [], "hooks set, not observed": [], "observed": []}
    for number in range(arguments.steps):
        order = list(ratios) if number % 2 else list(ratios)[::-1]
        base = step(model, inputs, labels, None)
        for kind in order:
            if kind == "hooks set, not observed":
                tracker.start()
            ratios[kind].append(step(model, inputs, labels, tracker if kind == "observed" else None) / base)
            tracker.stop()
    alone = _observe_alone(model, inputs, labels, tracker, arguments.steps)
    print(f"plain step: {base:.3f} s; observe and its hook alone: {alone:.4f} s, {alone / base:.1%} of it")
    print("\n| training step | median ratio | quartiles |\n|---|---:|---:|")
    for kind, found in ratios.items():
        low, high = statistics.quantiles(found, n=4)[::2]
        print(f"| {kind} | {statistics.median(found):.3f} | {low:.3f} to {high:.3f} |")


@torch.no_grad()
def validation(
    model: nn.Module, tracker: LongTailDiagnostics, groups: ClassGroups, arguments: argparse.Namespace
) -> None:
    """Prints what a validation takes: the passes, class performance, diagnostics, and the end of the epoch."""
    model.eval()
    performance = ClassPerformanceTracker(classes=groups)
    taken = dict.fromkeys(("passes of the model", "class performance", "diagnostics"), 0.0)
    tracker.start()
    for first in range(0, arguments.samples, arguments.batch):
        size = min(arguments.batch, arguments.samples - first)
        inputs = torch.randn(size, arguments.features, device=arguments.device)
        labels = torch.arange(first, first + size, device=arguments.device) % arguments.classes
        images = torch.rand(size, 3, 64, 64)
        logits = _timed(taken, "passes of the model", inputs.device, lambda x=inputs: model(x))
        _timed(taken, "class performance", inputs.device, lambda x=logits, y=labels: performance.update(x, y))
        _timed(taken, "diagnostics", inputs.device, lambda x=logits, y=labels, i=images: tracker.update(x, y, i))
    tracker.stop()
    print(f"\n{arguments.samples:,} samples\n\n| validation | batches (s) | end of the epoch (s) |\n|---|---:|---:|")
    print(f"| passes of the model | {taken['passes of the model']:.2f} | |")
    for name, one in (("class performance", performance), ("diagnostics", tracker)):
        at_end: dict[str, float] = {"end": 0.0}
        _timed(at_end, "end", torch.device(arguments.device), lambda one=one: list(one.records(0)))
        print(f"| {name} | {taken[name]:.2f} | {at_end['end']:.2f} |")


def _timed(taken: dict[str, float], name: str, device: torch.device, action):  # type: ignore[no-untyped-def]
    _wait(device)
    began = time.perf_counter()
    found = action()
    _wait(device)
    taken[name] += time.perf_counter() - began
    return found


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=8142)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=24_426)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    counts = np.maximum(1, 1000 * 0.002 ** np.linspace(0, 1, arguments.classes)).astype(int)
    groups = ClassGroups.from_counts({"x": counts})
    model = network(arguments.features, arguments.classes).to(arguments.device)
    tracker = LongTailDiagnostics(model, groups)
    print(f"torch {torch.__version__}, {arguments.classes:,} classes × {arguments.features:,} features, batches of "
          f"{arguments.batch}, {arguments.device}")  # fmt: skip
    training(model, tracker, arguments)
    validation(model, tracker, groups, arguments)


if __name__ == "__main__":
    main()
