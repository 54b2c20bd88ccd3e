"""Labels in doubt: the share of validation labels that are wrong, and the samples of each class that are suspect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tbmetrics.class_performance.diagnostics.fits import fit_noise
from tbmetrics.class_performance.diagnostics.numbers import evenly_spread
from tbmetrics.class_performance.diagnostics.remedies import Lean
from tbmetrics.class_performance.diagnostics.single_label import Rows
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import TAIL, Float32Array, FloatArray, IntArray

#: A share of wrong labels that "not found" excludes.
MATERIAL_SHARE = 0.1
NOISE_SCORES = 250_000  # most logits behind the fit
_AT_ONCE = 1_000_000


class LabelNoise(NamedTuple):
    """Wrong labels among the samples of all classes but the tail's.

    Attributes:
        share: the most likely one.
        z: of the hypothesis that no label is wrong: the root of the likelihood ratio.
        z_material: of the hypothesis that `MATERIAL_SHARE` of them are, with the sign of the difference.
        n_samples, n_classes: behind it.
    """

    share: float
    z: float
    z_material: float
    n_samples: int
    n_classes: int


def label_noise(rows: Rows, labels: IntArray, classes: AttributeClasses) -> LabelNoise | None:
    """Estimate the share of wrong labels; None with fewer than two classes or samples to tell from.

    Samples of the tail are left out: that a model takes them for frequent classes is the tail's failure, whatever their
    labels. Among the rest the logits of the tail's classes do not count either.

    Args:
        rows: logits of samples.
        labels: of all samples.
        classes: of the attribute.
    """
    is_judged = np.ones(len(classes), dtype=np.bool_)
    is_judged[classes.members(TAIL)] = False
    judged = np.intersect1d(np.flatnonzero(is_judged), labels[rows.positions])
    inside = np.flatnonzero(np.isin(labels[rows.positions], judged))
    if judged.size < 2 or inside.size < 2:
        return None
    inside = inside[evenly_spread(inside.size, NOISE_SCORES // judged.size)]
    chosen = np.searchsorted(judged, labels[rows.positions[inside]])
    logits = rows.logits[inside][:, judged]
    prior = None if rows.log_prior is None else rows.log_prior[judged]
    fit = fit_noise(logits, chosen, prior, MATERIAL_SHARE)
    sign = 1.0 if fit.share >= MATERIAL_SHARE else -1.0
    z, z_material = float(np.sqrt(fit.deviance)), sign * float(np.sqrt(fit.deviance_at))
    return LabelNoise(fit.share, z, z_material, int(inside.size), int(judged.size))


def suspect_shares(rows: Rows, labels: IntArray, lean: Lean, num_classes: int) -> FloatArray:
    """Share of each class's samples that confident learning takes for another class, (C,); NaN without samples.

    A class is confident about a sample if its probability, at the fitted temperature and without the training prior, is
    at least the mean over the samples labelled so. A sample is suspect if the most probable of its confident classes is
    not its label (Northcutt et al., JAIR 2021).
    """
    of_rows, n = labels[rows.positions], np.zeros(num_classes)
    own, suspects = np.zeros(num_classes), np.zeros(num_classes)
    for part, p in _probabilities(rows, lean):
        own += np.bincount(of_rows[part], weights=p[np.arange(len(p)), of_rows[part]], minlength=num_classes)
        n += np.bincount(of_rows[part], minlength=num_classes)
    usual = np.divide(own, n, out=np.full(num_classes, np.inf), where=n > 0)
    for part, p in _probabilities(rows, lean):
        confident = np.where(p >= usual.astype(np.float32) - np.float32(1e-6), p, -1)
        best = confident.argmax(1)
        is_suspect = (best != of_rows[part]) & (confident.max(1) >= 0)
        suspects += np.bincount(of_rows[part][is_suspect], minlength=num_classes)
    return np.divide(suspects, n, out=np.full(num_classes, np.nan), where=n > 0)


def _probabilities(rows: Rows, lean: Lean) -> Iterator[tuple[slice, Float32Array]]:
    """Calibrated probabilities without the training prior, a block of rows at a time."""
    shift = 0 if rows.log_prior is None else (lean.tau * rows.log_prior).astype(np.float32)
    step = max(1, _AT_ONCE // max(1, rows.logits.shape[1]))
    for first in range(0, len(rows.logits), step):
        part = slice(first, first + step)
        adjusted = rows.logits[part] / np.float32(lean.temperature) - shift
        adjusted -= adjusted.max(1, keepdims=True)
        np.exp(adjusted, out=adjusted)
        yield part, adjusted / adjusted.sum(1, keepdims=True)
