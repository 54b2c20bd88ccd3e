"""Evaluations beside the validation: runs below the session's, with the same options, on one rank or several."""

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score

from tbmetrics import ClassPerformanceTracker, InputError, TBMetrics, read_run
from tbmetrics.comparing import compare_runs
from tbmetrics.records import class_table_tag, scalar_tag
from tests.processes import run_ranks
from tests.training import GROUPS, count_hooks, make_batches, make_model, open_session, train, validate

RECALL = scalar_tag("x", "recall", "all")


def _evaluate(tb, model, seed, **options):
    logits, labels = [], []
    model.eval()
    with torch.no_grad():
        for inputs, truth in make_batches(seed):
            logits.append(model(inputs))
            labels.append(truth)
            tb.update(logits[-1], truth, **options)
    model.train()
    return torch.cat(logits), torch.cat(labels)


def _recall(history, step):
    series = history.scalars[RECALL]
    return series[list(series.steps).index(step)]


def test_each_evaluation_is_a_run_below_the_sessions_at_the_step_of_its_epoch(tmp_path):
    model, optimizer = make_model()
    expected = {}
    with open_session(tmp_path, model, optimizer, strict=True) as tb:
        for epoch in tb.epochs(range(2)):
            train(model, optimizer, make_batches(epoch), tb)
            for name, seed in ((None, 7), ("test", 8)):
                logits, labels = _evaluate(tb, model, seed, evaluation=name)
                expected[name, epoch] = recall_score(labels, logits.argmax(1), average="macro")
    for name, directory in ((None, tmp_path), ("test", tmp_path / "test")):
        history = read_run(directory)
        assert list(history.scalars[RECALL].steps) == [0, 1]
        for epoch in range(2):
            assert _recall(history, epoch) == pytest.approx(expected[name, epoch], abs=1e-6)
    metrics = tb.get_metrics()
    recall = metrics["evaluations"]["test"]["class_performance"]["type_metrics"]["x"]["all"]["recall"]
    assert recall == pytest.approx(expected["test", 1])
    assert "evaluations" not in metrics["evaluations"]["test"]


def test_after_the_epochs_an_evaluation_is_of_the_last_one(tmp_path):
    model, optimizer = make_model()
    with open_session(tmp_path, model, optimizer, strict=True) as tb:
        for epoch in tb.epochs(range(3)):
            train(model, optimizer, make_batches(epoch), tb)
            validate(model, make_batches(7), tb)
        _evaluate(tb, model, 8, evaluation="test")
    assert list(read_run(tmp_path / "test").scalars[RECALL].steps) == [2]
    assert list(read_run(tmp_path).scalars[RECALL].steps) == [0, 1, 2]  # no further epoch was opened


def test_an_evaluation_counts_with_the_options_of_the_session(tmp_path):
    tracker = ClassPerformanceTracker(classes=GROUPS, inputs="probabilities", scores="binned", max_decision_bytes=0)
    probabilities, labels = torch.rand(30, 3), torch.randint(0, 2, (30, 3))
    with TBMetrics(tmp_path, class_performance=tracker, strict=True) as tb:
        tb.update(probabilities, labels)
        tb.update(probabilities, labels, evaluation="test")
    run, test = read_run(tmp_path), read_run(tmp_path / "test")
    assert np.array_equal(*(r.tables[class_table_tag("x")][0].values for r in (run, test)), equal_nan=True)
    assert set(run.tables) == set(test.tables)


def test_the_features_of_another_model_are_diagnosed(tmp_path):
    model, optimizer = make_model()
    ema = torch.optim.swa_utils.AveragedModel(model)
    options = {"diagnostics": True, "strict": True, "evaluations": {"ema": ema}}
    with open_session(tmp_path, model, optimizer, **options) as tb:
        for epoch in tb.epochs(range(2)):
            train(model, optimizer, make_batches(epoch), tb)
            ema.update_parameters(model)
            _evaluate(tb, model, 7)
            _evaluate(tb, ema, 7, evaluation="ema")
    weights = {
        name: tb.get_metrics()["diagnostics"] if name is None else tb.get_metrics()["evaluations"][name]["diagnostics"]
        for name in (None, "ema")
    }
    for name, owner in ((None, model), ("ema", ema.module)):
        classes = weights[name]["attributes"]["x"]["classes"]
        norms = [classes[label]["weight_norm"] for label in ("0", "1", "2")]
        assert norms == pytest.approx(owner[3].weight.norm(dim=1).tolist(), rel=1e-5)
        assert classes["0"]["mean_norm"] is not None  # from its features
    assert count_hooks(ema) == count_hooks(model) == 0


def test_a_resumed_evaluation_goes_on(tmp_path):
    model, optimizer = make_model()
    with open_session(tmp_path, model, optimizer, strict=True) as tb:
        for _ in tb.epochs(range(1)):
            _evaluate(tb, model, 8, evaluation="test")
        state = tb.state_dict()
        expected = tb.get_metrics()["evaluations"]["test"]["class_performance"]
    with open_session(tmp_path, model, optimizer, strict=True) as tb:
        tb.load_state_dict(state)
        tb.start_epoch(1)
        _evaluate(tb, model, 9, evaluation="test")
        assert tb.get_metrics()["evaluations"]["test"]["class_performance"] != expected
    assert list(read_run(tmp_path / "test").scalars[RECALL].steps) == [0, 1]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "a:b", " ", 3, "a\nb"])
def test_a_name_that_no_directory_can_have_is_refused(tmp_path, name):
    with (
        pytest.raises(InputError, match="evaluation must be a name such as 'test'"),
        TBMetrics(tmp_path, classes=GROUPS) as tb,
    ):
        tb.update(torch.eye(3), torch.arange(3), evaluation=name)


def test_what_cannot_be_evaluated_is_refused(tmp_path):
    with TBMetrics(tmp_path) as tb, pytest.raises(InputError, match="an evaluation needs classes"):
        tb.update(torch.eye(3), torch.arange(3), evaluation="test")
    with pytest.raises(InputError, match=r"evaluations must be a list of names or \{name: model\}, got the string"):
        TBMetrics(tmp_path, classes=GROUPS, evaluations="test")
    with pytest.raises(InputError, match=r"evaluations\['ema'\] must be a torch.nn.Module or None, got dict"):
        TBMetrics(tmp_path, classes=GROUPS, evaluations={"ema": {}})


def test_a_disabled_session_evaluates_nothing(tmp_path):
    tb = TBMetrics(tmp_path / "run", classes=GROUPS, enabled=False)
    tb.update(torch.eye(3), torch.arange(3), evaluation="test")
    tb.finalize()
    assert not (tmp_path / "run").exists()


def _evaluate_on_rank(rank, ranks, log_dir):
    logits, labels = 4 * torch.eye(3).repeat(4, 1) - 2, torch.arange(12) % 3
    labels[5:] = labels[5:].flip(0)
    share = slice(rank, None, ranks)
    with TBMetrics(log_dir, classes=GROUPS, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            tb.update(logits[share], labels[share])
            if rank == ranks - 1:  # the others have no batch
                tb.update(logits, labels, evaluation="test")
        tb.update(logits[share], labels[share], evaluation="final")
    return tb.get_metrics()


@pytest.mark.slow
def test_ranks_share_an_evaluation_even_where_some_have_no_batch(tmp_path):
    alone = _evaluate_on_rank(0, 1, str(tmp_path / "alone"))
    first, second = run_ranks(_evaluate_on_rank, 2, str(tmp_path / "ranks"))
    for name in ("test", "final"):
        assert first["evaluations"][name] == second["evaluations"][name]
        shared, expected = (m["evaluations"][name]["class_performance"]["class_metrics"] for m in (first, alone))
        assert shared == expected
        assert list(read_run(tmp_path / "ranks" / name).scalars[RECALL].steps) == ([0, 1] if name == "test" else [1])


def test_equal_labels_of_a_test_set_are_not_taken_for_the_samples_of_the_validation(tmp_path):
    labels = torch.arange(60) % 3
    for run in ("a", "b"):
        with TBMetrics(tmp_path / run, classes=GROUPS, strict=True) as tb:
            tb.update(torch.randn(60, 3), labels)
            tb.update(torch.randn(60, 3), labels, evaluation="test")
    runs = {name: read_run(tmp_path / name, run=name) for name in ("a", "b", "a/test", "b/test")}
    bases = {(a, b): compare_runs(runs[a], runs[b], metric="recall").is_paired for a, b in
             (("a", "b"), ("a/test", "b/test"), ("a", "a/test"), ("a", "b/test"))}  # fmt: skip
    assert list(bases.values()) == [True, True, False, False]
