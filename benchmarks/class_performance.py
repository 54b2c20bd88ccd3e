"""Per-class F1, AP and PR curves from streaming updates, against torchmetrics and the loop over scikit-learn.

Each way runs in a process of its own, one after the other, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

BATCH = 512
THREADS = 2
#: (samples, classes, single-label?)
SIZES = {"small": (10_000, 20, False), "wide": (1_000, 1_000, False), "large": (10_000, 1_000, False)}
INATURALIST = (24_426, 8_142, True)
BINNED_BYTES_LIMIT = 8 * 2**30
Batches = list[tuple[Tensor, Tensor]]


def long_tailed(n: int, classes: int, single: bool) -> Batches:
    """Batches of logits and labels with a long tail; multi-label: from a tenth down to a thousandth positives."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for first in range(0, n, BATCH):
        size = min(BATCH, n - first)
        logits = torch.randn(size, classes, generator=generator)
        if single:
            labels = (torch.arange(first, first + size) * 7919) % classes
            logits[torch.arange(size), labels] += 3
        else:
            share = 0.1 * 0.01 ** torch.linspace(0, 1, classes)
            labels = (torch.rand(size, classes, generator=generator) < share).long()
            logits += 2 * labels
        batches.append((logits, labels))
    return batches


def ours(batches: Batches, classes: int, single: bool) -> dict[str, Any]:
    from tbmetrics import ClassGroups, ClassPerformanceTracker

    counts = (1000 * 0.001 ** np.linspace(0, 1, classes)).astype(int)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": counts}))
    update = _timed(lambda: [tracker.update(*batch) for batch in batches])
    compute = _timed(lambda: tracker.records(0))
    ap = [m["ap"] for m in tracker.get_metrics()["x"].values() if m["support"]]
    return {"update": update, "compute": compute, "mean_ap": float(np.mean(ap))}


def exact_ap_only(batches: Batches, classes: int, single: bool) -> dict[str, Any]:
    """Only the exact AP of every class, without intervals, curves and the rest."""
    from tbmetrics.class_performance.curves import average_precision, counts_at_positives
    from tbmetrics.class_performance.scores import ExactScores

    store = ExactScores()
    for logits, labels in batches:
        store.add(logits.log_softmax(1) if single else logits, labels)
    found = np.full(classes, np.nan)

    def compute() -> None:
        for first, scores, truth in store.blocks(classes):
            for row in range(len(scores)):
                found[first + row] = average_precision(counts_at_positives(scores[row], truth[row] > 0))

    taken = _timed(compute)
    return {"compute": taken, "mean_ap": float(np.nanmean(found)), "ap": found.tolist()}


def scikit_learn(batches: Batches, classes: int, single: bool) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    scores = torch.cat([x.log_softmax(1) if single else x for x, _ in batches]).numpy()
    labels = torch.cat([y for _, y in batches]).numpy()
    found = np.full(classes, np.nan)

    def compute() -> None:
        for c in range(classes):
            truth = labels == c if single else labels[:, c]
            if truth.any():
                found[c] = average_precision_score(truth, scores[:, c])

    taken = _timed(compute)
    return {"compute": taken, "mean_ap": float(np.nanmean(found)), "ap": found.tolist()}


def torchmetrics_exact(batches: Batches, classes: int, single: bool) -> dict[str, Any]:
    return _torchmetrics(batches, classes, single, None)


def torchmetrics_binned(batches: Batches, classes: int, single: bool) -> dict[str, Any]:
    return _torchmetrics(batches, classes, single, 100)


def _torchmetrics(batches: Batches, classes: int, single: bool, thresholds: int | None) -> dict[str, Any]:
    from torchmetrics import MetricCollection
    from torchmetrics import classification as c

    if single:
        options: dict[str, Any] = {"num_classes": classes, "average": None}
        curve: Any = c.MulticlassPrecisionRecallCurve(classes, thresholds=thresholds)
        kinds: tuple[Any, Any] = (c.MulticlassF1Score, c.MulticlassAveragePrecision)
    else:
        options = {"num_labels": classes, "average": None}
        curve = c.MultilabelPrecisionRecallCurve(classes, thresholds=thresholds)
        kinds = (c.MultilabelF1Score, c.MultilabelAveragePrecision)
    metrics = MetricCollection([kinds[0](**options), kinds[1](thresholds=thresholds, **options), curve])
    update = _timed(lambda: [metrics.update(*batch) for batch in batches])
    compute = _timed(lambda: metrics.compute())
    return {"update": update, "compute": compute}


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


WAYS = {f.__name__: f for f in (ours, exact_ap_only, scikit_learn, torchmetrics_exact, torchmetrics_binned)}


def child(way: str, n: int, classes: int, single: bool) -> None:
    """One way on one problem; prints what it took as JSON."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(THREADS)
    result = WAYS[way](long_tailed(n, classes, single), classes, single)
    result["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(result))


def run(way: str, n: int, classes: int, single: bool) -> dict[str, Any] | None:
    """What `way` took in a process of its own; None where it failed or took over ten minutes."""
    arguments = [sys.executable, __file__, "--child", way, str(n), str(classes), str(int(single))]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(n: int, classes: int, single: bool, ways: list[str]) -> None:
    """Prints one table."""
    kind = "single-label" if single else "multi-label"
    print(f"\n### {n:,} samples × {classes:,} classes, {kind}, batches of {BATCH}, {THREADS} threads\n")
    print("| | update (s) | compute (s) | peak memory (GB) |\n|---|---:|---:|---:|")
    results = {}
    for way in ways:
        if way == "torchmetrics_binned" and BATCH * classes * 100 * 8 * 2 > BINNED_BYTES_LIMIT:
            print(f"| {way} | not run: a batch alone would need over 6 GB | | |")
            continue
        result = results[way] = run(way, n, classes, single)
        if result is None:
            print(f"| {way} | failed or took over ten minutes | | |")
            continue
        update = f"{result['update']:.3f}" if "update" in result else ""
        print(f"| {way} | {update} | {result['compute']:.3f} | {result['peak_gb']:.2f} |", flush=True)
    _ratios(results)


def _ratios(results: dict[str, dict[str, Any] | None]) -> None:
    mine, exact, loop = (results.get(way) for way in ("ours", "exact_ap_only", "scikit_learn"))
    print()
    for peer in ("torchmetrics_binned", "torchmetrics_exact"):
        theirs = results.get(peer)
        if mine and theirs:
            whole = (theirs["update"] + theirs["compute"]) / (mine["update"] + mine["compute"])
            print(f"- {peer} / ours: update {theirs['update'] / mine['update']:.1f}×, in all {whole:.1f}×")
    if exact and loop:
        apart = np.nanmax(np.abs(np.array(exact["ap"], dtype=float) - np.array(loop["ap"], dtype=float)))
        faster = loop["compute"] / exact["compute"]
        print(f"- scikit-learn loop / exact AP of all classes: {faster:.1f}×, apart by {apart:.1e}")


def main() -> None:
    """Runs the comparison, or one way of it as a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small problem only")
    parser.add_argument("--child", nargs=4, metavar=("WAY", "N", "C", "SINGLE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        way, n, classes, single = arguments.child
        child(way, int(n), int(classes), bool(int(single)))
        return
    for name, size in SIZES.items():
        if name == "small" or not arguments.quick:
            compare(*size, list(WAYS))
    if not arguments.quick:
        compare(*INATURALIST, ["ours", "exact_ap_only", "scikit_learn"])


if __name__ == "__main__":
    main()
