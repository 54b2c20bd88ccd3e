"""Predictions that are there already become a run: here those of a scikit-learn classifier, through a file.

pip install tbmetrics
python examples/predictions_from_a_file.py
tensorboard --logdir runs/forest

The same from a shell: tbmetrics evaluate predictions.npz --counts counts.json --out runs/forest
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import tbmetrics


def evaluate(directory: Path) -> dict[str, Any]:
    """Fit a forest on a long tail of digits, write its probabilities to a file, and make a run of them."""
    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images, digits, test_size=0.4, stratify=digits, random_state=0)
    rng = np.random.default_rng(0)
    keep = np.concatenate(  # digit d keeps 0.6 ** d of its images
        [rng.permutation(np.flatnonzero(train_y == d))[: max(3, int(105 * 0.6**d))] for d in range(10)]
    )
    forest = RandomForestClassifier(random_state=0).fit(train_x[keep], train_y[keep])

    directory.mkdir(parents=True, exist_ok=True)
    predictions, counts = directory / "predictions.npz", directory / "counts.json"
    np.savez(predictions, probabilities=forest.predict_proba(test_x), labels=test_y)
    counts.write_text(json.dumps({str(d): n for d, n in sorted(Counter(train_y[keep].tolist()).items())}))
    return tbmetrics.evaluate(predictions, counts=counts, out=directory / "forest")


if __name__ == "__main__":
    (groups,) = evaluate(Path(sys.argv[1] if len(sys.argv) > 1 else "runs")).values()
    for group in ("head", "medium", "tail"):
        print(f"{group}: recall {groups[group]['recall']:.3f} of {groups[group]['count']} classes")
