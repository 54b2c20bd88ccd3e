"""The plugin in a real TensorBoard: every validation kept, answers that are the log's, a clear 400 for the rest."""

import json
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest

from tbmetrics.events.writer import EventWriter
from tbmetrics.records import CLASS_COLUMNS, ClassList, Table, class_list_tag, class_table_tag
from tests.plugin.logs import get, get_json, tensorboard_server, until

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


def _url(base, route, **parameters):
    return f"{base}data/plugin/longtail/{route}?{urllib.parse.urlencode(parameters, doseq=True)}"


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_a_thousand_validations_arrive_as_a_thousand(logdir, load_fast):
    with tensorboard_server(logdir, load_fast=load_fast) as base:
        url = _url(base, "history", run="long", attribute="x", class_index=0, column="f1")

        def history():
            status, _, body = get(url)
            return json.loads(body) if status == 200 else {"steps": []}

        found = until(history, lambda answer: len(answer["steps"]) == STEPS)
        assert found["steps"] == list(range(STEPS))
        np.testing.assert_allclose(found["values"], [_value(s) for s in range(STEPS)])


@pytest.fixture(scope="module")
def base(logdir):
    with tensorboard_server(logdir, "--path_prefix", "/deep/er") as base:
        url = _url(base, "runs")
        until(lambda: get_json(url)["runs"], lambda runs: runs and len(runs[0]["attributes"][0]["steps"]) == STEPS)
        yield base


def test_answers_under_a_path_prefix(base):
    (run,) = get_json(_url(base, "runs"))["runs"]
    (attribute,) = run["attributes"]
    assert (run["run"], attribute["attribute"], attribute["n_classes"]) == ("long", "x", 3)
    classes = get_json(_url(base, "classes", run="long", attribute="x"))
    assert tuple(classes["names"]) == NAMES
    assert classes["counts"] == [900, 50, None]
    _, headers, body = get(_url(base, "values", run="long", attribute="x", step=7, column=["f1", "ap"]))
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
    ],
)
def test_bad_requests_get_a_400_that_says_what_is_wrong(base, route, parameters, words):
    status, _, body = get(_url(base, route, **parameters))
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
