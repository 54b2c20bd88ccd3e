"""Outputs of modules: shares against numpy, hooks only where they belong."""

import numpy as np
import pytest
import torch
from torch import nn

from tbmetrics.errors import InputError
from tbmetrics.training_dynamics.gradients.activations import ForwardWatch, shares
from tests.training import count_hooks


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 2))


class _Taken(list):
    wants = (True, True)


def _watch(model, activations=True):
    taken = _Taken()
    watch = ForwardWatch(model, activations, lambda: taken.wants, taken.append, lambda action, *args: action(*args))
    watch.attach()
    return watch, taken


@pytest.mark.parametrize("shape", [(7, 5), (3, 6, 5), (4, 5, 3, 2)])
def test_shares_equal_numpys(shape):
    output = torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    units = 1 if len(shape) == 4 else -1
    output.movedim(units, 0)[2] = 0
    output.view(-1)[0] = float("nan")
    zero, dead, saturated, nonfinite = shares(output, (-1.0, 1.0)).tolist()
    exact = output.numpy()
    assert zero == pytest.approx((exact == 0).mean())
    assert dead == pytest.approx(1 / 5)
    assert saturated == pytest.approx(((exact <= -0.98) | (exact >= 0.98)).mean())
    assert nonfinite == pytest.approx(1 / exact.size, rel=1e-3)


def test_an_activation_without_bounds_has_no_saturation():
    assert np.isnan(shares(torch.ones(3, 3), None)[2].item())


def test_a_sampled_pass_measures_activations_and_the_order_of_outputs():
    model = _model()
    watch, taken = _watch(model)
    model(torch.randn(8, 4))
    (sample,) = taken
    assert sample.modules == ["1", "3"]
    assert sample.shares.get().shape == (2, 4)
    assert set(sample.histograms) == {"1", "3"}
    assert sample.finite_outputs() == (["", "0", "1", "2", "3", "4"], [True] * 6)
    watch.detach()
    assert count_hooks(model) == 0


def test_the_first_module_that_is_not_finite_shows():
    model = _model()
    with torch.no_grad():
        model[2].weight[0, 0] = float("inf")
    _, taken = _watch(model)
    model(torch.ones(8, 4))
    order, finite = taken[0].finite_outputs()
    assert order[finite.index(False)] == "2"


@pytest.mark.parametrize("how", ["unsampled", "evaluation", "no_grad"])
def test_other_passes_have_no_hooks_on_modules(how):
    model = _model()
    _, taken = _watch(model)
    inside = []
    model[2].register_forward_hook(lambda *_: inside.append(count_hooks(model)))
    if how == "unsampled":
        taken.wants = (False, False)
    if how == "evaluation":
        model.eval()
    with torch.set_grad_enabled(how != "no_grad"):
        model(torch.randn(8, 4))
    assert inside == [3]  # two of the watch on the model, one of this test
    assert taken == []


def test_a_pass_that_raises_leaves_no_hooks_on_modules():
    model = _model()
    _, taken = _watch(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(torch.randn(8, 3))
    assert count_hooks(model) == 2
    model(torch.randn(8, 4))
    assert taken[-1].modules == ["1", "3"]


def test_modules_are_chosen_by_pattern():
    assert _watch(_model(), ["2", "4"])[0].names == ["2", "4"]
    assert _watch(_model(), False)[0].names == []
    with pytest.raises(InputError, match="no module fits 'attn'"):
        _watch(_model(), ["attn"])
