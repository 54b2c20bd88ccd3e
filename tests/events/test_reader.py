"""The reader against TensorBoard's, on whole, torn, damaged and resumed logs."""

import json
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.histogram_pb2 import HistogramProto
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from torch.utils.tensorboard import SummaryWriter

from tbmetrics import InputError, read_logdir, read_run
from tbmetrics.events.event_file import Framing, frame
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import Scalar
from tests.events.test_writer import CLASSES, CURVE, EVERYTHING, HPARAMS, IMAGE, TABLE
from tests.histories import plain_history


def _write(directory, steps, *, restart=None, value=1.0, tag="s"):
    writer = EventWriter(directory)
    if restart is not None:
        writer.mark_restart(restart)
    for step in steps:
        writer.write([Scalar(tag, value)], step=step)
    writer.close()


def test_what_was_written_is_read_back(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.write(EVERYTHING, step=3, wall_time=12.5)
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["s"].values.tolist() == [0.25]
    assert history.scalars["s"].wall_times.tolist() == [12.5]
    assert history.texts["t"].at(3).markdown == "**hi**"
    np.testing.assert_array_equal(history.images["i"][0].pixels, IMAGE.pixels)
    assert history.histograms["h"][0].sum_of_squares == 14.0
    np.testing.assert_array_equal(history.tables["longtail/x"][0].values, TABLE.values)
    assert history.class_lists["x"].names == CLASSES.names
    curve = history.pr_curves["pr"][0]
    np.testing.assert_allclose(curve.recall, CURVE.recall, rtol=1e-6)
    np.testing.assert_allclose(curve.thresholds, np.linspace(0, 1, 211))
    assert list(history.hparams.hparams.items()) == sorted(HPARAMS.hparams.items())  # a map: its order is chance


def test_a_log_of_torchs_writer_is_read_like_tensorboard_reads_it(tmp_path):
    writer = SummaryWriter(str(tmp_path))
    for step in range(30):
        writer.add_scalar("a", step / 7, step)
        writer.add_scalar("new", step / 7, step, new_style=True)
        writer.add_histogram("h", torch.randn(100), step)
    writer.add_text("t", "hello", 1)
    writer.add_image("i", torch.rand(3, 5, 6), 1)
    writer.close()
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    accumulator.Reload()
    history = read_run(tmp_path)
    assert history.scalars["a"].values.tolist() == [p.value for p in accumulator.Scalars("a")]
    np.testing.assert_allclose(history.scalars["new"].values, history.scalars["a"].values)
    for mine, theirs in zip(history.histograms["h"], accumulator.Histograms("h"), strict=True):
        assert mine.counts.tolist() == theirs.histogram_value.bucket
    assert history.texts["t"][0].markdown == "hello"
    assert history.images["i"][0].pixels.shape == (5, 6, 3)


def _event(step, *values):
    return Event(step=step, wall_time=float(step), summary=Summary(value=values))


def _tensor(tag, number):
    plugin = SummaryMetadata.PluginData(plugin_name="scalars")
    tensor = TensorProto(dtype=DT_FLOAT, float_val=[number])
    return Summary.Value(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))


def test_scalars_in_every_company_are_read_in_the_order_written(tmp_path):
    def simple(tag, number):
        return Summary.Value(tag=tag, simple_value=number)

    events = [
        _event(0, simple("a", 1.0), simple("b", 0.0)),
        _event(1, simple("b", 2.0), simple("a", 3.0)),  # another order
        _event(2, simple("a", 4.0)),  # alone
        _event(3, _tensor("a", 5.0), simple("b", 0.0)),  # in the newer form, whose plain value would read as 0
        _event(4, simple("a", 6.0), simple("b", 7.0), simple("a", 8.0)),  # twice: the later one counts
        _event(5, simple("a", float("nan")), simple("b", 0.0)),
        _event(2, simple("a", 9.0)),  # a step written again
        _event(6, simple("a", 1.5), Summary.Value(tag="h", histo=HistogramProto(bucket_limit=[1.0], bucket=[2.0]))),
        _event(7, simple("c", 1.0)),
        _event(8, _tensor("a", 0.0)),
    ]
    (tmp_path / "events.out.tfevents.1").write_bytes(b"".join(frame(e.SerializeToString()) for e in events))
    history = read_run(tmp_path)
    assert history.problems == []
    a, b = history.scalars["a"], history.scalars["b"]
    assert a.steps.tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    np.testing.assert_array_equal(a.values, [1, 3, 9, 5, 8, np.nan, 1.5, 0])
    assert dict(zip(b.steps.tolist(), b.values.tolist(), strict=True)) == {0: 0, 1: 2, 3: 0, 4: 7, 5: 0}
    assert history.histograms["h"][0].counts.tolist() == [2.0]


def test_a_value_encoded_in_an_unusual_way_is_read(tmp_path):
    usual = Summary.Value(tag="h", histo=HistogramProto(bucket_limit=[1.0], bucket=[2.0])).SerializeToString()
    tag, histogram = usual[:3], usual[3:]
    assert tag == b"\x0a\x01h"
    first = bytes([0x0A, len(usual)]) + histogram + tag  # its fields the other way round
    second = bytes([0x0A, len(usual)]) + usual.replace(b"h", b"g", 1)
    summary = first + second
    payload = Event(step=3).SerializeToString() + bytes([0x2A, len(summary)]) + summary
    (tmp_path / "events.out.tfevents.1").write_bytes(frame(payload))
    history = read_run(tmp_path)
    assert (len(history.histograms["h"]), len(history.histograms["g"])) == (1, 1)
    assert history.histograms["h"].at(3).counts.tolist() == [2.0]
    assert history.histograms["g"].at(3).counts.tolist() == [2.0]


def test_what_is_stored_can_be_sent_to_another_process(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.write([TABLE, IMAGE], step=1)
    series = read_run(tmp_path).tables["longtail/x"]
    again = pickle.loads(pickle.dumps(series))
    np.testing.assert_array_equal(again[0].values, TABLE.values)


def test_links_in_a_circle_end(tmp_path):
    _write(tmp_path / "a", [1])
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert list(read_logdir(tmp_path)) == ["a"]


def test_runs_are_named_by_their_paths_and_other_files_left_alone(tmp_path):
    _write(tmp_path / "b" / "c", [1])
    _write(tmp_path, [1])
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "empty").mkdir()
    assert list(read_logdir(tmp_path)) == [".", "b/c"]


def test_missing_directories_and_files_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="does not exist; give the directory that training wrote to"):
        read_logdir(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; give the directory"):
        read_run(tmp_path / "file")
    assert read_logdir(tmp_path) == {}
    assert read_run(tmp_path).is_empty()


def test_a_resumed_run_supersedes_what_came_after_its_restart(tmp_path):
    _write(tmp_path, range(10))
    _write(tmp_path, [100], tag="rare")
    _write(tmp_path, range(6, 12), restart=6, value=2.0)
    history = read_run(tmp_path)
    assert history.scalars["s"].steps.tolist() == list(range(12))
    assert history.scalars["s"].values.tolist() == [1.0] * 6 + [2.0] * 6
    assert len(history.scalars["rare"]) == 0


def test_without_a_restart_the_later_write_of_a_step_wins(tmp_path):
    _write(tmp_path, [1, 2, 3])
    _write(tmp_path, [2], value=5.0)
    assert read_run(tmp_path).scalars["s"].values.tolist() == [1.0, 5.0, 1.0]


def test_a_newer_schema_is_named_and_the_rest_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tbmetrics.records.encoding.SCHEMA_VERSION", 99)
    with EventWriter(tmp_path) as writer:
        writer.write([TABLE, Scalar("s", 1.0)], step=1)
    monkeypatch.undo()
    history = read_run(tmp_path)
    (problem,) = history.problems
    assert "'longtail/x' was written with schema 99" in problem
    assert history.scalars["s"].values.tolist() == [1.0]


def test_an_item_whose_file_changed_says_so(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.write([TABLE], step=1)
    history = read_run(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="changed since it was indexed; read the log again"):
        _ = history.tables["longtail/x"][0]


def test_a_log_being_written_is_read_up_to_its_last_whole_record(tmp_path):
    writer = EventWriter(tmp_path)
    for step in range(20):
        writer.write([Scalar("s", 1.0)], step=step)
        writer.flush()
        assert len(read_run(tmp_path).scalars["s"]) == step + 1
    writer.close()


PAYLOADS = [bytes([i]) * (5 + 11 * i) for i in range(12)]
WHOLE = b"".join(map(frame, PAYLOADS))
ENDS = np.cumsum([len(frame(p)) for p in PAYLOADS]).tolist()


def _framing(tmp_path, data):
    path = tmp_path / "events.out.tfevents.x"
    path.write_bytes(data)
    framing = Framing(path)
    return [bytes(payload) for _, payload in framing.records()], framing


@given(st.integers(0, len(WHOLE)))
def test_a_truncated_file_gives_every_whole_record(tmp_path, length):
    payloads, framing = _framing(tmp_path, WHOLE[:length])
    whole = sum(end <= length for end in ENDS)
    assert payloads == PAYLOADS[:whole]
    assert framing.problems == []


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_costs_its_own_record_and_no_other(tmp_path, position, change):
    damaged = bytearray(WHOLE)
    damaged[position] ^= change
    payloads, framing = _framing(tmp_path, bytes(damaged))
    hit = int(np.searchsorted(ENDS, position, side="right"))
    assert payloads == PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
    assert len(framing.problems) == 1 or hit == len(PAYLOADS) - 1


@given(st.binary(max_size=400))
def test_garbage_never_raises(tmp_path, data):
    payloads, _ = _framing(tmp_path, data + WHOLE)
    assert payloads[-len(PAYLOADS) :] == PAYLOADS or not data


def test_a_length_that_lies_is_not_believed(tmp_path):
    payloads, framing = _framing(tmp_path, struct.pack("<QI", 2**40, 0) + WHOLE)
    assert payloads == PAYLOADS
    assert "12 damaged bytes at 0 were skipped" in framing.problems[0]


def test_a_record_that_is_no_event_is_reported(tmp_path):
    (tmp_path / "events.out.tfevents.1").write_bytes(frame(b"\xff\xff\xff"))
    assert "is no event" in read_run(tmp_path).problems[0]


def test_a_history_read_from_disk_holds_what_was_written(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.write([*EVERYTHING, Scalar("nan", float("nan"))], step=3)
    history = read_run(tmp_path)
    json.dumps(plain_history(history), allow_nan=False)
    np.testing.assert_array_equal(history.tables["longtail/x"].at(3).values, TABLE.values)


def test_the_reader_loads_neither_torch_nor_matplotlib():
    code = "import tbmetrics.events.reader, sys; print({'torch', 'matplotlib', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
