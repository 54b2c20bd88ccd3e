"""Records to the protobuf values of TensorBoard's event files; runs in the writer's thread."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tensorboard.compat.proto.histogram_pb2 import HistogramProto
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_HALF, DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams_summary
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

from tbmetrics.records import (
    PACKED_FROM,
    PLUGIN_NAME,
    ClassList,
    Histogram,
    HParams,
    Image,
    Layout,
    MarginChart,
    MultilineChart,
    PRCurve,
    Record,
    SampleData,
    Scalar,
    Table,
    Text,
    class_list_content,
    class_list_payload,
    packed_values,
    plugin_of,
    sample_content,
    sample_payload,
    table_content,
    visible,
)

#: Of lossy images.
_JPEG_QUALITY = 90
LAYOUT_TAG = "custom_scalars__config__"


def values(record: Record) -> Iterator[Any]:
    """The `Summary.Value` messages of one record."""
    if isinstance(record, Scalar):
        yield Summary.Value(tag=record.tag, simple_value=record.value)
    elif isinstance(record, HParams):
        yield from _hparams(record)
    else:
        yield _ENCODERS[type(record)](record)


def summary(records: Iterable[Record]) -> Any:
    """The records as one `Summary`."""
    return Summary(value=[value for record in records for value in values(record)])


def _pr_curve(record: PRCurve) -> Any:
    rows = (
        record.true_positives,
        record.false_positives,
        record.true_negatives,
        record.false_negatives,
        record.precision,
        record.recall,
    )
    content = PrCurvePluginData(version=0, num_thresholds=len(record.thresholds)).SerializeToString()
    metadata = _metadata("pr_curves", content, record.display_name, record.description)
    return Summary.Value(tag=record.tag, tensor=_float_tensor(np.stack(rows)), metadata=metadata)


def _histogram(record: Histogram) -> Any:
    with np.errstate(all="ignore"):
        number = float(record.counts.sum())
    histo = HistogramProto(
        min=record.minimum,
        max=record.maximum,
        num=number,
        sum=record.total,
        sum_squares=record.sum_of_squares,
        bucket_limit=record.limits.tolist(),
        bucket=record.counts.tolist(),
    )
    return Summary.Value(tag=record.tag, histo=histo)


def _image(record: Image) -> Any:
    height, width, channels = record.pixels.shape
    from PIL import Image as PillowImage  # not before the first image: loading it takes 30 ms

    encoded, opened = io.BytesIO(), PillowImage.fromarray(record.pixels)
    if record.is_lossy:
        opened.save(encoded, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        opened.save(encoded, format="PNG")
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encoded.getvalue())
    return Summary.Value(tag=record.tag, image=image)


def _text(record: Text) -> Any:
    metadata = _metadata("text", TextPluginData(version=0).SerializeToString())
    return Summary.Value(tag=record.tag, tensor=_string_tensor(visible(record.markdown).encode()), metadata=metadata)


def _table(record: Table) -> Any:
    metadata = _metadata(plugin_of(record.tag), table_content(record), data_class=DATA_CLASS_TENSOR)
    is_packed = record.values.nbytes >= PACKED_FROM
    tensor = _string_tensor(packed_values(record.values)) if is_packed else _float_tensor(record.values)
    return Summary.Value(tag=record.tag, tensor=tensor, metadata=metadata)


def _class_list(record: ClassList) -> Any:
    metadata = _metadata(PLUGIN_NAME, class_list_content(record), data_class=DATA_CLASS_TENSOR)
    return Summary.Value(tag=record.tag, tensor=_string_tensor(class_list_payload(record)), metadata=metadata)


def _sample_data(record: SampleData) -> Any:
    metadata = _metadata(PLUGIN_NAME, sample_content(record), data_class=DATA_CLASS_TENSOR)
    return Summary.Value(tag=record.tag, tensor=_string_tensor(sample_payload(record)), metadata=metadata)


def _layout(record: Layout) -> Any:
    categories = [
        layout_pb2.Category(title=title, chart=[_chart(name, chart) for name, chart in charts.items()])
        for title, charts in record.categories.items()
    ]
    content = layout_pb2.Layout(category=categories).SerializeToString()
    return Summary.Value(tag=LAYOUT_TAG, tensor=_string_tensor(content, ()), metadata=_metadata("custom_scalars", b""))


def _chart(title: str, chart: MultilineChart | MarginChart) -> Any:
    if isinstance(chart, MultilineChart):
        return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=chart.tags))
    series = [layout_pb2.MarginChartContent.Series(value=v, lower=lo, upper=up) for v, lo, up in chart.series]
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=series))


def _hparams(record: HParams) -> Iterator[Any]:
    infos = [hparams_summary.Metric(tag) for tag in record.metrics]
    configured = hparams_summary.hparams_config_pb([hparams_summary.HParam(name) for name in record.hparams], infos)
    yield from configured.value
    yield from hparams_summary.hparams_pb(dict(record.hparams)).value


_ENCODERS: dict[type, Any] = {
    PRCurve: _pr_curve,
    Histogram: _histogram,
    Image: _image,
    Text: _text,
    Table: _table,
    ClassList: _class_list,
    SampleData: _sample_data,
    Layout: _layout,
}


def _metadata(plugin: str, content: bytes, title: str = "", description: str = "", data_class: int = 0) -> Any:
    return SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=content),
        display_name=title,
        summary_description=description,
        data_class=data_class,
    )


def _float_tensor(array: np.ndarray[Any, Any]) -> Any:
    # Raw bytes: a repeated float_val is 10 to 30 times slower to build and read.
    half = array.dtype == np.float16
    content = np.ascontiguousarray(array, dtype="<f2" if half else "<f4").tobytes()
    return TensorProto(dtype=DT_HALF if half else DT_FLOAT, tensor_shape=_shape(array.shape), tensor_content=content)


def _string_tensor(content: bytes, shape: tuple[int, ...] = (1,)) -> Any:
    return TensorProto(dtype=DT_STRING, tensor_shape=_shape(shape), string_val=[content])


def _shape(shape: tuple[int, ...]) -> Any:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
