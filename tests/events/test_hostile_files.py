"""Event files that are damaged, or made to do harm: the reader says what it left out, in bounded time and memory."""

import io
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PillowImage
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.histogram_pb2 import HistogramProto
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData

from tbmetrics import read_run
from tbmetrics.events import event_file
from tbmetrics.events.decoding import decode
from tbmetrics.events.encoding import values
from tbmetrics.events.event_file import Framing, frame
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import Histogram, Image, PRCurve, Scalar, SchemaError, Table, Text, decode_content
from tests.events.test_writer import EVERYTHING, TABLE
from tests.fuzz.targets import read_everything

resource = pytest.importorskip("resource")  # limits of a process, which Windows has not


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with EventWriter(folder) as writer:
        for step in range(3):
            writer.write(EVERYTHING, step=step, wall_time=1.0)
    (path,) = folder.iterdir()
    return path.read_bytes()


@pytest.fixture(scope="module")
def payloads(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("payloads") / "x"
    path.write_bytes(whole)
    return [payload for _, payload in Framing(path).records()]


def _read(content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "events.out.tfevents.1").write_bytes(content)
        history = read_run(folder)
        read_everything(history)
    return history


def _log(*logged):
    return b"".join(frame(Event(step=i, summary=Summary(value=[v])).SerializeToString()) for i, v in enumerate(logged))


@given(st.binary(max_size=3000))
def test_any_bytes_are_read(content):
    _read(content)


@pytest.mark.slow
@given(st.data())
def test_a_real_file_with_bytes_changed_cut_and_repeated_is_read(whole, data):
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content) - 1))
        size = data.draw(st.integers(1, 300))
        damage = data.draw(st.sampled_from(["change", "cut", "repeat", "zero"]))
        if damage == "change":
            content[start] ^= data.draw(st.integers(1, 255))
        elif damage == "cut" and len(content) > size + 10:
            del content[start : start + size]
        elif damage == "repeat":
            content[start:start] = content[start : start + size]
        else:
            content[start : start + size] = bytes(len(content[start : start + size]))
    _read(bytes(content))


@pytest.mark.slow
@given(st.data())
def test_records_whose_checksums_hold_but_whose_content_does_not(payloads, data):
    """What a program writes that means harm, or has a fault of its own."""
    changed = [bytearray(payload) for payload in payloads]
    for payload in changed:
        for _ in range(data.draw(st.integers(0, 3))):
            payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    _read(b"".join(frame(bytes(payload)) for payload in changed))


def test_headers_that_each_promise_the_rest_of_the_file_are_not_all_summed_up(tmp_path, monkeypatch):
    count = 4000
    headers = []
    for i in range(count):
        length = struct.pack("<Q", max((count - i - 1) * 12 - 4, 0))
        headers.append(length + struct.pack("<I", event_file._checksum(length)))
    summed = []
    checksum = event_file._checksum
    monkeypatch.setattr(event_file, "_checksum", lambda data: summed.append(len(data)) or checksum(data))
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"".join(headers))
    framing = Framing(path)
    assert list(framing.records()) == []
    assert sum(summed) < 20 * path.stat().st_size
    assert "damaged bytes" in framing.problems[0]


def test_the_zeros_that_a_crash_leaves_are_stepped_over_at_once(tmp_path, monkeypatch):
    summed = []
    checksum = event_file._checksum
    monkeypatch.setattr(event_file, "_checksum", lambda data: summed.append(len(data)) or checksum(data))
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(frame(b"first") + bytes(3_000_000) + frame(b"") + bytes(70) + frame(b"last"))
    framing = Framing(path)
    assert [payload for _, payload in framing.records()] == [b"first", b"", b"last"]
    assert len(summed) < 1000


def test_of_a_file_full_of_damage_a_thousand_problems_are_listed(tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes((frame(b"\xff\xff\xff") + b"?") * 3000)
    problems = read_run(tmp_path).problems
    assert len(problems) <= 2 * (event_file.MOST_PROBLEMS + 1)
    assert "further problems are not listed" in problems


def _metadata(plugin, content=b""):
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=content))


def _claiming(plugin, elements, content=b""):
    """A tensor of one number that claims to be many."""
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=elements)])
    return Summary.Value(
        tag="t",
        tensor=TensorProto(dtype=DT_FLOAT, tensor_shape=shape, float_val=[1.0]),
        metadata=_metadata(plugin, content),
    )


@pytest.mark.parametrize(
    "value",
    [
        _claiming("histograms", 2**40),
        _claiming("text", 2**31),
        _claiming("pr_curves", 2**60),
        _claiming("longtail", 2**62, b'{"schema_version": 1, "kind": "x"}'),
        Summary.Value(
            tag="t",
            metadata=_metadata("pr_curves", PrCurvePluginData(num_thresholds=2**31 - 1).SerializeToString()),
            tensor=TensorProto(
                dtype=DT_FLOAT,
                tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=6), TensorShapeProto.Dim(size=2)]),
                tensor_content=np.zeros(12, "<f4").tobytes(),
            ),
        ),
    ],
    ids=["histogram", "text", "curve", "table", "thresholds"],
)
def test_a_few_bytes_that_claim_to_be_gigabytes_take_none(value, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / "events.out.tfevents.1").write_bytes(_log(value))
    history = read_run(tmp_path)
    read_everything(history)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 400e6
    for series in [*history.histograms.values(), *history.texts.values(), *history.tables.values()]:
        with pytest.raises(SchemaError, match="elements"):
            _ = series[0]


def _picture(content):
    return Summary.Value(tag="t", image=Summary.Image(encoded_image_string=content))


@pytest.mark.slow
def test_a_picture_of_billions_of_pixels_is_not_decoded():
    png = io.BytesIO()
    PillowImage.new("1", (20_000, 20_000)).save(png, format="PNG")
    with pytest.raises(SchemaError):
        decode(_picture(png.getvalue()), None)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"", b"\x89PNG\r\n\x1a\nxx", b"x"]
)
def test_what_is_no_picture_of_the_web_is_not_handed_to_a_decoder(content):
    """PostScript least of all: Pillow would start Ghostscript for it."""
    with pytest.raises(SchemaError, match=r"no image in PNG|not as its metadata says"):
        decode(_picture(content), None)


def test_a_value_of_another_kind_than_its_tag_is_left_out_and_said():
    number, counts = Summary.Value(tag="a", simple_value=1.0), HistogramProto(bucket_limit=[1.0], bucket=[2.0])
    histogram = Summary.Value(tag="a", histo=counts)
    text = Summary.Value(tag="a", tensor=TensorProto(dtype=DT_STRING, string_val=[b"x"]))
    first = _read(_log(number, histogram, text, number))
    assert first.scalars["a"].steps.tolist() == [0, 3]
    assert len(first.problems) == 2
    second = _read(_log(histogram, number, histogram))
    assert second.histograms["a"].steps.tolist() == [0, 2]
    assert "is something else here" in second.problems[0]


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"schema_version": 1, "details": ' + b'{"a":' * 50_000,
        b'{"schema_version": 1, "columns": 3}',
        b'{"schema_version": 1, "columns": [1]}',
        b'{"schema_version": 1, "attribute": ["x"]}',
        b'{"schema_version": 1, "names": ["\\ud800"]}',
        b'{"schema_version": 1, "details": {"x": NaN}}',
        b'{"schema_version": 1, "details": {"x": 1e999}}',
        b'{"schema_version": 1, "counts": [1.5]}',
        b'{"schema_version": 1, "counts": [9223372036854775808]}',
        b'{"schema_version": 1, "details": []}',
    ],
)
def test_metadata_of_other_types_is_refused_by_its_tag(content):
    with pytest.raises(SchemaError, match="'longtail/x'"):
        decode_content("longtail/x", content)


# ---------------------------------------------------------------------------------------------------- round trips

tags = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.floats(width=32)


def _again(record):
    (value,) = values(record)
    value = Summary.Value.FromString(value.SerializeToString())
    return decode(value, value.metadata if value.HasField("metadata") else None)


@given(tags, numbers, st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_scalars_and_texts_come_back(tag, number, text):
    np.testing.assert_equal(_again(Scalar(tag, number)).value, number)
    assert _again(Text("t", text)).markdown == text


@given(st.integers(1, 6), st.integers(1, 4), st.data())
def test_tables_come_back(rows, columns, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    table = data.draw(arrays(dtype, (rows, columns), elements=st.floats(width=16)))
    record = Table(
        "longtail/x", "ü/%", "classes", tuple(f"c{i}" for i in range(columns)), table, ("r",) * rows, {"k": [1]}
    )
    again = _again(record)
    np.testing.assert_array_equal(again.values, table.astype(np.float32))
    assert (again.attribute, again.columns, again.rows, again.details) == (
        "ü/%",
        record.columns,
        record.rows,
        {"k": [1]},
    )


@given(st.integers(0, 5), st.data())
def test_histograms_come_back(size, data):
    floats = arrays(np.float64, size, elements=st.floats())
    record = Histogram("h", data.draw(floats), data.draw(floats), *(data.draw(st.floats()) for _ in range(4)))
    again = _again(record)
    for name in ("limits", "counts", "minimum", "maximum", "total", "sum_of_squares"):
        np.testing.assert_array_equal(getattr(again, name), getattr(record, name))


@given(st.integers(1, 9), st.data())
def test_curves_come_back(size, data):
    floats = arrays(np.float64, size, elements=numbers)
    record = PRCurve("pr", np.linspace(0, 1, size), *(data.draw(floats) for _ in range(6)), "title", "words")
    again = _again(record)
    for name in ("thresholds", "true_positives", "false_positives", "false_negatives", "precision", "recall"):
        np.testing.assert_allclose(getattr(again, name), getattr(record, name), rtol=1e-15)
    assert (again.display_name, again.description) == ("title", "words")


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([3, 4]), st.data())
def test_images_come_back(height, width, channels, data):
    pixels = data.draw(arrays(np.uint8, (height, width, channels)))
    np.testing.assert_array_equal(_again(Image("i", pixels)).pixels, pixels)


def test_lossy_images_come_back_almost_alike():
    y, x = np.mgrid[:64, :96]
    pixels = np.stack([2 * x, 3 * y, x + y], axis=2).astype(np.uint8)
    again = _again(Image("i", pixels, is_lossy=True)).pixels
    assert 0 < np.abs(again.astype(int) - pixels).mean() < 2


def test_a_file_that_shrinks_while_it_is_read_is_a_problem_and_no_exception(tmp_path, monkeypatch):
    from tbmetrics.events import file_index
    from tests.events.test_writer import CLASSES

    with EventWriter(tmp_path) as writer:
        writer.write([CLASSES, TABLE, Scalar("s", 1.0)], step=1)
    (path,) = tmp_path.iterdir()
    bytes_at = file_index.bytes_at
    monkeypatch.setattr(file_index, "bytes_at", lambda *where: os.truncate(path, 60) or bytes_at(*where))
    history = read_run(tmp_path)
    assert "changed since it was indexed" in history.problems[0]
    assert history.scalars["s"].values.tolist() == [1.0]
