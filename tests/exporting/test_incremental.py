"""A second export does only what has changed, removes only its own files, and recovers from an interrupted one."""

import hashlib
import json
import os
from pathlib import Path

import pytest

import tbmetrics
from tbmetrics import InputError
from tbmetrics.exporting import export
from tbmetrics.exporting.units import _SOURCES
from tests.exporting.logs import files, grow, names, read_json, train, write_plain

pytestmark = pytest.mark.slow

FORMATS = ["png", "json", "csv", "html"]


@pytest.fixture
def runs(tmp_path):
    train(tmp_path / "runs" / "one")
    write_plain(tmp_path / "runs" / "plain")
    return tmp_path / "runs"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def _export(runs, out, **options):
    usual = {"formats": FORMATS, "only": ["class_performance", "other"], "dpi": 30, "jobs": 1}
    return export(runs, out, **usual | options)


def _times(out):
    return {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}


def test_an_unchanged_log_is_not_even_read(runs, out, monkeypatch):
    first = _export(runs, out)
    before = _times(out)

    def never(*_, **__):
        pytest.fail("read again")

    monkeypatch.setattr("tbmetrics.exporting.exporter.read_run", never)
    monkeypatch.setattr("tbmetrics.exporting.longtail_tab.read_run", never)
    second = _export(runs, out)
    assert (second.written, second.removed, second.problems) == ([], [], {})
    assert second.files == first.files
    assert _times(out) == before


def test_the_code_that_a_second_export_depends_on_is_where_it_is_looked_for():
    package = Path(tbmetrics.__file__).parent
    assert [name for name in _SOURCES if not (package / name).exists()] == []


def test_a_log_that_was_only_touched_is_read_but_nothing_written(runs, out):
    _export(runs, out)
    before = _times(out)
    for path in runs.rglob("events.*"):
        os.utime(path)
    report = _export(runs, out)
    assert report.written == []
    changed = {p.name for p, time in _times(out).items() if before[p] != time}
    assert changed == {"manifest.json"}


def test_of_a_grown_log_only_what_changed_is_written(runs, out):
    _export(runs, out)
    grow(runs / "one")
    report = _export(runs, out)
    assert names(out, report.written) == {
        "one/other.json", "one/other/scalars.csv", "one/other/scalars/loss.png", "all_metrics.json", "report.html"
    }  # fmt: skip
    assert read_json(out, "one", "other.json")["scalars"]["loss"]["steps"][-2:] == [50, 51]
    fresh = _export(runs, out.with_name("fresh"))
    assert fresh.problems == {}
    assert files(out) == files(out.with_name("fresh"))


def test_a_new_run_is_added_and_a_removed_one_taken_away(runs, out):
    _export(runs, out)
    train(runs / "two", seed=1)
    added = names(out, _export(runs, out).written)
    assert all(name.startswith("two/") or name in ("all_metrics.json", "report.html") for name in added)
    for path in (runs / "one").iterdir():
        path.unlink()
    report = _export(runs, out)
    assert {p.relative_to(out).parts[0] for p in report.removed} == {"one"}
    assert not (out / "one").exists()
    assert list(read_json(out, "all_metrics.json")["runs"]) == ["plain", "two"]


def test_options_redo_what_they_concern(runs, out):
    _export(runs, out)
    sharper = names(out, _export(runs, out, dpi=40).written)
    assert "one/class_performance/digit/pr_curves.png" in sharper
    assert {name.rpartition(".")[2] for name in sharper} == {"png", "html"}
    fewer = _export(runs, out, dpi=40, formats=["png", "svg", "json"])
    assert {p.suffix for p in fewer.removed} == {".csv", ".html"}
    assert {p.suffix for p in fewer.written} >= {".svg"}
    assert not list(out.rglob("*.csv"))


def test_missing_and_cut_off_files_are_made_again(runs, out):
    _export(runs, out)
    whole = files(out)
    (out / "one" / "class_performance.json").unlink()
    (out / "plain" / "other" / "scalars.csv").write_text("")
    report = _export(runs, out)
    assert names(out, report.written) == {"one/class_performance.json", "plain/other/scalars.csv"}
    assert files(out) == whole


def test_files_of_others_are_never_touched(runs, out):
    mine = {"one/notes.txt": "mine", "one/other.json": "mine too", "plain/other/scalars/train.png": "a drawing"}
    for name, text in mine.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    for _ in range(2):
        report = _export(runs, out)
        assert "one/other.json is a file of another; it was left alone" in report.problems["one"][0]
        assert {name: (out / name).read_text() for name in mine} == mine
    (out / "one" / "other.json").unlink()
    report = _export(runs, out)
    assert "one" not in report.problems
    assert (out / "one" / "other.json").read_bytes() != b"mine too"
    for path in (runs / "one").iterdir():
        path.unlink()
    _export(runs, out)
    assert files(out / "one") == {"notes.txt": b"mine"}


def test_a_stale_file_that_was_edited_stays(runs, out):
    _export(runs, out)
    edited = out / "one" / "other" / "scalars.csv"
    edited.write_text("annotated")
    report = _export(runs, out, formats=["png", "json", "html"])
    assert edited not in report.removed
    assert edited.read_text() == "annotated"
    assert not (out / "one" / "class_performance" / "digit" / "classes.csv").exists()


def test_an_export_that_was_cut_off_is_finished_by_the_next(runs, out, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tbmetrics.exporting.exporter.all_metrics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _export(runs, out)
    monkeypatch.undo()
    assert read_json(out, "manifest.json")["complete"] is False
    grow(runs / "one")  # so that files that were left behind differ from what is due
    report = _export(runs, out)
    assert report.problems == {}
    assert read_json(out, "manifest.json")["complete"] is True
    _export(runs, out.with_name("fresh"))
    assert files(out) == files(out.with_name("fresh"))


def test_after_a_cut_off_export_sizes_are_not_believed(runs, out):
    _export(runs, out)
    whole = files(out)
    manifest = out / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    changed = out / "one" / "other" / "scalars.csv"
    changed.write_bytes(bytes(reversed(changed.read_bytes())))
    assert names(out, _export(runs, out).written) == {"one/other/scalars.csv"}
    assert files(out) == whole


def test_the_manifest_maps_tags_to_files(runs, out):
    report = _export(runs, out)
    manifest = read_json(out, "manifest.json")
    assert set(manifest["files"]) == names(out, report.files)
    for name, known in manifest["files"].items():
        content = (out / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (known["bytes"], known["sha256"])
    tags = manifest["runs"]["plain"]["tags"]
    (scalars,) = (alike for alike in tags["scalars"] if "train/loss" in alike["tags"])
    assert scalars["files"] == ["plain/other.json", "plain/other/scalars.csv", "plain/other/scalars/train.png"]
    assert scalars["tags"]["train/lr"] != scalars["tags"]["train/loss"]
    (images,) = tags["images"]
    assert list(images["tags"]) == ["samples/grid"]
    assert "plain/other/images/samples/grid/step=00000003.png" in images["files"]
    assert sorted(manifest["runs"]["plain"]["sources"]) == sorted(p.name for p in (runs / "plain").iterdir())


def test_the_page_alone_keeps_its_figures_out_of_sight(runs, out):
    _export(runs, out, formats=["html"])
    shown = [p.name for p in out.iterdir() if not p.name.startswith(".")]
    assert sorted(shown) == ["manifest.json", "report.html"]
    grow(runs / "one")
    report = _export(runs, out, formats=["html"])
    assert names(out, report.written) == {".figures/one/other/scalars/loss.png", "report.html"}


@pytest.mark.parametrize("content", ['{"name": "an app"}', "\x00"])
def test_a_manifest_of_something_else_is_refused(runs, out, content):
    out.mkdir()
    (out / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="was not written by tbmetrics; choose another out"):
        _export(runs, out)
    assert [p.name for p in out.iterdir()] == ["manifest.json"]


def test_a_manifest_that_leads_outside_is_not_followed(runs, out, tmp_path):
    _export(runs, out)
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    path = out / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"]["../victim.txt"] = {"bytes": 8, "sha256": hashlib.sha256(b"precious").hexdigest()}
    path.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _export(runs, out)
    assert victim.read_text() == "precious"
