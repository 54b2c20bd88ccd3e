"""Every route of the tab in TensorBoard's real application, asked for things and in ways it should refuse."""

import http.client
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plugin.in_process import PREFIX, SECRET, answered, application, client_of, two_runs
from tests.plugin.logs import tensorboard_server, wait_for_steps

AT = "run=a&attribute=x&step=2"
#: A query of each route that is answered.
GOOD = {
    "runs": "",
    "groups": "run=a&attribute=x&metric=f1",
    "classes": "run=a&attribute=x",
    "values": f"{AT}&column=f1",
    "history": "run=a&attribute=x&class_index=0&column=f1",
    "histories": "run=a&attribute=x&class_index=0&column=f1",
    "bucket_sums": "run=a&attribute=x&metric=f1",
    "bucket_uncertainty": "run=a&attribute=x&metric=f1",
    "curves": f"{AT}&head_min=101&tail_max=19",
    "class_curve": f"{AT}&class_index=0",
    "confusions": AT,
    "confusion": AT,
    "flow": AT,
    "flows": "run=a&attribute=x",
    "lift_sums": AT,
    "calibration": AT,
    "diagnosis": AT,
    "class_diagnosis": f"{AT}&class_index=0",
    "gallery": f"{AT}&class_index=0",
    "gallery_image": f"{AT}&kind=hardest_correct&group=tail",
    "settings": "run=a",
    "table": "run=a&attribute=x&metric=f1&step=2&by=frequency&experiment=a",
    "by_count": "run_a=a&step_a=0&run_b=a&step_b=2&attribute=x&metric=f1",
    "compare": "run_a=a&step_a=0&run_b=a&step_b=2&attribute=x&metric=f1",
}
#: Those that have nothing to answer with in this log: it was not diagnosed.
EMPTY = {"diagnosis", "class_diagnosis", "gallery_image"}
ROUTES = sorted(GOOD)
MEGABYTE = 2**20

#: What takes the place of a parameter's value, as it stands in the address.
VALUES = {
    "nothing": "",
    "huge": "a" * MEGABYTE,
    "huge number": "9" * 50_000,
    "huge negative": "-" + "9" * 18,
    "beyond 64 bits": "1" + "0" * 30,
    "exponent": "1e3",
    "nan": "NaN",
    "infinite": "1e999",
    "nul": "a%00",
    "newline": "a%0d%0aSet-Cookie:%20x=1",
    "half an escape": "%",
    "no escape": "%zz",
    "not utf-8": "%ff%fe%c0%af",
    "surrogate": "%ed%a0%80",
    "parent": "../../../etc/passwd",
    "escaped parent": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "absolute": "/etc/passwd",
    "windows": "..%5c..%5cboot.ini",
    "url": "http://127.0.0.1/",
    "markup": "%3Cimg%20src=x%20onerror=alert(1)%3E",
    "slow pattern": "(a%2B)%2B" + "a" * 5000 + "!",
    "many digits and dots": "1.1" * 5000,
    "glob": "*",
    "sql": "'%20OR%201=1--",
    "template": "%7B%7B7*7%7D%7D",
    "other run": "b",
    "unicode digits": "%D9%A3",
    "true": "true",
    "list": "[]",
}
#: Those that are good bounds of groups, or steps where a route answers with what is around a step.
NUMBERS = {"huge negative", "beyond 64 bits", "exponent"}
AROUND = {("gallery", "step")}
#: What the tab calls a row: any text.
FREE = {("table", "experiment")}
OPTIONAL = {("groups", "metric"), *(("table", name) for name in ("step", "by", "experiment"))}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    two_runs(folder)
    app, routes = application(folder)
    assert {route.rpartition("/")[2] for route in routes} == {*ROUTES, "*"}
    return client_of(app)


def _get(client, route, query, **options):
    return answered(client, "GET", f"{PREFIX}/{route}?{query}", **options)


def _pairs(query):
    return [tuple(pair.split("=", 1)) for pair in query.split("&") if pair]


@pytest.mark.parametrize("route", ROUTES)
def test_the_good_query_is_answered(client, route):
    assert _get(client, route, GOOD[route]).status == (400 if route in EMPTY else 200)


@pytest.mark.parametrize("written", ["?", [], [{"group": "tail", "lowest": 1, "highest": 9, "n_classes": 1}], [0] * 24])
def test_buckets_that_do_not_fit_their_rows_are_refused(tmp_path, monkeypatch, written):
    monkeypatch.setattr("tbmetrics.classes.groups.CountBuckets.to_json", lambda buckets: written)
    two_runs(tmp_path)
    monkeypatch.undo()
    client = client_of(application(tmp_path)[0])
    for route in ("flow", "lift_sums", "calibration"):
        answer = _get(client, route, GOOD[route])
        assert answer.status == 400
        assert b"does not describe the buckets" in answer.body
    answer = _get(client, "bucket_uncertainty", GOOD["bucket_uncertainty"])
    assert answer.status == 400
    assert b"longtail/x/uncertainty" in answer.body


@pytest.mark.slow
@pytest.mark.parametrize("what", VALUES)
def test_any_value_of_any_parameter_is_answered_or_refused(client, what):
    for route in ROUTES:
        pairs = _pairs(GOOD[route])
        for at, (name, _) in enumerate(pairs):
            query = "&".join(f"{n}={VALUES[what] if i == at else v}" for i, (n, v) in enumerate(pairs))
            answer = _get(client, route, query)
            if (route, name) in FREE or (
                what in NUMBERS and (name in ("head_min", "tail_max") or (route, name) in AROUND)
            ):
                assert SECRET.encode() not in answer.body
            elif what != "other run":
                assert answer.status == 400, f"{route}: {name} = {VALUES[what][:50]}"
                assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "runs"])
def test_missing_repeated_and_unasked_parameters(client, route):
    pairs = _pairs(GOOD[route])
    if route in EMPTY:
        return
    for name, value in pairs:
        without = "&".join(f"{n}={v}" for n, v in pairs if n != name)
        assert _get(client, route, without).status == (200 if (route, name) in OPTIONAL else 400), name
        assert _get(client, route, f"{GOOD[route]}&{name}={value}").status == 400, f"{name} twice"
    assert _get(client, route, f"{GOOD[route]}&unasked={'x' * MEGABYTE}&&=&;=%").status == 200


pieces = st.one_of(
    st.sampled_from(sorted({name for query in GOOD.values() for name, _ in _pairs(query)})),
    st.sampled_from(["a", "b", "x", "0", "2", "f1", "-1", "1e3", "NaN", "%", "%00", "..", "/", "=", "&", ";", "+"]),
    st.text(max_size=6).map(lambda text: urllib.parse.quote(text, errors="replace")),
)


@given(st.sampled_from(ROUTES), st.lists(st.tuples(pieces, pieces), max_size=8))
def test_any_query_of_any_route_is_answered_or_refused(client, route, pairs):
    query = "&".join(f"{name}={value}" for name, value in [*pairs, *_pairs(GOOD[route])][:8])
    _get(client, route, query)


@pytest.mark.slow
def test_a_hundred_thousand_parameters(client):
    many = "&".join(f"class_index={i}" for i in range(100_000))
    assert _get(client, "histories", f"run=a&attribute=x&column=f1&{many}").status == 400
    metrics = "&".join(f"metric=m{i}" for i in range(100_000))
    assert _get(client, "groups", f"run=a&attribute=x&{metrics}").status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW", "get"])
def test_only_get_is_allowed(client, method):
    for route in [*ROUTES, "static/index.js", "static/bundle.js", "static/nothing"]:
        answer = answered(client, method, f"{PREFIX}/{route}?{GOOD.get(route, '')}", data=b"run=b" * 1000)
        if method == "get":
            continue  # the test client, like servers, makes it GET
        assert answer.status == 405, route
        assert answer.headers["Allow"] == "GET"


def test_a_body_says_nothing(client):
    form = {"content_type": "application/x-www-form-urlencoded", "data": b"run=b&attribute=x"}
    answer = _get(client, "classes", "run=a&attribute=x", **form)
    assert answer.status == 200
    assert SECRET.encode() not in answer.body


#: Paths below `static/` that are no listed file.
PATHS = [
    "../plugin.py", "..%2fplugin.py", "%2e%2e/routes.py", "%2e%2e%2froutes.py", "..%252froutes.py", "....//routes.py",
    "../../tbmetrics/errors.py", "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "..%5croutes.py", "index.js%00",
    "index.js%00.css", "index.js/", "index.js/.", "./index.js/../../routes.py", "INDEX.JS", "index.js~", ".", "..",
    "static/../../routes.py", "x/static/../routes.py", "a" * 10_000, "%ff%fe", "index.js;a=b", "index.mjs",
    "routes.py", "__init__.py", "", "%", "%zz",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30] or "nothing")
def test_only_listed_files_are_served(client, path):
    answer = answered(client, "GET", f"{PREFIX}/static/{path}")
    assert answer.status == 404
    assert b"import " not in answer.body
    assert b"root:" not in answer.body


def test_a_path_that_names_static_again_gives_a_listed_file_or_nothing(client):
    for path in ("x/static/index.js", "../static/index.js", "%2e%2e/static/index.js"):
        answer = answered(client, "GET", f"{PREFIX}/static/{path}")
        listed = answered(client, "GET", f"{PREFIX}/static/index.js").body
        assert answer.status == 404 or answer.body == listed


def test_a_run_never_shows_what_another_has(client):
    for route in ROUTES:
        answer = _get(client, route, GOOD[route])
        assert (SECRET.encode() in answer.body) == (route == "runs" and SECRET in json.dumps(GOOD)), route
    of_b = _get(client, "classes", "run=b&attribute=x")
    assert SECRET.encode() in of_b.body
    for run in (
        "a/",
        "./a",
        "a/../b",
        "B",
        " b",
        "b ",
        "b%00",
        "a,b",
        "a&run=b",
        "%62%2f",
        ".",
        "",
        "*",
        "a|b",
        "[ab]",
    ):
        answer = _get(client, "classes", f"run={run}&attribute=x")
        assert answer.status == 400, run
        assert SECRET.encode() not in answer.body
    for attribute in ("y", "x/classes", "../b/x", "X", "x%20"):
        answer = _get(client, "classes", f"run=a&attribute={urllib.parse.quote(attribute)}")
        assert answer.status == 400
        assert SECRET.encode() not in answer.body


def test_the_frame_of_the_tab_keeps_its_policy(client):
    """TensorBoard's own frame: scripts and everything else from the server alone, and none written in the page."""
    response = client.get("/data/plugin_entry.html?name=longtail")
    assert response.status_code == 200
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == "'none'"
    words = {word for word in policy["script-src"].split() if not word.startswith("'sha256-")}
    assert words <= {"'self'", "'unsafe-eval'"}
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_no_answer_may_be_shown_as_a_page(client):
    for route in ROUTES:
        kind = _get(client, route, GOOD[route]).headers["Content-Type"].split(";")[0]
        assert kind in {"application/json", "application/octet-stream", "image/png"}


def test_a_fault_of_ours_is_a_sentence_and_no_trace(client, monkeypatch, caplog):
    def fail(self, *arguments):
        raise RuntimeError("secret path /home/someone")

    monkeypatch.setattr("tbmetrics_longtail.data.LongTailData.attribute", fail)
    response = client.get(f"{PREFIX}/classes?run=a&attribute=x")
    assert (response.status_code, response.headers["Content-Type"]) == (500, "application/json")
    assert response.get_json() == {"error": "no answer could be made (RuntimeError)", "hint": "see the server's log"}
    assert "secret path" in caplog.text


@pytest.mark.slow
def test_a_real_server_refuses_what_no_browser_would_send(tmp_path):
    two_runs(tmp_path)
    with tensorboard_server(tmp_path) as base:
        wait_for_steps(base, 2, 3)
        address = urllib.parse.urlsplit(base)
        for method, target, expected in [
            ("GET", f"{PREFIX}/static/../plugin.py", 404),
            ("GET", f"{PREFIX}/static/..%2f..%2ftbmetrics%2fsession.py", 404),
            ("GET", f"{PREFIX}/static//etc/passwd", 404),
            ("GET", f"{PREFIX}/classes?run=%ff%00&attribute=..%2f", 400),
            ("GET", f"{PREFIX}/classes?run={'a' * 50_000}&attribute=x", 400),
            ("POST", f"{PREFIX}/classes?run=a&attribute=x", 405),
            ("OPTIONS", f"{PREFIX}/runs", 405),
            ("DELETE", f"{PREFIX}/static/index.js", 405),
        ]:
            connection = http.client.HTTPConnection(address.hostname, address.port)
            connection.putrequest(method, target, skip_accept_encoding=True)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read()
            connection.close()
            assert response.status == expected, f"{method} {target[:100]}: {response.status} {body[:200]!r}"
            assert b"Traceback" not in body
            assert b"import " not in body
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert json.loads(body)["error"]
