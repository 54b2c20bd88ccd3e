"""What remedies would buy: against really applying them, and nothing tuned on what it is judged by."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from tbmetrics import ClassGroups, LongTailDiagnostics
from tbmetrics.class_performance.diagnostics.remedies import (
    RemedyTable,
    halves_of,
    judge_single,
    remedy_rows,
    weighted_recall,
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


def _by_hand(model, inputs, remedy, tau):
    """Decisions of a remedy, in float64 numpy from weights and inputs."""
    weight, bias = (p.detach().double().numpy() for p in (model.weight, model.bias))
    linear = inputs.double().numpy() @ weight.T
    if remedy == "logit_adjustment":
        return (linear + bias - tau * np.log(COUNTS / COUNTS.sum())).argmax(1)
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
        decided = _by_hand(model, inputs, remedy, float(tau or 0))
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


def test_the_cross_fitted_row_is_each_half_with_what_is_best_on_the_other():
    model, inputs, labels = _biased(seed=3)
    _, table = _table(model, inputs, labels)
    truth = labels.numpy()
    second = halves_of(truth)
    for remedy in ("logit_adjustment", "tau_normalization"):
        candidates = [_by_hand(model, inputs, "none", 0)] + [_by_hand(model, inputs, remedy, tau) for tau in TAUS]
        best = [
            int(np.argmax([balanced_accuracy_score(truth[half], c[half]) for c in candidates]))
            for half in (~second, second)
        ]
        crossed = np.where(second, candidates[best[0]], candidates[best[1]])
        row = table.rows.index(f"{remedy}/best")
        assert table.column("balanced_accuracy")[row] == pytest.approx(balanced_accuracy_score(truth, crossed))
        whole = int(np.argmax([balanced_accuracy_score(truth, c) for c in candidates]))
        assert table.column("tau")[row] == (0.0, *TAUS)[whole]


def test_halves_are_even_in_every_class_and_odd_ones_fall_to_chance():
    labels = np.repeat(np.arange(40), 5)
    second = halves_of(labels)
    per_class = np.bincount(labels[second], minlength=40)
    assert set(per_class) == {2, 3}
    ones = halves_of(np.arange(200))
    assert 60 < ones.sum() < 140
    assert np.array_equal(halves_of(labels), second)


@pytest.mark.slow
def test_choosing_among_useless_remedies_is_not_rewarded():
    """Of pure chance the best of many looks good where it was chosen; cross-fitted it does not."""
    rng = np.random.default_rng(0)
    classes = ClassGroups.from_counts({"x": [900, 300, 9, 2]})["x"]
    rows = remedy_rows(True, tuple(np.arange(1, 60) / 10))
    naive, honest = [], []
    for _ in range(20):
        labels = np.arange(80) % 4
        fixed = sum(row.tau is not None for row in rows)
        table = judge_single(labels, rng.integers(0, 4, (80, fixed)), rows, classes, {"all": 1.0}, 2)
        every = [table.value(row, "balanced_accuracy") for row in rows if row.tau is not None]
        naive.append(max(every))
        honest.append(table.value(table.row("logit_adjustment", None), "balanced_accuracy"))
    assert np.mean(naive) > 0.33
    assert np.mean(honest) == pytest.approx(0.25, abs=0.03)


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


def test_the_interval_of_a_group_mean_covers_what_resampling_gives():
    """Against a bootstrap of rows, drawn anew."""
    model, inputs, labels = _biased(n=300)
    _, table = _table(model, inputs, labels)
    decided, truth = _by_hand(model, inputs, "none", 0), labels.numpy()
    rng, means = np.random.default_rng(1), []
    for _ in range(400):
        rows = rng.integers(0, 300, 300)
        means.append(np.mean([(decided[rows] == c)[truth[rows] == c].mean() for c in (0, 1)]))
    low, high = np.percentile(means, [2.5, 97.5])
    assert table.column("head_recall_lower")[0] == pytest.approx(low, abs=0.02)
    assert table.column("head_recall_upper")[0] == pytest.approx(high, abs=0.02)


def test_weights_by_group_move_the_choice():
    model, inputs, labels = _biased()
    tails = []
    for objective in ({"head": 1.0}, "balanced_accuracy", {"tail": 1.0}):
        _, table = _table(model, inputs, labels, objective=objective)
        tails.append(float(table.column("tail_recall")[table.rows.index("logit_adjustment/best")]))
    assert tails[0] < tails[1] <= tails[2]
    recalls = np.array([[0.5, 0.7, 0.1, np.nan, 0.2, 0.4]])
    weighted = weighted_recall(recalls, GROUPS["x"], {"head": 0.25, "tail": 0.75})
    assert weighted[0] == pytest.approx(0.25 * 0.6 + 0.75 * 0.3)


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
    applied = (logits["unseen"] - best["tau"] * np.log(counts / counts.sum())).argmax(1)
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
    assert sentence_of_best.startswith(f"Logit adjustment with τ = {best['tau']:g}")
    none = metrics["remedies"]["none"]
    assert f"raise tail recall from {none['tail_recall']:.2f} to {best['tail_recall']:.2f} ± " in sentence_of_best


# --------------------------------------------------------------------------------------------------- in words


def _sentence(tau, before, after, halves=(1.0, 1.0)):
    rows = remedy_rows(True, (0.5, 1.0, 2.0))
    table = RemedyTable(rows, np.full((len(rows), len(REMEDY_COLUMNS)), np.nan), {"logit_adjustment": halves})
    best = rows.index(("logit_adjustment", None))
    for row, values in ((0, before), (best, after)):
        for column, value in {**values, "all_recall": 0.5}.items():
            table.values[row, REMEDY_COLUMNS.index(column)] = value
    table.values[best, 0] = tau
    return sentence(table, "logit_adjustment", "balanced accuracy")


def test_sentences_say_what_rises_what_falls_and_what_stays():
    before = {"tail_recall": 0.31, "head_recall": 0.88}
    after = {"tail_recall": 0.52, "tail_recall_lower": 0.48, "tail_recall_upper": 0.56, "head_recall": 0.84}
    assert _sentence(1.0, before, after, (1.0, 0.5)) == (
        "Logit adjustment with τ = 1 would raise tail recall from 0.31 to 0.52 ± 0.04 and lower head recall from 0.88 "
        "to 0.84 (each half judged with what the other chose: τ = 1, 0.5)."
    )
    assert "leave head recall at 0.88" in _sentence(1.0, before, {**after, "head_recall": 0.881})
    assert "τ = 2 (the largest tried)" in _sentence(2.0, before, after)
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
    assert grid[1.0]["tail_recall"] == 1.0  # 1.5 against 1 + log 3
    assert grid[0.25]["tail_recall"] == 0.0
