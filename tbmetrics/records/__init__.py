"""The one schema: what a measurement looks like between a tracker, the event file, the exporter and the plugin.

A tracker measures with torch and yields the frozen records below, which hold plain Python and numpy values
only. The same record goes to the event file, to the in-memory history, and, read back, to figures and the
TensorBoard plugin. Tags, columns and versions are spelled here and nowhere else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
PLUGIN_NAME = "longtail"
#: Of tables that are for figures and export only: no tab opens for a run that has nothing else.
DATA_PLUGIN_NAME = "tbmetrics"

FloatArray: TypeAlias = NDArray[np.float64]
Float32Array: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]

#: Columns of the per-class table (`Table` of kind "classes"), one row per class in the order of the `ClassList`.
#: Counts are exact up to 2**24 in float32. Undefined values are NaN.
CLASS_COLUMNS = (
    "support",  # positives in the validation set
    "true_positives",
    "false_positives",
    "false_negatives",
    "precision",
    "recall",
    "f1",
    "ap",  # average precision, scikit-learn's definition
    "precision_lower",  # Wilson interval, 95 %
    "precision_upper",
    "recall_lower",  # Wilson interval, 95 %
    "recall_upper",
    "ap_lower",  # logit-binomial interval, 95 %
    "ap_upper",
    "threshold",  # the decision threshold in use, as probability; NaN where the rule is argmax
    "best_threshold",  # the threshold, as probability, that maximises this class's F1
    "best_f1",  # F1 at that threshold
)

#: Columns of the "curves" table, one row per class: precision where recall first reaches each level, as float16.
RECALL_LEVELS = tuple(level / 20 for level in range(1, 21))
CURVE_COLUMNS = tuple(f"precision_at_recall_{level:.2f}" for level in RECALL_LEVELS)

#: Columns of the "confusions" table, one row per pair of classes confused, by count descending; NaN = row not needed.
PAIR_COLUMNS = ("true_class", "predicted_class", "count")
#: Stands for a predicted class where nothing was predicted.
NO_CLASS = -1

#: Equal-width bins of the confidence behind every calibration error.
CALIBRATION_BINS = 15
#: Columns of the "calibration" table, one row per bucket of training counts: sums over the examples in each bin.
CALIBRATION_COLUMNS = tuple(
    f"{what}_{bin_}" for what in ("n", "confidence", "right") for bin_ in range(CALIBRATION_BINS)
)

#: Metrics whose macro mean over a group's classes is recorded, with `_lower`, `_upper` and `_n_classes` beside each.
MEAN_METRICS = ("precision", "recall", "f1", "ap")

#: Metrics of a group that are one number and no mean of a class column.
GROUP_METRICS = (
    "recall_geometric_mean",
    "recall_harmonic_mean",
    "worst_f1",
    "worst_recall",
    "accuracy",  # single-label: share of the group's samples predicted right; NaN for multi-label
    "balanced_accuracy",  # single-label, group "all": mean recall of the classes with samples; NaN elsewhere
    "ece",  # expected calibration error, 15 equal-width bins (Guo et al., 2017)
)

#: Counts beside them.
GROUP_COUNTS = (
    "n_classes",  # classes in the group
    "n_samples",  # single-label: samples of the group's classes; multi-label: rows
    "n_skipped",  # rows left out for non-finite logits
    "scores_exact",  # 1 where AP and curves come from all scores, 0 where from bounded-memory bins
)

#: Rows of the "groups" table, in this order. "gap" is head minus tail, metric by metric.
HEAD, MEDIUM, TAIL, UNKNOWN, ALL, GAP = "head", "medium", "tail", "unknown", "all", "gap"
GROUPS = (HEAD, MEDIUM, TAIL)
GROUP_ROWS = (HEAD, MEDIUM, TAIL, UNKNOWN, ALL, GAP)


def _group_columns() -> tuple[str, ...]:
    means = [f"{metric}{suffix}" for metric in MEAN_METRICS for suffix in ("", "_lower", "_upper", "_n_classes")]
    return (*means, *GROUP_METRICS, *GROUP_COUNTS)


#: Columns of the "groups" table.
GROUP_COLUMNS = _group_columns()


#: Columns of the "parameters" table, one row per parameter of the model; one table a sampled optimizer step.
PARAMETER_COLUMNS = (
    "gradient_norm",  # Euclidean norm of the gradient that the optimizer stepped with
    "weight_norm",  # Euclidean norm of the parameter before the step
    "update_ratio",  # norm of what the step changed, divided by `weight_norm`
    "gradient_cosine",  # cosine between this gradient and the one at the detailed sample before
)

#: Columns of the "activations" table, one row per watched module; shares lie in 0..1.
ACTIVATION_COLUMNS = (
    "zero_share",  # values that are exactly zero
    "dead_share",  # units (channels) that are zero for the whole batch
    "saturated_share",  # values within 1 % of a bound of sigmoid, tanh and their like; NaN for other modules
    "nonfinite_share",  # values that are NaN or infinite
)


#: Columns of the "diagnostics" table, one row per class in the order of the `ClassList`: why a class does as it does.
#: Those of training cover the steps since the validation before. Undefined and unknown values are NaN.
DIAGNOSTIC_COLUMNS = (
    "support",  # positives in the validation set
    "recall",  # of the model as trained
    "weight_norm",  # Euclidean norm of the class's row of the classifier
    "bias",
    "nearest_weight_cosine",  # largest cosine between the class's row and another
    "nearest_weight_class",  # index of that class
    "own_logit",  # mean logit of the class on its own validation samples
    "other_logit",  # … and on those of all other classes
    "samples_seen",  # training samples (positives) since the session began
    "training_loss",  # mean loss of its training samples
    "training_accuracy",  # share of its training samples recognised in their batch
    "positive_gradient",  # sum of |gradient| on the class's logit over its own training samples
    "negative_gradient",  # … and over all others
    "gradient_ratio",  # the first divided by the second
    "half_recall_step",  # optimizer step of the first validation with half of the latest recall
    "forgetting_events",  # a validation sample recognised once and missed in the next validation, mean a sample
    "nc1",  # variance within the class divided by the variance between class means, of the classifier's input
    "mean_norm",  # distance of the class's mean from the mean of all class means
    "nearest_mean_cosine",  # largest cosine between the class's centred mean and another
    "nearest_mean_class",  # index of the class whose mean is nearest
    "separation",  # distance to the nearest mean in standard deviations along the line that joins them
    "nearest_head_class",  # index of the head class whose mean is nearest
    "head_separation",  # the same distance to that class
    "suspect_share",  # share of its validation samples that are confidently taken for another class
)

#: What could be done without training again, in the order of the "remedies" table.
LOGIT_ADJUSTMENT, TAU_NORMALIZATION, CLASS_THRESHOLDS = "logit_adjustment", "tau_normalization", "class_thresholds"
REMEDIES = (LOGIT_ADJUSTMENT, TAU_NORMALIZATION, CLASS_THRESHOLDS)


def _remedy_columns() -> tuple[str, ...]:
    groups = (HEAD, MEDIUM, TAIL, ALL)
    with_interval = [f"{g}_{m}{end}" for m in ("recall", "f1") for g in groups for end in ("", "_lower", "_upper")]
    gains = [f"{g}_gain{end}" for g in (HEAD, TAIL) for end in ("", "_lower", "_upper")]
    return ("tau", *with_interval, *(f"{g}_precision" for g in groups), "balanced_accuracy", "accuracy", *gains)


#: Columns of the "remedies" table. `…_gain` is a group's recall less that of the model as trained, with its paired
#: interval. "balanced_accuracy" and "accuracy" are NaN for multi-label attributes. Rows are "none" (as trained),
#: "{remedy}/{tau}" (that one tau) and "{remedy}/best" (cross-fitted; `tau` is then the choice on all samples).
REMEDY_COLUMNS = _remedy_columns()

#: Columns of the "findings" table, one row per rule of the verdict.
FINDING_COLUMNS = (
    "severity",  # 0 not found, 1 noted, 2 strong; NaN = could not be told
    "value",  # the number that the rule judges
    "noted_at",  # where the rule begins to find
    "strong_at",
    "head",  # the number of the head classes, where the rule compares
    "tail",  # … and of the tail classes
    "n_classes",  # tail classes (or all) that the number is of
)


class SchemaError(ValueError):
    """A record was written by a newer or foreign schema; the message names it and the version known here."""


# ------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number. Shown in Time Series; NaN is written as NaN and means "undefined here"."""

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
    """A histogram: `counts[i]` values lie in `(limits[i - 1], limits[i]]`; both float64 of shape (buckets,)."""

    tag: str
    limits: FloatArray
    counts: FloatArray
    minimum: float
    maximum: float
    total: float
    sum_of_squares: float


@dataclass(frozen=True, slots=True)
class Image:
    """An image: uint8 of shape (height, width, 3 or 4)."""

    tag: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Text:
    """Markdown for the Text tab."""

    tag: str
    markdown: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table `values` of shape (rows, columns), float32 (float16 where that is enough), for the Long Tail tab.

    `kind` says what its rows are: "classes" and "curves" (rows in the order of the attribute's `ClassList`, `rows`
    empty), "groups" (`rows` is `GROUP_ROWS`), "confusion" (true group × predicted group; `rows` and `columns` name
    them), "confusions" (pairs of classes), "flow" and "calibration" (buckets of training counts, described in
    `details`). Everything but `values` is written once per tag and must not change during a run.
    """

    tag: str
    attribute: str
    kind: str
    columns: tuple[str, ...]
    values: Float32Array  # or float16, where written with less precision; read back as float32
    rows: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def column(self, name: str) -> Float32Array:
        """The column called `name`, shape (rows,)."""
        if name not in self.columns:
            raise KeyError(f"table {self.tag!r} has no column {name!r}; it has {', '.join(self.columns)}")
        return self.values[:, self.columns.index(name)]


@dataclass(frozen=True, slots=True)
class ClassList:
    """The classes of one attribute: names, training counts (-1 = unknown) and groups, written once per run."""

    tag: str
    attribute: str
    names: tuple[str, ...]
    counts: IntArray
    groups: tuple[str, ...]
    rule: str
    decision: str  # "single_label" or "multi_label"


@dataclass(frozen=True, slots=True)
class Layout:
    """The Custom Scalars layout: {category: {chart name: chart}}."""

    categories: Mapping[str, Mapping[str, MultilineChart | MarginChart]]


@dataclass(frozen=True, slots=True)
class MultilineChart:
    """A chart with one line per tag; the tags are regular expressions, as TensorBoard reads them."""

    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarginChart:
    """A chart of values with a band; each series is (value tag, lower tag, upper tag), exact tags."""

    series: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class HParams:
    """Hyperparameters and final metrics of the run, for the HParams tab.

    The tab takes the values of metrics from the run's scalars of these tags; a second point at one step would break
    the margin charts of the Custom Scalars tab, so they are not written again.
    """

    hparams: Mapping[str, bool | str | float | int]
    metrics: Mapping[str, float]


Record: TypeAlias = Scalar | PRCurve | Histogram | Image | Text | Table | ClassList | Layout | HParams


# ---------------------------------------------------------------------------------------------------- tags


_EMPTY = "%-"  # stands for a name without characters; no other name is encoded so


def tag_part(name: str) -> str:
    """`name` made safe as one segment of a tag: '/', '%', control characters and edge spaces are percent-encoded."""
    encoded = "".join(quote(c, safe="") if c in "/%" or not c.isprintable() else c for c in name)
    if encoded != encoded.strip() or encoded in {"", ".", ".."}:
        encoded = "".join(f"%{ord(c):02X}" if c in " ." else c for c in encoded) or _EMPTY
    return encoded


def untag_part(part: str) -> str:
    """The name that `tag_part` encoded."""
    return "" if part == _EMPTY else unquote(part)


def scalar_tag(attribute: str, metric: str, group: str) -> str:
    """Tag of a group metric, e.g. `class_performance/digit/f1/tail`."""
    return f"class_performance/{tag_part(attribute)}/{metric}/{group}"


def pr_curve_tag(attribute: str, group: str) -> str:
    """Tag of a group's mean PR curve, e.g. `class_performance/digit/pr/tail`."""
    return f"class_performance/{tag_part(attribute)}/pr/{group}"


def class_pr_curve_tag(attribute: str, class_name: str) -> str:
    """Tag of one chosen class's PR curve, e.g. `class_performance/digit/pr/class/7`."""
    return f"class_performance/{tag_part(attribute)}/pr/class/{tag_part(class_name)}"


def class_table_tag(attribute: str) -> str:
    """Tag of the per-class table, e.g. `longtail/digit`."""
    return f"longtail/{tag_part(attribute)}"


def class_list_tag(attribute: str) -> str:
    """Tag of the class list, e.g. `longtail/digit/classes`."""
    return f"longtail/{tag_part(attribute)}/classes"


def group_table_tag(attribute: str) -> str:
    """Tag of the table of group metrics, e.g. `longtail/digit/groups`."""
    return f"longtail/{tag_part(attribute)}/groups"


def confusion_tag(attribute: str) -> str:
    """Tag of the group→group confusion, e.g. `longtail/digit/confusion`."""
    return f"longtail/{tag_part(attribute)}/confusion"


def curves_tag(attribute: str) -> str:
    """Tag of every class's precision-recall curve, e.g. `longtail/digit/curves`."""
    return f"longtail/{tag_part(attribute)}/curves"


def confusions_tag(attribute: str) -> str:
    """Tag of the pairs of classes confused, e.g. `longtail/digit/confusions`."""
    return f"longtail/{tag_part(attribute)}/confusions"


def flow_tag(attribute: str) -> str:
    """Tag of the confusion between buckets of training counts, e.g. `longtail/digit/flow`."""
    return f"longtail/{tag_part(attribute)}/flow"


def calibration_tag(attribute: str) -> str:
    """Tag of the calibration by bucket of training counts, e.g. `longtail/digit/calibration`."""
    return f"longtail/{tag_part(attribute)}/calibration"


def diagnostics_tag(attribute: str) -> str:
    """Tag of the per-class diagnostics, e.g. `longtail/digit/diagnostics`."""
    return f"longtail/{tag_part(attribute)}/diagnostics"


def remedies_tag(attribute: str) -> str:
    """Tag of the table of remedies, e.g. `longtail/digit/remedies`."""
    return f"longtail/{tag_part(attribute)}/remedies"


def findings_table_tag(attribute: str) -> str:
    """Tag of the verdict as a table, e.g. `longtail/digit/findings`."""
    return f"longtail/{tag_part(attribute)}/findings"


def findings_tag(attribute: str) -> str:
    """Tag of the verdict in words, e.g. `class_performance/digit/findings`."""
    return f"class_performance/{tag_part(attribute)}/findings"


def gallery_tag(attribute: str, kind: str, group: str) -> str:
    """Tag of a contact sheet, e.g. `class_performance/digit/gallery/confident_mistakes/tail`."""
    return f"class_performance/{tag_part(attribute)}/{GALLERY}/{kind}/{group}"


#: The segment that marks the tags of contact sheets.
GALLERY = "gallery"
#: What contact sheets show.
MISTAKES, HARDEST = GALLERY_KINDS = "confident_mistakes", "hardest_correct"

#: The optimizer steps done at the end of each epoch; joins the two kinds of step.
OPTIMIZER_STEP_TAG = "tbmetrics/optimizer_step"

#: What the tags of the Long Tail tab begin with.
TAB_PREFIX = "longtail/"

#: What every tag of time, memory and throughput begins with.
RESOURCES = "resource_usage"

#: What every tag of attention's images begins with.
ATTENTION = "attention"
COLLAPSED_HEADS_TAG = f"{ATTENTION}/collapsed_heads"

#: What every tag of gradients, weights and health begins with.
DYNAMICS = "training_dynamics"
#: What can be measured of a run, each a folder of its export and the beginning of its tags.
AREAS = ("class_performance", DYNAMICS, RESOURCES, ATTENTION)

PARAMETERS_TAG = f"{DYNAMICS}/parameters"
ACTIVATIONS_TAG = f"{DYNAMICS}/activations"


def dynamics_tag(quantity: str, of: str = "") -> str:
    """Tag of a scalar, e.g. `training_dynamics/gradient_norm` (of all parameters) or `…/gradient_norm/head.weight`."""
    return f"{DYNAMICS}/{quantity}/{tag_part(of)}" if of else f"{DYNAMICS}/{quantity}"


def health_tag(kind: str) -> str:
    """Tag of the text about one kind of trouble, e.g. `training_dynamics/health/vanishing_gradients`."""
    return f"{DYNAMICS}/health/{kind}"


def histogram_tag(of: str, name: str) -> str:
    """Tag of a histogram of "gradients", "weights" or "activations", e.g. `gradients/head.weight`."""
    return f"{of}/{tag_part(name)}"


def plugin_of(tag: str) -> str:
    """The TensorBoard plugin that a table's tag belongs to: the tab's, or one that shows nothing."""
    return PLUGIN_NAME if tag.startswith(TAB_PREFIX) else DATA_PLUGIN_NAME


# -------------------------------------------------------------------------------------- encoding for `longtail`


def table_content(table: Table) -> bytes:
    """The metadata content of a table's tag: JSON with schema version, kind, attribute, columns, rows, details."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": table.kind,
        "attribute": table.attribute,
        "columns": list(table.columns),
        "rows": list(table.rows),
        "details": dict(table.details),
    }
    return _json_bytes(content)


def table_from_content(tag: str, content: bytes, values: NDArray[Any]) -> Table:
    """The inverse of `table_content`, with the tensor's `values` of shape (rows, columns).

    Raises:
        SchemaError: the content is no table of ours, or of a newer schema.
    """
    fields = decode_content(tag, content)
    columns = tuple(_required(tag, fields, "columns"))
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise SchemaError(f"tag {tag!r}: tensor of shape {values.shape} does not fit {len(columns)} columns")
    if values.dtype.kind not in "biuf":
        raise SchemaError(f"tag {tag!r}: a table holds numbers, got {values.dtype}")
    with np.errstate(over="ignore"):
        narrow = np.asarray(values, dtype=np.float32)
    return Table(
        tag=tag,
        attribute=_required(tag, fields, "attribute"),
        kind=_required(tag, fields, "kind"),
        columns=columns,
        values=narrow,
        rows=tuple(_required(tag, fields, "rows")),
        details=_required(tag, fields, "details"),
    )


def class_list_content(classes: ClassList) -> bytes:
    """The metadata content of a class list's tag (the names themselves travel in the tensor)."""
    content = {"schema_version": SCHEMA_VERSION, "kind": "class_list", "attribute": classes.attribute}
    return _json_bytes(content)


def class_list_payload(classes: ClassList) -> bytes:
    """The class list as JSON bytes: the only element of its string tensor."""
    payload = {
        "schema_version": SCHEMA_VERSION,
        "attribute": classes.attribute,
        "names": list(classes.names),
        "counts": [int(count) for count in classes.counts],
        "groups": list(classes.groups),
        "rule": classes.rule,
        "decision": classes.decision,
    }
    return _json_bytes(payload)


def class_list_from_payload(tag: str, payload: bytes) -> ClassList:
    """The inverse of `class_list_payload`.

    Raises:
        SchemaError: the payload is no class list of ours, or of a newer schema.
    """
    fields = decode_content(tag, payload)
    names, counts, groups = (_required(tag, fields, name) for name in ("names", "counts", "groups"))
    if not len(names) == len(counts) == len(groups):
        raise SchemaError(f"tag {tag!r}: {len(names)} names, {len(counts)} counts and {len(groups)} groups")
    return ClassList(
        tag=tag,
        attribute=_required(tag, fields, "attribute"),
        names=tuple(names),
        counts=np.array(counts, dtype=np.int64),
        groups=tuple(groups),
        rule=_required(tag, fields, "rule"),
        decision=_required(tag, fields, "decision"),
    )


def decode_content(tag: str, content: bytes) -> dict[str, Any]:
    """The JSON object in a metadata content, its schema version and the types of what it holds checked.

    Raises:
        SchemaError: no JSON object, no version, a version newer than `SCHEMA_VERSION`, or a field of another type.
    """
    try:
        fields: dict[str, Any] = _DECODER.decode(bytes(content).decode())
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"tag {tag!r}: its metadata is not tbmetrics' JSON") from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if not isinstance(version, int):
        raise SchemaError(f"tag {tag!r}: its metadata names no schema version")
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"tag {tag!r} was written with schema {version}; this tbmetrics reads up to {SCHEMA_VERSION}; "
            "upgrade tbmetrics to read it"
        )
    for name, (expected, holds) in _FIELDS.items():
        if name in fields and not holds(fields[name]):
            raise SchemaError(f"tag {tag!r}: its {name} must be {expected}")
    return fields


def _required(tag: str, fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise SchemaError(f"tag {tag!r} lacks its {name}")
    return fields[name]


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not finite")
    return value


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _is_unicode(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value) and _is_unicode("".join(value))


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which JSON lets through and no file or terminal takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and -(2**63) <= v < 2**63 for v in value)


_TEXT, _TEXTS = ("a text", _is_text), ("a list of texts", _is_texts)
#: What the fields of our JSON hold, in words and as a test: a log may be damaged, or written to do harm.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("attribute", "kind", "rule", "decision"), _TEXT),
    **dict.fromkeys(("columns", "rows", "names", "groups"), _TEXTS),
    "counts": ("a list of whole numbers", _is_counts),
    "details": ("an object", lambda value: isinstance(value, dict)),
}


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()
