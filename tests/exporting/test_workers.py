"""Exports with several processes: the same bytes, in any caller, and nothing left behind when interrupted."""

import io
import subprocess
import sys

import psutil
import pytest
from PIL import Image as PillowImage

from tbmetrics.exporting import export
from tests.exporting.logs import EVERYTHING, files, train_two_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    return train_two_runs(tmp_path_factory.mktemp("runs"))


def test_figures_are_real_images_and_the_same_bytes_come_out_of_any_number_of_processes(logdir, tmp_path):
    for folder, jobs in (("first", 1), ("second", 3)):
        report = export(logdir, tmp_path / folder, formats=EVERYTHING, dpi=40, jobs=jobs, runs="one")
        assert report.problems == {}
        assert report.files == sorted(report.written)
    first, second = files(tmp_path / "first"), files(tmp_path / "second")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    pngs = [name for name in first if name.endswith(".png")]
    assert len([name for name in pngs if name.startswith("one/class_performance/digit/")]) == 6
    assert {"one/resource_usage/memory.png", "one/other/scalars/loss.png"} <= set(pngs)
    for name in pngs:
        assert PillowImage.open(io.BytesIO(first[name])).width > 150
        stem = name.removesuffix("png")
        assert first[f"{stem}svg"].startswith(b"<?xml")
        assert first[f"{stem}pdf"].startswith(b"%PDF")


def test_an_unguarded_script_may_use_processes(logdir, tmp_path):
    script = tmp_path / "script.py"
    arguments = f"{str(logdir)!r}, {str(tmp_path / 'out')!r}, jobs=2, dpi=30, only=['class_performance'], runs='one'"
    script.write_text(f"import tbmetrics\ntbmetrics.export({arguments})\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert (tmp_path / "out" / "one" / "class_performance" / "digit" / "pr_curves.png").exists()


def test_a_process_that_dies_leaves_its_work_to_this_one(logdir, tmp_path, monkeypatch):
    monkeypatch.setattr("tbmetrics.exporting.workers._START", "import sys; sys.exit({path!r} is None)")
    report = export(logdir, tmp_path, formats=["json", "csv"], jobs=2)
    assert report.problems == {}
    assert (tmp_path / "two" / "class_performance.json").exists()


def test_an_interrupted_export_leaves_no_process_and_no_half_file(logdir, tmp_path):
    before, processes = set(psutil.Process().children()), set()

    def interrupt(done, total, what):
        if done == 1:
            processes.update(set(psutil.Process().children()) - before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(logdir, tmp_path, jobs=2, dpi=200, progress=interrupt)
    assert len(processes) == 1  # and this one
    assert not any(process.is_running() for process in processes)
    assert [p for p in tmp_path.rglob(".*") if p.is_file()] == []
