"""Where a session writes: writers of others, fixed paths, odd scalars, a directory that is removed or shared."""

import logging
import math
import os
import queue
import shutil
from decimal import Decimal
from fractions import Fraction
from logging.handlers import QueueHandler
from pathlib import Path

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, InputError, TBMetrics, read_run
from tbmetrics.events.places import process_runs
from tests.processes import run

GROUPS = ClassGroups.from_counts({"digit": {"a": 900, "b": 50, "c": 5}})


class _ForeignWriter:
    """The writer of tensorboardX: the same methods, but protobuf classes of its own, and `logdir`."""

    def __init__(self, logdir):
        self.logdir = str(logdir)
        Path(logdir).mkdir(parents=True)
        Path(logdir, "events.out.tfevents.1700000000.host").touch()

    def add_scalar(self, *_):
        """Add a scalar."""

    def _get_file_writer(self):
        raise AssertionError("its events are of another kind")


def test_beside_a_writer_of_another_kind_there_is_a_file_of_our_own(tmp_path):
    with TBMetrics(_ForeignWriter(tmp_path / "run"), classes=GROUPS) as tb:
        assert tb.log_dir == str(tmp_path / "run")
        tb.log_scalar("loss", 1.0)
    assert len(list((tmp_path / "run").iterdir())) == 2
    assert read_run(tmp_path / "run").scalars["loss"].values.tolist() == [1.0]


def test_tensorboard_x_itself(tmp_path):
    writers = pytest.importorskip("tensorboardX")
    with writers.SummaryWriter(str(tmp_path)) as writer, TBMetrics(writer) as tb:
        writer.add_scalar("theirs", 2.0, 1)
        tb.log_scalar("ours", 1.0)
    assert {"theirs", "ours"} <= read_run(tmp_path).scalars.keys()


@pytest.mark.parametrize("target", [3, None, object(), torch.nn.Linear(1, 1)])
def test_what_is_no_place_to_write_to_is_refused_in_clear_words(target):
    name = type(target).__name__
    with pytest.raises(InputError, match=rf"log_dir must be a directory, a URL, or a SummaryWriter .*\.{name}; give"):
        TBMetrics(target)


def test_a_relative_path_is_fixed_at_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    tb = TBMetrics("runs/a", classes=GROUPS)
    tb.class_performance.save_dir = "figures"
    monkeypatch.chdir(tmp_path / "elsewhere")
    with tb:
        tb.log_scalar("loss", 1.0)
    assert tb.log_dir == str(tmp_path / "runs" / "a")
    assert tb.class_performance.save_dir == tmp_path / "figures"
    assert read_run(tmp_path / "runs" / "a").scalars["loss"].values.tolist() == [1.0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


NUMBERS = {
    "huge": (10**400, math.inf),
    "minus huge": (-(10**400), -math.inf),
    "double": (1e300, 1e300),
    "decimal": (Decimal("0.5"), 0.5),
    "fraction": (Fraction(1, 4), 0.25),
    "numpy": (np.float16(0.5), 0.5),
    "array": (np.array([2.0]), 2.0),
    "truth": (True, 1.0),
    "integer tensor": (torch.tensor(3), 3.0),
    "bfloat16": (torch.tensor([0.5], dtype=torch.bfloat16), 0.5),
    "nan": (math.nan, math.nan),
    "needs a gradient": (torch.tensor(2.0, requires_grad=True), 2.0),
}


def test_scalars_of_any_size_and_kind(tmp_path):
    with TBMetrics(tmp_path) as tb:
        tb.log_scalars({tag: value for tag, (value, _) in NUMBERS.items()}, step=np.int64(4))
        tb.log_scalar("caf\udce9", 1.0)
    for tag, (_, expected) in NUMBERS.items():
        assert tb.history.scalars[tag].steps.tolist() == [4]
        np.testing.assert_equal(tb.history.scalars[tag].values[-1], expected)
    written = read_run(tmp_path).scalars
    assert set(NUMBERS) | {"caf\\udce9"} <= written.keys()
    assert written["huge"].values.tolist() == written["double"].values.tolist() == [math.inf]  # files hold 32 bits


@pytest.mark.parametrize(
    ("tag", "value", "step", "message"),
    [
        ("x", 1j, 0, "expected a number or a tensor of one element, got complex"),
        ("x", torch.tensor(1j), 0, "got Tensor of torch.complex64"),
        ("x", "1", 0, "got str"),
        ("x", None, 0, "got NoneType"),
        ("x", np.array(["a"]), 0, "got ndarray of <U1"),
        ("x", torch.zeros(2), 0, r"shape \(2,\); reduce it first"),
        ("x", 1.0, 1.5, "step must be a whole number of at most 63 bits, got 1.5"),
        ("x", 1.0, 2**63, "step must be a whole number"),
        (3, 1.0, 0, "the tag of a scalar must be a string, got 3"),
    ],
)
def test_what_is_no_scalar_is_refused_and_nothing_lost(tmp_path, tag, value, step, message):
    with TBMetrics(tmp_path) as tb:
        tb.log_scalar("before", 1.0)
        with pytest.raises(InputError, match=message):
            tb.log_scalar(tag, value, step)
    assert "before" in read_run(tmp_path).scalars


@pytest.mark.parametrize("epoch", [1.5, 2.0, "3", None])
def test_an_epoch_that_is_no_whole_number_is_refused_and_nothing_lost(tmp_path, epoch):
    with TBMetrics(tmp_path, classes=GROUPS) as tb:
        tb.start_epoch(np.int64(0))
        tb.update(torch.eye(3), torch.arange(3))
        with pytest.raises(InputError, match=r"an epoch must be a whole number, got .*; number validations 0, 1, 2"):
            tb.start_epoch(epoch)
    assert read_run(tmp_path).tables["longtail/digit"].steps.tolist() == [0]
    for tracker in (tb.class_performance, tb.resources):
        with pytest.raises(InputError, match="an epoch must be a whole number"):
            tracker.collect(epoch)
    with pytest.raises(InputError, match="an epoch must be a whole number"):
        tb.resources.start_epoch(epoch)


def test_names_that_are_no_utf_8_are_shown_escaped(tmp_path):
    names = ["caf\udce9", "bar"]  # as os.listdir gives the folder b"caf\xe9"
    groups = ClassGroups.from_counts({"pl\udce4ce": dict.fromkeys(names, 50)})
    with TBMetrics(tmp_path, classes=groups) as tb:
        for _ in tb.epochs(range(1)):
            tb.update(torch.eye(2), torch.arange(2))
    assert tb.get_metrics()["class_performance"]["class_metrics"]["pl\udce4ce"]["caf\udce9"]["recall"] == 1.0
    history = read_run(tmp_path)
    assert history.problems == []
    (listed,) = history.class_lists.values()
    assert (listed.attribute, listed.names) == ("pl\\udce4ce", ("caf\\udce9", "bar"))
    assert [table.attribute for table in history.tables["longtail/pl\\udce4ce"]] == ["pl\\udce4ce"]
    assert {name for name in history.scalars if "/recall/" in name} >= {"class_performance/pl\\udce4ce/recall/all"}


def test_a_removed_directory_is_made_anew_with_the_class_list_and_texts_and_it_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "tbmetrics"), TBMetrics(tmp_path / "run", classes=GROUPS) as tb:
        for epoch in tb.epochs(range(3)):
            tb.update(torch.eye(3), torch.arange(3))
            tb.end_epoch()
            tb.flush()
            if epoch == 0:
                shutil.rmtree(tmp_path / "run")
    history = read_run(tmp_path / "run")
    assert history.tables["longtail/digit"].steps.tolist() == [1, 2]
    assert history.class_lists["digit"].names == ("a", "b", "c")
    assert "tbmetrics/run" in history.texts
    (message,) = [record.message for record in caplog.records]
    assert "was removed; a new one holds what is measured from now on" in message


def _write_beside(log_dir):
    """Returns what was logged meanwhile."""
    records = queue.SimpleQueue()
    logging.getLogger("tbmetrics").addHandler(QueueHandler(records))
    with TBMetrics(log_dir) as tb:
        for _ in tb.epochs(range(1)):
            tb.log_scalar("theirs", 1.0)
    return [records.get().getMessage() for _ in range(records.qsize())]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="asks the system for processes")
def test_two_writers_at_once_are_told_on_both_sides(tmp_path, caplog):
    said_beside = []
    with caplog.at_level(logging.WARNING, "tbmetrics"), TBMetrics(tmp_path) as tb:
        for _ in tb.epochs(range(2)):
            tb.log_scalar("ours", 1.0)
            tb.flush()
            if not caplog.records:
                said_beside += run(_write_beside, str(tmp_path))
    (message,) = [record.message for record in caplog.records]
    assert f"writes to {tmp_path} too, so one run hides the other's records" in message
    assert f"process {os.getpid()} on" in said_beside[0]


def test_a_process_that_runs_is_told_from_one_that_does_not():
    assert process_runs(os.getpid())
    assert not process_runs(2**22 + 1)  # above the largest number of Linux
