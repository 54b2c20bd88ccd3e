"""The plugin in a real TensorBoard: every validation kept, answers that are the log's, a clear 400 for the rest."""

import gzip
import json
import struct
import urllib.error
import urllib.request

import numpy as np
import pytest

from tbmetrics.events.writer import EventWriter
from tbmetrics.records import CLASS_COLUMNS, MEAN_METRICS, ClassList, Table, class_list_tag, class_table_tag
from tbmetrics.statistics.intervals import wilson
from tests.plugin.logs import get, get_json, plugin_url, tensorboard_server, wait_for_steps, write_log
from tests.processes import wait_until

pytestmark = pytest.mark.slow

STEPS = 1000
NAMES = ("a", "<img src=x onerror=alert(1)>", "../../etc/passwd")


def _value(step):
    return np.float32(step / STEPS)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    with EventWriter(root / "long") as writer:
        classes = ClassList(
            class_list_tag("x"),
            "x",
            NAMES,
            np.array([900, 50, -1]),
            ("head", "medium", "unknown"),
            "lvis",
            "multi_label",
        )
        writer.write([classes], step=0)
        for step in range(STEPS):
            values = np.full((3, len(CLASS_COLUMNS)), _value(step), np.float32)
            values[2] = np.nan
            writer.write([Table(class_table_tag("x"), "x", "classes", CLASS_COLUMNS, values)], step=step)
    return root


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_a_thousand_validations_arrive_as_a_thousand(logdir, load_fast):
    with tensorboard_server(logdir, load_fast=load_fast) as base:
        url = plugin_url(base, "history", run="long", attribute="x", class_index=0, column="f1")

        def history():
            status, _, body = get(url)
            return json.loads(body) if status == 200 else {"steps": []}

        found = wait_until(history, lambda answer: len(answer["steps"]) == STEPS)
        assert found["steps"] == list(range(STEPS))
        np.testing.assert_allclose(found["values"], [_value(s) for s in range(STEPS)])


@pytest.fixture(scope="module")
def base(logdir):
    with tensorboard_server(logdir, "--path_prefix", "/deep/er") as base:
        url = plugin_url(base, "runs")
        wait_until(lambda: get_json(url)["runs"], lambda runs: runs and len(runs[0]["attributes"][0]["steps"]) == STEPS)
        yield base


def test_answers_under_a_path_prefix(base):
    (run,) = get_json(plugin_url(base, "runs"))["runs"]
    (attribute,) = run["attributes"]
    assert (run["run"], attribute["attribute"], attribute["n_classes"]) == ("long", "x", 3)
    classes = get_json(plugin_url(base, "classes", run="long", attribute="x"))
    assert tuple(classes["names"]) == NAMES
    assert classes["counts"] == [900, 50, None]
    _, headers, body = get(plugin_url(base, "values", run="long", attribute="x", step=7, column=["f1", "ap"]))
    assert headers["Content-Type"].startswith("application/octet-stream")
    values = np.frombuffer(body, "<f4").reshape(2, 3)
    np.testing.assert_array_equal(values, [[_value(7), _value(7), np.nan]] * 2)


@pytest.mark.parametrize(
    ("route", "parameters", "words"),
    [
        ("classes", {"run": "nope", "attribute": "x"}, "run 'nope' is unknown"),
        ("classes", {"run": "long", "attribute": "y"}, "no attribute 'y'"),
        ("classes", {"attribute": "x"}, "'run' is missing"),
        ("classes", {"run": ["long", "long"], "attribute": "x"}, "given 2 times"),
        ("values", {"run": "long", "attribute": "x", "step": 7}, "'column' is missing"),
        ("values", {"run": "long", "attribute": "x", "step": "1e3", "column": "f1"}, "must be a whole number"),
        ("values", {"run": "long", "attribute": "x", "step": "9" * 400, "column": "f1"}, "must be a whole number"),
        (
            "values",
            {"run": "long", "attribute": "x", "step": 5000, "column": "f1"},
            "nothing was recorded at step 5000",
        ),
        ("values", {"run": "long", "attribute": "x", "step": 7, "column": "rank"}, "column 'rank' is unknown"),
        ("history", {"run": "long", "attribute": "x", "class_index": 3, "column": "f1"}, "class"),
        ("history", {"run": "long", "attribute": "x", "column": "f1"}, "which class?"),
        ("groups", {"run": "long", "attribute": "x", "metric": "mood"}, "has no groups yet"),
        ("histories", {"run": "long", "attribute": "x", "column": "f1"}, "must be given 1 to 100 times"),
        ("histories", {"run": "long", "attribute": "x", "column": "f1", "class_index": ["0", "x"]}, "whole number"),
        ("histories", {"run": "long", "attribute": "x", "column": "f1", "class_index": range(200)}, "1 to 100 times"),
        ("histories", {"run": "long", "attribute": "x", "column": "f1", "class_index": [0, 7]}, "out of range"),
        ("bucket_sums", {"run": "long", "attribute": "x", "metric": "ece"}, "is no sum over classes"),
        ("bucket_uncertainty", {"run": "long", "attribute": "x", "metric": "ece"}, "has no recorded uncertainty"),
        ("curves", {"run": "long", "attribute": "x", "step": 7}, "has no curves yet"),
        ("curves", {"run": "long", "attribute": "x", "step": 7, "head_min": 5}, "'tail_max' is missing"),
        ("class_curve", {"run": "long", "attribute": "x", "step": 7}, "which class?"),
        ("flow", {"run": "long", "attribute": "x", "step": 7}, "has no flow yet"),
        ("calibration", {"run": "long", "attribute": "x"}, "'step' is missing"),
        ("confusions", {"run": "long", "attribute": "x", "step": 7, "class": "a", "class_index": 0}, "which class?"),
        *(
            (
                "compare",
                {"run_a": "long", "step_a": 1, "run_b": "long", "step_b": 1, "attribute": "x", "metric": "f1"}
                | {"head_min": head, "tail_max": tail},
                "are no bounds",
            )
            for head, tail in (("nan", 3), (10, "NaN"), ("1e999", 3), (3, 10), ("x", 1))
        ),
    ],
)
def test_bad_requests_get_a_400_that_says_what_is_wrong(base, route, parameters, words):
    status, _, body = get(plugin_url(base, route, **parameters))
    answer = json.loads(body)
    assert status == 400
    assert words in answer["error"]
    assert answer["hint"]


@pytest.mark.parametrize("name", ["plugin.py", "..%2Fplugin.py", "../plugin.py", "index.js%00", "", "%2e%2e/routes.py"])
def test_only_listed_files_are_served(base, name):
    status, _, body = get(f"{base}data/plugin/longtail/static/{name}")
    assert status in (400, 404)
    assert b"import" not in body


def test_modules_are_served_as_javascript_and_only_to_get(base):
    url = f"{base}data/plugin/longtail/static/index.js"
    status, headers, _ = get(url)
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/javascript")
    request = urllib.request.Request(url, data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log with every kind of table, and what is in it."""
    root = tmp_path_factory.mktemp("made")
    truth = write_log(root, runs=("r",), attributes={"x": 40, "y": 7}, steps=3)["r"]
    with tensorboard_server(root) as base:
        wait_for_steps(base, 1, 3)
        yield base, truth


def _packed(url):
    status, headers, body = get(url)
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "application/octet-stream")
    (length,) = struct.unpack("<I", body[:4])
    about = json.loads(body[4 : 4 + length])
    return about, np.frombuffer(body[4 + length :], "<f4").reshape(about["shape"])


def test_histories_are_the_columns_of_the_classes_asked_for(made):
    base, truth = made
    url = plugin_url(base, "histories", run="r", attribute="x", column="recall", class_index=[7, 2, 30])
    about, values = _packed(url)
    assert (about["steps"], about["classes"]) == ([0, 1, 2], [7, 2, 30])
    expected = truth["x"].class_values[:, [7, 2, 30], CLASS_COLUMNS.index("recall")].T
    np.testing.assert_array_equal(values, expected)


def test_bucket_sums_are_the_means_of_the_groups(made):
    base, truth = made
    about, (sums, _, weights) = _packed(plugin_url(base, "bucket_sums", run="r", attribute="x", metric="f1"))
    for group in ("head", "medium", "tail"):
        inside = [i for i, bucket in enumerate(about["buckets"]) if bucket["group"] == group]
        means = sums[:, inside].sum(axis=1) / weights[:, inside].sum(axis=1)
        np.testing.assert_allclose(means, truth["x"].group("f1", group), rtol=1e-5)


def test_bucket_uncertainty_is_the_log_with_the_positives_of_each_bucket(made):
    base, truth = made
    x = truth["x"]
    about, values = _packed(plugin_url(base, "bucket_uncertainty", run="r", attribute="x", metric="recall"))
    size = len(x.buckets)
    metric = MEAN_METRICS.index("recall")
    assert about["steps"] == [0, 1, 2]
    assert about["buckets"] == x.buckets.to_json()
    support = x.class_values[:, :, CLASS_COLUMNS.index("support")]
    positives = np.stack([support[:, x.buckets.of_class == b].sum(axis=1) for b in range(size)], axis=1)
    np.testing.assert_array_equal(values[:, :size], positives)
    np.testing.assert_allclose(values[:, size : 2 * size], x.bias[:, metric], rtol=1e-6)
    np.testing.assert_allclose(values[:, 2 * size], x.covariance[:, metric, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(values[:, 2 * size + 1], x.covariance[:, metric, 0, 1], rtol=1e-6)
    precision = _packed(plugin_url(base, "bucket_uncertainty", run="r", attribute="x", metric="precision"))[1]
    assert np.isnan(precision[:, :size]).all()  # precision is told from few positives, too


def test_curves_confusions_flow_and_calibration_are_the_logs(made):
    base, truth = made
    at = {"run": "r", "attribute": "x", "step": 2}
    x = truth["x"]
    curve = get_json(plugin_url(base, "class_curve", **at, class_index=4))
    points = np.pad(x.curves[2].astype(float), ((0, 0), (1, 1)), mode="edge")
    np.testing.assert_allclose(np.array(curve["precision"], float), points[4])
    np.testing.assert_allclose(curve["recall"], [0, *np.arange(0.025, 1, 0.05), 1])
    assert curve["at"]["support"] == x.column("support", 2)[4]
    tail = np.array(x.classes.groups) == "tail"
    groups = get_json(plugin_url(base, "curves", **at))["groups"]
    np.testing.assert_allclose(groups["tail"]["precision"], np.nanmean(points[tail], axis=0))
    support = x.column("support", 2)[tail]
    assert groups["tail"]["n_few_positives"] == ((support > 0) & (support < 5)).sum() > 0
    assert not groups["tail"]["is_point"]
    counted = {m: int((~np.isnan(x.column(m, 2)[tail])).sum()) for m in ("precision", "recall")}
    assert {m: groups["tail"]["at"][f"{m}_n_classes"] for m in counted} == counted
    assert groups["all"]["n_classes"] == (~np.isnan(x.curves[2].astype(float)).all(axis=1)).sum()
    written = x.pairs[2][~np.isnan(x.pairs[2][:, 0])].astype(int)
    support = x.column("support", 2)
    lower, upper = wilson(written[:, 2], support[written[:, 0]])
    order = sorted(range(len(written)), key=lambda i: (-lower[i], -written[i, 2]))  # the most evidence first
    pairs = written[order].tolist()
    found = get_json(plugin_url(base, "confusions", **at))
    assert (found["pairs"], found["n_pairs"]) == (pairs[:200], len(pairs))
    shares = np.stack([written[:, 2] / support[written[:, 0]], lower, upper], axis=1)[order]
    np.testing.assert_allclose(np.array(found["shares"], float), shares)
    rows = x.group("n_samples", "all")[2]
    usual = x.column("false_positives", 2) / (rows - support)
    np.testing.assert_allclose(np.array(found["by_chance"], float), [usual[p[1]] for p in pairs], rtol=1e-6)
    one = get_json(plugin_url(base, "confusions", **at, class_index=pairs[0][0]))["pairs"]
    assert one == [p for p in pairs if pairs[0][0] in p[:2]]
    np.testing.assert_allclose(np.array(get_json(plugin_url(base, "flow", **at))["values"], float), x.flow[2])
    lifts = get_json(plugin_url(base, "lift_sums", **at))
    columns = [np.stack([lifts[c] for c in ("positives", "missed", "absent_share", "false_positives")], axis=1)]
    columns += [lifts[table] for table in ("observed", "expected", "variance")]
    np.testing.assert_allclose(np.hstack(columns), x.lift_sums[2], rtol=1e-6)
    sums = get_json(plugin_url(base, "calibration", **at))
    np.testing.assert_allclose(np.hstack([sums["n"], sums["confidence"], sums["right"]]), x.calibration[2], rtol=1e-6)


def test_the_bundle_is_served_and_kept_apart_from_other_files(made):
    base, _ = made
    status, headers, body = get(f"{base}data/plugin/longtail/static/bundle.js")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/javascript")
    assert body.rstrip().endswith(b"export const { render } = $index;")


@pytest.mark.parametrize("name", ["bundle.js", "style.css"])
def test_a_file_that_the_browser_has_is_not_sent_again(base, name):
    url = f"{base}data/plugin/longtail/static/{name}"
    _, headers, body = get(url)
    zipped = urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})).read()
    assert gzip.decompress(zipped) == body
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(urllib.request.Request(url, headers={"If-None-Match": headers["ETag"]}))
    other = urllib.request.Request(url, headers={"If-None-Match": '"another"'})
    assert urllib.request.urlopen(other).read() == body
