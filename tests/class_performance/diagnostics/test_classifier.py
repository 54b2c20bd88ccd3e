"""The classifier is found by what it makes, its numbers are numpy's, and its hooks cost training nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tbmetrics import ClassGroups, InputError, LongTailDiagnostics
from tbmetrics.class_performance.diagnostics.classifier import Classifier
from tbmetrics.class_performance.diagnostics.head import LINEAR
from tbmetrics.tracking.batches import TrainingBatch
from tests.class_performance.diagnostics.problems import column

GROUPS = ClassGroups.from_counts({"x": [900, 300, 60, 30, 9, 2]})


def _call(action, *args):
    return action(*args)


class TwoHeads(nn.Module):
    """Two linear layers of the same width; only their output tells them apart."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 12)
        self.first, self.second = nn.Linear(12, 6), nn.Linear(12, 6)

    def forward(self, x):
        h = self.body(x).relu()
        return {"a": self.first(h), "b": self.second(h)}


def test_layers_of_one_width_are_told_apart_by_their_output():
    model = TwoHeads().eval()
    classifiers = {name: Classifier(model, name, 6, None) for name in "ab"}
    for classifier in classifiers.values():
        classifier.attach(_call)
    assert classifiers["a"].name == ""
    assert "several layers" in classifiers["a"].why_not
    inputs = torch.randn(5, 8)
    logits = model(inputs)
    for name, layer in (("a", "first"), ("b", "second")):
        claimed = classifiers[name].claim(logits[name].detach())
        torch.testing.assert_close(claimed.features, model.body(inputs).relu())
        assert classifiers[name].head(claimed).kind == LINEAR
        assert classifiers[name].name == layer
        classifiers[name].detach()
    assert not model.first._forward_hooks
    assert not model.second._forward_hooks


def test_logits_of_several_passes_are_claimed_as_one_and_those_of_others_are_not():
    model = nn.Linear(4, 6).eval()
    classifier = Classifier(model, "x", 6, None)
    classifier.attach(_call)
    inputs = torch.randn(9, 4)
    model(torch.randn(7, 4))  # a pass that is no validation
    whole = torch.cat([model(inputs[:5]), model(inputs[5:])]).detach()
    torch.testing.assert_close(classifier.claim(whole).features, inputs)
    model(inputs)
    assert classifier.claim(model(inputs).detach() / 2) is None
    assert classifier.claim(whole) is None  # everything was let go
    model.train()
    output = model(inputs)
    assert classifier.claim(output.detach()) is None  # a training pass is not kept
    with torch.no_grad():
        output = model(inputs)
    assert classifier.claim(output) is not None
    assert classifier.claim(output.half().float()) is None
    classifier.detach()


def test_passes_kept_are_bounded(monkeypatch):
    monkeypatch.setattr("tbmetrics.class_performance.diagnostics.classifier.MAX_PASS_BYTES", 4 * (4 + 6) * 50)
    model = nn.Linear(4, 6).eval()
    classifier = Classifier(model, "x", 6, None)
    classifier.attach(_call)
    for _ in range(40):
        model(torch.randn(10, 4))
    tap = classifier.settled()
    assert sum(p.nbytes for p in tap._passes) <= 4 * (4 + 6) * 50
    classifier.detach()
    assert not tap._passes


def test_columns_are_numpys():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6))
    columns = Classifier(model, "x", 6, None).columns()
    weight = model[2].weight.detach().double().numpy()
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    cosines = unit @ unit.T - 3 * np.eye(6)
    np.testing.assert_allclose(columns["weight_norm"], np.linalg.norm(weight, axis=1), rtol=1e-6)
    np.testing.assert_allclose(columns["bias"], model[2].bias.detach().numpy())
    np.testing.assert_allclose(columns["nearest_weight_cosine"], cosines.max(1), rtol=1e-5)
    np.testing.assert_array_equal(columns["nearest_weight_class"], cosines.argmax(1))
    assert np.isnan(Classifier(nn.Linear(3, 6, bias=False), "x", 6, None).columns()["bias"]).all()
    assert Classifier(nn.Linear(3, 7), "x", 6, None).columns() == {}


def test_mean_logits_on_own_and_other_samples_are_numpys():
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 6), torch.arange(50) % 5  # the last class has no sample
    tracker = LongTailDiagnostics(classes=GROUPS)
    for rows in torch.arange(50).split(20):
        tracker.update(logits[rows], labels[rows])
    tracker.collect(0)
    wide, truth = logits.double().numpy(), labels.numpy()
    own_logits = [wide[truth == c, c].mean() for c in range(5)]
    other_logits = [wide[truth != c, c].mean() for c in range(6)]
    np.testing.assert_allclose(column(tracker, "own_logit")[:5], own_logits, rtol=1e-6)
    assert np.isnan(column(tracker, "own_logit")[5])
    np.testing.assert_allclose(column(tracker, "other_logit"), other_logits, rtol=1e-5, atol=1e-6)


def test_a_named_module_must_have_a_row_or_a_column_a_class():
    model = TwoHeads()
    assert Classifier(model, "x", 6, "second").name == "second"
    with pytest.raises(InputError, match=r"no module 'secund'; it has"):
        Classifier(model, "x", 6, "secund")
    with pytest.raises(InputError, match=r"one row \(or column\) for each of the 6 classes, got \(12, 8\)"):
        Classifier(model, "x", 6, "body")


def test_a_cosine_layer_has_features_but_no_normalisation():
    class Cosine(nn.Linear):
        def forward(self, x):
            return nn.functional.normalize(x, dim=1) @ nn.functional.normalize(self.weight, dim=1).T * 9

    torch.manual_seed(0)
    model = Cosine(4, 6).eval()
    tracker = LongTailDiagnostics(model, GROUPS)
    tracker.start()
    for _ in range(3):
        tracker.update(model(torch.randn(24, 4)), torch.arange(24) % 6)
    metrics = tracker.get_metrics()["attributes"]["x"]
    tracker.stop()
    assert "normalises its weights" in metrics["left_out"]["tau_normalization"]
    assert metrics["remedies"]["tau_normalization"]["best"]["tail_recall"] is None
    assert metrics["classes"]["0"]["mean_norm"] is not None


def test_a_hooked_model_can_be_copied_and_trains_the_same():
    torch.manual_seed(0)
    plain, hooked = (nn.Linear(4, 6) for _ in range(2))
    hooked.load_state_dict(plain.state_dict())
    tracker = LongTailDiagnostics(hooked, GROUPS)
    tracker.start()
    copied = copy.deepcopy(hooked)
    inputs, labels = torch.randn(12, 4), torch.arange(12) % 6
    for model in (plain, hooked, copied):
        logits = model(inputs)
        if model is hooked:
            tracker.observe(TrainingBatch(logits, labels))
        nn.functional.cross_entropy(logits, labels).backward()
    assert torch.equal(plain.weight.grad, hooked.weight.grad)
    assert torch.equal(plain.weight.grad, copied.weight.grad)
    tracker.stop()
    tracker.stop()
    assert not hooked._forward_hooks
