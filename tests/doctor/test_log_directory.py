"""The log directory: written and left as it was; damage, and what TensorBoard keeps of long runs."""

import os
import shutil
from collections import namedtuple

import pytest
import torch

from tbmetrics import TBMetrics
from tbmetrics.doctor import FAILED, OK, WARNING, log_directory
from tests.doctor.reports import only


def _write_run(place, steps=3):
    with TBMetrics(place, classes={"x": [900, 5]}, resources=False) as tb:
        for _ in tb.epochs(range(steps)):
            tb.update(torch.eye(2), torch.tensor([0, 1]))


@pytest.mark.parametrize("missing", ["", "not/yet/there"])
def test_a_directory_is_written_and_left_as_it_was(tmp_path, missing):
    place = tmp_path / missing
    for check in (log_directory.writable, log_directory.round_trip):
        assert only(check(str(place))).status == OK
        assert list(tmp_path.iterdir()) == []


def test_without_a_directory_a_temporary_one_is_tried():
    found = only(log_directory.round_trip(None))
    assert found.status == OK
    assert "a temporary directory" in found.message


def test_a_file_in_its_place_is_told(tmp_path):
    place = tmp_path / "runs"
    place.write_text("")
    found = only(log_directory.writable(str(place / "a")))
    assert found.status == FAILED
    assert "cannot be written (Not a directory)" in found.message
    assert only(log_directory.round_trip(str(place / "a"))).status == FAILED


def test_a_full_disk_is_told_before_it_is_full(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 90, 5 * 2**20))
    found = only(log_directory.writable(str(tmp_path)))
    assert found.status == WARNING
    assert "has 5 MiB left" in found.message


def test_a_place_that_forgets_what_was_written_is_told(tmp_path, monkeypatch):
    import tbmetrics

    real = tbmetrics.read_run
    empty = tmp_path / "empty"
    _write_run(empty, steps=1)
    monkeypatch.setattr(tbmetrics, "read_run", lambda place: real(empty))
    found = only(log_directory.round_trip(None))
    assert found.status == FAILED
    assert "of 3 tables and scalars were read back by tbmetrics" in found.message


def test_a_store_is_written_and_read_through_tensorboards_layer():
    pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    assert only(log_directory.writable("memory://doctor")).status == OK
    assert only(log_directory.round_trip("memory://doctor")).status == OK
    assert not [path for path in MemoryFileSystem.store if "tbmetrics-doctor" in path]


def test_whole_runs_are_counted(tmp_path):
    assert list(log_directory.runs(str(tmp_path / "missing"))) == []
    assert "holds no run yet" in only(log_directory.runs(str(tmp_path))).message
    for name in ("a", "b"):
        _write_run(tmp_path / name)
    found = list(log_directory.runs(str(tmp_path)))
    assert [(f.check, f.status) for f in found] == [("runs", OK), ("retention", OK)]
    assert found[0].message == "2 runs, every record whole"


def test_a_damaged_file_is_told(tmp_path):
    _write_run(tmp_path / "a")
    (file,) = (tmp_path / "a").glob("*tfevents*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    found = next(iter(log_directory.runs(str(tmp_path))))
    assert found.status == FAILED
    assert found.message.startswith("a: ")
    assert os.path.basename(file) in found.message


def test_what_tensorboard_leaves_out_is_told_with_the_flag_that_shows_it(tmp_path, monkeypatch):
    with TBMetrics(tmp_path / "it's long", resources=False) as tb:
        for step in range(1200):
            tb.log_scalar("loss", float(step))
            tb.step()
    found = only(log_directory.runs(str(tmp_path)), "retention")
    assert found.status == WARNING
    assert "1,000 of 1,200 scalars steps (loss of it's long)" in found.message
    assert "--samples_per_plugin scalars=1200" in found.advice
