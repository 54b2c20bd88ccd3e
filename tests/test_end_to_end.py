"""From the demo's training to the tab, the scalars, the JSON and `get_metrics()`: the same numbers, scikit-learn's."""

import json
import urllib.parse

import numpy as np
import pytest

from tbmetrics.demo.numbers import NAMES, class_groups, load_splits
from tbmetrics.demo.training import METHODS, train
from tbmetrics.exporting import export
from tbmetrics.records import scalar_tag
from tests.demo.runs import part_of, scikit_learn
from tests.plugin.logs import get, get_json, tensorboard_server
from tests.processes import wait_until

pytestmark = pytest.mark.slow

EPOCHS = 2


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def splits():
    return part_of(load_splits(), 5)


@pytest.fixture(scope="module")
def runs(logdir, splits):
    return {method: train(method, 0, logdir / method, splits, epochs=EPOCHS) for method in METHODS}


@pytest.fixture(scope="module")
def truth(runs, splits):
    """Per run, attribute and metric: one value per class from scikit-learn, NaN where undefined."""
    return {
        run: {attribute: scikit_learn(trained.model, splits.validation, attribute) for attribute in NAMES}
        for run, trained in runs.items()
    }


def _query(**parameters):
    return urllib.parse.urlencode(parameters)


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_the_tab_the_scalars_and_get_metrics_agree_with_scikit_learn(logdir, runs, splits, truth, load_fast):
    with tensorboard_server(logdir, load_fast=load_fast) as base:
        plugin = f"{base}data/plugin/longtail/"
        wait_until(
            lambda: get_json(f"{plugin}runs")["runs"],
            lambda listed: (
                len(listed) == 4  # each with its test set
                and all(len(a["steps"]) == EPOCHS for r in listed if r["run"] in METHODS for a in r["attributes"])
            ),
        )
        for run, attributes in truth.items():
            for attribute, expected in attributes.items():
                _check_values(plugin, run, attribute, expected)
                _check_groups(
                    plugin, base, run, attribute, expected, np.array(class_groups(splits.training)[attribute].groups)
                )
                _check_get_metrics(runs[run].session.get_metrics(), attribute, expected)


def _check_values(plugin, run, attribute, expected):
    query = [("run", run), ("attribute", attribute), ("step", EPOCHS - 1), *(("column", m) for m in expected)]
    status, _, body = get(f"{plugin}values?{urllib.parse.urlencode(query)}")
    assert status == 200, body
    shown = np.frombuffer(body, "<f4").reshape(len(expected), -1)
    np.testing.assert_allclose(shown, list(expected.values()), rtol=1e-6)


def _check_groups(plugin, base, run, attribute, expected, groups):
    shown = get_json(f"{plugin}groups?{_query(run=run, attribute=attribute)}")["groups"]
    for group in ("head", "medium", "tail"):
        for metric, values in expected.items():
            members = values[groups == group]
            mean = None if np.isnan(members).all() else np.nanmean(members)
            assert shown[group][metric][-1] == (mean if mean is None else pytest.approx(mean, rel=1e-5))
            if mean is not None and metric != "precision":  # F1 contains it: no scalar
                tag = scalar_tag(attribute, metric, group)
                points = get_json(f"{base}data/plugin/scalars/scalars?{_query(run=run, tag=tag)}")
                assert points[-1][1] == EPOCHS - 1
                assert points[-1][2] == pytest.approx(mean, rel=1e-5)


def _check_get_metrics(measured, attribute, expected):
    metrics = measured["class_performance"]["class_metrics"][attribute].values()
    for metric, values in expected.items():
        np.testing.assert_allclose([m[metric] for m in metrics], np.nan_to_num(values), rtol=1e-9)


def test_the_exported_json_agrees_too(logdir, runs, splits, truth, tmp_path):
    export(logdir, tmp_path, formats=["json"])
    for run, attributes in truth.items():
        exported = json.loads((tmp_path / run / "class_performance.json").read_text(encoding="utf-8"))["attributes"]
        for attribute, expected in attributes.items():
            for metric, values in expected.items():
                shown = np.array(exported[attribute]["class_metrics"][metric][-1], dtype=float)
                np.testing.assert_allclose(shown, values, rtol=1e-6)


@pytest.mark.browser
def test_the_page_shows_these_numbers(logdir, runs, splits, truth, page):
    from playwright.sync_api import expect

    with tensorboard_server(logdir) as base:
        page.goto(f"{base}#longtail")
        tab = page.frame_locator("iframe")
        tab.get_by_role("combobox", name="Attribute").select_option("digits")
        for label, run in zip(("Run A", "Run B"), METHODS, strict=True):
            tab.get_by_label(label).select_option(run)
        expect(tab.locator("table.classes tbody button.class-name")).to_have_count(10)
        tab.get_by_label("Metric").select_option("recall")
        expect(tab.locator("table.classes th button[data-sort=a]")).to_contain_text("Recall")
        expect(tab.locator("[data-card=classes][aria-busy=false]")).to_have_count(1)
        a, b = METHODS
        shown = {
            row.locator("button.class-name").inner_text(): [c.inner_text() for c in row.locator("td.number").all()]
            for row in tab.locator("table.classes tbody tr[aria-rowindex]").all()
        }
        for c in range(10):
            before, after = truth[a]["digits"]["recall"][c], truth[b]["digits"]["recall"][c]
            assert shown[str(c)][2:4] == [f"{before:.3f}", f"{after:.3f}"]
            assert float(shown[str(c)][4].replace("−", "-").replace("+", "")) == pytest.approx(after - before, abs=6e-4)
        page.goto("about:blank")  # nothing is asked of a server that stops
