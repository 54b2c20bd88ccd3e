"""The JSON files: valid by the schema, the numbers of the log, the same in parts and as a whole."""

import json

import jsonschema
import numpy as np
import pytest

from tbmetrics import read_run
from tbmetrics.events.writer import EventWriter
from tbmetrics.exporting import export, json_files, json_schema
from tbmetrics.records import AREAS, CLASS_COLUMNS, ClassList, Scalar, Table, class_table_tag, group_table_tag
from tests.exporting.logs import HOSTILE, read_json, train, train_a_model, write_plain


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    train(root / "one")
    train(root / "two", attribute=HOSTILE, names=(HOSTILE, "$b$", "\ud800 \x00"))
    train_a_model(root / "model")
    write_plain(root / "plain")
    return root


@pytest.fixture(scope="module")
def out(logdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    assert export(logdir, folder, formats=["json", "csv-full"]).problems == {}
    return folder


@pytest.mark.slow
def test_every_file_follows_the_schema(out):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    paths = [path for path in out.rglob("*.json") if path.name != "manifest.json"]
    assert len(paths) >= 12
    for path in paths:
        validator.validate(json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail))
    broken = read_json(out, "one", "run.json") | {"areas": ["elsewhere"]}
    assert not validator.is_valid(broken)


def test_the_whole_is_its_parts(out):
    whole = read_json(out, "all_metrics.json")
    assert list(whole["runs"]) == ["model", "one", "plain", "two"]
    for run, parts in whole["runs"].items():
        for part, content in parts.items():
            assert content == read_json(out, run, f"{part}.json")
            assert content["run"] == run
    assert set(whole["runs"]["model"]) == {"run", *AREAS[:3], "other"}
    assert whole["runs"]["one"]["run"]["hparams"] == {"lr": 0.1}


def test_class_performance_holds_the_numbers_of_the_log(logdir, out):
    digit = read_json(out, "one", "class_performance.json")["attributes"]["digit"]
    history = read_run(logdir / "one")
    table, groups = history.tables[class_table_tag("digit")], history.tables[group_table_tag("digit")]
    assert (digit["classes"], digit["steps"], digit["counts"]) == (["a", "b", "c"], [0, 1], [900, 50, 3])
    for column in CLASS_COLUMNS:
        values = np.array(digit["class_metrics"][column], dtype=np.float32)
        np.testing.assert_array_equal(values, [t.column(column) for t in table])
    assert digit["class_metrics"]["recall"][1][2] is None  # class c has no positives
    assert digit["group_metrics"]["tail"]["recall"] == [None, None]
    for row, group in enumerate(groups[0].rows):
        values = np.array(digit["group_metrics"][group]["f1"], dtype=np.float32)
        np.testing.assert_array_equal(values, [t.column("f1")[row] for t in groups])
    assert digit["confusion"][1]["step"] == 1
    assert np.sum(digit["confusion"][1]["values"]) == 30
    curve = history.pr_curves["class_performance/digit/pr/head"]
    exported = digit["pr_curves"]["head"][1]
    np.testing.assert_array_equal(np.array(exported["recall"], np.float32), np.array(curve[1].recall, np.float32))


def test_a_plain_log_is_exported_as_it_is(logdir, out):
    area = read_json(out, "plain", "other.json")
    history = read_run(logdir / "plain")
    assert area["scalars"]["train/loss"]["values"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert area["scalars"]["nothing"]["values"] == [None] * 4
    assert area["histograms"]["weights/fc"]["items"][2]["counts"] == history.histograms["weights/fc"][2].counts.tolist()
    assert area["texts"]["notes"]["values"] == ["# hello <script>"]
    assert area["images"]["samples/grid"] == {
        "steps": [0, 1, 2, 3], "wall_times": pytest.approx(history.images["samples/grid"].wall_times), "files": []
    }  # fmt: skip
    assert len(area["pr_curves"]["pr/cats"]) == 4


def test_tables_of_any_kind_come_along(tmp_path):
    names = ("x", "y", "z")
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    values[1, 2, 1] = np.nan
    with EventWriter(tmp_path / "runs" / "r") as writer:
        writer.write(
            [ClassList("longtail/a/classes", "a", names, np.array([3, 2, -1]), ("head",) * 3, "r", "d")], step=0
        )
        for step in range(2):
            unnamed = Table("longtail/a/calibration", "a", "calibration", ("low", "high"), values[step])
            named = Table("longtail/a/flow", "a", "flow", ("p",), values[step][:2, :1], ("from", "to"), {"unit": "s"})
            writer.write([unnamed, named, Scalar("s", 1.0)], step=step)
    export(tmp_path / "runs", tmp_path / "out", formats=["json", "csv"])
    tables = read_json(tmp_path, "out", "r", "class_performance.json")["tables"]
    calibration, flow = tables["longtail/a/calibration"], tables["longtail/a/flow"]
    assert (calibration["rows"], calibration["kind"], calibration["steps"]) == (list(names), "calibration", [0, 1])
    assert calibration["values"] == {"low": [[0, 2, 4], [6, 8, 10]], "high": [[1, 3, 5], [7, 9, None]]}
    assert (flow["rows"], flow["details"], flow["values"]) == (["from", "to"], {"unit": "s"}, {"p": [[0, 2], [6, 8]]})
    lines = (tmp_path / "out" / "r" / "class_performance" / "a" / "calibration.csv").read_text().splitlines()
    assert lines[0] == "attribute,step,wall_time,row,low,high"
    assert [line.split(",")[-3:] for line in lines[1:]] == [
        ["x", "0", "1"], ["y", "2", "3"], ["z", "4", "5"], ["x", "6", "7"], ["y", "8", "9"], ["z", "10", ""]
    ]  # fmt: skip


def test_large_tables_are_written_in_passes_and_read_the_same(logdir, out, tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "DECODED_BYTES", 100)
    export(logdir, tmp_path, formats=["json", "csv-full"], jobs=1)
    assert (tmp_path / "all_metrics.json").read_bytes() == (out / "all_metrics.json").read_bytes()
