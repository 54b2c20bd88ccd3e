"""Disks that are full, slow, or gone: training goes on, the user is told once, and writing goes on when it can."""

import errno
import logging
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from tbmetrics import read_run
from tbmetrics.events import background, event_file
from tbmetrics.events.background import DROPPED_TAG
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import Image, Scalar
from tests.processes import run
from tests.training import (
    assert_same_parameters,
    count_hooks,
    make_model,
    open_session,
    run_epoch,
    unmeasured_parameters,
)

pytestmark = pytest.mark.slow
resource = pytest.importorskip("resource")  # limits of a process, which Windows has not

EPOCHS = 6


def _retry_fast(set_attribute=setattr):
    set_attribute(background, "_FIRST_RETRY_SECONDS", 0.02)
    set_attribute(background, "_LAST_RETRY_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch):
    _retry_fast(monkeypatch.setattr)


class _Disk:
    """Stands before `os.write` of event files: may fail, or hold every write until it is let go."""

    def __init__(self, monkeypatch):
        self.error, self.free = None, threading.Event()
        self.free.set()
        self._write = os.write
        monkeypatch.setattr(event_file.os, "write", self.write)

    def write(self, file, content):
        if threading.current_thread().name == "tbmetrics-writer":
            self.free.wait()
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
        return self._write(file, content)


def _train_through_a_fault(log_dir, break_disk, mend_disk):
    """Epochs 0 and 1, then 2 and 3 with a broken disk, then 4 and 5: the warnings, the log and the session."""
    model, optimizer = make_model()
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("tbmetrics").addHandler(handler)
    with open_session(log_dir, model, optimizer, strict=True) as tb:
        for epoch in tb.epochs(range(EPOCHS)):
            if epoch in (2, 4):
                tb.flush()
                break_disk() if epoch == 2 else mend_disk()
            run_epoch(tb, model, optimizer, epoch)
    logging.getLogger("tbmetrics").removeHandler(handler)
    assert_same_parameters(model, unmeasured_parameters(EPOCHS))
    assert count_hooks(model) == 0
    history = read_run(log_dir)
    assert history.problems == []
    return "\n".join(messages), history, tb


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT, errno.ESTALE])
def test_a_disk_that_fails_for_a_while_loses_nothing_and_is_told_once(tmp_path, monkeypatch, error):
    disk = _Disk(monkeypatch)
    messages, history, tb = _train_through_a_fault(
        tmp_path, lambda: setattr(disk, "error", error), lambda: setattr(disk, "error", None)
    )
    assert messages.count("cannot write to") == 1
    assert os.strerror(error) in messages
    assert messages.count("works again") == 1
    assert history.scalars["loss"].steps.tolist() == list(range(1, EPOCHS * 4 + 1))
    assert history.scalars.keys() == tb.history.scalars.keys()
    assert DROPPED_TAG not in history.scalars


def test_a_directory_that_is_removed_is_made_anew(tmp_path):
    _, history, _ = _train_through_a_fault(
        tmp_path / "runs" / "a", lambda: shutil.rmtree(tmp_path / "runs"), lambda: None
    )
    steps = history.scalars["loss"].steps.tolist()
    assert steps == list(range(steps[0], EPOCHS * 4 + 1))
    assert steps[0] <= 4 * 2 + 2  # what was on the disk when it went is gone; at most a write that was under way


def _train_with_a_file_at_its_limit(log_dir):
    def limit():
        size = max(path.stat().st_size for path in Path(log_dir).iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))

    def unlimit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    _retry_fast()
    return _train_through_a_fault(log_dir, limit, unlimit)[0]


def test_a_file_that_may_not_grow_is_cut_back_to_whole_records_and_goes_on_later(tmp_path):
    messages = run(_train_with_a_file_at_its_limit, str(tmp_path))
    assert messages.count("cannot write to") == 1
    assert messages.count("works again") == 1
    assert read_run(tmp_path).scalars["loss"].steps.tolist() == list(range(1, EPOCHS * 4 + 1))


def _train_without_permission(log_dir):
    """The log's directory is replaced by one that may not be written to, and may be again two epochs later."""
    is_root = os.getuid() == 0  # whom no permission stops

    def forbid():
        shutil.rmtree(log_dir)
        Path(log_dir).mkdir(mode=0o555)
        os.seteuid(65534) if is_root else None

    def allow():
        os.seteuid(0) if is_root else None
        Path(log_dir).chmod(0o755)

    _retry_fast()
    return _train_through_a_fault(log_dir, forbid, allow)[0]


def test_a_directory_that_may_not_be_written_to_any_more_is_written_to_when_it_may(tmp_path):
    messages = run(_train_without_permission, str(tmp_path / "run"))
    assert re.search("cannot write to .*Permission denied", messages)
    assert messages.count("cannot write to") == 1
    assert messages.count("works again") == 1
    steps = read_run(tmp_path / "run").scalars["loss"].steps.tolist()
    assert steps == list(range(steps[0], EPOCHS * 4 + 1))
    assert steps[0] <= 4 * 2 + 2


def test_a_disk_that_stands_still_holds_nobody_and_the_queue_stays_bounded(tmp_path, monkeypatch):
    """Ten times what the queue may hold comes while nothing is written: images go, the last scalars stay."""
    most, picture = 200_000, np.zeros((50, 50, 3), np.uint8)
    disk = _Disk(monkeypatch)
    writer = EventWriter(tmp_path, max_queue_bytes=most)
    writer.flush()
    disk.free.clear()
    for step in range(1, 301):
        writer.write([Scalar("loss", float(step)), Image("picture", picture)], step=step)
        assert writer._background._queue.bytes <= most
    dropped = writer._background._queue.dropped_records
    assert dropped > 200
    disk.free.set()
    writer.close()
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["loss"].steps[-1] == 300
    images = len(history.images["picture"]) if "picture" in history.images else 0
    assert history.scalars[DROPPED_TAG].values[-1] == dropped
    assert len(history.scalars["loss"]) + images + dropped == 600


def test_training_goes_on_while_the_disk_stands_still(tmp_path, monkeypatch, caplog):
    disk = _Disk(monkeypatch)
    model, optimizer = make_model()
    with open_session(tmp_path, model, optimizer, strict=True) as tb:
        for epoch in tb.epochs(range(EPOCHS)):
            disk.free.clear() if epoch == 1 else None
            run_epoch(tb, model, optimizer, epoch)
        assert tb.global_step == EPOCHS * 4
        written = read_run(tmp_path).scalars.get("loss")
        assert written is None or written.steps[-1] <= 4  # every step was done, and none written since epoch 1
        disk.free.set()
    assert read_run(tmp_path).scalars["loss"].steps.tolist() == list(range(1, EPOCHS * 4 + 1))
    assert "cannot write" not in caplog.text
