"""The exporter: the numbers of the history, the same bytes every time, safe names, a clear word where nothing is."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tbmetrics import ClassGroups, InputError, TBMetrics, read_run
from tbmetrics.export import NothingToShowError, export, slug
from tbmetrics.records import CLASS_COLUMNS, class_table_tag

HOSTILE = "../<img src=x>/%2e Ünïcode 🦔"


def _train(directory, *, attribute="digit", epochs=2, names=("a", "b", "c")):
    groups = ClassGroups.from_counts({attribute: dict(zip(names, (900, 50, 3), strict=True))})
    generator = torch.Generator().manual_seed(0)
    with TBMetrics(directory, classes=groups, hparams={"lr": 0.1}) as tb:
        for _ in tb.epochs(range(epochs)):
            tb.update(torch.randn(30, 3, generator=generator), torch.arange(30) % 2)
            tb.log_scalar("loss", 0.5)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    _train(root / "one")
    _train(root / "two", attribute=HOSTILE, names=(HOSTILE, "$b$", 'c,"d"\n'))
    return root


def _files(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_json_and_csv_hold_the_numbers_of_the_log(logdir, tmp_path):
    report = export(logdir, tmp_path, formats=["json", "csv"])
    assert sorted(p.name for p in report.files) == ["classes.csv", "classes.csv", "metrics.json", "metrics.json"]
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text(encoding="utf-8"))
    table = read_run(logdir / "one").tables[class_table_tag("digit")]
    found = metrics["attributes"]["digit"]
    assert (found["classes"], found["steps"], found["counts"]) == (["a", "b", "c"], [0, 1], [900, 50, 3])
    for column in CLASS_COLUMNS:
        expected = [t.column(column) for t in table]
        values = np.array(found["class_metrics"][column], dtype=float)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert found["class_metrics"]["recall"][1][2] is None  # class c has no positives
    assert found["group_metrics"]["tail"]["recall"] == [None, None]
    assert metrics["scalars"]["loss"]["values"] == [0.5]
    assert metrics["hparams"] == {"lr": 0.1}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "one" / "classes.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 6
    last = rows[4]
    assert (last["class"], last["step"], last["training_count"], last["group"]) == ("b", "1", "50", "medium")
    assert float(last["ap"]) == pytest.approx(float(table.at(1).column("ap")[1]), rel=1e-6)
    assert rows[5]["recall"] == ""


def test_figures_are_real_images_and_a_second_export_gives_the_same_bytes(logdir, tmp_path):
    formats = ["png", "svg", "pdf", "json", "csv"]
    export(logdir, tmp_path / "first", formats=formats, dpi=60)
    export(logdir, tmp_path / "second", formats=formats, dpi=60)
    first, second = _files(tmp_path / "first"), _files(tmp_path / "second")
    assert first == second
    pngs = [name for name in first if name.startswith("one/") and name.endswith(".png")]
    assert len([name for name in pngs if name.startswith("one/class_performance/digit/")]) == 6
    assert "one/resource_usage/memory.png" in pngs
    for name in pngs:
        assert Image.open(io.BytesIO(first[name])).width > 200


def test_a_run_without_classes_has_its_resource_usage(tmp_path):
    with TBMetrics(tmp_path / "runs" / "plain") as tb:
        for _ in tb.epochs(range(2)):
            for _ in tb.batches([torch.zeros(4, 2)] * 5):
                with tb.component("../$x$ <b>"):
                    pass
    report = export(tmp_path / "runs", tmp_path / "out")
    assert report.problems == {}
    written = {p.relative_to(tmp_path / "out" / "plain").as_posix() for p in report.files}
    figures = ("component_times", "component_shares", "throughput", "memory", "typical_step")
    assert written == {"metrics.json", *(f"resource_usage/{name}.png" for name in figures)}
    with pytest.raises(NothingToShowError, match="hold nothing that tbmetrics measured"):
        export(tmp_path / "runs", tmp_path / "out", attributes=["digit"])


def test_hostile_names_stay_inside_the_directory(logdir, tmp_path):
    out = tmp_path / "deep" / "out"
    export(logdir, out, formats=["json", "csv"], runs="two")
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]
    metrics = json.loads((out / "two" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["attributes"][HOSTILE]["classes"] == [HOSTILE, "$b$", 'c,"d"\n']
    rows = list(csv.DictReader(io.StringIO((out / "two" / "classes.csv").read_text(encoding="utf-8"), newline="")))
    assert rows[2]["class"] == 'c,"d"\n'


@given(st.text(max_size=200))
def test_a_slug_is_a_plain_file_name(name):
    found = slug(name)
    assert found
    assert len(found) <= 100
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert not found.startswith(".")
    assert not found.endswith(".")


@given(st.lists(st.text(max_size=20), min_size=2, max_size=30, unique=True))
def test_different_names_have_different_slugs(names):
    assert len({slug(n) for n in names}) == len(names)


def test_runs_and_attributes_are_chosen(logdir, tmp_path):
    report = export(logdir, tmp_path, runs="^o", attributes=["digit"], formats=["json"])
    assert [p.parent.name for p in report.files] == ["one"]


def test_damage_is_reported_and_the_rest_exported(tmp_path):
    _train(tmp_path / "runs" / "one", epochs=4)
    (path,) = (tmp_path / "runs" / "one").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    report = export(tmp_path / "runs", tmp_path / "out", formats=["json"])
    assert "damaged bytes" in report.problems["one"][0]
    assert len(report.files) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"runs": "zzz"}, NothingToShowError, "no run matches 'zzz'; there are 'one', 'two'"),
        ({"attributes": ["colour"]}, NothingToShowError, "no run has an attribute in"),
        ({"formats": ["gif"]}, InputError, "formats must be some of png, svg, pdf, json, csv; got 'gif'"),
        ({"formats": []}, InputError, "got none"),
        ({"dpi": 3}, InputError, "dpi must lie in"),
        ({"runs": "("}, InputError, "must be a regular expression"),
        ({"out": "/proc/none"}, InputError, "cannot write to out '/proc/none'"),
        ({"logdir": "/nowhere"}, InputError, "does not exist"),
    ],
)
def test_mistakes_say_what_there_is(logdir, tmp_path, options, error, message):
    arguments = {"logdir": logdir, "out": tmp_path / "out", **options}
    with pytest.raises(error, match=message):
        export(arguments.pop("logdir"), arguments.pop("out"), **arguments)


def test_nothing_to_show_says_why(tmp_path):
    with pytest.raises(NothingToShowError, match="holds no event files; train with"):
        export(tmp_path, tmp_path / "out")
    with TBMetrics(tmp_path / "run") as tb:
        tb.log_scalar("loss", 1.0)
    with pytest.raises(NothingToShowError, match="hold nothing that tbmetrics measured; train with"):
        export(tmp_path, tmp_path / "out")


def test_only_some_areas_are_exported(tmp_path):
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    groups = ClassGroups.from_counts({"digit": {"a": 900, "b": 50, "c": 3}})
    with TBMetrics(tmp_path / "runs" / "r", model=model, optimizer=optimizer, classes=groups) as tb:
        for _ in tb.epochs(range(2)):
            model(torch.eye(3)).sum().backward()
            optimizer.step()
            tb.update(model(torch.eye(3)), torch.arange(3))
            tb.log_scalar("loss", 1.0)

    def exported(name, only):
        export(tmp_path / "runs", tmp_path / name, only=only, dpi=40)
        metrics = json.loads((tmp_path / name / "r" / "metrics.json").read_text(encoding="utf-8"))
        return {p.name for p in (tmp_path / name / "r").iterdir()}, metrics

    folders, metrics = exported("a", ["training_dynamics"])
    assert folders == {"training_dynamics", "metrics.json"}
    assert metrics["attributes"] == {}
    assert metrics["training_dynamics"]["parameters"]["values"]["weight"]["gradient_norm"]
    assert not any(tag.startswith(("class_performance/", "resource_usage/")) for tag in metrics["scalars"])
    assert "loss" in metrics["scalars"]
    folders, metrics = exported("b", ["class_performance", "resource_usage"])
    assert folders == {"class_performance", "resource_usage", "classes.csv", "metrics.json"}
    assert metrics["training_dynamics"] == {}
    with pytest.raises(InputError, match=r"only must be some of class_performance, .*; got 'gradients'"):
        export(tmp_path / "runs", tmp_path / "c", only=["gradients"])
    with pytest.raises(NothingToShowError):
        export(tmp_path / "runs", tmp_path / "c", only=["attention"])
