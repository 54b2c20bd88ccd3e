"""Remedies as modules: they give the numbers that were predicted, from any side that a user applies them."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_curve, recall_score
from torch import nn

from tbmetrics import (
    ClassGroups,
    ClassPerformanceTracker,
    InputError,
    LongTailDiagnostics,
    Remedy,
    TBMetrics,
    evaluate,
    export,
    read_run,
)
from tbmetrics.cli import main
from tbmetrics.records import remedies_tag, remedy_parameters_tag, scalar_tag

COUNTS = np.array([900, 300, 60, 30, 9, 2])
GROUPS = ClassGroups.from_counts({"x": COUNTS})
NAMES = GROUPS["x"].names
TAUS = (0.5, 1.0, 2.0)
ROWS = {"logit_adjustment": TAUS, "tau_normalization": TAUS}


def _biased(n=480, width=8):
    """A linear classifier with the prior in its bias and in its norms, and inputs with labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 6
    means = torch.randn(6, width, generator=generator) * 1.2
    model = nn.Linear(width, 6).eval()
    with torch.no_grad():
        model.weight.copy_(means * (torch.from_numpy(COUNTS).float() ** 0.1)[:, None])
        model.bias.copy_(torch.from_numpy(COUNTS).float().log())
    return model, means[labels] + torch.randn(n, width, generator=generator), labels


def _multi(n=400):
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(n, 6, generator=generator) < 0.3).long()
    odds = torch.from_numpy(COUNTS / (1000 - COUNTS)).float().log()
    return 1.5 * (labels * 2 - 1) + torch.randn(n, 6, generator=generator) + odds, labels


@pytest.fixture(scope="module")
def single():
    """Diagnostics of a validation, its table of remedies, its logits and labels."""
    model, inputs, labels = _biased()
    tracker = LongTailDiagnostics(model, GROUPS, taus=TAUS)
    tracker.start()
    with torch.no_grad():
        logits = model(inputs)
    tracker.update(logits, labels)
    tracker.collect(0)
    tracker.stop()
    return tracker, tracker.history.tables[remedies_tag("x")][-1], logits, labels


@pytest.fixture(scope="module")
def multi():
    logits, labels = _multi()
    tracker = LongTailDiagnostics(classes=GROUPS, taus=TAUS, training_samples=1000, thresholds=0.4)
    tracker.update(logits, labels)
    tracker.collect(0)
    return tracker, tracker.history.tables[remedies_tag("x")][-1], logits, labels


def _measured(logits, labels, **options):
    tracker = ClassPerformanceTracker(classes=GROUPS, **options)
    tracker.update(logits, labels)
    return tracker.get_class_type_metrics()["x"]


def _check_equal(measured, table, row):
    for group in ("head", "medium", "tail", "all"):
        for metric in ("recall", "precision", "f1"):
            predicted = float(table.column(f"{group}_{metric}")[row])
            value = measured[group][metric] if measured[group][f"{metric}_n_classes"] else math.nan
            assert value == pytest.approx(predicted, abs=1e-6, nan_ok=True), (group, metric)


@pytest.mark.parametrize(("name", "tau"), [(name, tau) for name, taus in ROWS.items() for tau in taus])
def test_an_amount_gives_exactly_the_numbers_that_were_predicted(single, name, tau):
    tracker, table, logits, labels = single
    remedy = tracker.remedy("x", name, tau=tau)
    row = table.rows.index(f"{name}/{tau:g}")
    _check_equal(_measured(remedy(logits), labels), table, row)
    assert remedy.predicted["tail_recall"] == pytest.approx(float(table.column("tail_recall")[row]))
    assert (remedy.tau, remedy.attribute, remedy.classes) == (tau, "x", NAMES)


@pytest.mark.parametrize("tau", TAUS)
def test_multi_label_amounts_too_at_the_thresholds_in_use(multi, tau):
    tracker, table, logits, labels = multi
    adjusted = tracker.remedy("x", "logit_adjustment", tau=tau)(logits)
    _check_equal(_measured(adjusted, labels, thresholds=0.4), table, table.rows.index(f"logit_adjustment/{tau:g}"))


def test_the_chosen_amount_is_that_of_the_table_and_does_nearly_what_cross_fitting_predicts(single):
    tracker, table, logits, labels = single
    for name in ROWS:
        remedy, row = tracker.remedy("x", name), table.rows.index(f"{name}/best")
        assert remedy.tau == pytest.approx(float(table.column("tau")[row]), rel=1e-6)
        measured = _measured(remedy(logits), labels)
        assert remedy.predicted["tail_recall"] == pytest.approx(float(table.column("tail_recall")[row]))
        for group in ("head", "tail"):
            assert measured[group]["recall"] == pytest.approx(remedy.predicted[f"{group}_recall"], abs=0.02)


def test_thresholds_are_those_of_the_best_f1_of_each_class(multi):
    tracker, _, logits, labels = multi
    remedy = tracker.remedy("x", "class_thresholds")
    decided = remedy(logits).sigmoid() >= 0.4
    for c in range(6):
        precision, recall, _ = precision_recall_curve(labels[:, c], logits[:, c])
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max()
        assert f1_score(labels[:, c], decided[:, c]) == pytest.approx(best)
    assert math.isnan(remedy.tau)
    assert remedy.predicted["all_f1"] <= _measured(remedy(logits), labels, thresholds=0.4)["all"]["f1"]


def test_no_amount_changes_nothing(single):
    tracker, _, logits, _ = single
    for name in ROWS:
        assert torch.equal(tracker.remedy("x", name, tau=0)(logits), logits)


def test_scaled_logits_are_taken_and_given_in_the_unit_of_update(single):
    tracker, _, logits, labels = single
    scaled = LongTailDiagnostics(classes=GROUPS, logit_scale=20.0)
    scaled.update(logits / 20, labels)
    plain = tracker.remedy("x", "logit_adjustment", tau=1.0)(logits)
    remedy = scaled.remedy("x", "logit_adjustment", tau=1.0)
    torch.testing.assert_close(remedy(logits / 20) * 20, plain, rtol=1e-3, atol=1e-3)


def test_a_remedy_that_is_no_number_is_left_out_of_the_log_and_refused():
    """A class whose weights are all 0 has no norm to divide by."""
    model, inputs, labels = _biased()
    with torch.no_grad():
        model.weight[5] = 0
        model.bias[5] = -50
    tracker = LongTailDiagnostics(model, GROUPS, taus=(3.5,))
    tracker.start()
    with torch.no_grad():
        tracker.update(model(inputs), labels)
    tracker.collect(0)
    tracker.stop()
    parameters = tracker.history.tables[remedy_parameters_tag("x")][-1]
    assert np.isfinite(parameters.column("logit_adjustment_offset")).all()
    with pytest.raises(InputError, match="scale must be a finite number for each of 6 classes"):
        tracker.remedy("x", "tau_normalization", tau=3.5)


def test_a_remedy_comes_while_a_validation_is_under_way_and_stays_when_it_is_recorded():
    logits, labels = _multi()
    tracker = LongTailDiagnostics(classes=GROUPS, training_samples=1000)
    with pytest.raises(InputError, match=r"'x' has no diagnosis yet: pass a validation to update\(\) first"):
        tracker.remedy("x", "class_thresholds")
    tracker.update(logits, labels)
    before = tracker.remedy("x", "class_thresholds")
    tracker.collect(0)
    assert torch.equal(before.offset, tracker.remedy("x", "class_thresholds").offset)


# ------------------------------------------------------------------------------------------------ as a module


def test_it_moves_saves_and_loads_like_any_module(single):
    tracker, _, logits, _ = single
    remedy, other = (tracker.remedy("x", "tau_normalization", tau=tau) for tau in (1.0, 2.0))
    adjusted = remedy(logits)
    other.load_state_dict(remedy.state_dict())
    assert torch.equal(other(logits), adjusted)
    assert list(remedy.state_dict()) == ["offset", "scale"]
    assert remedy(logits.half()).dtype == torch.float32
    assert remedy(logits.double()).dtype == torch.float64
    assert torch.equal(remedy(logits.reshape(2, -1, 6)).reshape(-1, 6), adjusted)
    assert "x: tau_normalization, tau=1, 6 classes" in str(remedy)
    with pytest.raises(InputError, match=r"floats of shape \(\.\.\., 6\), got torch.float32 of shape \(480, 5\)"):
        remedy(logits[:, :5])


class _ByName(nn.Module):
    def __init__(self, key, linear):
        super().__init__()
        self.key, self.linear = key, linear

    def forward(self, inputs):
        return {self.key: self.linear(inputs), "other": inputs}


def test_a_wrapped_model_returns_remedied_logits(single):
    tracker, _, logits, _ = single
    remedy, (model, inputs, _) = tracker.remedy("x", "logit_adjustment"), _biased()
    adjusted = remedy(logits)
    torch.testing.assert_close(remedy.wrap(model)(inputs), adjusted)
    for key in ("x", "logits"):
        output = remedy.wrap(_ByName(key, model))(inputs)
        torch.testing.assert_close(output[key], adjusted)
        assert output["other"] is inputs
    with pytest.raises(InputError, match=r"a mapping with 'x' or 'logits', got a mapping with \['y', 'other'\]"):
        remedy.wrap(_ByName("y", model))(inputs)


def test_a_model_of_transformers_keeps_its_kind_of_output(single):
    outputs = pytest.importorskip("transformers.modeling_outputs")
    tracker, _, logits, _ = single
    remedy = tracker.remedy("x", "logit_adjustment")

    class Model(nn.Module):
        def forward(self, inputs):
            return outputs.SequenceClassifierOutput(loss=inputs.sum(), logits=inputs)

    output = remedy.wrap(Model())(logits)
    assert torch.equal(output.logits, remedy(logits))
    assert output.loss == logits.sum()


def test_the_file_holds_everything_and_is_plain_json(single, multi, tmp_path):
    for tracker, _, logits, _ in (single, multi):
        for remedy in (tracker.remedy("x", "logit_adjustment"), tracker.remedy("x", "logit_adjustment", tau=0.3)):
            remedy.save(tmp_path / "remedy.json")
            loaded = Remedy.load(tmp_path / "remedy.json")
            assert torch.equal(loaded(logits), remedy(logits))
            assert loaded.to_json() == remedy.to_json() == json.loads((tmp_path / "remedy.json").read_text())
            assert loaded.decision == remedy.decision
            assert loaded.predicted == pytest.approx(remedy.predicted, nan_ok=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "not what Remedy.save"),
        ({"version": 2}, "of version 2, this tbmetrics reads 1; update it"),
        ({"scale": [1.0]}, "scale must be a finite number for each of 6 classes"),
        ({"offset": [math.inf] * 6}, "offset must be a finite number"),
        ({"offset": ["a"] * 6}, "offset must be numbers"),
        ({"classes": [1] * 6}, "classes must be texts"),
        ({"attribute": None}, "attribute, remedy, decision must be texts"),
        ({"remedy": "prayer"}, "remedy must be one of 'logit_adjustment'"),
        ({"tau": "1"}, "tau must be a number"),
    ],
)
def test_a_file_that_is_something_else_is_refused(single, tmp_path, change, message):
    content = single[0].remedy("x", "logit_adjustment").to_json() | change
    (tmp_path / "odd.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"odd.json: cannot be read as a remedy \(.*{message}"):
        Remedy.load(tmp_path / "odd.json")


def test_no_file_and_no_json_are_said(tmp_path):
    (tmp_path / "torn.json").write_text('{"kind": ')
    for name in ("torn.json", "none.json"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read as a remedy"):
            Remedy.load(tmp_path / name)


# ---------------------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_applied_is_refused_with_the_reason(single, multi):
    tracker, many = single[0], multi[0]
    with pytest.raises(InputError, match=r"attribute must be one of 'x', got 'y'"):
        tracker.remedy("y", "logit_adjustment")
    with pytest.raises(InputError, match=r"remedy must be one of .*, got 'prayer'"):
        tracker.remedy("x", "prayer")
    with pytest.raises(InputError, match=r"class_thresholds is for multi-label attributes and 'x' is single-label"):
        tracker.remedy("x", "class_thresholds")
    with pytest.raises(InputError, match=r"tau_normalization is for single-label attributes and 'x' is multi-label"):
        many.remedy("x", "tau_normalization")
    with pytest.raises(InputError, match=r"class_thresholds have no amount; leave out tau=1"):
        many.remedy("x", "class_thresholds", tau=1)
    for tau in (-1, math.nan, "1", True):
        with pytest.raises(InputError, match=r"tau must be a number from 0 \(as trained\) to 100"):
            tracker.remedy("x", "logit_adjustment", tau=tau)


def test_unknown_norms_counts_and_units_are_the_reason():
    labels = torch.arange(60) % 6
    logits = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    plain = LongTailDiagnostics(classes=GROUPS)
    plain.update(logits, labels)
    with pytest.raises(InputError, match=r"tau_normalization of 'x' could not be judged: no model was given"):
        plain.remedy("x", "tau_normalization")
    unknown = LongTailDiagnostics(classes=ClassGroups.from_groups({"x": {"a": "head", "b": "tail"}}))
    unknown.update(logits[:, :2], labels % 2)
    with pytest.raises(InputError, match=r"could not be judged: the training counts are unknown"):
        unknown.remedy("x", "logit_adjustment")
    probable = LongTailDiagnostics(classes=GROUPS)
    probable.update(logits.softmax(1), labels)
    with pytest.raises(InputError, match=r"could not be judged: all logits sum to 1 in each row, as probabilities do"):
        probable.remedy("x", "logit_adjustment")


# --------------------------------------------------------------------------------------- sessions and evaluate


def test_a_session_gives_it_and_evaluate_applies_it(single, tmp_path):
    _, table, logits, labels = single
    model, inputs, _ = _biased()
    with TBMetrics(
        tmp_path / "run", model=model, classes=GROUPS, diagnostics=LongTailDiagnostics(taus=TAUS), gradients=False
    ) as tb:
        with torch.no_grad():
            tb.update(model(inputs), labels)
        remedy = tb.diagnostics.remedy("x", "tau_normalization", tau=1.0)
    remedy.save(tmp_path / "remedy.json")
    np.savez(tmp_path / "val.npz", logits=logits, labels=labels)
    counts = dict(zip(NAMES, COUNTS.tolist(), strict=True))
    given = {"counts": counts, "attribute": "x"}
    measured = evaluate(tmp_path / "val.npz", **given, out=tmp_path / "out0", remedy=remedy)["x"]
    _check_equal(measured, table, table.rows.index("tau_normalization/1"))
    (tmp_path / "counts.json").write_text(json.dumps({"x": counts}))
    options = ("--counts", tmp_path / "counts.json", "--out", tmp_path / "out1", "--remedy", tmp_path / "remedy.json")
    assert main(["evaluate", str(tmp_path / "val.npz"), "--quiet", *map(str, options)]) == 0
    series = read_run(tmp_path / "out1").scalars[scalar_tag("x", "recall", "tail")]
    assert series.values[-1] == pytest.approx(measured["tail"]["recall"])
    probabilities = {"probabilities": logits.softmax(1), "labels": labels}
    adjusted = single[0].remedy("x", "logit_adjustment", tau=1.0)
    measured = evaluate(probabilities, **given, out=tmp_path / "out2", remedy=adjusted)["x"]
    decided = adjusted(logits).argmax(1)
    assert measured["all"]["recall"] == pytest.approx(recall_score(labels, decided, average="macro"))

    with pytest.raises(InputError, match=r"tau_normalization needs the logits"):
        evaluate(probabilities, **given, out=tmp_path / "out3", remedy=remedy)
    with pytest.raises(InputError, match=r"predicted classes have none"):
        evaluate({"predictions": decided, "labels": labels}, **given, out=tmp_path / "out3", remedy=remedy)
    with pytest.raises(InputError, match=r"the first that differ are '0' and 'a'"):
        evaluate(tmp_path / "val.npz", counts=dict(zip("abcdef", COUNTS.tolist(), strict=True)),
                 out=tmp_path / "out3", remedy=remedy)  # fmt: skip


def test_an_export_has_the_chosen_remedies_beside_it(single, multi, tmp_path):
    model, inputs, labels = _biased()
    many_logits, many_labels = _multi(480)
    groups = ClassGroups.from_counts({"x": COUNTS, "many": dict(zip("abcdef", COUNTS.tolist(), strict=True))})
    diagnostics = LongTailDiagnostics(training_samples=1000, classifiers={"x": ""})
    with TBMetrics(
        tmp_path / "runs" / "a", model=model, classes=groups, diagnostics=diagnostics, gradients=False
    ) as tb:
        with torch.no_grad():
            logits = model(inputs)
        tb.update({"x": logits, "many": many_logits}, {"x": labels, "many": many_labels})
        tb.end_epoch()
        expected = {
            (attribute, name): tb.diagnostics.remedy(attribute, name)
            for attribute, names in (("x", tuple(ROWS)), ("many", ("logit_adjustment", "class_thresholds")))
            for name in names
        }
    written = export(tmp_path / "runs", tmp_path / "out", formats=["json"]).written
    for (attribute, name), remedy in expected.items():
        path = tmp_path / "out" / "a" / "class_performance" / attribute / f"remedy_{name}.json"
        assert path in written
        loaded = Remedy.load(path)
        given = logits if attribute == "x" else many_logits
        assert torch.equal(loaded(given), remedy(given))
        assert (loaded.remedy, loaded.classes, loaded.decision) == (name, remedy.classes, remedy.decision)
        assert loaded.predicted == pytest.approx(remedy.predicted, rel=1e-6, nan_ok=True)
    assert len(list((tmp_path / "out").rglob("remedy_*.json"))) == len(expected)
