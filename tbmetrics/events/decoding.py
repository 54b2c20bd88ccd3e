"""Protobuf values of event files to records: our own, and those that torch and TensorFlow write."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData

from tbmetrics.records import (
    DATA_PLUGIN_NAME,
    DECISIONS,
    LABELS,
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
    sample_data_from_payload,
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
#: Elements that a tensor may have beyond its encoded bytes: one value may be repeated for all of them.
MOST_REPEATED = 2**24
#: Largest image to decode; 200 MB as RGB.
MOST_PIXELS = 2**26
#: Formats that Pillow may decode: others start external programs.
IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
KINDS = frozenset({SCALARS, IMAGES, HISTOGRAMS, TEXTS, PR_CURVES, HPARAMS, PLUGIN_NAME})


def kind_of(value: Any, metadata: Any) -> str | None:
    """Which of `KINDS` a `Summary.Value` is, or None if it is not read (layouts, other plugins' tensors)."""
    field = value.WhichOneof("value")
    if field in ("simple_value", "image", "histo"):
        return {"simple_value": SCALARS, "image": IMAGES, "histo": HISTOGRAMS}[field]
    plugin = metadata.plugin_data.plugin_name if metadata is not None else ""
    if plugin == DATA_PLUGIN_NAME:
        return PLUGIN_NAME  # both plugins hold tables
    return plugin if plugin in KINDS else None


def scalar(value: Any) -> float:
    """The number in a scalar value, as torch or as TensorFlow 2 writes it.

    Raises:
        SchemaError: there is none.
    """
    if value.HasField("simple_value"):
        return float(value.simple_value)
    try:
        return float(_array(value.tensor).reshape(-1)[0])
    except Exception as error:  # numpy's and TensorBoard's, of all kinds
        raise SchemaError(f"tag {value.tag!r}: no number in it ({error})") from error


def decode(value: Any, metadata: Any) -> Record:
    """The record in a value of any kind but hparams.

    Raises:
        SchemaError: written by a newer schema, or not as its metadata says.
    """
    try:
        return _decoded(value, metadata)
    except SchemaError:
        raise
    except Exception as error:  # protobuf, numpy and Pillow meet damage with exceptions of all kinds
        raise SchemaError(f"tag {value.tag!r}: not as its metadata says ({error})") from error


def _decoded(value: Any, metadata: Any) -> Record:
    kind = kind_of(value, metadata)
    if kind == SCALARS:
        return Scalar(value.tag, scalar(value))
    if kind == IMAGES:
        return Image(value.tag, _pixels(value))
    if kind == HISTOGRAMS:
        return _histogram(value)
    array = _array(value.tensor)
    if kind == TEXTS:
        return Text(text_tag(value.tag), _text(array))
    if kind == PR_CURVES:
        return _pr_curve(value.tag, array, metadata)
    content = metadata.plugin_data.content
    table_kind = decode_content(value.tag, content).get("kind")
    if table_kind == "class_list":
        return class_list_from_payload(value.tag, array.reshape(-1)[0])
    if table_kind in (LABELS, DECISIONS):
        return sample_data_from_payload(value.tag, array.reshape(-1)[0])
    return table_from_content(value.tag, content, array)


def _array(tensor: Any) -> NDArray[Any]:
    """The array in a tensor message.

    Raises:
        SchemaError: a few bytes claim to be a large array.
    """
    elements = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    if elements > max(MOST_REPEATED, tensor.ByteSize()):
        raise SchemaError(f"a tensor of {tensor.ByteSize()} bytes claims to have {elements} elements")
    from tensorboard.util import tensor_util  # loads much that a log that is only written does not need

    array: NDArray[Any] = tensor_util.make_ndarray(tensor)
    return array


def text_tag(tag: str) -> str:
    """`tag` without the suffix that torch appends."""
    return tag.removesuffix(TEXT_SUFFIX)


def _text(array: NDArray[Any]) -> str:
    cells = [bytes(cell).decode("utf-8", "replace") for cell in array.reshape(-1)]
    return "\n".join(cells)


def encoded_image(value: Any) -> bytes:
    """The encoded image in the log, usually PNG."""
    content: bytes = value.image.encoded_image_string if value.HasField("image") else value.tensor.string_val[2]
    return content


def _pixels(value: Any) -> NDArray[np.uint8]:
    from PIL import Image as PillowImage
    from PIL import UnidentifiedImageError

    try:
        opened = PillowImage.open(io.BytesIO(encoded_image(value)), formats=IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        raise SchemaError(f"tag {value.tag!r}: no image in {', '.join(IMAGE_FORMATS)}") from error
    with opened as image:
        if image.width * image.height > MOST_PIXELS:
            raise SchemaError(f"tag {value.tag!r}: an image of {image.width} × {image.height} pixels is not decoded")
        mode = "RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB"
        return np.asarray(image.convert(mode), dtype=np.uint8)


def _histogram(value: Any) -> Histogram:
    if value.HasField("histo"):
        h = value.histo
        limits, counts = np.array(h.bucket_limit), np.array(h.bucket)
        return Histogram(value.tag, limits, counts, h.min, h.max, h.sum, h.sum_squares)
    left, right, counts = _array(value.tensor).astype(np.float64).T
    ends = (float(left[0]), float(right[-1])) if len(left) else (0.0, 0.0)
    with np.errstate(all="ignore"):
        middle = (left + right) / 2
        return Histogram(value.tag, right, counts, *ends, float(middle @ counts), float(middle**2 @ counts))


def _pr_curve(tag: str, array: NDArray[Any], metadata: Any) -> PRCurve:
    if array.ndim != 2 or len(array) != 6:
        raise SchemaError(f"tag {tag!r}: a PR curve has six rows, got shape {array.shape}")
    content = PrCurvePluginData.FromString(metadata.plugin_data.content)
    count = content.num_thresholds or array.shape[1]
    if count < array.shape[1]:
        raise SchemaError(f"tag {tag!r}: a PR curve of {count} thresholds has {array.shape[1]} columns")
    tp, fp, tn, fn, precision, recall = array.astype(np.float64)
    thresholds = np.arange(array.shape[1]) / max(count - 1, 1)
    title, note = metadata.display_name, metadata.summary_description
    return PRCurve(tag, thresholds, tp, fp, tn, fn, precision, recall, title, note)


_PLAIN = ("number_value", "string_value", "bool_value")


def hparams(metadata: Any) -> HParams | None:
    """The hyperparameters in a session's start, or None for the other messages of the HParams tab.

    Raises:
        SchemaError: not what the HParams tab reads.
    """
    try:
        data = HParamsPluginData.FromString(metadata.plugin_data.content)
    except Exception as error:  # protobuf's DecodeError has no public base but Exception
        raise SchemaError(f"the hyperparameters cannot be read ({error})") from error
    if data.WhichOneof("data") != "session_start_info":
        return None
    kinds = {name: (v, v.WhichOneof("kind")) for name, v in sorted(data.session_start_info.hparams.items())}
    return HParams({name: getattr(v, kind) for name, (v, kind) in kinds.items() if kind in _PLAIN}, {})


def value_at(payload: bytes, tag: str, occurrence: int) -> Any:
    """The `occurrence`-th value called `tag` in an encoded event."""
    from tensorboard.compat.proto.event_pb2 import Event

    matching = [value for value in Event.FromString(payload).summary.value if value.tag == tag]
    return matching[occurrence]
