"""The tail below every boundary: at each, what the comparison of runs grouped at that boundary says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.verdicts import multi_label, single_label
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.classes.rules import RULES, TERCILES, GroupRule, tercile_bounds
from tbmetrics.comparing.by_count import CountedValidation, compare_by_count
from tbmetrics.comparing.differences import Parts, alone, nested, nested_alone, paired
from tbmetrics.comparing.regrouping import ClassMeans, RecordedUncertainty
from tbmetrics.comparing.runs import compare
from tbmetrics.comparing.validations import Validation
from tbmetrics.statistics.scores import scores_of
from tests.plugin import logs
from tests.plugin.in_process import PREFIX, answered, application, client_of

METRICS = ("precision", "recall", "f1")
COUNTS = np.array([3, 40, 7, -1, 3, 500, 9, 40, 120])


@pytest.mark.parametrize("problem", [single_label, multi_label])
@pytest.mark.parametrize("metric", METRICS)
def test_variances_of_nested_parts_are_those_of_each_part_alone(problem, metric):
    pair = next(problem(9, 12, True, 0.7, 0.05, np.random.default_rng(3)))
    level = np.array([0, 3, 2, -1, 1, 1, 2, 0, 3])
    of_both, of_a = nested(*pair, metric, Parts(level, 4)), nested_alone(pair.a, metric, Parts(level, 4))
    for last in range(4):
        parts = Parts(np.where((level >= 0) & (level <= last), 0, -1), 1)
        assert of_both[last] == pytest.approx(paired(*pair, metric, parts).difference.item())
        assert of_a[last] == pytest.approx(alone(pair.a, metric, parts).item())


def _counted(decided, metric, counts, tail_max=19, names=None):
    """A run with these decisions, grouped at `tail_max`."""
    counted = (decided.classes[decided.hits], decided.false_classes, decided.classes)
    hits, alarms, support = (np.bincount(c, minlength=decided.n_classes).astype(float) for c in counted)
    values = dict(zip(METRICS, scores_of(hits, hits + alarms, support), strict=True))[metric]
    groups = GroupRule("x", 10_000, tail_max).groups(counts)
    names = names or tuple(map(str, range(len(counts))))
    validation = Validation("x", metric, 0, names, groups, values, {}, decided.decision, decided)
    return CountedValidation(validation, counts, ClassMeans(metric, values, None))


@pytest.mark.parametrize("problem", [single_label, multi_label])
@pytest.mark.parametrize("other", ["same", "other samples", "other classes"])
def test_every_boundary_is_the_tail_of_a_comparison(problem, other):
    pair = next(problem(9, 12, True, 0.7, 0.05, np.random.default_rng(5)))
    decided_b = replace(pair.b, checksum="other") if other == "other samples" else pair.b
    names_b = tuple("0123456xy") if other == "other classes" else None
    by_count = compare_by_count(_counted(pair.a, "f1", COUNTS), _counted(decided_b, "f1", COUNTS, names=names_b))
    assert by_count.is_paired == (other == "same")
    assert bool(by_count.unpaired_because) == (other != "same")
    tails = by_count.tails
    assert tails.tail_max.tolist() == [3, 7, 9, 40, 120, 500]
    for i, tail_max in enumerate(tails.tail_max):
        sides = (_counted(d, "f1", COUNTS, tail_max, n) for d, n in ((pair.a, None), (decided_b, names_b)))
        tail = compare(*(side.validation for side in sides)).groups["tail"]
        numbers = [getattr(tails, name)[i] for name in ("n_defined", "mean_a", "mean_b", "lower", "upper")]
        assert numbers == pytest.approx([tail.n_defined, tail.mean_a, tail.mean_b, tail.lower, tail.upper])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Two runs without decisions on single samples, every class with some, and the tab's routes on them."""
    root = tmp_path_factory.mktemp("log")
    made = logs._class_table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "_class_table", lambda classes, n, *more: made(classes, np.maximum(n, 1), *more))
        truth = logs.write_log(root, n_classes=300, steps=1, decision="single_label")
    return [truth[run]["digit"] for run in "ab"], client_of(application(root)[0])


def _answer(client, route, metric, bounds=""):
    query = f"run_a=a&run_b=b&step_a=0&step_b=0&attribute=digit&metric={metric}{bounds}"
    return json.loads(answered(client, "GET", f"{PREFIX}/{route}?{query}").body)


def _place(tails, tail_max):
    return max(i for i, n in enumerate(tails["tail_max"]) if n <= tail_max)


@pytest.mark.parametrize("metric", ["recall", "ap"])
def test_without_decisions_the_recorded_variances_are_added(log, metric):
    runs, client = log
    answer = _answer(client, "by_count", metric)
    assert not answer["is_paired"]
    assert answer["basis"].startswith("Unpaired: ")
    tails, counts = answer["tails"], runs[0].classes.counts
    values = [run.column(metric, 0).astype(float) for run in runs]
    for place, tail_max in [*enumerate(tails["tail_max"])][2::9]:
        inside = (counts >= 0) & (counts <= tail_max) & ~np.isnan(values[0] + values[1])
        means = [v[inside].mean() for v in values]
        halves = []
        for run, v, mean in zip(runs, values, means, strict=True):
            classes = run.classes
            described = AttributeClasses("digit", classes.names, classes.counts, classes.groups, classes.rule)
            recorded = RecordedUncertainty.read(logs.tables(run, 0)[-1].values, run.buckets.to_json(), described)
            lower, upper = recorded.of_metric(metric, v).interval(mean, recorded.members(inside))
            halves.append(max(upper - mean, mean - lower))
        assert tails["n_defined"][place] == inside.sum()
        assert [tails[f"mean_{side}"][place] for side in "ab"] == pytest.approx(means)
        half = 1.05 * np.hypot(*halves)
        expected = [means[1] - means[0] - half, means[1] - means[0] + half]
        assert [tails[end][place] for end in ("lower", "upper")] == pytest.approx(expected, abs=1e-5), tail_max


def test_the_rules_are_among_the_boundaries_of_many_classes(log, monkeypatch):
    runs, client = log
    monkeypatch.setattr("tbmetrics.comparing.by_count.MOST_BOUNDARIES", 7)
    tails = _answer(client, "by_count", "f1")["tails"]
    counts = runs[0].classes.counts
    assert len(tails["tail_max"]) < len(np.unique(counts)) / 4
    assert tails["tail_max"][-1] == counts.max()
    low, high = tercile_bounds(counts)
    terciles = GroupRule(TERCILES, np.floor(high) + 1, np.ceil(low) - 1)
    for rule in (None, *RULES.values(), terciles):
        bounds = f"&head_min={rule.head_min:g}&tail_max={rule.tail_max:g}" if rule else ""
        tail = _answer(client, "compare", "f1", bounds)["groups"]["tail"]
        place = _place(tails, rule.tail_max if rule else 19)
        if rule is None or rule.tail_max != 19:  # this log's recorded intervals are not those of its covariances
            names = ("n_defined", "difference", "lower", "upper")
            assert [tails[name][place] for name in names] == pytest.approx([tail[name] for name in names], abs=1e-6)


def test_bins_are_classes_of_like_count(log):
    runs, client = log
    bins, counts = _answer(client, "by_count", "recall")["bins"], runs[0].classes.counts
    values = [run.column("recall", 0).astype(float) for run in runs]
    is_defined = (counts >= 0) & ~np.isnan(values[0] + values[1])
    assert sum(b["n_defined"] for b in bins) == is_defined.sum()
    assert [b["lowest"] for b in bins] == sorted(b["lowest"] for b in bins)
    for b in bins:
        inside = is_defined & (counts >= b["lowest"]) & (counts <= b["highest"])
        means = [v[inside].mean() for v in values]
        assert [b["n_defined"], b["mean_a"], b["mean_b"]] == pytest.approx([inside.sum(), *means])
        assert b["lower"] < means[1] - means[0] < b["upper"]


def test_bins_have_the_interval_of_the_same_decisions():
    a, b = (
        _counted(side, "recall", COUNTS) for side in next(single_label(9, 12, True, 0.7, 0.0, np.random.default_rng(1)))
    )
    for found in compare_by_count(a, b).bins:
        groups = tuple("tail" if found.lowest <= n <= found.highest else "unknown" for n in COUNTS)
        tail = compare(*(replace(side.validation, groups=groups) for side in (a, b))).groups["tail"]
        assert found[2:] == pytest.approx([tail.n_defined, tail.mean_a, tail.mean_b, tail.lower, tail.upper])


def test_runs_at_unlike_steps_are_not_compared():
    a, b = (
        _counted(side, "recall", COUNTS) for side in next(single_label(9, 12, True, 0.7, 0.0, np.random.default_rng(1)))
    )
    later = b._replace(validation=replace(b.validation, step=7))
    assert compare_by_count(a, later).withheld_because == "A is at step 0, B is at step 7"
