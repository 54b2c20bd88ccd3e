"""Classes and their training counts from what people have: JSON, CSV, training labels, or a folder of images."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.groups import DEFAULT_ATTRIBUTE, ClassGroups
from tbmetrics.classes.rules import DEFAULT_RULE
from tbmetrics.errors import InputError
from tbmetrics.predictions.files import UNNAMED, Rows, column_name, joined_column, read_rows

LABEL_NAMES = ("labels", "label", "targets", "target", "y_true", "y")
_NAME_COLUMNS = ("name", "class", "class_name", "category", "label")
_COUNT_COLUMNS = ("count", "counts", "training_count", "n", "images", "frequency")
#: What torchvision's `ImageFolder` takes for images.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def classes_of(
    counts: Any, *, num_classes: int | None, attribute: str | None = None, rule: str = DEFAULT_RULE
) -> AttributeClasses:
    """The classes of one attribute.

    Args:
        counts: `ClassGroups`; counts as for `ClassGroups.from_counts`; or a path: JSON of counts, a CSV with a column
            of names and one of counts, training labels in any format of `read_rows`, or a folder with one folder of
            images per class (classes in alphabetical order, as for `ImageFolder`).
        num_classes: as the predictions have it, where labels may lack the last classes; None = unknown.
        attribute: which one, if the counts are of several; else its name (default "class").
        rule: of the groups, unless `ClassGroups` were given.

    Raises:
        InputError: they cannot be read, or do not fit the predictions.
    """
    try:
        groups = _groups(counts, num_classes, rule)
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(str(error)) from error
    classes = _chosen(groups, attribute)
    if num_classes is not None and len(classes) != num_classes:
        raise InputError(
            f"counts are of {len(classes)} classes, the predictions of {num_classes}; give one count a class"
        )
    return classes


def _chosen(groups: ClassGroups, attribute: str | None) -> AttributeClasses:
    if attribute is None and len(groups) > 1:
        raise InputError(f"counts are of several attributes; choose one of {', '.join(map(repr, groups))}")
    if attribute is None:
        return next(iter(groups.values()))
    if attribute in groups:
        return groups[attribute]
    if [*groups] != [DEFAULT_ATTRIBUTE]:
        raise InputError(f"attribute {attribute!r} has no counts; there are {', '.join(map(repr, groups))}")
    return replace(groups[DEFAULT_ATTRIBUTE], attribute=attribute)


def _groups(counts: Any, num_classes: int | None, rule: str) -> ClassGroups:
    if isinstance(counts, ClassGroups):
        return counts
    if not isinstance(counts, str | os.PathLike):
        return ClassGroups.from_counts(counts, rule=rule)
    path = Path(counts)
    if path.is_dir():
        return ClassGroups.from_counts(_images_by_folder(path), rule=rule)
    if path.suffix.lower() == ".json":
        return ClassGroups.from_counts(_from_json(path), rule=rule)
    return _from_rows(path, list(read_rows(path)), num_classes, rule)


def _from_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); expected {{class name: count}}") from error


def _images_by_folder(path: Path) -> dict[str, int]:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    counts = {folder.name: sum(map(_is_image, folder.rglob("*"))) for folder in folders}
    if not any(counts.values()):
        raise InputError(f"{path}: no images in its folders; expected one folder of images per class")
    return counts


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _from_rows(path: Path, parts: list[Rows], num_classes: int | None, rule: str) -> ClassGroups:
    columns: Rows = parts[0] if parts else {}
    count_column = column_name(columns, _COUNT_COLUMNS)
    if count_column is not None:
        counts = [int(count) for count in joined_column(parts, count_column)]
        name_column = column_name(columns, _NAME_COLUMNS)
        names = map(str, joined_column(parts, name_column) if name_column is not None else range(len(counts)))
        return ClassGroups.from_counts(dict(zip(names, counts, strict=True)), rule=rule)
    label_column = next(iter(columns)) if len(columns) == 1 else column_name(columns, (*LABEL_NAMES, UNNAMED))
    if label_column is None:
        raise InputError(
            f"{path}: has {', '.join(map(repr, columns)) or 'nothing'}; expected a column of counts "
            f"({', '.join(_COUNT_COLUMNS)}) and one of names, or training labels ({', '.join(LABEL_NAMES)})"
        )
    return _from_labels(joined_column(parts, label_column), num_classes, rule)


def _from_labels(labels: Any, num_classes: int | None, rule: str) -> ClassGroups:
    array = np.asarray(labels)
    if array.dtype.kind in "UO":
        if not all(str(label).lstrip("-").isdigit() for label in array.flat):
            return ClassGroups.from_counts(dict(sorted(Counter(map(str, array.tolist())).items())), rule=rule)
        array = array.astype(np.int64)
    return ClassGroups.from_labels(array, num_classes=num_classes, rule=rule)
