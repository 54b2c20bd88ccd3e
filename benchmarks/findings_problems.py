"""Classification problems in which the cause of the tail's failure, or its absence, is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups

FloatArray = NDArray[np.float64]
NOISE = 0.25  # share of labels replaced by any class
FRESH = 20_000  # samples behind a true gain
EPOCHS = 15
LOSSES = ("cross-entropy", "balanced softmax", "balanced sampling")


class Validation(NamedTuple):
    """A validation set: scores and labels; features, if any; and the training accuracy of the epoch before."""

    logits: torch.Tensor
    labels: torch.Tensor
    features: torch.Tensor | None = None


@dataclass(slots=True)
class Problem:
    """A model whose validation sets can be drawn, and what is true of it.

    Attributes:
        groups: of its classes.
        draw: a validation set with so many samples a class.
        truth: rule → whether its cause is there; rules that are not named are not judged.
        head: the last layer, if it has one.
        observed: logits and labels of training, if known.
        is_single: whether a sample has one class.
    """

    groups: ClassGroups
    draw: Callable[[int], Validation]
    truth: Mapping[str, bool]
    head: nn.Module | None = None
    observed: tuple[torch.Tensor, torch.Tensor] | None = None
    is_single: bool = True
    training_samples: int | None = None
    notes: dict[str, float] = field(default_factory=dict)


def training_counts(classes: int) -> NDArray[np.int64]:
    """From 500 to 5, geometrically: four in ten classes are the head, three the tail."""
    return np.round(500 * 0.01 ** np.linspace(0, 1, classes)).astype(np.int64)


# ------------------------------------------------------------------------------------------- exact posteriors

ABSENT = {"tail_gap": False, "classifier_bias": False, "features_collapsed": False, "label_noise": False,
          "remedy_would_help": False}  # fmt: skip
#: Cause → the rules that should say so; those of `ABSENT` that are not named should not. None = not judged.
GAUSSIAN: dict[str, dict[str, bool | None]] = {
    "none": {},
    "training prior": {"tail_gap": True, "classifier_bias": True, "remedy_would_help": True},
    "rare classes are distinct": {},
    "collapsed features": {"features_collapsed": True, "tail_gap": None},
    "wrong labels": {"label_noise": True},
}


def gaussian(classes: int, cause: str, seed: int) -> Problem:
    """Normal features around orthogonal means, which all classes share, and the exact posterior as a linear layer."""
    rng, counts = np.random.default_rng(seed), training_counts(classes)
    means = (2.3 if classes <= 10 else 3.0) * np.eye(classes)
    if cause == "rare classes are distinct":
        means *= np.linspace(1, 1.35, classes)[:, None]
    tail = np.flatnonzero(counts < 20)
    if cause == "collapsed features":
        means[tail] = means[: len(tail)] + 0.1 * rng.normal(size=(len(tail), classes)) / np.sqrt(classes)
    head = nn.Linear(classes, classes)
    prior = np.log(counts / counts.sum()) if cause == "training prior" else 0
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(means))
        head.bias.copy_(torch.from_numpy(-0.5 * (means**2).sum(1) + prior))

    def draw(n: int) -> Validation:
        truth = np.repeat(np.arange(classes), n)
        features = torch.from_numpy(means[truth] + rng.normal(size=(len(truth), classes))).float()
        is_wrong = rng.random(len(truth)) < (NOISE if cause == "wrong labels" else 0)
        labels = np.where(is_wrong, rng.integers(0, classes, len(truth)), truth)
        with torch.no_grad():
            return Validation(head(features), torch.from_numpy(labels), features)

    truth = {rule: value for rule, value in {**ABSENT, **GAUSSIAN[cause]}.items() if value is not None}
    return Problem(ClassGroups.from_counts({"x": counts.tolist()}), draw, truth, head.eval())


# -------------------------------------------------------------------------------------------- trained networks


def trained(classes: int, loss: str, seed: int, epochs: int = EPOCHS) -> Problem:
    """A network of two layers trained on a long-tailed sample of normal classes.

    Its training gap and excess are measured on a large fresh sample; labels are clean. Its `notes` have the gradient
    that the tail's logits got since the start of training: positive ÷ negative, after the second and the last epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    counts, width = torch.from_numpy(training_counts(classes)), 16 if classes <= 10 else 48
    means = 3.5 * F.normalize(torch.randn(classes, width, generator=generator))
    labels = torch.repeat_interleave(torch.arange(classes), counts)
    inputs = means[labels] + torch.randn(len(labels), width, generator=generator)
    body, head = nn.Sequential(nn.Linear(width, 64), nn.ReLU()), nn.Linear(64, classes)
    log_prior = torch.log(counts / counts.sum()) if loss == "balanced softmax" else torch.zeros(classes)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], 0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    gradients, notes = torch.zeros(2, classes), {}
    tail = counts < 20
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(labels), generator=generator)
        if loss == "balanced sampling":
            order = torch.multinomial((1 / counts)[labels], len(labels), replacement=True, generator=generator)
        for rows in order.split(64):
            logits = head(body(inputs[rows]))
            logits.retain_grad()
            optimizer.zero_grad()
            F.cross_entropy(logits + log_prior, labels[rows]).backward()
            optimizer.step()
            own = logits.grad.gather(1, labels[rows, None])[:, 0].abs()
            positive = torch.zeros(classes).index_add_(0, labels[rows], own)
            gradients += torch.stack([positive, logits.grad.abs().sum(0) - positive])
        schedule.step()
        if epoch in (2, epochs):
            notes[f"gradient ratio, epoch {epoch}"] = float(gradients[0, tail].sum() / gradients[1, tail].sum())

    def draw(n: int) -> Validation:
        truth = torch.arange(classes).repeat_interleave(n)
        with torch.no_grad():
            features = body(means[truth] + torch.randn(len(truth), width, generator=generator))
            return Validation(head(features), truth, features)

    with torch.no_grad():
        observed = head(body(inputs))
    groups = ClassGroups.from_counts({"x": counts.tolist()})
    truth = _truth_of(draw(max(2, FRESH // classes)), observed.argmax(1) == labels, labels, counts)
    return Problem(groups, draw, truth, head.eval(), (observed, labels), notes=notes)


def _truth_of(fresh: Validation, is_right: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor) -> dict[str, bool]:
    """What is true of a network: what lies between a cause and none is not judged."""
    recall = (fresh.logits.argmax(1) == fresh.labels).float().view(len(counts), -1).mean(1)
    accuracy = torch.bincount(labels[is_right], minlength=len(counts)) / counts
    head, tail = counts > 100, counts < 20
    gap = float(recall[head].mean() - recall[tail].mean())
    excess = [float((accuracy - recall)[group].mean()) for group in (head, tail)]
    truth = {"label_noise": False}
    if gap < 0 or gap > 0.1:
        truth["tail_gap"] = gap > 0
    if excess[1] < 0.2 or (excess[1] > 0.4 and excess[1] > excess[0] + 0.3):
        truth["tail_memorised"] = excess[1] > 0.2
    best = max(_gain(fresh, counts, tau) for tau in np.linspace(0.1, 2, 20))
    if best < 0.002 or best > 0.03:
        truth |= {"classifier_bias": best > 0.01, "remedy_would_help": best > 0.01}
    return truth


def _gain(fresh: Validation, counts: torch.Tensor, tau: float) -> float:
    before, after = (fresh.logits - t * torch.log(counts / counts.sum()) for t in (0.0, tau))
    hits = [(logits.argmax(1) == fresh.labels).float() for logits in (before, after)]
    return float((hits[1] - hits[0]).mean())


# ------------------------------------------------------------------------------------------------ multi-label

MULTI_LABEL = {"nothing to learn": False, "best thresholds in use": False, "threshold 0.5": True}


def multi_label(classes: int, cause: str, seed: int) -> Problem:
    """Independent labels with normal scores; logits of the exact posterior, of nothing, or with the best thresholds.

    A validation set has so many positives of the rarest class, and 50 times as many rows.
    """
    rng = np.random.default_rng(seed)
    share = 0.3 * (0.02 / 0.3) ** np.linspace(0, 1, classes)
    prior = np.log(share / (1 - share))
    margin = 0.0 if cause == "nothing to learn" else 2.2

    def scores(rows: int) -> tuple[FloatArray, NDArray[np.int64]]:
        labels = (rng.random((rows, classes)) < share).astype(np.int64)
        logits = margin * (margin * labels + rng.normal(size=labels.shape)) - margin**2 / 2 + prior
        return logits + (0.3 * rng.normal(size=labels.shape) if not margin else 0), labels

    cuts = _best_cuts(*scores(30_000)) if cause == "best thresholds in use" else np.zeros(classes)

    def draw(n: int) -> Validation:
        logits, labels = scores(50 * n)
        return Validation(torch.from_numpy(logits - cuts).float(), torch.from_numpy(labels))

    counts = np.round(share * 2000).astype(int)
    groups = ClassGroups.from_counts({"x": counts.tolist()}, head_above=200, tail_below=80)
    truth = {"remedy_would_help": MULTI_LABEL[cause]}
    return Problem(groups, draw, truth, is_single=False, training_samples=2000)


def _best_cuts(logits: FloatArray, labels: NDArray[np.int64]) -> FloatArray:
    """The threshold of each class with the best F1."""
    order = np.argsort(-logits, axis=0)
    hits = np.take_along_axis(labels, order, axis=0).cumsum(0)
    f1 = 2 * hits / (np.arange(1, len(logits) + 1)[:, None] + labels.sum(0))
    best: FloatArray = np.take_along_axis(logits, order, axis=0)[f1.argmax(0), np.arange(logits.shape[1])]
    return best


def single_label_problems(networks: Mapping[int, int], repetitions: int, classes: int) -> Iterator[tuple[str, Problem]]:
    """All problems of one number of classes: exact ones, then trained networks."""
    for cause in GAUSSIAN:
        for seed in range(repetitions):
            yield f"exact posterior: {cause}", gaussian(classes, cause, seed)
    for loss in LOSSES:
        for seed in range(networks.get(classes, 0)):
            yield f"network: {loss}", trained(classes, loss, seed)
