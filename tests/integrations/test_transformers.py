"""The Trainer callback in real trainings: what it measures, where it writes, and what it leaves alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, recall_score
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups, GradientTracker, InputError, TBMetricsWarning, read_run
from tbmetrics.records import class_table_tag

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")  # the Trainer needs it
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from tbmetrics.integrations.transformers import TBMetricsCallback, logits_and_labels  # noqa: E402

# Transformers warns of its own surroundings; what tbmetrics says still fails a test.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore", "error::tbmetrics.errors.TBMetricsWarning")]

GROUPS = ClassGroups.from_counts({"digit": {"a": 900, "b": 50, "c": 5, "d": 2}})


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, inputs, labels=None):
        logits = self.net(inputs)
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


def _data(seed, n=60):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    inputs = torch.randn(n, 8, generator=generator) + labels[:, None] * 0.3
    return [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]


def _callback(**options):
    return TBMetricsCallback(**{"classes": GROUPS, "resources": False, "overhead_budget": None, **options})


def _trainer(tmp_path, callback, *, model=None, evaluation=None, callbacks=(), hand_over=True, **arguments):
    defaults = {
        "output_dir": str(tmp_path),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 10,
        "per_device_eval_batch_size": 8,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "tensorboard",
        "use_cpu": True,
        "disable_tqdm": True,
        "optim": "sgd",
        "learning_rate": 0.1,
    }
    return Trainer(
        model=model or Model(),
        args=TrainingArguments(**{**defaults, **arguments}),
        train_dataset=_data(0),
        eval_dataset=evaluation or _data(1, 36),
        compute_metrics=callback.compute_metrics if hand_over else None,
        callbacks=[callback, *callbacks],
    )


def _supports(history):
    table = history.tables[class_table_tag("digit")]
    return {int(step): int(row.column("support").sum()) for step, row in zip(table.steps, table, strict=True)}


def test_evaluation_is_what_scikit_learn_computes_and_lies_beside_the_trainers_file(tmp_path):
    callback = TBMetricsCallback(
        classes=GROUPS, compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())}
    )
    trainer = _trainer(tmp_path, callback)
    trainer.train()
    (directory,) = (tmp_path / "runs").iterdir()
    assert callback.session.log_dir == str(directory)
    assert len(list(directory.glob("events.out.tfevents.*"))) == 2
    history = read_run(directory)
    assert history.problems == []
    assert _supports(history) == {0: 36, 1: 36}
    predictions = trainer.predict(_data(1, 36))
    labels, logits = predictions.label_ids, predictions.predictions
    table = history.tables[class_table_tag("digit")][-1]
    np.testing.assert_allclose(table.column("recall"), recall_score(labels, logits.argmax(1), average=None), rtol=1e-6)
    scores = torch.from_numpy(logits).double().softmax(1).numpy()
    expected = [average_precision_score(labels == c, scores[:, c]) for c in range(4)]
    np.testing.assert_allclose(table.column("ap"), expected, rtol=1e-5)
    assert history.scalars["tbmetrics/optimizer_step"].values.tolist() == [6, 12]
    assert history.scalars["eval/accuracy"].steps.tolist() == [6, 12]  # the user's own, logged by the Trainer
    assert not callback.session.history.scalars.keys() & {"train/loss", "eval/accuracy", "eval/loss"}
    rows = callback.session.resources.epoch_data
    assert [(row["epoch"], row["num_samples"], row["batch_size"]) for row in rows] == [(0, 60, 10), (1, 60, 10)]
    components = {tag.split("/")[-1] for tag in history.scalars if tag.startswith("resource_usage/component_seconds/")}
    assert {"data_loading", "forward_backward", "optimizer_step", "validation"} <= components


class Norms(TrainerCallback):
    def __init__(self):
        self.values = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.values.append(float(sum((p.grad.double() ** 2).sum() for p in model.parameters()).sqrt()))


def test_gradients_are_those_that_the_optimizer_steps_with(tmp_path):
    model, norms = Model(), Norms()
    callback = _callback(gradients=GradientTracker(model, every=1, detail_every=1))
    arguments = {"gradient_accumulation_steps": 2, "max_grad_norm": 0.3}
    trainer = _trainer(tmp_path, callback, model=model, callbacks=[norms], **arguments)
    trainer.train()
    measured = callback.session.history.scalars["training_dynamics/gradient_norm"]
    assert measured.steps.tolist() == list(range(1, trainer.state.global_step + 1)) == list(range(1, 7))
    np.testing.assert_allclose(measured.values, norms.values, rtol=1e-4)
    assert max(norms.values) <= 0.3001
    assert callback.session.history.histograms["activations/net.1"].steps.size


def test_training_is_what_it_is_without_the_callback(tmp_path):
    weights = []
    for callback in (TrainerCallback(), TBMetricsCallback(classes=GROUPS)):
        model = Model()
        hand_over = isinstance(callback, TBMetricsCallback)
        _trainer(tmp_path, callback, model=model, hand_over=hand_over).train()
        weights.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    assert torch.equal(*weights)


def test_evaluations_by_steps_are_counted(tmp_path):
    callback = _callback()
    _trainer(tmp_path, callback, eval_strategy="steps", eval_steps=4).train()
    history = callback.session.history
    assert _supports(history) == {0: 36, 1: 36, 2: 36}
    assert history.scalars["tbmetrics/optimizer_step"].values.tolist() == [4, 8, 12]


def test_epochs_without_evaluation_end_too(tmp_path):
    callback = _callback()
    _trainer(tmp_path, callback, eval_strategy="no").train()
    assert callback.session.history.scalars["tbmetrics/optimizer_step"].values.tolist() == [6, 12]


def test_evaluation_before_training_and_prediction_are_not_counted(tmp_path):
    class Predicting(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                trainer.predict(_data(2, 8))

    callback = _callback()
    trainer = _trainer(tmp_path, callback, callbacks=[Predicting()], eval_on_start=True)
    trainer.train()
    trainer.evaluate()
    assert _supports(callback.session.history) == {0: 36, 1: 36}


def test_one_of_several_evaluation_sets_counts(tmp_path):
    callback = _callback(prefix="eval_large")
    _trainer(tmp_path, callback, evaluation={"small": _data(2, 8), "large": _data(1, 36)}).train()
    assert _supports(callback.session.history) == {0: 36, 1: 36}


def test_evaluation_batch_by_batch_gives_the_same(tmp_path):
    seen = []

    def theirs(prediction, compute_result):
        seen.append(compute_result)
        return {"batches": float(len(seen))}

    whole, by_batch = _callback(), _callback(compute_metrics=theirs)
    _trainer(tmp_path / "whole", whole).train()
    _trainer(tmp_path / "batches", by_batch, batch_eval_metrics=True).train()
    a, b = (c.session.history.tables[class_table_tag("digit")][-1].values for c in (whole, by_batch))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert seen == ([False] * 4 + [True]) * 2


def test_a_resumed_run_goes_on_where_the_checkpoint_was(tmp_path):
    arguments = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 9}
    log_dir = tmp_path / "log"
    _trainer(tmp_path, _callback(log_dir=log_dir), report_to="none", **arguments).train()
    again = _callback(log_dir=log_dir)
    trainer = _trainer(tmp_path, again, report_to="none", num_train_epochs=3, **arguments)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-9"))
    assert again.session.global_step == 18
    history = read_run(log_dir)
    assert _supports(history) == dict.fromkeys(range(6), 36)
    assert history.scalars["tbmetrics/optimizer_step"].values.tolist() == [3, 6, 9, 12, 15, 18]


def _measured(history):
    """Everything that does not depend on the clock."""
    return {
        tag: (series.steps.tolist(), np.asarray(series.values).tolist())
        for tag, series in history.scalars.items()
        if tag.startswith(("class_performance/", "training_dynamics/", "tbmetrics/optimizer_step"))
    }


def test_a_resumed_run_measures_what_an_uninterrupted_one_does(tmp_path):
    def train(name, epochs, checkpoint=None):
        model = Model()
        callback = _callback(gradients=GradientTracker(model, every=1, detail_every=1), log_dir=tmp_path / name)
        arguments = {"save_strategy": "steps", "save_steps": 4, "num_train_epochs": epochs, "report_to": "none"}
        schedule = {"lr_scheduler_type": "constant"}
        trainer = _trainer(tmp_path / name, callback, model=model, **arguments, **schedule)
        trainer.train(resume_from_checkpoint=checkpoint)
        return callback.session

    whole = train("whole", 3)
    train("resumed", 2)
    checkpoint = tmp_path / "resumed" / "checkpoint-8"  # within the second epoch
    assert torch.load(checkpoint / "tbmetrics.pt", weights_only=True)["session"]["open_epoch"] == 1
    resumed = train("resumed", 3, str(checkpoint))
    expected = _measured(whole.history)
    assert len(expected) > 30
    np.testing.assert_equal(_measured(resumed.history), expected)
    np.testing.assert_equal(_measured(read_run(resumed.log_dir)), _measured(read_run(whole.log_dir)))


def test_a_checkpoint_without_our_file_is_gone_on_from_too(tmp_path):
    arguments = {"save_strategy": "epoch", "report_to": "none", "log_dir": tmp_path / "log"}
    callback = _callback(log_dir=arguments.pop("log_dir"))
    _trainer(tmp_path, callback, **arguments).train()
    (tmp_path / "checkpoint-6" / "tbmetrics.pt").unlink()
    again = _callback(log_dir=callback.session.log_dir)
    trainer = _trainer(tmp_path, again, **arguments)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert list(_supports(again.session.history)) == [1]
    assert _supports(read_run(again.session.log_dir)) == {0: 36, 1: 36}


def test_an_exception_passes_and_finalize_removes_every_hook(tmp_path):
    class Failing(Model):
        def forward(self, inputs, labels=None):
            if self.training and callback.session.global_step == 9:
                raise RuntimeError("the user's own")
            return super().forward(inputs, labels)

    model, callback = Failing(), _callback()
    with pytest.raises(RuntimeError, match="the user's own"):
        _trainer(tmp_path, callback, model=model).train()
    callback.finalize()
    assert not callback.session.is_open
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert _supports(read_run(callback.session.log_dir)) == {0: 36}


def test_training_again_ends_the_session_before(tmp_path):
    callback = _callback()
    trainer = _trainer(tmp_path, callback)
    trainer.train()
    first = callback.session
    trainer.train()
    assert not first.is_open
    assert callback.session is not first
    assert list(_supports(callback.session.history)) == [0, 1]


def test_forgetting_compute_metrics_is_said_once(tmp_path):
    callback = _callback()
    trainer = _trainer(tmp_path, callback, hand_over=False)
    with pytest.warns(TBMetricsWarning, match="compute_metrics=callback.compute_metrics") as warned:
        trainer.train()
    assert sum(issubclass(w.category, TBMetricsWarning) for w in warned) == 1


def test_the_best_model_is_chosen_by_a_group_metric(tmp_path):
    callback = _callback()
    trainer = _trainer(
        tmp_path,
        callback,
        metric_for_best_model="longtail/digit/recall/tail",
        load_best_model_at_end=True,
        save_strategy="epoch",
    )
    trainer.train()
    predicted = trainer.predict(trainer.eval_dataset)
    recalls = recall_score(predicted.label_ids, predicted.predictions.argmax(1), average=None, zero_division=0)
    assert trainer.state.best_metric == pytest.approx(recalls[[2, 3]].mean())


def test_another_evaluation_and_a_prediction_are_evaluations_of_their_own(tmp_path):
    callback = _callback()
    trainer = _trainer(tmp_path, callback)
    trainer.train()
    metrics = trainer.evaluate(_data(2, 20), metric_key_prefix="held_out")
    trainer.predict(_data(3, 16))
    trainer.predict([{"inputs": row["inputs"]} for row in _data(3, 16)])  # without labels there is nothing to measure
    assert _supports(read_run(Path(callback.session.log_dir, "held_out"))) == {1: 20}
    test = read_run(Path(callback.session.log_dir, "test"))
    assert _supports(test) == {1: 16}
    assert _supports(read_run(callback.session.log_dir)) == {0: 36, 1: 36}
    row = read_run(Path(callback.session.log_dir, "held_out")).tables[class_table_tag("digit")][0]
    assert np.nanmean(row.column("recall")[2:]) == pytest.approx(metrics["held_out_longtail/digit/recall/tail"])


def test_diagnostics_see_each_training_batch_before_its_backward_pass(tmp_path):
    callback = _callback(diagnostics=True)
    trainer = _trainer(tmp_path, callback)
    trainer.train()
    diagnostics = callback.session.get_metrics()["diagnostics"]["attributes"]["digit"]
    assert [c["samples_seen"] for c in diagnostics["classes"].values()] == [30, 30, 30, 30]
    assert all(np.isfinite(c["gradient_ratio"]) for c in diagnostics["classes"].values())
    assert not trainer.model._forward_hooks


def test_diagnostics_that_see_no_labels_say_once_what_to_call(tmp_path, caplog):
    class Own(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            outputs = model(inputs["inputs"])
            loss = F.cross_entropy(outputs["logits"], inputs["labels"])
            return (loss, outputs) if return_outputs else loss

    callback = _callback(diagnostics=True)
    arguments = _trainer(tmp_path, callback).args
    arguments.remove_unused_columns = False
    Own(model=Model(), args=arguments, train_dataset=_data(0), eval_dataset=_data(1, 36), callbacks=[callback],
        compute_metrics=callback.compute_metrics).train()  # fmt: skip
    (message,) = [record.message for record in caplog.records if "see no training batches" in record.message]
    assert "call TBMetricsCallback.observe(logits, labels) in compute_loss" in message


def test_without_the_trainers_own_file_runs_is_used(tmp_path):
    callback = _callback()
    _trainer(tmp_path, callback, report_to="none", num_train_epochs=1).train()
    assert (tmp_path / "runs") in (Path(callback.session.log_dir), Path(callback.session.log_dir).parent)
    assert _supports(read_run(callback.session.log_dir)) == {0: 36}


def test_tokens_labelled_minus_100_are_left_out():
    logits = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    labels = np.array([[0, 1, -100], [3, -100, -100]])
    scores, truth = logits_and_labels(EvalPrediction(predictions=(logits, np.zeros(2)), label_ids=labels))
    assert truth.tolist() == [0, 1, 3]
    assert scores.tolist() == [logits[0, 0].tolist(), logits[0, 1].tolist(), logits[1, 0].tolist()]


def test_multi_hot_labels_stay_as_they_are():
    labels = np.array([[0, 1], [1, 1]])
    scores, truth = logits_and_labels(EvalPrediction(predictions=np.zeros((2, 2)), label_ids=labels))
    assert truth.tolist() == labels.tolist()
    assert scores.shape == (2, 2)


@pytest.mark.parametrize("given", [(np.zeros(3), np.zeros(3)), (np.zeros((3, 2)), (np.zeros(3), np.zeros(3)))])
def test_what_is_no_pair_of_logits_and_labels_says_what_to_do(given):
    with pytest.raises(InputError, match=r"give TBMetricsCallback\(outputs=lambda prediction"):
        logits_and_labels(EvalPrediction(predictions=given[0], label_ids=given[1]))


def test_without_transformers_the_extra_is_named():
    code = "import sys; sys.modules['transformers'] = None; import tbmetrics.integrations.transformers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "needs Transformers: pip install 'tbmetrics[transformers]'" in done.stderr
