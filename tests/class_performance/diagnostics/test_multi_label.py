"""Multi-label remedies against scikit-learn; thresholds judged on what they were not chosen on; bounded rows."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score

from tbmetrics import ClassGroups, LongTailDiagnostics
from tbmetrics.class_performance.diagnostics.multi_label import FOLDS, best_cuts
from tbmetrics.class_performance.diagnostics.row_sample import RowSample
from tbmetrics.records import remedies_tag
from tbmetrics.tracking.batches import TrainingBatch

COUNTS = np.array([600, 500, 60, 30, 9, 5])
TRAINING = 1000
GROUPS = ClassGroups.from_counts({"x": COUNTS})
MEMBERS = {"head": [0, 1], "medium": [2, 3], "tail": [4, 5]}
TAUS = (0.5, 1.0)


def _data(seed=0, n=800):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, 6, generator=generator) < 0.25).long()
    odds = torch.from_numpy(COUNTS / (TRAINING - COUNTS)).float().log()
    return 1.5 * (labels * 2 - 1) + torch.randn(n, 6, generator=generator) + odds, labels


def _diagnosed(logits, labels, **options):
    options = {"taus": TAUS, "training_samples": TRAINING, **options}
    tracker = LongTailDiagnostics(classes=GROUPS, **options)
    for rows in torch.arange(len(labels)).split(300):
        tracker.update(logits[rows], labels[rows])
    tracker.collect(0)
    return tracker, tracker.history.tables[remedies_tag("x")][-1]


def _check(table, row, labels, decided):
    truth = labels.numpy()
    for metric, function in (("recall", recall_score), ("f1", f1_score), ("precision", precision_score)):
        values = function(truth, decided, average=None, zero_division=0)
        for group, members in MEMBERS.items():
            called = decided[:, members].any(0) if metric == "precision" else np.ones(2, dtype=bool)
            expected = values[members][called].mean() if called.any() else np.nan
            assert table.column(f"{group}_{metric}")[row] == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_logit_adjustment_is_the_shift_by_the_log_odds():
    logits, labels = _data()
    _, table = _diagnosed(logits, labels)
    assert table.rows == (
        "none",
        *(f"logit_adjustment/{t:g}" for t in TAUS),
        "logit_adjustment/best",
        "class_thresholds/best",
    )
    odds = np.log(COUNTS / (TRAINING - COUNTS))
    for row, tau in enumerate((0.0, *TAUS)):
        temperature = table.column("temperature")[row] if tau else 1.0
        _check(table, row, labels, logits.double().numpy() - tau * temperature * odds >= 0)
    # the exact log odds of the labels are 3 × the logits
    assert table.column("temperature")[1] == pytest.approx(1 / 3, rel=0.1)
    row = table.rows.index("logit_adjustment/best")
    assert table.column("tau")[row] == 1.0
    assert table.column("tail_gain_lower")[row] > 0
    assert table.column("tail_f1")[row] > table.column("tail_f1")[0]
    low, high = (table.column(f"tail_f1_{end}")[row] for end in ("lower", "upper"))
    assert low < table.column("tail_f1")[row] < high


@pytest.mark.slow
def test_thresholds_are_judged_on_what_they_were_not_chosen_on():
    """On noise, the best threshold of each class is a little better on its own samples, and not on others."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(300, 6, generator=generator) < 0.05).long()
    logits = torch.randn(300, 6, generator=generator) - 0.5
    _, table = _diagnosed(logits, labels)
    honest = float(table.column("all_f1")[table.rows.index("class_thresholds/best")])
    naive = []
    for c in range(6):
        precision, recall, _ = precision_recall_curve(labels[:, c], logits[:, c])
        naive.append(np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12)))
    assert honest < np.mean(naive) - 0.03
    logits, labels = _data()
    tracker, table = _diagnosed(logits, labels)
    row = table.rows.index("class_thresholds/best")
    assert table.column("tail_f1")[row] > table.column("tail_f1")[0] + 0.1
    assert np.isnan(table.column("tau")[row])
    sentences = tracker.get_metrics()["attributes"]["x"]["sentences"]
    assert sentences[1].startswith("A threshold for each class would raise tail recall from ")
    assert "mean F1" in sentences[1]


def test_the_number_of_training_samples_is_given_observed_or_missed():
    logits, labels = _data()
    tracker, table = _diagnosed(logits, labels, training_samples=None)
    assert np.isnan(table.column("tail_recall")[1])
    assert "number of training samples" in tracker.get_metrics()["attributes"]["x"]["left_out"]["logit_adjustment"]
    observed = torch.zeros(TRAINING, 6, dtype=torch.long)
    for c, count in enumerate(COUNTS):
        observed[:count, c] = 1
    tracker.observe(TrainingBatch(torch.zeros(TRAINING, 6), observed))
    tracker.update(logits, labels)
    tracker.collect(1)
    table = tracker.history.tables[remedies_tag("x")][-1]
    shift = table.column("temperature")[2] * np.log(COUNTS / (TRAINING - COUNTS))
    _check(table, 2, labels, logits.double().numpy() - shift >= 0)


def test_the_thresholds_in_use_are_the_ones_compared_with():
    logits, labels = _data()
    chosen = [0.1, 0.3, 0.5, 0.7, 0.9, 0.2]
    _, table = _diagnosed(logits, labels, thresholds={"x": chosen})
    _check(table, 0, labels, logits.double().sigmoid().numpy() >= np.array(chosen))


def test_unknown_labels_count_neither_way():
    logits, labels = _data()
    labels[:100, 4] = -1
    _, table = _diagnosed(logits, labels)
    known = (labels[:, 4] >= 0).numpy()
    decided = (logits >= 0).numpy()
    f1 = [f1_score(labels[known, 4], decided[known, 4]), f1_score(labels[:, 5], decided[:, 5])]
    assert table.column("tail_f1")[0] == pytest.approx(np.mean(f1), rel=1e-5)


def test_rows_beyond_the_bytes_are_a_random_share_and_it_is_said():
    sample = RowSample(max_bytes=5 * 6 * 500)
    total = 0
    for first in range(0, 6000, 100):
        sample.add(torch.arange(first, first + 100).float()[:, None].expand(-1, 6), torch.zeros(100, 6))
        total += 100
        assert sample.n_rows <= 500
    logits, labels, index = sample.tensors()
    assert logits.shape == labels.shape == (sample.n_rows, 6)
    assert torch.equal(index.float(), logits[:, 0])
    assert sample.share == 1 / 16
    assert abs(logits[:, 0].mean() - total / 2) < 4 * total / np.sqrt(12 * sample.n_rows)  # spread evenly
    assert logits[:, 0].unique().numel() == sample.n_rows
    data = _data(n=3000)
    tracker, table = _diagnosed(*data, max_bytes=5 * 6 * 1500)
    whole = _diagnosed(*data)[1]
    assert "random 25.0% of the samples" in tracker.get_metrics()["attributes"]["x"]["left_out"]["samples"]
    assert table.column("head_recall")[0] == pytest.approx(whole.column("head_recall")[0], abs=0.05)


def test_the_threshold_of_a_class_is_the_best_of_all_outside_the_fold():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(60, 3, generator=generator).mul(4).round().div(4)  # with ties
    positive, known = torch.rand(60, 3, generator=generator) < 0.3, torch.rand(60, 3, generator=generator) < 0.9
    fold = torch.arange(60) % FOLDS
    cuts = best_cuts(logits, positive & known, known, torch.zeros(3), fold)
    for k in range(FOLDS):
        for c in range(3):
            rows = ((fold != k) & known[:, c]).numpy()
            scores, truth = logits[rows, c].numpy(), (positive & known)[rows, c].numpy()
            best = max(f1_score(truth, scores >= cut) for cut in np.unique(scores))
            assert f1_score(truth, scores >= float(cuts[k, c])) == pytest.approx(best)


def test_logits_that_know_nothing_have_no_remedy():
    rng = np.random.default_rng(0)
    share = np.geomspace(0.3, 0.01, 20)
    labels = (rng.random((2000, 20)) < share).astype(int)
    logits = np.log(share / (1 - share)) + 0.3 * rng.normal(size=labels.shape)
    tracker = LongTailDiagnostics(
        classes=ClassGroups.from_counts({"x": np.round(share * 1500).astype(int)}), training_samples=1500
    )
    tracker.update(torch.tensor(logits), torch.tensor(labels))
    metrics = tracker.get_metrics()
    assert "remedy_would_help" not in {f["name"] for f in metrics["findings"]}
    best = metrics["attributes"]["x"]["remedies"]["logit_adjustment"]["best"]
    assert best["objective"] > metrics["attributes"]["x"]["remedies"]["none"]["objective"] + 0.05  # calling everything
    assert best["objective_gain_lower"] <= 0.01  # is what it would be compared with


def test_classes_of_few_positives_are_no_part_of_the_objective():
    logits, labels = _data(n=60)
    labels[9:, 5] = 0
    _, table = _diagnosed(logits, labels)
    f1 = f1_score(labels.numpy()[:, :5], (logits >= 0).numpy()[:, :5], average=None)
    assert table.column("objective")[0] == pytest.approx(f1[labels.numpy()[:, :5].sum(0) >= 10].mean(), rel=1e-5)
    few = _diagnosed(logits[:9], labels[:9])[0].get_metrics()["other_rules"]
    says = {f["name"]: f["says"] for f in few}
    assert says["remedy_would_help"] == "no class has 10 validation positives"
