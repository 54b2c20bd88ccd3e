"""What accumulates over a validation of dense predictions: pairs of true and predicted class in each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.arguments import batch_tensors
from tbmetrics.class_performance.dense import (
    PLACES_AT_ONCE,
    DenseOptions,
    PairCounts,
    class_dimension,
    count_pairs,
    decided,
)
from tbmetrics.class_performance.dense_scores import DenseScores
from tbmetrics.class_performance.inputs import DEFAULT_ACTIVATION, Activation
from tbmetrics.class_performance.state import first_occurrences
from tbmetrics.errors import InputError
from tbmetrics.records import SINGLE_LABEL


class DenseState:
    """The state of a dense single-label attribute between two validations; its memory grows with images, not places.

    Scores are kept in bins if the options say so; otherwise nothing is known that needs them.

    Args:
        attribute: its name, for messages.
        num_classes: C.
        activation: what the scores are; only their order counts.
        options: how batches are read.
    """

    decision = SINGLE_LABEL

    def __init__(
        self,
        attribute: str,
        num_classes: int,
        activation: Activation = DEFAULT_ACTIVATION,
        options: DenseOptions = DenseOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.attribute, self.num_classes = attribute, num_classes
        self.activation, self.options = activation, options
        self.reset()

    def empty(self) -> DenseState:
        """Another one of the same attribute, without images."""
        return DenseState(self.attribute, self.num_classes, self.activation, self.options)

    def reset(self) -> None:
        """Forget the validation."""
        self.n_images = 0
        self.n_skipped = 0
        has_scores = self.options.binned and not self.activation.takes_classes
        self.scores = DenseScores(self.num_classes) if has_scores else None
        self._pairs: list[PairCounts] = []
        self._indices: list[Tensor] = []
        self._has_indices: bool | None = None

    @property
    def scores_exact(self) -> float:
        """0 if scores are in bins, NaN if there are none."""
        return float("nan") if self.scores is None else 0.0

    @property
    def has_rows(self) -> bool:
        """Whether any image came."""
        return self.n_images > 0

    @property
    def n_samples(self) -> int:
        """Number of images."""
        return self.n_images

    @torch.no_grad()
    def add(self, logits: Any, labels: Any, indices: Tensor | None = None) -> None:
        """Add one batch.

        Args:
            logits: (N, C, …) or (N, …, C); with `inputs="classes"` predicted classes, integers (N, …).
            labels: class indices (N, …).
            indices: int64 (N,), which image of the data set each is.

        Raises:
            InputError: a batch that does not fit.
        """
        logits, labels = batch_tensors(self.attribute, logits, labels)
        name = f"attribute {self.attribute!r}"
        logits = logits.detach()
        dim = self._class_dim(name, logits, labels)
        predicted, is_finite = (logits.flatten(1), None) if dim is None else decided(logits, dim)
        labels = labels.detach().to(logits.device).flatten(1)
        counts = self._known(name, labels)
        if is_finite is not None:
            known = is_finite if counts is None else counts & is_finite
            self.n_skipped += int(labels.numel() if counts is None else counts.sum()) - int(known.sum())
            counts = known
        self._note_indices(name, indices, len(labels))
        if self.scores is not None and dim is not None:
            self._add_scores(self.scores, logits.movedim(dim, 1).flatten(2), labels, counts)
        pairs = count_pairs(labels, predicted, counts, self.num_classes)
        self._pairs.append(pairs._replace(image=pairs.image + self.n_images))
        self.n_images += len(labels)

    def _class_dim(self, name: str, logits: Tensor, labels: Tensor) -> int | None:
        """The dimension of the scores that the classes are in; None of predicted classes."""
        if not self.activation.takes_classes:
            if not logits.is_floating_point():
                raise InputError(f"{name}: logits must be a float tensor, got {logits.dtype}; pass the raw output")
            return class_dimension(name, logits, labels, self.num_classes, self.options.class_dim)
        if logits.is_floating_point() or logits.shape != labels.shape:
            raise InputError(
                f"{name}: inputs='classes' are integers of the shape of the labels, {tuple(labels.shape)}, got "
                f"{logits.dtype} of shape {tuple(logits.shape)}"
            )
        if logits.numel():
            _check_range(name, "predicted classes", *_ends(logits), self.num_classes)
        return None

    def _add_scores(self, scores: DenseScores, logits: Tensor, labels: Tensor, counts: Tensor | None) -> None:
        """Add the scores of the places that count; logits (N, C, places), labels and counts (N, places)."""
        for image, truth, known in zip(logits, labels, labels >= 0 if counts is None else counts, strict=True):
            for places in known.nonzero().flatten().split(PLACES_AT_ONCE // 8):
                probabilities = self.activation.softmax(image[:, places].T).T
                scores.add(probabilities, truth[places].to(probabilities.device))

    def _known(self, name: str, labels: Tensor) -> Tensor | None:
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(f"{name}: class indices must be integers, got {labels.dtype}; give labels.long()")
        if not labels.numel():
            return None
        low, high = _ends(labels)
        present = [index for index in self.options.ignored if low <= index <= high]
        if not present:
            _check_range(name, "class indices", low, high, self.num_classes)
            return None
        known = torch.ones_like(labels, dtype=torch.bool)
        for index in present:
            known &= labels != index
        counted = labels[known]
        if counted.numel():
            _check_range(name, "class indices", *_ends(counted), self.num_classes)
        return known

    def _note_indices(self, name: str, indices: Tensor | None, images: int) -> None:
        if self._has_indices not in (None, indices is not None):
            raise InputError(f"{name}: give indices with every batch of a validation, or with none")
        self._has_indices = indices is not None
        if indices is not None:
            if indices.shape != (images,):
                raise InputError(f"{name}: indices must have shape ({images},), got {tuple(indices.shape)}")
            self._indices.append(indices.cpu())

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Image, true class, predicted class and number of places of each pair, each (pairs,)."""
        if not self._pairs:
            nothing = np.zeros(0, dtype=np.int64)
            return nothing, nothing, nothing, nothing
        image, pair, count = (torch.cat(c).cpu().numpy().astype(np.int64) for c in zip(*self._pairs, strict=True))
        true, predicted = np.divmod(pair, self.num_classes)
        return image, true, predicted, count

    # ----------------------------------------------------------------------------------------- several ranks

    def indices(self) -> Tensor | None:
        """Which image of the data set each is, int64 (images,); None if not given."""
        if not self._has_indices:
            return None
        return torch.cat(self._indices) if self._indices else torch.zeros(0, dtype=torch.int64)

    def ends(self) -> None:
        """Nothing: padding is not looked for."""

    def drop_repeated(self, earlier: Tensor | None = None) -> int:
        """Drop images that came before, here or among the indices `earlier` of other ranks.

        Returns:
            number of repeated images whose scores are in bins, from which they cannot be taken.
        """
        indices = self.indices()
        if indices is None or not len(indices):
            return 0
        keep = first_occurrences(indices, earlier)
        if bool(keep.all()):
            return 0
        image, pair, count = (torch.cat(column).cpu() for column in zip(*self._pairs, strict=True))
        stays, number = keep[image.long()], keep.cumsum(0) - 1
        self._pairs = [PairCounts(number[image[stays].long()].int(), pair[stays], count[stays])]
        self._indices, self.n_images = [indices[keep]], int(keep.sum())
        return 0 if self.scores is None else int((~keep).sum())

    def share(self) -> dict[str, Any]:
        """The whole state on the host, as plain containers and tensors, for `merge`."""
        return {
            "n_samples": self.n_images,
            "n_skipped": self.n_skipped,
            "pairs": [tuple(column.cpu() for column in part) for part in self._pairs],
            "indices": self.indices(),
            "scores": None if self.scores is None else self.scores.state(),
        }

    def merge(self, share: Mapping[str, Any]) -> None:
        """Add the `share` of another rank."""
        for image, pair, count in share["pairs"]:
            self._pairs.append(PairCounts(image + self.n_images, pair, count))
        self._pairs = [PairCounts(*(column.cpu() for column in part)) for part in self._pairs]
        if share["n_samples"]:
            self._has_indices = share["indices"] is not None and self._has_indices is not False
            self._indices = [*self._indices, share["indices"]] if self._has_indices else []
        if self.scores is not None and share.get("scores") is not None:
            self.scores.merge(share["scores"])
        self.n_images += share["n_samples"]
        self.n_skipped += share["n_skipped"]


def _ends(values: Tensor) -> tuple[int, int]:
    low, high = torch.aminmax(values)
    return int(low), int(high)


def _check_range(name: str, what: str, low: int, high: int, classes: int) -> None:
    if low < 0 or high >= classes:
        raise InputError(
            f"{name}: {what} must lie in 0..{classes - 1}, got {low}..{high}; places that do not count: -1, -100, or "
            "give the tracker ignore_index=…"
        )
