"""Synthetic problems in which one cause is planted, so that it is known why the tail fails."""

from __future__ import annotations

import numpy as np
import torch

from tbmetrics import ClassGroups, LongTailDiagnostics
from tbmetrics.tracking.batches import TrainingBatch

CLASSES, WIDTH = 10, 16
COUNTS = (900, 600, 400, 250, 150, 60, 30, 12, 6, 3)  # five head, two medium, three tail
GROUPS = ClassGroups.from_counts({"x": {f"c{i}": n for i, n in enumerate(COUNTS)}})
TAIL = (7, 8, 9)
#: Rules that name a cause; the others describe or advise.
CAUSES = {"classifier_bias", "features_collapsed", "label_noise", "tail_memorised"}


class Problem:
    """Features around one mean a class and a linear classifier that parts them; nothing is wrong until planted."""

    def __init__(self, seed: int = 0, per_class: int = 60, spread: float = 4.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        directions = torch.linalg.qr(torch.randn(WIDTH, CLASSES, generator=generator))[0].T
        self.means = spread * directions
        self.labels = torch.arange(CLASSES).repeat(per_class)
        self.noise = torch.randn(len(self.labels), WIDTH, generator=generator)
        self.generator = generator
        self.model = torch.nn.Linear(WIDTH, CLASSES)
        with torch.no_grad():
            self.model.weight.copy_(self.means)
            self.model.bias.zero_()
        self.training_labels = torch.arange(CLASSES).repeat(30)  # a balanced sampler
        self.learnt_by_heart = False

    def plant_norm_bias(self) -> Problem:
        """Rows of the classifier grow with their class's frequency."""
        scale = (torch.tensor(COUNTS) / max(COUNTS)).float() ** 0.35
        with torch.no_grad():
            self.model.weight.mul_(scale[:, None])
        return self

    def plant_rote(self) -> Problem:
        """Training samples of the tail are recognised, those of the validation never."""
        with torch.no_grad():
            self.model.weight[list(TAIL)] *= -1.0
        self.learnt_by_heart = True
        return self

    def plant_collapse(self) -> Problem:
        """Tail classes have the features of head classes, and rows that all but equal theirs."""
        for tail, head in zip(TAIL, (0, 1, 2), strict=True):
            self.means[tail] = self.means[head]
            with torch.no_grad():
                self.model.weight[tail].copy_(self.means[head])
                self.model.bias[tail] = -0.1
        return self

    def plant_label_noise(self, share: float = 0.35) -> Problem:
        """A share of the validation labels is replaced by another class."""
        self.truth = self.labels
        wrong = torch.rand(len(self.labels), generator=self.generator) < share
        other = (self.labels + torch.randint(1, CLASSES, self.labels.shape, generator=self.generator)) % CLASSES
        self.seen_labels = torch.where(wrong, other, self.labels)
        return self

    def diagnosed(self, **options) -> LongTailDiagnostics:
        """Diagnostics after one epoch of it."""
        tracker = LongTailDiagnostics(self.model, GROUPS, **options)
        tracker.start()
        tracker.observe(TrainingBatch(self._training_logits(), self.training_labels))
        self.model.eval()
        features = self.means[self.labels] + self.noise
        labels = getattr(self, "seen_labels", self.labels)
        with torch.no_grad():
            for rows in torch.randperm(len(labels), generator=self.generator).split(128):
                tracker.update(self.model(features[rows]), labels[rows])
        tracker.collect(0)
        tracker.stop()
        return tracker

    def _training_logits(self) -> torch.Tensor:
        noise = torch.randn(len(self.training_labels), WIDTH, generator=self.generator)
        features = self.means[self.training_labels] + noise
        return (features @ self.means.T if self.learnt_by_heart else self.model(features)).detach()


def causes(tracker: LongTailDiagnostics) -> set[str]:
    """The causes that the verdict names."""
    return {finding["name"] for finding in tracker.get_metrics()["findings"]} & CAUSES


def column(tracker: LongTailDiagnostics, name: str) -> np.ndarray:
    """A column of the diagnostics table that was recorded last."""
    return tracker.history.tables["longtail/x/diagnostics"][-1].column(name).astype(np.float64)
