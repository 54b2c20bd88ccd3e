"""A remedy that needs no training, as a module: it does what was predicted.

A small network learns long-tailed digits (part of scikit-learn). Diagnostics judge logit adjustment on the validation
set; the module with the chosen amount is then applied to it, and to digits that no one has seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tbmetrics import ClassGroups, ClassPerformanceTracker, TBMetrics

COUNTS = (120, 90, 70, 50, 36, 26, 18, 12, 8, 5)  # training images of 0, 1, …, 9


def load_splits() -> tuple[tuple[Tensor, Tensor], ...]:
    """Long-tailed training digits, and balanced ones for validation and test: pixels (N, 64) and labels (N,)."""
    pixels, labels = load_digits(return_X_y=True)
    shuffled = [np.random.default_rng(0).permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    train = np.concatenate([rows[:count] for rows, count in zip(shuffled, COUNTS, strict=True)])
    validation, test = (np.concatenate([rows[120:][start::2][:25] for rows in shuffled]) for start in (0, 1))
    inputs, targets = torch.from_numpy(pixels).float() / 16, torch.from_numpy(labels).long()
    return tuple((inputs[rows], targets[rows]) for rows in (train, validation, test))


def recalls(logits: Tensor, labels: Tensor, groups: ClassGroups) -> dict[str, float]:
    tracker = ClassPerformanceTracker(classes=groups)
    tracker.update(logits, labels)
    return {group: tracker.get_class_type_metrics()["digit"][group]["recall"] for group in ("head", "tail")}


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Train, take the remedy and compare; returns recall of head and tail by what was done."""
    parser = argparse.ArgumentParser(description="Apply a remedy and compare it with its prediction.")
    parser.add_argument("--log-dir", type=Path, default=Path("runs/remedies"))
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    (inputs, labels), validation, test = load_splits()
    groups = ClassGroups.from_counts({"digit": COUNTS}, head_above=40, tail_below=20)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with TBMetrics(options.log_dir, model=model, optimizer=optimizer, classes=groups, diagnostics=True) as tb:
        for _ in tb.epochs(range(options.epochs)):
            for rows in tb.batches(torch.randperm(len(labels)).split(32)):
                logits = model(inputs[rows])
                tb.observe(logits, labels[rows])
                nn.functional.cross_entropy(logits, labels[rows]).backward()
                optimizer.step()
                optimizer.zero_grad()
            with torch.no_grad():
                tb.update(model(validation[0]), validation[1])
            if tb.is_best("recall", group="tail"):
                torch.save(model.state_dict(), options.log_dir / "best.pt")
        remedy = tb.diagnostics.remedy("digit", "logit_adjustment")
    remedy.save(options.log_dir / "remedy.json")
    deployed = remedy.wrap(model).eval()
    with torch.no_grad():
        results = {
            "as trained": recalls(model(validation[0]), validation[1], groups),
            "predicted": {group: remedy.predicted[f"{group}_recall"] for group in ("head", "tail")},
            "measured": recalls(deployed(validation[0]), validation[1], groups),
            "on new digits": recalls(deployed(test[0]), test[1], groups),
        }
    print(remedy)
    for name, recall in results.items():
        print(f"{name:14} head {recall['head']:.3f}   tail {recall['tail']:.3f}")
    return results


if __name__ == "__main__":
    main()
