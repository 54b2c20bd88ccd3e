"""Two fitted scikit-learn classifiers become two runs, which are compared.

pip install tbmetrics
python examples/scikit_learn.py
tbmetrics board runs/scikit-learn
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import tbmetrics
from tbmetrics.comparing import RunComparison, compare_runs


def evaluate(directory: Path) -> RunComparison:
    """Fit with and without class weights on a long tail of digits; compare both on the same test set."""
    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images, digits, test_size=0.5, stratify=digits, random_state=0)
    rng = np.random.default_rng(0)
    keep = np.concatenate(  # digit d keeps 0.7 ** d of its images
        [rng.permutation(np.flatnonzero(train_y == d))[: int(85 * 0.7**d)] for d in range(10)]
    )
    for run, weights in (("plain", None), ("balanced", "balanced")):
        model = LogisticRegression(max_iter=3000, class_weight=weights).fit(train_x[keep], train_y[keep])
        tbmetrics.evaluate(
            {"probabilities": model.predict_proba(test_x), "labels": test_y},
            counts=np.bincount(train_y[keep]),
            out=directory / run,
            rule="terciles",
            attribute="digit",
        )
    runs = [tbmetrics.read_run(directory / run) for run in ("plain", "balanced")]
    return compare_runs(*runs, attribute="digit", metric="recall")


if __name__ == "__main__":
    comparison = evaluate(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/scikit-learn"))
    for group in ("head", "medium", "tail"):
        recall = comparison.groups[group]
        interval = f"{recall.lower:+.2f} to {recall.upper:+.2f}"
        print(f"{group}: balanced − plain {recall.difference:+.2f} ({interval}): {recall.verdict}")
