"""The writer, judged by what TensorBoard's own readers find in its files, and by what failing disks do to it."""

import errno
import logging
import os
import threading

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from tbmetrics.errors import InputError
from tbmetrics.events import background, places
from tbmetrics.events.background import EventQueue, PendingEvent
from tbmetrics.events.event_file import EventFile
from tbmetrics.events.writer import EventWriter, open_writer
from tbmetrics.records import (
    ClassList,
    Histogram,
    HParams,
    Image,
    Layout,
    MarginChart,
    MultilineChart,
    PRCurve,
    SampleData,
    Scalar,
    Table,
    Text,
    class_list_from_payload,
    sample_data_from_payload,
    table_from_content,
)

TABLE = Table("longtail/x", "x", "classes", ("a", "b"), np.arange(6, dtype=np.float32).reshape(3, 2))
CLASSES = ClassList(
    "longtail/x/classes", "x", ("p", "q", "r"), np.array([9, 5, -1]), ("head",) * 3, "lvis", "multi_label"
)
HISTOGRAM = Histogram("h", np.array([1.0, 2.0]), np.array([0.0, 5.0]), 1.5, 2.0, 8.0, 14.0)
IMAGE = Image("i", np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
CURVE = PRCurve(
    "pr", *(np.linspace(0, 1, 211) * k for k in range(1, 8)), display_name="x: tail", description="2 classes"
)
HPARAMS = HParams({"lr": 0.1, "loss": "focal", "ema": True}, {"final/f1": 0.5})
LAYOUT = Layout({"x": {"m": MarginChart((("v", "l", "u"), ("v2", "l2", "u2"))), "g": MultilineChart(("^a$",))}})
SAMPLES = SampleData("longtail/x/decisions", "x", "decisions", "single_label", "0f", 2, 3, b"\x00\xff")
EVERYTHING = [Scalar("s", 0.25), Text("t", "**hi**"), HISTOGRAM, IMAGE, TABLE, CLASSES, SAMPLES, CURVE, HPARAMS, LAYOUT]


def _read(directory):
    accumulator = EventAccumulator(
        str(directory), size_guidance={"scalars": 0, "tensors": 0, "images": 0, "histograms": 0}
    )
    accumulator.Reload()
    return accumulator


def _events(directory):
    events = []
    for path in sorted(directory.iterdir()):
        events += [Event.FromString(raw) for raw in RawEventFileLoader(str(path)).Load()]
    return events


def wait_until(writer, condition):
    """Wait for what the writing thread does; it notifies after every write and failure."""
    with writer._background._changed:
        writer._background._changed.wait_for(condition)


def _check_everything(seen, step):
    assert seen.Scalars("s")[0].value == 0.25
    assert seen.Scalars("s")[0].step == step
    assert seen.Histograms("h")[0].histogram_value.bucket == [0.0, 5.0]
    assert seen.Images("i")[0].width == 5
    (table,) = seen.Tensors("longtail/x")
    content = seen.SummaryMetadata("longtail/x").plugin_data.content
    np.testing.assert_array_equal(
        table_from_content("longtail/x", content, tensor_util.make_ndarray(table.tensor_proto)).values, TABLE.values
    )
    payload = tensor_util.make_ndarray(seen.Tensors("longtail/x/classes")[0].tensor_proto)[0]
    assert class_list_from_payload("t", payload).names == CLASSES.names
    samples = tensor_util.make_ndarray(seen.Tensors("longtail/x/decisions")[0].tensor_proto)[0]
    assert sample_data_from_payload("longtail/x/decisions", samples) == SAMPLES
    curve = tensor_util.make_ndarray(seen.Tensors("pr")[0].tensor_proto)
    np.testing.assert_allclose(curve[4], CURVE.precision, rtol=1e-6)
    assert seen.SummaryMetadata("pr").display_name == "x: tail"
    layout = layout_pb2.Layout.FromString(
        tensor_util.make_ndarray(seen.Tensors("custom_scalars__config__")[0].tensor_proto).item()
    )
    margin, lines = layout.category[0].chart
    assert [(s.value, s.lower, s.upper) for s in margin.margin.series] == [("v", "l", "u"), ("v2", "l2", "u2")]
    assert list(lines.multiline.tag) == ["^a$"]
    start = HParamsPluginData.FromString(seen.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    assert start.session_start_info.hparams["loss"].string_value == "focal"
    assert "final/f1" not in seen.Tags()["scalars"]  # its values are those of the scalar of this tag


def test_every_kind_of_record_is_what_tensorboard_reads(tmp_path):
    writer = EventWriter(tmp_path)
    writer.write(EVERYTHING, step=3, wall_time=12.5)
    writer.close()
    _check_everything(_read(tmp_path), 3)
    events = _events(tmp_path)
    assert events[0].file_version == "brain.Event:2"
    assert [(e.step, e.wall_time) for e in events[1:]] == [(3, 12.5)]  # one event a write


def test_a_users_own_writer_gets_the_same(tmp_path):
    users_writer = SummaryWriter(str(tmp_path))
    writer = open_writer(users_writer)
    writer.write(EVERYTHING, step=3)
    writer.mark_restart(1)
    writer.flush()
    writer.close()
    users_writer.add_scalar("still/open", 1.0, 1)
    users_writer.close()
    seen = _read(tmp_path)
    _check_everything(seen, 3)
    assert "still/open" in seen.Tags()["scalars"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_every_method_of_summary_writer_goes_the_same_way(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.add_scalar("a", 1.5, 2)
        writer.add_histogram("b", torch.arange(10.0), 2)
        writer.add_image("c", torch.zeros(3, 4, 4), 2)
        writer.add_text("d", "hello", 2)
        writer.add_pr_curve("e", torch.tensor([0, 1, 1]), torch.tensor([0.1, 0.7, 0.9]), 2)
        writer.add_graph(torch.nn.Linear(2, 2), torch.zeros(1, 2))
        writer.flush()
    tags = _read(tmp_path).Tags()
    assert tags["scalars"] == ["a"]
    assert tags["histograms"] == ["b"]
    assert tags["images"] == ["c"]
    assert {"d/text_summary", "e"} <= set(tags["tensors"])
    assert tags["graph"]
    assert len(list(tmp_path.iterdir())) == 1


def test_nan_and_infinity_are_written_as_they_are(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.write([Scalar("nan", float("nan")), Scalar("inf", float("inf"))], step=1)
    seen = _read(tmp_path)
    assert np.isnan(seen.Scalars("nan")[0].value)
    assert np.isinf(seen.Scalars("inf")[0].value)


def test_flush_puts_everything_on_disk_and_close_may_be_repeated(tmp_path):
    writer = EventWriter(tmp_path)
    for step in range(500):
        writer.write([Scalar("s", step)], step=step)
    writer.flush()
    assert len(_read(tmp_path).Scalars("s")) == 500
    writer.close()
    writer.close()
    writer.write([Scalar("late", 1.0)], step=1)
    writer.flush()
    assert _read(tmp_path).Tags()["scalars"] == ["s"]


def test_what_is_written_arrives_without_a_flush(tmp_path):
    writer = EventWriter(tmp_path)
    writer.write([Scalar("s", 1.0)], step=1)
    wait_until(writer, lambda: writer._background._events_done == 1)
    assert len(_events(tmp_path)) == 2
    writer.close()


def test_it_never_pauses_while_more_waits_than_it_writes_at_once(tmp_path, monkeypatch):
    writer = EventWriter(tmp_path)
    background = writer._background
    waiting, wait_for = [], background._changed.wait_for

    def counted(predicate, timeout=None):
        if timeout is not None and threading.current_thread() is background._thread:
            waiting.append(len(background._queue))
        return wait_for(predicate, timeout)

    monkeypatch.setattr(background._changed, "wait_for", counted)
    for step in range(3050):
        writer.write([Scalar("s", 1.0)], step=step)
    wait_until(writer, lambda: background._events_done == 3050)
    writer.close()
    assert waiting
    assert max(waiting) < background._batch_events
    assert len(_read(tmp_path).Scalars("s")) == 3050


def test_a_restart_is_a_session_log(tmp_path):
    first = EventWriter(tmp_path)
    first.write([Scalar("s", 1.0)], step=5)
    first.write([Scalar("s", 1.0)], step=9)
    first.close()
    second = EventWriter(tmp_path)
    second.mark_restart(7)
    second.write([Scalar("s", 2.0)], step=7)
    second.close()
    assert [(p.step, p.value) for p in _read(tmp_path).Scalars("s")] == [(5, 1.0), (7, 2.0)]


def test_an_odd_record_is_left_out_and_the_rest_written(tmp_path, caplog):
    writer = EventWriter(tmp_path)
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        writer.write([Image("bad", np.zeros((2, 2, 7), np.uint8)), Scalar("s", 1.0)], step=1)
        writer.close()
    assert "a Image record could not be encoded" in caplog.text
    assert _read(tmp_path).Scalars("s")[0].value == 1.0


class _FailingDisk(EventFile):
    """A disk that is full until told otherwise, and takes half of a write before it says so."""

    full = False

    def write(self, framed):
        if _FailingDisk.full:
            os.write(self._file, framed[: len(framed) // 2])
            self._cut_back()
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(framed)


@pytest.fixture
def failing_disk(monkeypatch):
    monkeypatch.setattr(places, "EventFile", _FailingDisk)
    monkeypatch.setattr(background, "_FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(background, "_LAST_RETRY_SECONDS", 0.05)
    _FailingDisk.full = False
    yield _FailingDisk
    _FailingDisk.full = False


def test_a_full_disk_is_said_once_survived_and_written_later(tmp_path, failing_disk, caplog):
    writer = EventWriter(tmp_path)
    writer.write([Scalar("s", 0.0)], step=0)
    writer.flush()
    failing_disk.full = True
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        for step in range(1, 50):
            writer.write([Scalar("s", float(step))], step=step)
        writer.flush()
        assert len(_events(tmp_path)) == 2  # cut back to the last whole record
        failing_disk.full = False
        writer.close()
    assert caplog.text.count("cannot write to") == 1
    assert "works again" in caplog.text
    assert [p.step for p in _read(tmp_path).Scalars("s")] == list(range(50))


def test_a_full_disk_at_the_end_does_not_hang(tmp_path, failing_disk, caplog):
    writer = EventWriter(tmp_path)
    failing_disk.full = True
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        for step in range(1_000):  # more than are written at once
            writer.write([Scalar("s", 1.0)], step=step)
        writer.close()
    assert caplog.text.count("are lost") == 1


def test_a_deleted_file_is_begun_anew(tmp_path):
    writer = EventWriter(tmp_path / "run")
    writer.write([Scalar("s", 1.0)], step=1)
    writer.flush()
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    (tmp_path / "run").rmdir()
    writer.write([Scalar("s", 2.0)], step=2)
    writer.close()
    assert [p.step for p in _read(tmp_path / "run").Scalars("s")] == [2]


def test_when_the_queue_is_full_images_go_first_then_histograms_and_scalars_never():
    queue = EventQueue(max_bytes=40_000)
    records = (Scalar("s", 1.0), Image("i", np.zeros((50, 50, 3), np.uint8)), HISTOGRAM, TABLE)
    for step in range(4):
        queue.put(PendingEvent(step, 0.0, records))
    queue.make_room()
    kinds = {type(record) for event in queue.take() for record in event.records}
    assert kinds == {Scalar, Histogram, Table}
    assert queue.dropped_records == 4


def test_a_histogram_takes_the_memory_of_its_own_arrays():
    shared = np.zeros(1000)
    few, many = (Histogram("h", shared[:n], shared[:n], 0.0, 0.0, 0.0, 0.0) for n in (10, 500))
    memory = [PendingEvent(0, 0.0, (record,)).memory_bytes for record in (few, many)]
    assert memory[1] - memory[0] == 2 * 490 * 8


def test_scalars_are_merged_to_the_last_of_each_tag_and_counted(tmp_path, failing_disk, caplog):
    caplog.set_level(logging.ERROR, logger="tbmetrics")
    writer = EventWriter(tmp_path, max_queue_bytes=20_000)
    failing_disk.full = True
    writer.write([Scalar("first", 1.0)], step=0)
    wait_until(writer, lambda: writer._background._is_failing)  # the thread holds it and waits for the disk
    for step in range(1, 2001):
        writer.write([Scalar("a", float(step)), Scalar(f"b{step % 3}", float(step))], step=step)
    assert writer._background._queue.bytes <= 21_000
    failing_disk.full = False
    writer.close()
    seen = _read(tmp_path)
    assert seen.Scalars("a")[-1].step == 2000
    assert {"first", "a", "b0", "b1", "b2"} <= set(seen.Tags()["scalars"])
    remaining = len(seen.Scalars("a")) + sum(len(seen.Scalars(f"b{k}")) for k in range(3))
    assert seen.Scalars(background.DROPPED_TAG)[-1].value == 4000 - remaining


def test_policy_block_waits_and_loses_nothing(tmp_path):
    writer = EventWriter(tmp_path, max_queue_bytes=2_000, policy="block")
    for step in range(2_000):
        writer.write([Scalar("s", float(step))], step=step)
    writer.close()
    assert [p.step for p in _read(tmp_path).Scalars("s")] == list(range(2_000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_on_windows_the_file_is_opened_as_binary(tmp_path, monkeypatch):
    flags, open_file, binary = [], os.open, getattr(os, "O_BINARY", os.O_CLOEXEC)
    monkeypatch.setattr(os, "O_BINARY", binary, raising=False)
    monkeypatch.setattr(os, "open", lambda path, flag, mode: flags.append(flag) or open_file(path, flag, mode))
    EventFile(str(tmp_path)).close()
    assert [flag & binary for flag in flags] == [binary]


def test_a_forked_child_writes_nothing_and_does_not_hang(tmp_path):
    writer = EventWriter(tmp_path)
    writer.write([Scalar("parent", 1.0)], step=1)
    child = os.fork()
    if child == 0:
        for step in range(100):
            writer.write([Scalar("child", 1.0)], step=step)
        writer.flush()
        writer.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    writer.write([Scalar("parent", 2.0)], step=2)
    writer.close()
    seen = _read(tmp_path)
    assert seen.Tags()["scalars"] == ["parent"]
    assert len(seen.Scalars("parent")) == 2


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (f"{__file__}/run", {}, "log_dir .*run' cannot be written"),
        ("run", {"policy": "wait"}, "policy must be one of 'drop', 'block', got 'wait'"),
        ("run", {"flush_secs": 0}, "must be positive"),
    ],
)
def test_bad_targets_and_options_are_refused(tmp_path, monkeypatch, target, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        open_writer(target, **options)
