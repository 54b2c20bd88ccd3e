"""Suspect samples are those of confident learning; wrong labels are found where they are, and only there."""

import importlib.util

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, LongTailDiagnostics
from tbmetrics.class_performance.diagnostics.label_noise import label_noise, suspect_shares
from tbmetrics.class_performance.diagnostics.remedies import Estimate, Lean
from tbmetrics.class_performance.diagnostics.single_label import Rows

COUNTS = [500, 300, 180, 108, 65, 39, 23, 14, 8, 5]
GROUPS = ClassGroups.from_counts({"x": COUNTS})
LEAN = Lean(1.0, 0.0, Estimate(0.0, -0.1, 0.1))


def _rows(noise, seed=0, n=600):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    logits = 2.3 * (rng.normal(size=(n, 10)) + 2.3 * np.eye(10)[labels])
    labels = np.where(rng.random(n) < noise, rng.integers(0, 10, n), labels)
    return Rows(logits.astype(np.float32), np.arange(n), None, None, np.log(np.array(COUNTS) / sum(COUNTS))), labels


def _confident_learning(p, labels):
    """Samples off the diagonal of the confident joint (Northcutt et al., 2021, equation 1), one by one."""
    usual = [p[labels == c, c].mean() for c in range(p.shape[1])]
    off = []
    for row, label in zip(p, labels, strict=True):
        confident = [c for c in range(len(row)) if row[c] >= usual[c] - 1e-6]
        off.append(bool(confident) and max(confident, key=lambda c: row[c]) != label)
    return np.array(off)


def test_suspects_are_those_of_confident_learning():
    rows, labels = _rows(0.25)
    p = torch.from_numpy(rows.logits).double().softmax(1).numpy()
    off = _confident_learning(p, labels)
    shares = suspect_shares(rows, labels, LEAN, 10)
    np.testing.assert_allclose(shares, [off[labels == c].mean() for c in range(10)], atol=1e-9)
    if importlib.util.find_spec("cleanlab") is not None:
        from cleanlab.count import compute_confident_joint

        joint = compute_confident_joint(labels, p, calibrate=False)
        np.testing.assert_allclose(shares * np.bincount(labels), joint.sum(1) - np.diag(joint), atol=1)


def test_wrong_labels_are_counted_outside_the_tail():
    noise = label_noise(*_rows(0.25), GROUPS["x"])
    assert noise.share == pytest.approx(0.225, abs=0.1)
    assert noise.n_classes == 7
    assert noise.z > 3
    clean = label_noise(*_rows(0.0), GROUPS["x"])
    assert clean.share < 0.04
    assert clean.z_material < -2


def test_nothing_is_said_of_fewer_than_two_classes():
    rows, labels = _rows(0.0)
    assert label_noise(rows, np.zeros_like(labels), GROUPS["x"]) is None


def _severity(logits, labels):
    diagnostics = LongTailDiagnostics(classes=GROUPS)
    diagnostics.update(logits, labels)
    metrics = diagnostics.get_metrics()
    return {f["name"]: (f["severity"], f["says"]) for f in (*metrics["findings"], *metrics["other_rules"])}


@pytest.mark.parametrize(("noise", "severity"), [(0.0, "not found"), (0.25, "strong")])
def test_the_same_decisions_give_the_same_findings_and_softmax_is_said(noise, severity):
    rows, labels = _rows(noise)
    logits, truth = torch.from_numpy(rows.logits), torch.from_numpy(labels)
    findings = [_severity(scale * logits, truth) for scale in (1.0, 0.05, 20.0)]
    assert findings[0]["label_noise"][0] == severity
    for other in findings[1:]:
        assert {name: s for name, (s, _) in other.items()} == {name: s for name, (s, _) in findings[0].items()}
    of_softmax = _severity(logits.softmax(1), truth)
    for name in ("label_noise", "classifier_bias", "remedy_would_help"):
        assert of_softmax[name][0] == "could not be told"
        assert "sum to 1 in each row" in of_softmax[name][1]
