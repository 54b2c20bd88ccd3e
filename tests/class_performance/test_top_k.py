"""Recall at k: equal to scikit-learn and torchmetrics, with intervals, merged over ranks, and read like any metric."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy

from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, TBMetrics, read_run
from tbmetrics.cli import main
from tbmetrics.comparing.runs import compare_runs
from tbmetrics.figures.class_metrics import figures
from tbmetrics.session.run_page import final_metrics
from tbmetrics.statistics.intervals import wilson
from tests.plugin.in_process import PREFIX, answered, application, client_of

COUNTS = {"x": {str(i): n for i, n in enumerate([900, 500, 200, 90, 60, 40, 30, 12, 8, 5, 3, 2])}}
CLASSES, ROWS = 12, 300


def _batch(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES - 1, rows)  # the last class has no sample
    logits = rng.normal(size=(rows, CLASSES)).astype(np.float32)
    logits[np.arange(rows), labels] += 1
    return torch.from_numpy(logits), torch.from_numpy(labels)


def _tracker(**options):
    return ClassPerformanceTracker(classes=ClassGroups.from_counts(COUNTS), **options)


def _column(tracker, name):
    return np.array([np.nan if (v := m[name]) is None else v for m in tracker.get_metrics()["x"].values()])


def test_recall_at_k_is_that_of_scikit_learn_and_torchmetrics_by_class_and_on_average():
    logits, labels = _batch()
    tracker = _tracker(top_k=(5, 3))
    tracker.update(logits[:100], labels[:100])
    tracker.update(logits[100:].double(), labels[100:])
    for k in (3, 5):
        of_class = [
            top_k_accuracy_score(labels[labels == c], logits[labels == c], k=k, labels=range(CLASSES))
            for c in range(CLASSES - 1)
        ]
        measured = _column(tracker, f"recall_at_{k}")
        np.testing.assert_allclose(measured[:-1], of_class)
        assert np.isnan(measured[-1])
        balanced = MulticlassAccuracy(CLASSES, top_k=k, average="none")(logits, labels)
        np.testing.assert_allclose(measured[:-1], balanced[:-1], rtol=1e-6)
        group = tracker.get_class_type_metrics()["x"]["all"]
        assert group[f"recall_at_{k}"] == pytest.approx(np.mean(of_class))
        assert group[f"recall_at_{k}_n_classes"] == CLASSES - 1
        support = np.bincount(labels, minlength=CLASSES)
        ends = wilson(np.nan_to_num(measured) * support, support)
        for end, expected in zip(("lower", "upper"), ends, strict=True):
            np.testing.assert_allclose(_column(tracker, f"recall_at_{k}_{end}"), expected)


def test_lists_by_rank_give_what_their_logits_give():
    logits, labels = _batch()
    by_logits, by_lists = _tracker(top_k=5), _tracker(top_k=5, inputs="classes")
    by_logits.update(logits, labels)
    by_lists.update(logits.topk(7).indices, labels)
    for name in ("recall", "recall_at_5"):
        np.testing.assert_array_equal(_column(by_lists, name), _column(by_logits, name))
    with pytest.raises(InputError, match=r"top_k=5 needs lists of at least 5 classes by rank \(N, 5\), got 3"):
        by_lists.update(logits.topk(3).indices, labels)
    with pytest.raises(InputError, match="got 1"):
        by_lists.update(logits.argmax(1), labels)


def test_equal_scores_rank_as_argmax_ranks_them():
    tracker = _tracker(top_k=2)
    tracker.update(torch.zeros(3, CLASSES), torch.tensor([0, 1, 2]))
    assert _column(tracker, "recall")[:3].tolist() == [1, 0, 0]
    assert _column(tracker, "recall_at_2")[:3].tolist() == [1, 1, 0]


def test_group_intervals_are_those_of_the_recall_of_the_same_hits():
    logits, labels = _batch()
    is_hit = (logits.topk(3).indices == labels[:, None]).any(1)
    top, hits = _tracker(top_k=3), _tracker(inputs="classes")
    top.update(logits, labels)
    hits.update(torch.where(is_hit, labels, logits.argmax(1)), labels)
    for group, metrics in hits.get_class_type_metrics()["x"].items():
        at_3 = top.get_class_type_metrics()["x"][group]
        for end in ("", "_lower", "_upper"):
            assert at_3[f"recall_at_3{end}"] == pytest.approx(metrics[f"recall{end}"]), (group, end)


def test_several_ranks_a_saved_state_and_repeated_samples_change_nothing():
    logits, labels = _batch()
    whole = _tracker(top_k=5)
    whole.update(logits, labels)
    ranks = [_tracker(top_k=5) for _ in range(2)]
    indices = torch.arange(ROWS)
    ranks[0].update(logits[:200], labels[:200], indices=indices[:200])
    saved = _tracker(top_k=5)
    saved.update(logits[150:], labels[150:], indices=indices[150:])
    ranks[1].load_state_dict(saved.state_dict())
    announced = [rank.announce() for rank in ranks]
    ranks[0].adopt(ranks[0].combine(*(rank.share(announced, i) for i, rank in enumerate(ranks))))
    assert ranks[0].get_class_type_metrics() == whole.get_class_type_metrics()


def test_multi_label_attributes_have_none_and_odd_numbers_are_refused():
    tracker = _tracker(top_k=5)
    tracker.update(torch.randn(8, CLASSES), torch.randint(0, 2, (8, CLASSES)))
    assert "recall_at_5" not in tracker.get_metrics()["x"]["0"]
    for odd in (1, 2.5, (5, 0)):
        with pytest.raises(InputError, match="top_k must be a whole number of at least 2"):
            _tracker(top_k=odd)


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """Run "a" without recall at 5, runs "b" and "c" with it."""
    folder = tmp_path_factory.mktemp("top_k")
    for seed, run in enumerate("abc"):
        with TBMetrics(folder / run, classes=ClassGroups.from_counts(COUNTS), resources=False, hparams={"lr": 1},
                       top_k=() if run == "a" else 5) as tb:  # fmt: skip
            for _ in tb.epochs(range(2)):
                tb.update(*_batch(seed))
    return folder


def test_runs_are_compared_by_it_and_a_run_without_it_is_named(logdir, capsys):
    b, c = (read_run(logdir / run, run=run) for run in "bc")
    comparison = compare_runs(b, c, metric="recall_at_5")
    assert not comparison.is_paired
    assert comparison.groups["tail"].lower < comparison.groups["tail"].difference < comparison.groups["tail"].upper
    gate = ["compare", "b", "c", "--logdir", str(logdir), "--fail-if", "all.recall_at_5 > 0.1"]
    assert main(gate) == 4
    assert main(["compare", "a", "b", "--logdir", str(logdir), "--metric", "recall_at_5"]) == 2
    assert "metric 'recall_at_5' is not in run 'a'; use one of precision, recall, f1, ap" in capsys.readouterr().err
    assert main(["compare", "a", "b", "--logdir", str(logdir), "--metric", "accuracy"]) == 2
    assert main(["compare", "a", "b", "--logdir", str(logdir)]) == 0


def test_the_tab_figures_and_texts_have_it(logdir):
    client = client_of(application(logdir)[0])

    def answer(route, **query):
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return answered(client, "GET", f"{PREFIX}/{route}?{text}")

    listed = {run["run"]: run["attributes"][0] for run in json.loads(answer("runs").body)["runs"]}
    assert listed["b"]["means"] == [*listed["a"]["means"], "recall_at_5"]
    assert "recall_at_5" in listed["b"]["uncertain"]
    of_run = {"run": "b", "attribute": "x", "metric": "recall_at_5"}
    groups = json.loads(answer("groups", **of_run).body)["groups"]
    assert set(groups["tail"]) == {f"recall_at_5{end}" for end in ("", "_lower", "_upper", "_n_classes")}
    sides = {"run_a": "b", "step_a": 1, "run_b": "c", "step_b": 1, "attribute": "x", "metric": "recall_at_5"}
    bounds = {"head_min": 100, "tail_max": 20}
    compared = json.loads(answer("compare", **sides, **bounds).body)["groups"]["tail"]
    assert compared["lower_a"] < compared["mean_a"] == pytest.approx(groups["tail"]["recall_at_5"][1])
    assert [answer(route, **of_run).status for route in ("bucket_sums", "bucket_uncertainty")] == [200, 200]
    assert answer("compare", **{**sides, "run_a": "a"}).status == 400

    history = read_run(logdir / "b")
    assert "class_performance/x/recall_at_5/tail" in history.scalars
    assert "class_performance/x/recall_at_5/tail" in final_metrics(history)
    assert "| Recall at 5 |" in history.texts["tbmetrics/results"][-1].markdown
    drawn = dict(figures(history))
    ticks = [text.get_text() for text in drawn["x/metrics_by_group"].axes[0].get_xticklabels()]
    assert ticks == ["Precision", "Recall", "F1", "AP", "Recall at 5"]


def test_the_command_evaluates_predictions_at_k(tmp_path, capsys):
    logits, labels = _batch()
    np.savez(tmp_path / "val.npz", predictions=logits.topk(6).indices.numpy(), labels=labels.numpy())
    (tmp_path / "counts.json").write_text(json.dumps(COUNTS), encoding="utf-8")
    options = ["--counts", str(tmp_path / "counts.json"), "--out", str(tmp_path / "run"), "--top-k", "5"]
    assert main(["evaluate", str(tmp_path / "val.npz"), *options]) == 0
    assert "recall_at_5" in capsys.readouterr().out
