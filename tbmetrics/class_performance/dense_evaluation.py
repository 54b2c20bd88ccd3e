"""The numbers of a dense validation, with intervals whose unit is the image or sequence.

Places of an image are alike, so that the number of places says nothing of how sure a number is. Each image adds to
every count, and a metric is a ratio of counts: its variance comes from the influences of the images (the linearisation
of ratio estimators in cluster sampling; Cochran, Sampling Techniques, 1977, chapter 6). Classes that are in few images
may all agree by chance, so that each is given two more images of average size, one all right and one all wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.dense_state import DenseState
from tbmetrics.class_performance.flows import most_frequent_pairs
from tbmetrics.class_performance.group_intervals import scaled_covariance, uncertainty_of
from tbmetrics.classes.groups import CountBuckets
from tbmetrics.records import FloatArray
from tbmetrics.statistics.bucket_means import MeanUncertainty
from tbmetrics.statistics.intervals import wilson
from tbmetrics.statistics.scores import Influence, influences, scores_of

IOU = "iou"


class DenseCounts:
    """Counts of a validation, in all and by image.

    Args:
        state: the validation.
    """

    def __init__(self, state: DenseState) -> None:
        self.n_classes, self.n_images = state.num_classes, state.n_images
        self.image, self.true, self.predicted, self.count = state.pairs()
        self.is_hit = self.true == self.predicted
        self.true_positives = self._by_class(self.true[self.is_hit], self.count[self.is_hit])
        self.support = self._by_class(self.true, self.count)
        self.predictions = self._by_class(self.predicted, self.count)

    def _by_class(self, classes: NDArray[np.int64], weights: NDArray[np.int64]) -> FloatArray:
        return _sums(classes, weights, self.n_classes)

    def columns(self) -> dict[str, FloatArray]:
        """Counts, precision, recall, F1 and IoU with intervals by class; what needs scores is NaN."""
        tp, predicted, support = self.true_positives, self.predictions, self.support
        columns = {"support": support, "true_positives": tp, "false_positives": predicted - tp}
        columns["false_negatives"] = support - tp
        columns |= dict(zip(("precision", "recall", "f1"), scores_of(tp, predicted, support), strict=True))
        columns[IOU] = columns["f1"] / (2 - columns["f1"])
        for metric, (effective, _) in self._spreads().items():
            columns[f"{metric}_lower"], columns[f"{metric}_upper"] = wilson(columns[metric] * effective, effective)
        for end in ("_lower", "_upper"):
            columns[f"f1{end}"] = 2 * columns[IOU + end] / (1 + columns[IOU + end])
        unknown = np.full(self.n_classes, np.nan)
        needs_scores = ("ap", "ap_lower", "ap_upper", "threshold", "best_threshold", "best_f1")
        return columns | dict.fromkeys(needs_scores, unknown)

    def _spreads(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Of precision, recall and IoU the number of independent places that tell as much, and the variance, by class.

        The variance is that of a ratio of sums over images, with two images added.
        """
        keys, tp, predicted, support = self._by_image()
        denominators = {"precision": predicted, "recall": support, IOU: predicted + support - tp}
        return {metric: self._spread(keys % self.n_classes, tp, parts) for metric, parts in denominators.items()}

    def _spread(self, classes: NDArray[np.int64], tp: FloatArray, parts: FloatArray) -> tuple[FloatArray, FloatArray]:
        is_there = parts > 0
        classes, tp, parts = classes[is_there], tp[is_there], parts[is_there]
        images, hits, total = (_sums(classes, weights, self.n_classes) for weights in (np.ones(len(tp)), tp, parts))
        with np.errstate(divide="ignore", invalid="ignore"):
            average = total / images
            share = (hits + average) / (total + 2 * average)
            squares = _sums(classes, (tp - share[classes] * parts) ** 2, self.n_classes)
            squares += ((1 - share) ** 2 + share**2) * average**2
            variance = squares * images / (images + 2) / total**2
            return share * (1 - share) / variance, variance

    def _by_image(self) -> tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray]:
        """Image · C + class, and its true positives, predictions and support, of classes that an image has."""
        of_true, of_predicted = (self.image * self.n_classes + c for c in (self.true, self.predicted))
        keys, place = np.unique(np.concatenate([of_true, of_predicted]), return_inverse=True)
        true, predicted = np.split(place, 2)
        hits = np.where(self.is_hit, self.count, 0)
        tp, support = (_sums(true, counts, len(keys)) for counts in (hits, self.count))
        return keys, tp, _sums(predicted, self.count, len(keys)), support

    def flow(self, buckets: CountBuckets) -> FloatArray:
        """Places by true and predicted bucket, see `flows.flows`."""
        size = len(buckets)
        cells = buckets.of_class[self.true] * (size + 1) + buckets.of_class[self.predicted]
        return _sums(cells, self.count, size * (size + 1)).reshape(size, size + 1)

    def confused_pairs(self) -> FloatArray:
        """The pairs of classes confused most, see `flows.confused_pairs`."""
        wrong = ~self.is_hit
        codes, where = np.unique(self.true[wrong] * self.n_classes + self.predicted[wrong], return_inverse=True)
        counts = np.bincount(where, weights=self.count[wrong], minlength=len(codes)).astype(np.int64)
        return most_frequent_pairs(*np.divmod(codes, self.n_classes), counts, self.n_classes)

    def uncertainties(self, columns: Mapping[str, FloatArray], buckets: CountBuckets) -> dict[str, MeanUncertainty]:
        """The uncertainty of the means of precision, recall, F1 and IoU over classes."""
        spreads = self._spreads()
        jaccard = np.nan_to_num((self.true_positives + 1) / (self.predictions + self.support - self.true_positives + 2))
        smoothed = {metric: variance for metric, (_, variance) in spreads.items()}
        smoothed["f1"] = smoothed[IOU] * (2 / (1 + jaccard) ** 2) ** 2
        by_metric = influences(columns) | {IOU: self._iou_influence(columns[IOU])}
        return {
            metric: uncertainty_of(
                buckets,
                columns[metric],
                scaled_covariance(*self._influence_sums(influence, buckets), np.nan_to_num(smoothed[metric]),
                                  columns[metric], buckets),
            )
            for metric, influence in by_metric.items()
        }  # fmt: skip

    def _iou_influence(self, iou: FloatArray) -> Influence:
        union = self.predictions + self.support - self.true_positives
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = ((1 - iou) / union, -iou / union, -iou / union)
        return Influence(*map(np.nan_to_num, parts))

    def _influence_sums(self, influence: Influence, buckets: CountBuckets) -> tuple[NDArray[np.float32], FloatArray]:
        """The influence of each image on each bucket's sum, (buckets, images); its variance by class, (classes,)."""
        own = np.where(self.is_hit, influence.hit[self.true], influence.miss[self.true]) * self.count
        alarm = np.where(self.is_hit, 0.0, influence.false_alarm[self.predicted]) * self.count
        image, classes = np.tile(self.image, 2), np.concatenate([self.true, self.predicted])
        values = np.concatenate([own, alarm])
        cells = buckets.of_class[classes] * self.n_images + image
        rows = _sums(cells, values, len(buckets) * self.n_images).reshape(len(buckets), self.n_images)
        keys, place = np.unique(image * self.n_classes + classes, return_inverse=True)
        variance = _sums(keys % self.n_classes, _sums(place, values, len(keys)) ** 2, self.n_classes)
        correction = self.n_images / max(self.n_images - 1, 1)
        scaled: NDArray[np.float32] = (rows * np.sqrt(correction)).astype(np.float32)
        return scaled, variance * correction


def _sums(cells: NDArray[np.int64], weights: NDArray[np.generic], size: int) -> FloatArray:
    """Sums of the weights in each cell, (size,)."""
    return np.bincount(cells, weights=weights, minlength=size).astype(np.float64, copy=False)
