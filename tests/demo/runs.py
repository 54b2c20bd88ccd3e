"""Short runs of the demonstration, on a part of its data, and what scikit-learn says of them."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from tbmetrics.demo.numbers import NumberImages, Splits

METRICS = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


def part_of(splits: Splits, every: int) -> Splits:
    """Every `every`-th picture of each set."""
    return Splits(*(_part(images, every) for images in (splits.training, splits.validation, splits.test)))


def _part(images: NumberImages, every: int) -> NumberImages:
    return NumberImages(images.images[::every], {a: target[::every] for a, target in images.targets.items()})


@torch.no_grad()
def scikit_learn(model: torch.nn.Module, images: NumberImages, attribute: str) -> dict[str, np.ndarray]:
    """Metric → one value per class, NaN where undefined."""
    model.eval()
    logits, labels = model(images.images)[attribute], images.targets[attribute].numpy()
    if attribute == "number":
        classes = np.arange(logits.shape[1])
        decided = logits.argmax(1).numpy()[:, None] == classes
        truth, scores = labels[:, None] == classes, logits.double().softmax(1).numpy()
    else:
        decided, truth, scores = logits.numpy() >= 0, labels, logits.numpy()
    columns = [_column(truth[:, c], decided[:, c], scores[:, c]) for c in range(scores.shape[1])]
    return {metric: np.array([column[metric] for column in columns]) for metric in (*METRICS, "ap")}


def _column(truth: np.ndarray, decided: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    known = truth >= 0
    truth, decided, scores = truth[known], decided[known], scores[known]
    values = {name: metric(truth, decided, zero_division=np.nan) for name, metric in METRICS.items()}
    return {**values, "ap": average_precision_score(truth, scores) if truth.any() else float("nan")}
