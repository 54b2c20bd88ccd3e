"""The CSV files: one line of pandas loads each, and the numbers are those of the log."""

import csv
import re

import numpy as np
import pandas as pd
import pytest

from tbmetrics import read_run
from tbmetrics.exporting import export
from tbmetrics.records import CLASS_COLUMNS, GROUP_COLUMNS, PARAMETERS_TAG, class_table_tag, confusion_tag
from tests.exporting.logs import train, train_a_model, write_plain

NUMBER = re.compile(r"[-+]?[0-9.]+(?:e[-+]?[0-9]+)?")


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    train_a_model(root / "model")
    write_plain(root / "plain")
    train(root / "odd", names=("a", "NA", 'c,"d"\n'))
    return root


@pytest.fixture(scope="module")
def out(logdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    assert export(logdir, folder, formats=["csv-full"]).problems == {}
    return folder


def test_classes_have_a_row_each_step_with_counts_and_groups(logdir, out):
    classes = pd.read_csv(out / "model" / "class_performance" / "digit" / "classes.csv")
    history = read_run(logdir / "model")
    tables = history.tables[class_table_tag("digit")]
    assert classes.columns.tolist() == [
        "attribute", "step", "wall_time", "class", "training_count", "group", *CLASS_COLUMNS
    ]  # fmt: skip
    assert classes["class"].tolist() == ["a", "b", "c"] * 2
    assert classes["training_count"].tolist() == [900, 50, 3] * 2
    assert classes["group"].tolist() == ["head", "medium", "tail"] * 2
    for column in CLASS_COLUMNS:
        np.testing.assert_array_equal(
            classes[column].astype(np.float32), np.concatenate([t.column(column) for t in tables])
        )


def test_groups_confusion_and_parameters_have_files_of_their_own(logdir, out):
    history = read_run(logdir / "model")
    groups = pd.read_csv(out / "model" / "class_performance" / "digit" / "groups.csv")
    assert groups.columns.tolist()[3:] == ["group", *GROUP_COLUMNS]
    confusion = pd.read_csv(out / "model" / "class_performance" / "digit" / "confusion.csv")
    table = history.tables[confusion_tag("digit")][-1]
    np.testing.assert_array_equal(confusion[confusion.step == 1][list(table.columns)], table.values)
    parameters = pd.read_csv(out / "model" / "training_dynamics" / "parameters.csv")
    assert set(parameters["parameter"]) == {"weight", "bias"}
    norms = history.tables[PARAMETERS_TAG][0].column("gradient_norm")
    np.testing.assert_array_equal(parameters["gradient_norm"][:2].astype(np.float32), norms)


def test_scalars_histograms_curves_and_texts_of_a_plain_log(logdir, out):
    history = read_run(logdir / "plain")
    folder = out / "plain" / "other"
    scalars = pd.read_csv(folder / "scalars.csv").pivot(index="step", columns="tag", values="value")
    np.testing.assert_allclose(scalars["train/loss"], [1, 1 / 2, 1 / 3, 1 / 4], rtol=1e-7)
    assert scalars["nothing"].isna().all()
    histograms = pd.read_csv(folder / "histograms.csv")
    assert histograms.groupby("step")["count"].sum().tolist() == [200] * 4
    assert (histograms["lower"] <= histograms["upper"]).all()
    filled = histograms[histograms["count"] > 0]
    assert filled["upper"].min() >= min(h.minimum for h in history.histograms["weights/fc"])
    curves = pd.read_csv(folder / "pr_curves.csv")
    np.testing.assert_allclose(curves[curves.step == 3]["precision"], history.pr_curves["pr/cats"][3].precision)
    assert pd.read_csv(folder / "texts.csv")["text"].tolist() == ["# hello <script>"]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_text_is_a_formula_and_numbers_stay_numbers(tmp_path, first):
    name = f'{first}HYPERLINK("http://x","y")'
    logdir = tmp_path / "runs"
    train(logdir / "r", names=(name, "plain", "a=b-1"))
    export(logdir, tmp_path / "out", formats=["csv"])
    (path,) = (tmp_path / "out").rglob("classes.csv")
    classes = pd.read_csv(path, keep_default_na=False, na_values=[""])
    assert classes["class"].tolist()[:3] == [f"'{name}", "plain", "a=b-1"]
    for file in (tmp_path / "out").rglob("*.csv"):
        with file.open(encoding="utf-8", newline="") as lines:
            for cell in (cell for line in csv.reader(lines) for cell in line):
                assert not cell.startswith(first) or NUMBER.fullmatch(cell), f"{file}: {cell!r}"


def test_names_that_need_quotes_come_back(out):
    path = out / "odd" / "class_performance" / "digit" / "classes.csv"
    classes = pd.read_csv(path, keep_default_na=False, na_values=[""])
    assert classes["class"].tolist()[:3] == ["a", "NA", 'c,"d"\n']
    assert classes["recall"].isna().tolist()[2]


def test_histograms_and_curves_are_written_on_request_only(logdir, tmp_path):
    export(logdir, tmp_path, formats=["csv", "json"])
    names = {path.name for path in tmp_path.rglob("*.csv")}
    assert {"scalars.csv", "texts.csv", "classes.csv"} <= names
    assert not names & {"histograms.csv", "pr_curves.csv"}
    assert '"histograms"' not in (tmp_path / "all_metrics.json").read_text(encoding="utf-8")
