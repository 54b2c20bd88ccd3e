"""What a classifier makes of its weight is told from its output: layout, kind, and what remains open."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import ClassGroups, LongTailDiagnostics
from tbmetrics.class_performance.diagnostics.head import COSINE, LINEAR, OTHER, read_head

GROUPS = ClassGroups.from_counts({"x": [300, 60, 4]})


class Layer(nn.Module):
    """A classifier whose weight is (features, classes) or (classes, features)."""

    def __init__(self, width, kind, columns):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn((width, 3) if columns else (3, width)))
        self.kind, self.columns = kind, columns

    def rows(self):
        return self.weight.T if self.columns else self.weight

    def forward(self, x):
        if self.kind == COSINE:
            return 16 * F.linear(F.normalize(x, dim=1), F.normalize(self.rows(), dim=1))
        logits = F.linear(x, self.rows())
        return logits if self.kind == LINEAR else logits.tanh() * logits.abs().sqrt()


@pytest.mark.parametrize("width", [8, 3])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("kind", [LINEAR, COSINE])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_layout_and_kind_are_those_that_make_the_output(width, columns, kind, scale):
    layer, x = Layer(width, kind, columns), torch.randn(20, width)
    with torch.no_grad():
        layer.weight.mul_(scale)
        head = read_head(layer, 3, x, layer(x))
    assert head.kind == kind
    torch.testing.assert_close(head.weight, layer.rows().detach())


def test_what_neither_makes_is_left_open():
    for width, is_clear in ((8, True), (3, False)):
        layer, x = Layer(width, OTHER, True), torch.randn(20, width)
        head = read_head(layer, 3, x, layer(x).detach())
        assert head.kind == OTHER
        assert (head.weight is not None) == is_clear


@pytest.mark.parametrize("width", [8, 3])
def test_norms_by_class_and_what_the_verdict_says(width):
    body, layer = nn.Linear(5, width), Layer(width, COSINE, True)
    model = nn.Sequential(body, layer).eval()
    diagnostics = LongTailDiagnostics(model, GROUPS)  # found without its name
    diagnostics.start()
    with torch.no_grad():
        diagnostics.update(model(torch.randn(60, 5)), torch.arange(60) % 3)
    diagnostics.stop()
    metrics = diagnostics.get_metrics()["attributes"]["x"]
    norms = [values["weight_norm"] for values in metrics["classes"].values()]
    np.testing.assert_allclose(norms, layer.weight.detach().norm(dim=0), rtol=1e-6)
    assert "their norms change no decision" in metrics["left_out"]["tau_normalization"]
    assert not any("normalisation" in sentence for sentence in metrics["sentences"])


def test_a_head_without_a_weight_has_features_and_says_why_it_has_no_norms():
    class Nearest(nn.Module):
        def __init__(self):
            super().__init__()
            self.centres = nn.Parameter(torch.randn(3, 4))

        def forward(self, x):
            return -torch.cdist(x, self.centres).square()

    model = nn.Sequential(nn.Linear(5, 4), Nearest()).eval()
    diagnostics = LongTailDiagnostics(model, GROUPS, classifiers={"x": "1"})
    diagnostics.start()
    with torch.no_grad():
        diagnostics.update(model(torch.randn(60, 5)), torch.arange(60) % 3)
    diagnostics.stop()
    metrics = diagnostics.get_metrics()["attributes"]["x"]
    assert metrics["classes"]["0"]["mean_norm"] is not None
    assert metrics["classes"]["0"]["weight_norm"] is None
    assert metrics["left_out"]["classifier"] == "'1' has no weight with a row or a column for each class"
    assert metrics["remedies"]["logit_adjustment"]["best"]["tail_recall"] is not None
