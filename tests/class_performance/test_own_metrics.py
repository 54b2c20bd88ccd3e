"""Metrics that users compute for each class: averaged, recorded, compared and shown like ours, and refused if odd."""

import json
import math

import numpy as np
import pytest
import torch

from examples import lvis_ap
from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, TBMetrics, export, read_run
from tbmetrics.comparing.runs import compare_runs
from tbmetrics.figures.class_metrics import figures
from tbmetrics.records import class_table_tag, group_table_tag
from tbmetrics.statistics.intervals import mover_difference, mover_mean, wilson
from tests.plugin.in_process import PREFIX, answered, application, client_of

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]
COUNTS = {"x": dict(zip(NAMES, [900, 300, 60, 30, 9, 2], strict=True))}
AP = np.array([0.8, 0.7, 0.5, 0.4, 0.1, np.nan])


def _tracker(**options):
    return ClassPerformanceTracker(classes=ClassGroups.from_counts(COUNTS), **options)


def _tables(tracker, epoch):
    return {r.record.tag: r.record for r in tracker.records(epoch) if hasattr(r.record, "columns")}


def _batch(seed=0, rows=60):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 6, generator=generator), torch.randint(0, 6, (rows,), generator=generator)


def test_an_attribute_with_own_metrics_alone_has_their_means_and_nothing_else():
    tracker = _tracker()
    tracker.log_class_metrics("x", {"ap": AP, "ap50": {"ant": 0.9, "fox": 0.3}}, support=torch.arange(6))
    groups = tracker.get_class_type_metrics()["x"]
    assert groups["head"]["ap"] == pytest.approx(0.75)
    assert groups["tail"] | {"ap": 0.1, "ap_n_classes": 1.0, "ap50": 0.3, "count": 2} == groups["tail"]
    assert groups["gap"]["ap"] == pytest.approx(0.65)
    assert groups["all"]["ap_lower"] is None
    assert (
        tracker.get_metrics()["x"]["fox"] | {"support": 5, "ap": None, "ap50": 0.3, "defined": False}
        == (tracker.get_metrics()["x"]["fox"])
    )
    tables = _tables(tracker, 0)
    assert set(tables) == {class_table_tag("x"), group_table_tag("x")}
    np.testing.assert_allclose(tables[class_table_tag("x")].column("ap"), AP, rtol=1e-6)
    assert not tracker.records(1)  # nothing new


def test_they_join_what_is_measured_and_are_undefined_where_they_were_not_given():
    tracker, plain = _tracker(), _tracker()
    for each in (tracker, plain):
        each.update(*_batch())
    tracker.log_class_metrics("x", {"own": AP}, support=np.zeros(6))
    measured, joined = plain.get_class_type_metrics()["x"]["tail"], tracker.get_class_type_metrics()["x"]["tail"]
    assert joined | measured == joined
    assert joined["own"] == pytest.approx(0.1)
    first = _tables(tracker, 0)
    plain.records(0)
    for each in (tracker, plain):
        each.update(*_batch(1))
    second = _tables(tracker, 1)
    tracker.log_class_metrics("x", {"own": AP})
    third = _tables(tracker, 2)
    for tag in (class_table_tag("x"), group_table_tag("x")):
        assert first[tag].columns == second[tag].columns == third[tag].columns
    assert np.isnan(second[class_table_tag("x")].column("own")).all()
    assert np.isnan(third[class_table_tag("x")].column("f1")).all()
    np.testing.assert_allclose(third[class_table_tag("x")].column("own"), AP, rtol=1e-6)


def test_a_group_has_an_interval_if_all_of_its_classes_have_one():
    lower, upper = AP - 0.1, AP + 0.15
    lower[3] = upper[3] = np.nan
    tracker = _tracker()
    tracker.log_class_metrics("x", {"own": AP}, lower={"own": lower}, upper={"own": upper})
    groups = tracker.get_class_type_metrics()["x"]
    assert groups["head"]["own_lower"] == pytest.approx(0.75 - math.hypot(0.1, 0.1) / 2)
    assert groups["head"]["own_upper"] == pytest.approx(0.75 + math.hypot(0.15, 0.15) / 2)
    assert groups["medium"]["own_lower"] is None
    assert groups["gap"]["own_upper"] == pytest.approx(0.65 + math.hypot(math.hypot(0.15, 0.15) / 2, 0.1))


def test_the_intervals_of_means_and_of_their_differences_contain_the_truth():
    rng = np.random.default_rng(0)
    truth, trials = rng.uniform(0.1, 0.98, 12), rng.integers(5, 60, 12)
    covered = []
    for hits in rng.binomial(trials, truth, (1500, 12)):
        ends = wilson(hits, trials)
        parts = [(hits[s] / trials[s], ends[0][s], ends[1][s]) for s in (slice(0, 6), slice(6, 12))]
        means = [(float(part[0].mean()), *mover_mean(*part)) for part in parts]
        _, low, high = mover_difference(*means)
        gap = truth[:6].mean() - truth[6:].mean()
        covered.append([means[0][1] <= truth[:6].mean() <= means[0][2], low <= gap <= high])
    assert (np.abs(np.mean(covered, axis=0) - 0.95) < 0.025).all()


@pytest.mark.parametrize(
    ("metrics", "options", "message"),
    [
        ({"ap": [37.2] * 6}, {}, "divide percentages by 100, give 1 - rate of an error rate; NaN = unknown; got 37.2"),
        ({"ap": [-1.0] * 6}, {}, "NaN = unknown; got -1"),
        ({"ap": [0.5] * 5}, {}, r"'x': ap must be one for each of 6 classes, got shape \(5,\)"),
        ({"ap": {"gnu": 0.5}}, {}, r"names unknown classes \['gnu'\]"),
        ({"ap": "high"}, {}, "'x': ap must be numbers, got str"),
        ({"m@50": AP}, {}, "letters, digits and underscores only, got 'm@50'"),
        ({"accuracy": AP}, {}, "'accuracy' means something else"),
        ({"f1_lower": AP}, {}, "'f1_lower' means something else"),
        ({}, {}, "metrics must be a dictionary of values by name"),
        ({"ap": AP}, {"lower": {"ap": AP}}, "belong together"),
        ({"ap": AP}, {"lower": {"ap": AP + 0.1}, "upper": {"ap": AP + 0.2}}, "outside of its interval"),
        ({"ap": AP}, {"support": [-1] * 6}, "support must be counts"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(metrics, options, message):
    tracker = _tracker()
    with pytest.raises(InputError, match=message):
        tracker.log_class_metrics("x", metrics, **options)
    assert not tracker.records(0)


def test_names_that_are_measured_and_tables_that_would_change_are_refused():
    tracker = _tracker(top_k=2)
    with pytest.raises(InputError, match="attribute 'y' is not tracked; tracked are 'x'"):
        tracker.log_class_metrics("y", {"ap": AP})
    tracker.log_class_metrics("x", {"recall_at_2": AP})
    with pytest.raises(InputError, match="'recall_at_2' is measured here; log yours under another name"):
        tracker.update(*_batch())
    tracker = _tracker()
    tracker.update(*_batch())
    with pytest.raises(InputError, match="'ap' is measured here"):
        tracker.log_class_metrics("x", {"ap": AP})
    tracker.records(0)
    with pytest.raises(InputError, match="has been recorded without 'own', and its table keeps its columns"):
        tracker.log_class_metrics("x", {"own": AP})
    tracker = _tracker()
    tracker.log_class_metrics("x", {"ap": AP})
    tracker.records(0)
    with pytest.raises(InputError, match="recorded with metrics of your own alone"):
        tracker.update(*_batch())


def test_a_saved_state_and_several_ranks_keep_them():
    tracker, other, third = _tracker(), _tracker(), _tracker()
    tracker.log_class_metrics("x", {"own": AP})
    other.load_state_dict(tracker.state_dict())
    assert other.get_class_type_metrics() == tracker.get_class_type_metrics()
    third.update(*_batch())
    announced = [other.announce(), third.announce()]
    shares = [rank.share(announced, i) for i, rank in enumerate((other, third))]
    outcome = other.adopt(other.combine(*shares))
    third.take_outcome(outcome)
    assert third.get_class_type_metrics() == other.get_class_type_metrics()
    assert other.get_class_type_metrics()["x"]["tail"]["own"] == pytest.approx(0.1)
    other.records(0)
    again = _tracker()
    again.load_state_dict(other.state_dict())
    with pytest.raises(InputError, match="recorded without 'new'"):
        again.log_class_metrics("x", {"new": AP})


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """Runs "a" and "b" with two metrics, one with intervals, and nothing measured."""
    folder = tmp_path_factory.mktemp("own") / "runs"
    for run, gain in (("a", 0.0), ("b", 0.1)):
        with TBMetrics(folder / run, classes=ClassGroups.from_counts(COUNTS), resources=False) as tb:
            for epoch in tb.epochs(range(2)):
                value = AP + gain + 0.05 * epoch
                ends = {"lower": {"f1": value - 0.05}, "upper": {"f1": value + 0.05}}
                tb.log_class_metrics("x", {"ap50": value, "f1": value}, **ends)
    return folder


def test_runs_are_compared_exported_drawn_and_shown_by_them(logdir, tmp_path):
    a, b = (read_run(logdir / run, run=run) for run in "ab")
    comparison = compare_runs(a, b, metric="ap50")
    assert comparison.groups["tail"].difference == pytest.approx(0.1)
    assert comparison.groups["tail"].verdict == "untold"  # no interval
    assert compare_runs(a, b, metric="f1").groups["head"].verdict == "better"
    assert {name for name, _ in figures(a)} == {
        f"x/{figure}" for figure in ("class_distribution", "metrics_by_group", "metrics_over_steps",
                                     "f1_by_training_count")
    }  # fmt: skip
    report = export(logdir, tmp_path / "out", formats=["json", "csv", "html"])
    assert not report.problems
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<th>ap50</th>" in page or ">ap50<" in page

    client = client_of(application(logdir)[0])

    def answer(route, **query):
        text = "&".join(f"{name}={value}" for name, value in query.items())
        reply = answered(client, "GET", f"{PREFIX}/{route}?{text}")
        assert reply.status == 200
        return json.loads(reply.body) if reply.headers["Content-Type"].startswith("application/json") else reply.body

    about = answer("runs")["runs"][0]["attributes"][0]
    assert about["metrics"] == about["means"] == ["ap50", "f1"]
    assert about["uncertain"] == []
    sides = {"run_a": "a", "step_a": 1, "run_b": "b", "step_b": 1, "attribute": "x", "metric": "f1"}
    assert answer("compare", **sides)["groups"]["head"]["verdict"] == "better"
    assert answer("compare", **sides, head_min=500, tail_max=50)["groups"]["head"]["mean_a"] == pytest.approx(0.85)
    answer("bucket_sums", run="a", attribute="x", metric="f1")


def test_a_session_without_classes_says_what_it_needs(tmp_path):
    with TBMetrics(tmp_path, resources=False) as tb, pytest.raises(InputError, match="class metrics need classes"):
        tb.log_class_metrics("x", {"ap": AP})


def test_the_example_of_detections_records_average_precisions(tmp_path):
    lvis_ap.main(str(tmp_path), epochs=2, images=12)
    tables = read_run(tmp_path).tables[class_table_tag("category")]
    assert len(tables) == 2
    first, last = (table.column("ap50") for table in tables)
    assert 0 < np.nanmean(first) < np.nanmean(last) <= 1
    assert tables[-1].column("support").sum() > 12
