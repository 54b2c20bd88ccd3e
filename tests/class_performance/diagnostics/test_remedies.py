"""What remedies would buy: against really applying them, and nothing tuned on what it is judged by."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from tbmetrics import ClassGroups, LongTailDiagnostics
from tbmetrics.class_performance.diagnostics.remedies import (
    RemedyTable,
    class_weights,
    paired_mean,
    recall_mean,
    remedy_rows,
    weighted_mean,
)
from tbmetrics.class_performance.diagnostics.report import sentence
from tbmetrics.records import REMEDY_COLUMNS, remedies_tag
from tbmetrics.tracking.batches import TrainingBatch

COUNTS = np.array([900, 300, 60, 30, 9, 2])
GROUPS = ClassGroups.from_counts({"x": COUNTS})
MEMBERS = {"head": [0, 1], "medium": [2, 3], "tail": [4, 5], "all": list(range(6))}
TAUS = (0.5, 1.0, 2.0)


def _biased(seed=0, n=600, width=8):
    """Logits of a linear model with a prior in its bias and norms that follow the counts, and their parts."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 6
    means = torch.randn(6, width, generator=generator) * 1.2
    model = torch.nn.Linear(width, 6).eval()
    with torch.no_grad():
        model.weight.copy_(means * (torch.from_numpy(COUNTS).float() ** 0.1)[:, None])
        model.bias.copy_(torch.from_numpy(COUNTS).float().log())
    return model, means[labels] + torch.randn(n, width, generator=generator), labels


def _table(model, inputs, labels, **options):
    tracker = LongTailDiagnostics(model, GROUPS, taus=TAUS, **options)
    tracker.start()
    with torch.no_grad():
        for rows in torch.arange(len(labels)).split(250):
            tracker.update(model(inputs[rows]), labels[rows])
    tracker.collect(0)
    tracker.stop()
    return tracker, tracker.history.tables[remedies_tag("x")][-1]


def _by_hand(model, inputs, remedy, tau, temperature=1.0):
    """Decisions of a remedy, in float64 numpy from weights and inputs."""
    weight, bias = (p.detach().double().numpy() for p in (model.weight, model.bias))
    linear = inputs.double().numpy() @ weight.T
    if remedy == "logit_adjustment":
        return (linear + bias - tau * temperature * np.log(COUNTS / COUNTS.sum())).argmax(1)
    if remedy == "tau_normalization":
        return (linear / np.linalg.norm(weight, axis=1) ** tau).argmax(1)
    return (linear + bias).argmax(1)


def test_every_fixed_amount_equals_scikit_learn_on_the_remedied_decisions():
    model, inputs, labels = _biased()
    _, table = _table(model, inputs, labels)
    truth = labels.numpy()
    checked = 0
    for row, name in enumerate(table.rows):
        remedy, _, tau = name.partition("/")
        if tau == "best":
            continue
        decided = _by_hand(model, inputs, remedy, float(tau or 0), table.column("temperature")[row])
        recall = recall_score(truth, decided, average=None)
        f1 = f1_score(truth, decided, average=None)
        precision = precision_score(truth, decided, average=None, zero_division=np.nan)
        for group, members in MEMBERS.items():
            assert table.column(f"{group}_recall")[row] == pytest.approx(recall[members].mean(), rel=1e-5)
            assert table.column(f"{group}_f1")[row] == pytest.approx(f1[members].mean(), rel=1e-5)
            expected = np.nanmean(precision[members]) if not np.isnan(precision[members]).all() else np.nan
            assert table.column(f"{group}_precision")[row] == pytest.approx(expected, rel=1e-5, nan_ok=True)
            low, high = (table.column(f"{group}_recall_{end}")[row] for end in ("lower", "upper"))
            assert low - 1e-6 <= recall[members].mean() <= high + 1e-6
        assert table.column("balanced_accuracy")[row] == pytest.approx(balanced_accuracy_score(truth, decided))
        assert table.column("accuracy")[row] == pytest.approx((decided == truth).mean())
        checked += 1
    assert checked == 7


def _likelihood(parameters, logits, labels, log_prior):
    """Balanced negative log-likelihood of softmax(logits · parameters[0] + parameters[1] · log prior)."""
    weights = 1 / np.bincount(labels)[labels]
    log_p = log_softmax(parameters[0] * logits + parameters[1] * log_prior, axis=1)
    return -(weights * log_p[np.arange(len(labels)), labels]).sum()


def test_each_sample_is_judged_with_the_amount_that_the_others_choose():
    model, inputs, labels = _biased(seed=3, n=90)
    _, table = _table(model, inputs, labels)
    logits, truth, log_prior = model(inputs).detach().double().numpy(), labels.numpy(), np.log(COUNTS / COUNTS.sum())
    hits, start = [], minimize(_likelihood, [1.0, 0.0], (logits, truth, log_prior), method="Nelder-Mead").x
    for i in range(len(truth)):
        rest = np.arange(len(truth)) != i
        scale, share = minimize(_likelihood, start, (logits[rest], truth[rest], log_prior), method="Nelder-Mead").x
        hits.append((logits[i] + share / scale * log_prior).argmax() == truth[i])
    row = table.rows.index("logit_adjustment/best")
    # The fits without a sample are to first order, and a little smoothed: few decisions change.
    assert table.column("accuracy")[row] == pytest.approx(np.mean(hits), abs=0.025)
    assert table.column("tau")[row] == pytest.approx(-start[1], rel=0.05)
    assert table.column("temperature")[row] == pytest.approx(1 / start[0], rel=0.05)


@pytest.mark.parametrize("factor", [0.05, 20.0])
def test_the_same_decisions_give_the_same_table_in_any_unit(factor):
    model, inputs, labels = _biased()
    with torch.no_grad():
        logits = model(inputs)
    tables = []
    for scale in (1.0, factor):
        tracker = LongTailDiagnostics(classes=GROUPS)
        tracker.update(scale * logits, labels)
        tracker.collect(0)
        tables.append(tracker.history.tables[remedies_tag("x")][-1])
    temperature = REMEDY_COLUMNS.index("temperature")
    same = [c for c in range(len(REMEDY_COLUMNS)) if c != temperature]
    np.testing.assert_allclose(tables[0].values[:, same], tables[1].values[:, same], atol=1e-4)
    ratio = tables[1].values[1, temperature] / tables[0].values[1, temperature]
    assert ratio == pytest.approx(factor, rel=1e-3)


def test_logits_that_are_stored_in_part_change_no_recall(monkeypatch):
    model, inputs, labels = _biased()
    whole = _table(model, inputs, labels)[1]
    part = _table(model, inputs, labels, max_bytes=4 * 6 * 400)[1]
    for column in ("tail_recall", "accuracy", "tail_gain_lower"):
        np.testing.assert_allclose(part.column(column)[0], whole.column(column)[0])
    row = part.rows.index("tau_normalization/1")
    np.testing.assert_allclose(part.column("all_recall")[row], whole.column("all_recall")[row])
    assert np.isnan(part.column("tail_f1")[part.rows.index("logit_adjustment/1")])
    assert not np.isnan(part.column("tail_recall")[part.rows.index("logit_adjustment/1")])


# ----------------------------------------------------------------------------------------------- intervals


def test_intervals_of_means_and_gains_cover_in_simulations():
    """Classes of 1, 3 and 10 samples, whose recall and changes are known."""
    rng = np.random.default_rng(0)
    sizes, recall, up, down = np.array([1, 3, 3, 10]), np.array([0.5, 0.8, 0.3, 0.9]), 0.2, 0.1
    labels, weights = np.repeat(np.arange(4), sizes), np.full(4, 0.25)
    covered = []
    for _ in range(800):
        hits = np.bincount(labels, weights=rng.random(17) < recall[labels])
        mean = recall_mean(hits, sizes.astype(float), weights)
        draw = rng.random(17)
        gain = paired_mean(1.0 * (draw < up) - (draw > 1 - down), labels, weights)
        covered.append((mean.lower <= recall.mean() <= mean.upper, gain.lower <= up - down <= gain.upper))
    assert (np.mean(covered, axis=0) > 0.93).all()
    still = paired_mean(np.zeros(17), labels, weights)
    assert still.lower < still.value < still.upper
    assert np.isnan(paired_mean(np.zeros(17), labels, np.zeros(4)).value)


def test_the_objective_weighs_groups_and_leaves_classes_without_samples_out():
    classes = GROUPS["x"]
    seen = np.array([True, True, False, True, True, False])
    weights = class_weights(seen, classes, {"head": 1.0, "tail": 3.0})
    np.testing.assert_allclose(weights, [0.125, 0.125, 0, 0, 0.75, 0])
    recalls = np.where(seen, [0.5, 0.7, 0.1, 0.0, 0.2, 0.4], np.nan)
    assert weighted_mean(recalls[None], classes, {"head": 1.0, "tail": 3.0})[0] == pytest.approx(
        np.nansum(weights * recalls)
    )


def test_gains_are_paired_and_the_gap_has_its_interval():
    model, inputs, labels = _biased()
    tracker, table = _table(model, inputs, labels)
    row = table.rows.index("logit_adjustment/best")
    gain = table.column("tail_recall")[row] - table.column("tail_recall")[0]
    assert table.column("tail_gain")[row] == pytest.approx(gain, abs=1e-6)
    low, high = (table.column(f"tail_gain_{end}")[row] for end in ("lower", "upper"))
    assert low < gain < high
    unpaired = sum(table.column("tail_recall_upper")[r] - table.column("tail_recall_lower")[r] for r in (0, row))
    assert high - low < unpaired
    assert table.column("tail_gain")[0] == 0
    gap = next(f for f in tracker.get_metrics()["findings"] if f["name"] == "tail_gap")
    assert gap["evidence"]["value"] == pytest.approx(
        float(table.column("head_recall")[0] - table.column("tail_recall")[0]), abs=1e-6
    )


def test_weights_by_group_move_the_choice():
    model, inputs, labels = _biased()
    tails = []
    for objective in ({"head": 1.0}, "balanced_accuracy", {"tail": 1.0}):
        _, table = _table(model, inputs, labels, objective=objective)
        tails.append(float(table.column("tail_recall")[table.rows.index("logit_adjustment/best")]))
    assert tails[0] < tails[1] <= tails[2]


@pytest.mark.parametrize("seed", range(3))
def test_on_digits_the_predicted_effect_is_that_of_really_applying_it(seed):
    """Half of the validation digits predict; the remedy is then really applied to the other half."""
    pixels, digits = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    counts = np.array([120, 90, 70, 50, 36, 26, 18, 12, 8, 5])
    order = [rng.permutation(np.flatnonzero(digits == d)) for d in range(10)]
    train = np.concatenate([o[:n] for o, n in zip(order, counts, strict=True)])
    rest = [o[n:] for o, n in zip(order, counts, strict=True)]
    seen, unseen = (np.concatenate([o[start::2][:40] for o in rest]) for start in (0, 1))
    fitted = LogisticRegression(C=0.003, max_iter=2000).fit(pixels[train], digits[train])
    logits = {name: fitted.decision_function(pixels[rows]) for name, rows in (("seen", seen), ("unseen", unseen))}

    groups = ClassGroups.from_counts({"digit": counts}, head_above=40, tail_below=20)
    tracker = LongTailDiagnostics(classes=groups)
    tracker.update(torch.from_numpy(logits["seen"]), torch.from_numpy(digits[seen]))
    metrics = tracker.get_metrics()["attributes"]["digit"]
    best = metrics["remedies"]["logit_adjustment"]["best"]
    applied = (logits["unseen"] - best["tau"] * best["temperature"] * np.log(counts / counts.sum())).argmax(1)
    before = logits["unseen"].argmax(1)
    truth = digits[unseen]
    really = {
        g: recall_score(truth, applied, average=None)[m].mean() for g, m in (("head", slice(4)), ("tail", slice(6, 10)))
    }
    untouched = recall_score(truth, before, average=None)[6:].mean()

    assert best["tau"] > 0
    assert really["tail"] > untouched + 0.05  # it helps, there too
    for group, value in really.items():
        half = (best[f"{group}_recall_upper"] - best[f"{group}_recall_lower"]) / 2
        assert abs(best[f"{group}_recall"] - value) < 1.5 * half + 0.03  # two samples, each with its spread
    sentence_of_best = metrics["sentences"][0]
    assert sentence_of_best.startswith(f"Logit adjustment with τ = {best['tau']:.2f}")
    none = metrics["remedies"]["none"]
    assert f"raise tail recall from {none['tail_recall']:.2f} to {best['tail_recall']:.2f} ± " in sentence_of_best


# --------------------------------------------------------------------------------------------------- in words


def _sentence(tau, before, after, chosen=(1.0, 1.0)):
    rows = remedy_rows(True, (0.5, 1.0, 2.0))
    table = RemedyTable(rows, np.full((len(rows), len(REMEDY_COLUMNS)), np.nan), {"logit_adjustment": chosen})
    best = rows.index(("logit_adjustment", None))
    for row, values in ((0, before), (best, after)):
        for column, value in {**values, "all_recall": 0.5}.items():
            table.values[row, REMEDY_COLUMNS.index(column)] = value
    table.values[best, 0] = tau
    return sentence(table, "logit_adjustment", "balanced accuracy")


def test_sentences_say_what_rises_what_falls_and_what_stays():
    before = {"tail_recall": 0.31, "head_recall": 0.88}
    after = {"tail_recall": 0.52, "tail_recall_lower": 0.48, "tail_recall_upper": 0.56, "head_recall": 0.84}
    assert _sentence(1.0, before, after, (0.94, 1.06)) == (
        "Logit adjustment with τ = 1.00 would raise tail recall from 0.31 to 0.52 ± 0.04 and lower head recall from "
        "0.88 to 0.84 (each sample judged with what the others choose: τ = 0.94 to 1.06)."
    )
    assert "leave head recall at 0.88" in _sentence(1.0, before, {**after, "head_recall": 0.881})
    assert "τ = 2.00 (the largest tried)" in _sentence(2.0, before, after)
    assert "would not help: no τ gives a better balanced accuracy" in _sentence(0.0, before, after, (0.0, 0.0))
    assert "head" not in _sentence(1.0, {"tail_recall": 0.3}, {"tail_recall": 0.4})


def test_a_class_without_training_samples_or_validation_samples_breaks_nothing():
    groups = ClassGroups.from_counts({"x": [900, 300, 60, 30, 0, 2]})
    logits, labels = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 5
    tracker = LongTailDiagnostics(classes=groups)
    tracker.update(logits, labels)
    best = tracker.get_metrics()["attributes"]["x"]["remedies"]["logit_adjustment"]["best"]
    assert best["all_recall"] is not None


def test_unknown_training_counts_fall_back_to_observed_samples_or_say_why_not():
    groups = ClassGroups.from_groups({"x": {"a": "head", "b": "tail"}})
    labels = torch.tensor([0, 0, 0, 1])
    logits = torch.tensor([[2.0, 1.0], [2.0, 0.0], [3.0, 1.0], [1.5, 1.0]])
    tracker = LongTailDiagnostics(classes=groups)
    tracker.update(logits, labels)
    metrics = tracker.get_metrics()["attributes"]["x"]
    assert "training counts are unknown" in metrics["left_out"]["logit_adjustment"]
    assert metrics["remedies"]["logit_adjustment"]["best"]["tail_recall"] is None
    tracker.collect(0)
    tracker.observe(TrainingBatch(logits, labels))
    tracker.update(logits, labels)
    metrics = tracker.get_metrics()["attributes"]["x"]
    grid = {row["tau"]: row for row in metrics["remedies"]["logit_adjustment"]["grid"]}
    for tau, row in grid.items():  # the tail's logit is behind by 0.5, its log prior by log 3
        assert row["tail_recall"] == float(tau * row["temperature"] * np.log(3) > 0.5)
