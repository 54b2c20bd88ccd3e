"""The kinds of records: frozen, with plain Python and numpy values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Float32Array: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number, shown in Time Series; NaN means "undefined"."""

    tag: str
    value: float


@dataclass(frozen=True, slots=True)
class PRCurve:
    """A precision-recall curve at ascending thresholds in [0, 1]; every array is float64 of shape (thresholds,)."""

    tag: str
    thresholds: FloatArray
    true_positives: FloatArray
    false_positives: FloatArray
    true_negatives: FloatArray
    false_negatives: FloatArray
    precision: FloatArray
    recall: FloatArray
    display_name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram with `counts[i]` values in `(limits[i - 1], limits[i]]`; both float64 of shape (buckets,)."""

    tag: str
    limits: FloatArray
    counts: FloatArray
    minimum: float
    maximum: float
    total: float
    sum_of_squares: float


@dataclass(frozen=True, slots=True)
class Image:
    """An image, uint8 of shape (height, width, 3 or 4).

    A lossy one, of 3 channels, is written as JPEG: a quarter of the bytes of PNG, read back almost alike.
    """

    tag: str
    pixels: NDArray[np.uint8]
    is_lossy: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """Markdown for the Text tab."""

    tag: str
    markdown: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of `values`, float32 or float16 of shape (rows, columns), for the Long Tail tab.

    `kind` says what the rows are: "classes" and "curves" (rows in the order of the attribute's `ClassList`, `rows`
    empty), "groups" (`rows` is `GROUP_ROWS`), "families" (`rows` names them), "confusion" (true group × predicted
    group; `rows` and `columns` name them), "lifts" (groups), "confusions" (pairs of classes), "flow", "lift_sums" and
    "calibration" (buckets of training counts, described in `details`), "uncertainty" (buckets, then pairs of them;
    described in `details`), "class_images" (images of a sheet). Everything except `values` is written once per tag and
    must not change during a run.
    """

    tag: str
    attribute: str
    kind: str
    columns: tuple[str, ...]
    values: Float32Array  # or float16 to save space; read back as float32
    rows: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def column(self, name: str) -> Float32Array:
        """Return the column called `name`, shape (rows,)."""
        if name not in self.columns:
            raise KeyError(f"table {self.tag!r} has no column {name!r}; it has {', '.join(self.columns)}")
        return self.values[:, self.columns.index(name)]


@dataclass(frozen=True, slots=True)
class ClassList:
    """The classes of one attribute: names, training counts (-1 = unknown), groups and families, written once per run.

    Without families, `families` is empty, as in older logs. `evaluation` is the name of an evaluation beside the
    validation, such as "test", empty for the validation and None in older logs.
    """

    tag: str
    attribute: str
    names: tuple[str, ...]
    counts: IntArray
    groups: tuple[str, ...]
    rule: str
    decision: str  # "single_label" or "multi_label"
    families: tuple[str, ...] = ()
    evaluation: str | None = None


@dataclass(frozen=True, slots=True)
class SampleData:
    """What is known of each sample of a validation, compressed: its labels, or what was decided on it.

    Attributes:
        tag, attribute: where it belongs.
        kind: "labels" (written once per distinct checksum) or "decisions" (of one validation).
        decision: "single_label" or "multi_label".
        checksum: of the labels and their order; decisions belong to the labels of the same checksum.
        n_samples, n_classes: size of the validation.
        payload: zlib-compressed bytes, see `tbmetrics.records.samples`.
    """

    tag: str
    attribute: str
    kind: str
    decision: str
    checksum: str
    n_samples: int
    n_classes: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The Custom Scalars layout: {category: {chart name: chart}}."""

    categories: Mapping[str, Mapping[str, MultilineChart | MarginChart]]


@dataclass(frozen=True, slots=True)
class MultilineChart:
    """A chart with one line per tag; tags are regular expressions, as in TensorBoard."""

    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarginChart:
    """A chart of values with a band; each series is (value tag, lower tag, upper tag), matched exactly."""

    series: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class HParams:
    """Hyperparameters and final metrics of the run, for the HParams tab.

    The tab reads metrics from the run's scalars with these tags. They are not written again, since a second point at
    one step would break the margin charts of the Custom Scalars tab.
    """

    hparams: Mapping[str, bool | str | float | int]
    metrics: Mapping[str, float]


Record: TypeAlias = Scalar | PRCurve | Histogram | Image | Text | Table | ClassList | SampleData | Layout | HParams
