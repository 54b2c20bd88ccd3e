"""Checks of what users pass to class performance and diagnostics: options, and batches of logits and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.records import MULTI_LABEL, SINGLE_LABEL
from tbmetrics.tracking.batches import CheckedBatch
from tbmetrics.tracking.checks import check_whole_numbers

#: torch has no arithmetic for these.
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def as_indices(indices: Any) -> Tensor | None:
    """`indices` as int64 (N,), or None.

    Raises:
        InputError: they are not integers.
    """
    if indices is None:
        return None
    try:
        converted = indices if isinstance(indices, Tensor) else _tensor_from(indices)
        converted = torch.as_tensor(indices) if converted is None else converted
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"indices must be integers (N,), got {type(indices).__name__} ({error})") from error
    if converted.is_floating_point() or converted.is_complex() or converted.dtype == torch.bool:
        raise InputError(f"indices must be integers (N,), got {converted.dtype}")
    return converted.detach().long()


def known_classes(
    label_to_idx: Mapping[str, Mapping[Any, int]] | None,
    idx_to_label: Mapping[str, Mapping[int, Any]] | None,
    hmt_info: Mapping[str, Mapping[Any, Any]] | None,
) -> ClassGroups:
    """The classes that the dictionaries describe.

    Raises:
        InputError: none was given.
    """
    if label_to_idx is None and idx_to_label is not None:
        label_to_idx = {a: {label: int(i) for i, label in names.items()} for a, names in idx_to_label.items()}
    if label_to_idx is None and hmt_info is None:
        raise InputError("no classes: give classes=ClassGroups.from_counts({...}), or label_to_idx_dict and hmt_info")
    return ClassGroups.from_hmt_info(hmt_info or {}, label_to_idx_dict=label_to_idx)


def chosen_attributes(attributes: Iterable[str] | None, classes: ClassGroups) -> tuple[str, ...]:
    """The attributes to track; None = all.

    Raises:
        InputError: an attribute has no classes, or there is no attribute.
    """
    chosen = tuple(classes) if attributes is None else tuple(attributes)
    unknown = [a for a in chosen if a not in classes]
    if unknown or not chosen:
        raise InputError(
            f"attributes without classes: {unknown}; classes are known for {', '.join(map(repr, classes))}"
        )
    return chosen


def decision_thresholds(attribute: str, thresholds: Any, classes: int) -> NDArray[np.float64]:
    """The decision thresholds of an attribute as probabilities, (classes,), from one, one per class, or a mapping.

    Raises:
        InputError: they are not probabilities, or not as many as there are classes.
    """
    chosen = thresholds.get(attribute, 0.5) if isinstance(thresholds, Mapping) else thresholds
    try:
        plain = chosen.detach().cpu().tolist() if isinstance(chosen, torch.Tensor) else chosen
        values = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"attribute {attribute!r}: thresholds must be numbers, got {chosen!r:.200}") from error
    if values.ndim and values.shape != (classes,):
        raise InputError(f"attribute {attribute!r}: thresholds must be one or {classes}, got shape {values.shape}")
    if not ((values > 0) & (values < 1)).all():
        raise InputError(f"attribute {attribute!r}: thresholds are probabilities in (0, 1), got {chosen!r}")
    return np.full(classes, 0.0) + values


def checked_pr_classes(chosen: Mapping[str, Sequence[str]], classes: ClassGroups) -> Mapping[str, Sequence[str]]:
    """`chosen`, if all the classes it names exist.

    Raises:
        InputError: names the unknown classes.
    """
    for attribute, names in chosen.items():
        unknown = [n for n in names if n not in classes[attribute].names]
        if unknown:
            raise InputError(f"attribute {attribute!r}: pr_classes names unknown classes {unknown[:5]}")
    return chosen


def checked_top_k(top_k: int | Sequence[int]) -> tuple[int, ...]:
    """`top_k` as ascending numbers.

    Raises:
        InputError: they are not whole numbers of at least 2.
    """
    numbers = tuple(top_k) if isinstance(top_k, Iterable) else (top_k,)
    for k in numbers:
        check_whole_numbers(2, top_k=k)  # the first alone is recall
    return tuple(sorted(set(numbers)))


def as_column(what: str, given: Any, names: Sequence[str]) -> NDArray[np.float64]:
    """One value for each class, float64 (classes,), from `{class name: value}` (others NaN) or an array.

    Raises:
        InputError: unknown class names, another shape, or what are no numbers.
    """
    if isinstance(given, Mapping):
        by_name = {str(name): value for name, value in given.items()}
        unknown = [name for name in by_name if name not in set(names)]
        if unknown:
            raise InputError(f"attribute {what} names unknown classes {unknown[:5]}; classes are {names[:5]} …")
        given = [by_name.get(name, float("nan")) for name in names]
    try:
        plain = given.detach().cpu() if isinstance(given, Tensor) else given
        values = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"attribute {what} must be numbers, got {type(given).__name__} ({error})") from error
    if values.shape != (len(names),):
        raise InputError(f"attribute {what} must be one for each of {len(names)} classes, got shape {values.shape}")
    return values


# ----------------------------------------------------------------------------------------------------- batches


def batch_tensors(attribute: str, logits: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Logits and labels as tensors of types that torch can compute with.

    Args:
        logits, labels: tensors, or arrays: anything with `__array__` or `__dlpack__`.

    Raises:
        InputError: neither, or of a type that is not numeric.
    """
    logits, labels = _as_tensor(attribute, "logits", logits), _as_tensor(attribute, "labels", labels)
    if logits.is_floating_point() and logits.element_size() == 1:
        logits = logits.float()
    return logits, labels.long() if labels.dtype in UNSIGNED else labels


def _as_tensor(attribute: str, what: str, values: Any) -> Tensor:
    try:
        tensor = values if isinstance(values, Tensor) else _tensor_from(values)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = f"{type(values).__name__} of type {getattr(values, 'dtype', 'unknown')}"
        raise InputError(f"attribute {attribute!r}: {what} must be numbers, got {kind} ({error})") from error
    if tensor is None:
        raise InputError(
            f"attribute {attribute!r}: {what} must be a tensor or an array, got {type(values).__name__}"
            f"{_unpacked(what, values)}"
        )
    if tensor.is_complex():
        raise InputError(f"attribute {attribute!r}: {what} must be real numbers, got {tensor.dtype}")
    return tensor


def _tensor_from(values: Any) -> Tensor | None:
    """A tensor that shares or copies the values of an array, or None if it is none."""
    if hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray):
        try:
            exported: Tensor = torch.utils.dlpack.from_dlpack(values)
        except (TypeError, ValueError, RuntimeError, BufferError):
            if not hasattr(values, "__array__"):
                raise
        else:
            return exported
    if not hasattr(values, "__array__"):
        return None
    array = np.asarray(values)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def decision_kind(logits: Tensor, labels: Tensor) -> str:
    """How an attribute decides: class indices have one dimension less than logits, multi-hot labels as many."""
    return SINGLE_LABEL if labels.ndim < logits.ndim else MULTI_LABEL


def check_batch(attribute: str, logits: Any, labels: Any, num_classes: int, decision: str | None) -> CheckedBatch:
    """Check a validation batch.

    Args:
        attribute, logits, labels, num_classes: as for `update`.
        decision: the kind of the batches before, or None.

    Raises:
        InputError: types, shapes or values do not fit, or the kind has changed.
    """
    logits, labels = batch_tensors(attribute, logits, labels)
    name = f"attribute {attribute!r}"
    _check_shapes(name, logits, labels, num_classes)
    kind = decision_kind(logits, labels)
    check_kind(attribute, kind, decision)
    truth, has_unknown = _checked_labels(name, labels, kind, num_classes)
    given = logits.detach()
    return CheckedBatch(given, given.clone(), truth.to(given.device), kind, has_unknown, has_finite_sum(given))


def check_predictions(
    attribute: str, predictions: Any, labels: Any, num_classes: int, decision: str | None
) -> CheckedBatch:
    """Check a validation batch of predicted classes; arguments as for `check_batch`.

    Raises:
        InputError: types, shapes or values do not fit, or the kind has changed.
    """
    predictions, labels = batch_tensors(attribute, predictions, labels)
    name = f"attribute {attribute!r}"
    if predictions.is_floating_point() or predictions.ndim not in (1, 2) or not len(predictions) == len(labels):
        raise InputError(
            f"{name}: inputs='classes' are predicted classes as integers, (N,) or by rank (N, k), or decisions of 0 "
            f"and 1 (N, {num_classes}) for multi-hot labels, got {predictions.dtype} of shape "
            f"{tuple(predictions.shape)} for labels of shape {tuple(labels.shape)}"
        )
    kind = SINGLE_LABEL if labels.ndim == 1 else MULTI_LABEL
    check_kind(attribute, kind, decision)
    truth, has_unknown = _checked_labels(name, labels, kind, num_classes)
    if kind == MULTI_LABEL and predictions.shape != labels.shape:
        raise InputError(
            f"{name}: decisions must have the shape of the multi-hot labels, {tuple(labels.shape)}, got "
            f"{tuple(predictions.shape)}"
        )
    if predictions.numel():
        low, high = (int(x) for x in torch.aminmax(predictions.long()))
        most = num_classes - 1 if kind == SINGLE_LABEL else 1
        if low < 0 or high > most:
            raise InputError(f"{name}: predicted classes must lie in 0..{most}, got {low}..{high}")
    return CheckedBatch(predictions, predictions.clone(), truth.to(predictions.device), kind, has_unknown, True)


def check_kind(attribute: str, kind: str, decision: str | None) -> None:
    """Check that a batch decides as those before, if there were any.

    Raises:
        InputError: it does not.
    """
    if decision not in (None, kind):
        raise InputError(
            f"attribute {attribute!r} was {decision} until now, these labels are {kind}; use one attribute each"
        )


def _unpacked(what: str, values: Any) -> str:
    """What to write where a tensor is inside `values`."""
    if isinstance(values, tuple | list) and values and isinstance(values[0], Tensor):
        return f"; give its first element, {what}[0], or torch.stack({what}) of one per sample"
    return f"; give torch.tensor({what})" if isinstance(values, tuple | list) else ""


def _check_shapes(name: str, logits: Tensor, labels: Tensor, classes: int) -> None:
    if not logits.is_floating_point():
        raise InputError(f"{name}: logits must be a float tensor, got {logits.dtype}; pass the model's raw output")
    if logits.ndim != 2 or logits.shape[1] != classes:
        hint = "; the model's outputs and the classes that were given must be the same" if logits.ndim == 2 else ""
        raise InputError(f"{name}: logits must have shape (N, {classes}), got {tuple(logits.shape)}{hint}")
    if labels.ndim not in (1, 2) or labels.shape[0] != logits.shape[0] or labels.shape[1:] not in ((), (classes,)):
        raise InputError(
            f"{name}: labels must be class indices ({len(logits)},) or multi-hot ({len(logits)}, {classes}), "
            f"got shape {tuple(labels.shape)}"
        )


def _checked_labels(name: str, labels: Tensor, decision: str, classes: int) -> tuple[Tensor, bool]:
    """A copy of the labels, class indices as int32 or multi-hot ones as int8; and whether any is unknown."""
    if decision == SINGLE_LABEL:
        return labels.to(torch.int32, copy=True), _has_unknown_class(name, labels, classes)
    if labels.dtype == torch.bool:
        return labels.to(torch.int8), False
    is_positive = labels.bool()
    if torch.equal(is_positive.to(labels.dtype), labels):  # the usual case, quickly
        return is_positive.view(torch.int8), False
    odd = labels[(labels != 0) & (labels != 1) & (labels != -1)]
    if odd.numel():
        raise InputError(f"{name}: multi-hot labels must be 0, 1 or -1 (unknown), got {odd[0].item()}")
    return labels.to(torch.int8, copy=True), True


def _has_unknown_class(name: str, labels: Tensor, classes: int) -> bool:
    if labels.numel() == 0:
        return False
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"{name}: class indices must be integers, got {labels.dtype}; give labels.long()")
    low, high = (int(x) for x in torch.aminmax(labels))
    if low < -1 or high >= classes:
        unknown = "; give labels.masked_fill(labels == -100, -1)" if low == -100 else ""
        raise InputError(
            f"{name}: class indices must lie in 0..{classes - 1} (-1 = unknown), got {low}..{high}{unknown}"
        )
    return low < 0


def has_finite_sum(values: Tensor) -> bool:
    """Whether all values add up to a number, so that all are finite; a quick look before one at each."""
    return math.isfinite(values.sum(dtype=torch.promote_types(values.dtype, torch.float32)).item())
