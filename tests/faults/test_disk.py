"""Disks that are full, slow, or gone: training goes on, the user is told once, and writing goes on when it can."""

import errno
import logging
import os
import resource
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
from tests.faults.loop import assert_free, assert_same, bare, make_model, processes, run_epoch, session

EPOCHS = 6


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch):
    monkeypatch.setattr(background, "_FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(background, "_LAST_RETRY_SECONDS", 0.05)


class _Disk:
    """Stands before `os.write` of event files: may fail, or hold every write until it is let go."""

    def __init__(self, monkeypatch):
        self.error, self.free = None, threading.Event()
        self.free.set()
        self._write = os.write
        monkeypatch.setattr(event_file.os, "write", self.write)

    def write(self, file, content):
        if threading.current_thread().name == "tbmetrics-writer":
            self.free.wait(60)
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
        return self._write(file, content)


def _train(log_dir, breaks, mends, caplog):
    """Epochs 0 and 1, `breaks()`, epochs 2 and 3, `mends()`, epochs 4 and 5; what was read back."""
    model, optimizer = make_model()
    with caplog.at_level(logging.WARNING, logger="tbmetrics"), session(log_dir, model, optimizer, strict=True) as tb:
        for epoch in tb.epochs(range(EPOCHS)):
            if epoch == 2:
                tb.flush()
                breaks()
            if epoch == 4:
                tb.flush()
                mends()
            run_epoch(tb, model, optimizer, epoch)
    assert_same(model, bare(EPOCHS))
    assert_free(model)
    return read_run(log_dir), tb


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT, errno.ESTALE])
def test_a_disk_that_fails_for_a_while_loses_nothing_and_is_told_once(tmp_path, monkeypatch, caplog, error):
    disk = _Disk(monkeypatch)
    history, tb = _train(tmp_path, lambda: setattr(disk, "error", error), lambda: setattr(disk, "error", None), caplog)
    assert caplog.text.count("cannot write to") == 1
    assert os.strerror(error) in caplog.text
    assert caplog.text.count("works again") == 1
    assert history.problems == []
    assert history.scalars["loss"].steps.tolist() == list(range(1, EPOCHS * 4 + 1))
    assert history.scalars.keys() == tb.history.scalars.keys()
    assert DROPPED_TAG not in history.scalars


def test_a_directory_that_is_removed_is_made_anew(tmp_path, caplog):
    log_dir = tmp_path / "runs" / "a"
    history, _ = _train(log_dir, lambda: shutil.rmtree(tmp_path / "runs"), lambda: None, caplog)
    assert history.problems == []
    steps = history.scalars["loss"].steps.tolist()
    assert steps == list(range(steps[0], EPOCHS * 4 + 1))
    assert steps[0] <= 4 * 2 + 2  # what was on the disk when it went is gone; at most a write that was under way


def _to_the_limit(log_dir, results):
    import torch

    torch.set_num_threads(1)
    background._FIRST_RETRY_SECONDS, background._LAST_RETRY_SECONDS = 0.02, 0.05
    model, optimizer = make_model()
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("tbmetrics").addHandler(handler)
    with session(log_dir, model, optimizer) as tb:
        for epoch in tb.epochs(range(EPOCHS)):
            if epoch == 2:
                tb.flush()
                size = max(os.path.getsize(os.path.join(log_dir, name)) for name in os.listdir(log_dir))
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
            if epoch == 4:
                tb.flush()
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            run_epoch(tb, model, optimizer, epoch)
    results.put((messages, [p.detach().numpy() for p in model.parameters()]))


def test_a_file_that_may_not_grow_is_cut_back_to_whole_records_and_goes_on_later(tmp_path):
    results = processes.Queue()
    process = processes.Process(target=_to_the_limit, args=(str(tmp_path), results))
    process.start()
    messages, parameters = results.get(timeout=120)
    process.join(60)
    assert process.exitcode == 0
    assert sum("cannot write to" in m for m in messages) == 1
    assert sum("works again" in m for m in messages) == 1
    for ours, theirs in zip(parameters, bare(EPOCHS), strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
    history = read_run(tmp_path)
    assert history.problems == []
    assert history.scalars["loss"].steps.tolist() == list(range(1, EPOCHS * 4 + 1))


def _without_permission(log_dir, results):
    """The log's directory is replaced by one that may not be written to, and may be again two epochs later."""
    import torch

    torch.set_num_threads(1)
    background._FIRST_RETRY_SECONDS, background._LAST_RETRY_SECONDS = 0.02, 0.05
    is_root = os.getuid() == 0  # whom no permission stops
    model, optimizer = make_model()
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("tbmetrics").addHandler(handler)
    with session(str(log_dir), model, optimizer) as tb:
        for epoch in tb.epochs(range(EPOCHS)):
            if epoch == 2:
                tb.flush()
                shutil.rmtree(log_dir)
                Path(log_dir).mkdir(mode=0o555)
                os.seteuid(65534) if is_root else None
            if epoch == 4:
                tb.flush()
                os.seteuid(0) if is_root else None
                Path(log_dir).chmod(0o755)
            run_epoch(tb, model, optimizer, epoch)
    results.put((messages, [p.detach().numpy() for p in model.parameters()]))


def test_a_directory_that_may_not_be_written_to_any_more_is_written_to_when_it_may(tmp_path):
    results = processes.Queue()
    process = processes.Process(target=_without_permission, args=(str(tmp_path / "run"), results))
    process.start()
    messages, parameters = results.get(timeout=120)
    process.join(60)
    history = read_run(tmp_path / "run")
    assert sum("cannot write to" in m and "Permission denied" in m for m in messages) == 1
    assert sum("works again" in m for m in messages) == 1
    for ours, theirs in zip(parameters, bare(EPOCHS), strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
    assert history.problems == []
    steps = history.scalars["loss"].steps.tolist()
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
    with session(tmp_path, model, optimizer, strict=True) as tb:
        for epoch in tb.epochs(range(EPOCHS)):
            disk.free.clear() if epoch == 1 else None
            run_epoch(tb, model, optimizer, epoch)
        assert tb.global_step == EPOCHS * 4
        written = read_run(tmp_path).scalars.get("loss")
        assert written is None or written.steps[-1] <= 4  # every step was done, and none written since epoch 1
        disk.free.set()
    assert read_run(tmp_path).scalars["loss"].steps.tolist() == list(range(1, EPOCHS * 4 + 1))
    assert "cannot write" not in caplog.text
