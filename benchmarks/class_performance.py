"""Per-class F1, AP and PR curves from streaming updates, against torchmetrics and the loop over scikit-learn.

The ways run one after the other in separate processes, so that their peak memory can be compared.
"""

from __future__ import annotations

import argparse
import json
import resource
import warnings
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import QUICK, Comparison, Facts, Results, Run, in_child, in_turns, seconds, two_threads

BATCH = 512
#: (samples, classes, is single-label)
SIZES = {"small": (10_000, 20, False), "wide": (1_000, 1_000, False), "large": (10_000, 1_000, False)}
INATURALIST = (24_426, 8_142, True)
ADE20K_CLASSES = 150
BINNED_BYTES_LIMIT = 8 * 2**30
Batches = list[tuple[Tensor, Tensor]]


def long_tailed(n: int, classes: int, single: bool) -> Batches:
    """Generate long-tailed batches; multi-label classes have between 10 % and 0.1 % positives."""
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
    update = seconds(lambda: [tracker.update(*batch) for batch in batches])
    compute = seconds(lambda: tracker.records(0))
    ap = [m["ap"] for m in tracker.get_metrics()["x"].values() if m["support"]]
    return {"update": update, "compute": compute, "mean_ap": float(np.mean(ap))}


def exact_ap_only(batches: Batches, classes: int, single: bool) -> dict[str, Any]:
    """Only the exact AP of every class, without intervals and curves."""
    from tbmetrics.class_performance.positives import average_precision, rank_positives
    from tbmetrics.class_performance.scores import ExactScores

    store = ExactScores(batches)
    ap = np.full(classes, np.nan)

    def compute() -> None:
        for first, scores, truth in store.blocks(classes):
            ap[first : first + len(scores)] = average_precision(rank_positives(scores, truth > 0))

    elapsed = seconds(compute)
    return {"compute": elapsed, "mean_ap": float(np.nanmean(ap)), "ap": ap.tolist()}


def scikit_learn(batches: Batches, classes: int, single: bool) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    scores = torch.cat([x.double().softmax(1) if single else x for x, _ in batches]).numpy()
    labels = torch.cat([y for _, y in batches]).numpy()
    ap = np.full(classes, np.nan)

    def compute() -> None:
        for c in range(classes):
            truth = labels == c if single else labels[:, c]
            if truth.any():
                ap[c] = average_precision_score(truth, scores[:, c])

    elapsed = seconds(compute)
    return {"compute": elapsed, "mean_ap": float(np.nanmean(ap)), "ap": ap.tolist()}


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
    update = seconds(lambda: [metrics.update(*batch) for batch in batches])
    compute = seconds(lambda: metrics.compute())
    return {"update": update, "compute": compute}


WAYS = {f.__name__: f for f in (ours, exact_ap_only, scikit_learn, torchmetrics_exact, torchmetrics_binned)}
NAMES = {
    "ours": "`ClassPerformanceTracker`, all results",
    "exact_ap_only": "our exact AP of all classes",
    "scikit_learn": "loop over scikit-learn's `average_precision_score`",
    "torchmetrics_exact": "torchmetrics, exact",
    "torchmetrics_binned": "torchmetrics, 100 bins",
}


def be_child(way: str, n: int, classes: int, single: bool) -> None:
    """Measure one way on one problem; print the results as JSON."""
    warnings.filterwarnings("ignore")
    two_threads()
    WAYS[way](long_tailed(64, 10, single), 10, single)  # a run validates again and again: without what comes once
    result = WAYS[way](long_tailed(n, classes, single), classes, single)
    result["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(result))


def taken(way: str, n: int, classes: int, single: bool) -> dict[str, Any]:
    """Measure `way` in its own process."""
    arguments = [way, str(n), str(classes), str(int(single))]
    result: dict[str, Any] = json.loads(in_child("benchmarks.class_performance", "--child", *arguments))
    return result


def compare(run: Run, n: int, classes: int, single: bool, ways: list[str], turns: int) -> Results:
    """Compare updates, updates with all results, and exact AP alone; also peak memory and agreement."""
    kind = f"{n:,} samples × {classes:,} classes, {'single' if single else 'multi'}-label"
    if "torchmetrics_binned" in ways and BATCH * classes * 100 * 8 * 2 > BINNED_BYTES_LIMIT:
        ways = [way for way in ways if way != "torchmetrics_binned"]
        run.skip(f"torchmetrics' binned mode at {kind}", "needs over 6 GB a batch")
    results_by_turn: list[dict[str, dict[str, Any]]] = []
    for turn in range(turns):
        order = ways[turn % len(ways) :] + ways[: turn % len(ways)]
        results_by_turn.append({way: taken(way, n, classes, single) for way in order})

    def values(quantity: Callable[[dict[str, Any]], float], compared: list[str]) -> dict[str, list[float]]:
        return {NAMES[way]: [quantity(results[way]) for results in results_by_turn] for way in compared}

    streaming = [way for way in ways if way == "ours" or way.startswith("torchmetrics")]
    exact_ap = ["exact_ap_only", "scikit_learn"]
    results: list[Comparison | Facts] = []
    if len(streaming) > 1:
        update = values(itemgetter("update"), streaming)
        whole = values(lambda result: result["update"] + result["compute"], streaming)
        results += [
            Comparison(f"{kind}: updates", "s", NAMES["ours"], update),
            Comparison(f"{kind}: updates and all results", "s", NAMES["ours"], whole),
        ]
    results.append(Comparison(f"{kind}: exact AP", "s", NAMES[exact_ap[0]], values(itemgetter("compute"), exact_ap)))
    return [*results, _memory(kind, results_by_turn[0])]


def compare_dense(images: int, side: int, turns: int) -> Results:
    """Compare an update with a batch of images and the number of classes of ADE20K with torchmetrics' IoU and F1."""
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

    from tbmetrics import ClassGroups, ClassPerformanceTracker

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, ADE20K_CLASSES, side, side, generator=generator)
    labels = torch.randint(0, ADE20K_CLASSES, (images, side, side), generator=generator)
    counts = (1000 * 0.001 ** np.linspace(0, 1, ADE20K_CLASSES)).astype(int)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"x": counts}))
    options = {"num_classes": ADE20K_CLASSES, "average": "none"}
    peer = MetricCollection([MulticlassJaccardIndex(**options), MulticlassF1Score(**options)], compute_groups=False)
    ways = {
        NAMES["ours"]: lambda: seconds(lambda: tracker.update(logits, labels)),
        "torchmetrics, IoU and F1": lambda: seconds(lambda: peer.update(logits, labels)),
    }
    values = in_turns(ways, turns)
    ours = np.array([m["iou"] for m in tracker.get_metrics()["x"].values()])
    difference = float(np.abs(ours - peer.compute()["MulticlassJaccardIndex"].numpy()).max())
    title = f"{images} images of {side} × {side} × {ADE20K_CLASSES} classes: an update"
    return [Comparison(title, "s", NAMES["ours"], values, about=f"largest difference in IoU {difference:.0e}")]


def compare_binned(classes: int, turns: int) -> Results:
    """Compare updates whose scores are counted in bins, as beyond `max_score_bytes`, with updates that hold them."""
    from tbmetrics import ClassGroups, ClassPerformanceTracker

    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(BATCH, classes, generator=generator)
    labels = torch.randint(classes, (BATCH,), generator=generator)
    groups = ClassGroups.from_counts({"x": [1] * classes})
    trackers = {way: ClassPerformanceTracker(classes=groups, scores=way) for way in ("exact", "binned")}
    ways = {way: partial(seconds, partial(tracker.update, logits, labels)) for way, tracker in trackers.items()}
    title = f"{BATCH} samples × {classes:,} classes, single-label: an update"
    return [Comparison(title, "s", "exact", in_turns(ways, turns), watched=("binned",))]


def _memory(kind: str, results: dict[str, dict[str, Any]]) -> Facts:
    rows = [[NAMES[way], f"{result['peak_gb']:.2f}"] for way, result in results.items()]
    ours, theirs = (np.array(results[way]["ap"], dtype=float) for way in ("exact_ap_only", "scikit_learn"))
    difference = float(np.nanmax(np.abs(ours - theirs)))
    return Facts(f"{kind}: peak memory", ["way", "GB"], rows, about=f"largest difference in AP {difference:.0e}")


def measure(run: Run) -> Results:
    """Compare at three multi-label sizes and at the size of iNaturalist; then bins, and dense labels."""
    peers = ["torchmetrics_exact", "torchmetrics_binned"] if run.has("torchmetrics") else []
    ways = ["ours", "exact_ap_only", "scikit_learn", *peers]
    results = [*compare(run, *SIZES["small"], ways, run.choose(2, 5))]
    if run.size != QUICK:
        results += compare(run, *SIZES["wide"], ways, 3)
        results += compare(run, *SIZES["large"], ways, 1)
        results += compare(run, *INATURALIST, ["ours", "exact_ap_only", "scikit_learn"], 1)
    results += compare_binned(*run.choose((2000, 5), (10_000, 25)))
    if run.has("torchmetrics"):
        results += compare_dense(*run.choose((2, 128), (8, 512)), run.choose(2, 5))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=4, metavar=("WAY", "N", "C", "SINGLE"), required=True)
    way, n, classes, single = parser.parse_args().child
    be_child(way, int(n), int(classes), bool(int(single)))
