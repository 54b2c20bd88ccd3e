"""Protobuf values of event files as records; the inverse of encoding, and of what torch and TensorFlow write."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData
from tensorboard.util import tensor_util

from tbmetrics.records import (
    DATA_PLUGIN_NAME,
    PLUGIN_NAME,
    Histogram,
    HParams,
    Image,
    PRCurve,
    Record,
    Scalar,
    SchemaError,
    Text,
    class_list_from_payload,
    decode_content,
    table_from_content,
)

TEXT_SUFFIX = "/text_summary"  # torch appends it to every text tag

SCALARS, IMAGES, HISTOGRAMS, TEXTS, PR_CURVES, HPARAMS = (
    "scalars",
    "images",
    "histograms",
    "text",
    "pr_curves",
    "hparams",
)
KINDS = frozenset({SCALARS, IMAGES, HISTOGRAMS, TEXTS, PR_CURVES, HPARAMS, PLUGIN_NAME})


def kind_of(value: Any, metadata: Any) -> str | None:
    """Which of `KINDS` a `Summary.Value` is, or None for what is not read (layouts, other plugins' tensors)."""
    field = value.WhichOneof("value")
    if field in ("simple_value", "image", "histo"):
        return {"simple_value": SCALARS, "image": IMAGES, "histo": HISTOGRAMS}[field]
    plugin = metadata.plugin_data.plugin_name if metadata is not None else ""
    if plugin == DATA_PLUGIN_NAME:
        return PLUGIN_NAME  # tables both
    return plugin if plugin in KINDS else None


def scalar(value: Any) -> float:
    """The number in a scalar value, as torch or as TensorFlow 2 writes it."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    return float(tensor_util.make_ndarray(value.tensor).reshape(-1)[0])


def decode(value: Any, metadata: Any) -> Record:
    """The record in a value of any kind but hparams.

    Raises:
        SchemaError: written by a newer schema, or not as its metadata says.
    """
    kind = kind_of(value, metadata)
    if kind == SCALARS:
        return Scalar(value.tag, scalar(value))
    if kind == IMAGES:
        return Image(value.tag, _pixels(value))
    if kind == HISTOGRAMS:
        return _histogram(value)
    array = tensor_util.make_ndarray(value.tensor)
    if kind == TEXTS:
        return Text(text_tag(value.tag), _text(array))
    if kind == PR_CURVES:
        return _pr_curve(value.tag, array, metadata)
    content = metadata.plugin_data.content
    if decode_content(value.tag, content).get("kind") == "class_list":
        return class_list_from_payload(value.tag, array.reshape(-1)[0])
    return table_from_content(value.tag, content, array)


def text_tag(tag: str) -> str:
    """`tag` without the suffix that torch appends."""
    return tag.removesuffix(TEXT_SUFFIX)


def _text(array: NDArray[Any]) -> str:
    cells = [bytes(cell).decode("utf-8", "replace") for cell in array.reshape(-1)]
    return "\n".join(cells)


def encoded_image(value: Any) -> bytes:
    """The file that an image is in the log, PNG as a rule."""
    found: bytes = value.image.encoded_image_string if value.HasField("image") else value.tensor.string_val[2]
    return found


def _pixels(value: Any) -> NDArray[np.uint8]:
    from PIL import Image as PillowImage

    with PillowImage.open(io.BytesIO(encoded_image(value))) as image:
        mode = "RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB"
        return np.asarray(image.convert(mode), dtype=np.uint8)


def _histogram(value: Any) -> Histogram:
    if value.HasField("histo"):
        h = value.histo
        limits, counts = np.array(h.bucket_limit), np.array(h.bucket)
        return Histogram(value.tag, limits, counts, h.min, h.max, h.sum, h.sum_squares)
    left, right, counts = tensor_util.make_ndarray(value.tensor).astype(np.float64).T
    middle = (left + right) / 2
    ends = (float(left[0]), float(right[-1])) if len(left) else (0.0, 0.0)
    return Histogram(value.tag, right, counts, *ends, float(middle @ counts), float(middle**2 @ counts))


def _pr_curve(tag: str, array: NDArray[Any], metadata: Any) -> PRCurve:
    if array.ndim != 2 or len(array) != 6:
        raise SchemaError(f"tag {tag!r}: a PR curve has six rows, got shape {array.shape}")
    content = PrCurvePluginData.FromString(metadata.plugin_data.content)
    count = content.num_thresholds or array.shape[1]
    tp, fp, tn, fn, precision, recall = array.astype(np.float64)
    thresholds = np.linspace(0, 1, count)[: array.shape[1]]
    title, note = metadata.display_name, metadata.summary_description
    return PRCurve(tag, thresholds, tp, fp, tn, fn, precision, recall, title, note)


def hparams(metadata: Any) -> HParams | None:
    """The hyperparameters in a session's start, or None for the other messages of the HParams tab."""
    data = HParamsPluginData.FromString(metadata.plugin_data.content)
    if data.WhichOneof("data") != "session_start_info":
        return None
    found = {name: getattr(v, v.WhichOneof("kind")) for name, v in data.session_start_info.hparams.items()}
    return HParams(found, {})


def value_at(payload: bytes, tag: str, occurrence: int) -> Any:
    """The `occurrence`-th value called `tag` in an encoded event."""
    from tensorboard.compat.proto.event_pb2 import Event

    matching = [value for value in Event.FromString(payload).summary.value if value.tag == tag]
    return matching[occurrence]
