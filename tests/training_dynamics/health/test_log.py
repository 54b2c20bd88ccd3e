"""Trouble planted in real small models is found, named and told once."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import GradientTracker, NonFiniteError, TBMetrics, read_run
from tbmetrics.records import health_tag

DATA = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (16,), generator=torch.Generator().manual_seed(2))


def _track(model, steps=6, lr=1e-4, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    tracker = GradientTracker(model, optimizer, **{"every": 1, "detail_every": 1, **options})
    tracker.register_hooks()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(DATA), TARGETS).backward()
        optimizer.step()
        list(tracker.history.filed(tracker.arrived()))
    tracker.update(epoch=0)
    tracker.remove_hooks()
    return tracker


def _names(issues, kind):
    return [layer["name"] for layer in issues[kind]["layers"]]


def _deep(activation, width=8, depth=8):
    torch.manual_seed(0)
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def test_a_healthy_model_has_no_issues():
    torch.manual_seed(0)
    issues = _track(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), lr=0.1).detect_gradient_issues()
    assert [kind for kind, found in issues.items() if found["detected"]] == []


def test_vanishing_gradients_of_a_deep_sigmoid_network():
    issues = _track(_deep(nn.Sigmoid)).detect_gradient_issues()
    assert issues["vanishing_gradients"]["detected"]
    assert set(_names(issues, "vanishing_gradients")) >= {"0.weight", "2.weight", "4.weight"}
    assert "14.weight" not in _names(issues, "vanishing_gradients")
    assert issues["gradients_by_depth"]["detected"]
    assert "0.weight" in _names(issues, "gradients_by_depth")


def test_exploding_gradients_of_a_badly_initialised_layer():
    model = _deep(nn.Identity)
    with torch.no_grad():
        for i in (0, 2, 4, 6, 8):
            model[i].weight *= 40
    issues = _track(model, lr=1e-20).detect_gradient_issues()
    assert issues["exploding_gradients"]["detected"]
    assert "0.weight" in _names(issues, "exploding_gradients")


def test_a_dead_layer_and_its_units():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[2].bias.fill_(-1e3)
    issues = _track(model).detect_gradient_issues()
    assert _names(issues, "dead_layers") == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight"]
    assert _names(issues, "dead_units") == ["3"]


def test_a_frozen_layer_is_one_that_steps_leave_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}], 0.1)
    tracker = GradientTracker(model, optimizer, every=1, detail_every=1)
    tracker.register_hooks()
    for _ in range(4):
        F.cross_entropy(model(DATA), TARGETS).backward()
        optimizer.step()
    tracker.update(epoch=0)
    assert _names(tracker.detect_gradient_issues(), "frozen_layers") == ["0.weight", "0.bias"]


def test_a_spike_is_found_with_its_step():
    torch.manual_seed(0)
    model = nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    tracker = GradientTracker(model, optimizer, every=1)
    tracker.register_hooks()
    for step in range(1, 31):
        optimizer.zero_grad()
        (F.cross_entropy(model(DATA), TARGETS) * (100 if step == 25 else 1)).backward()
        optimizer.step()
    tracker.update(epoch=0)
    (spike,) = tracker.detect_gradient_issues()["spikes"]["spikes"]
    assert spike["step"] == 25


class _Logarithm(nn.Module):
    """Makes NaN of negative values."""

    def forward(self, x):
        return torch.log(x - 100)


class _BadBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


class _BadGradient(nn.Module):
    def forward(self, x):
        return _BadBackward.apply(x)


def _planted(part):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), part, nn.Linear(8, 3))


def test_the_module_whose_output_first_was_nan_is_named():
    issues = _track(_planted(_Logarithm()), steps=3).detect_gradient_issues()
    origin = issues["nonfinite"]["origin"]
    assert (origin["step"], origin["kind"], origin["name"]) == (1, "output", "2")
    assert "0.weight" in _names(issues, "nonfinite")


def test_the_parameter_whose_gradient_first_was_infinite_is_named():
    origin = _track(_planted(_BadGradient()), steps=1).detect_gradient_issues()["nonfinite"]["origin"]
    assert origin["kind"] == "gradient"
    assert origin["name"].startswith("0.")


def test_nan_that_began_between_samples_is_not_blamed_on_the_first_layer():
    model = _planted(nn.Identity())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, optimizer, every=5)
    tracker.register_hooks()
    for step in range(1, 7):
        optimizer.zero_grad()
        (F.cross_entropy(model(DATA), TARGETS) * (float("nan") if step == 3 else 1)).backward()
        optimizer.step()
    tracker.update(epoch=0)
    origin = tracker.detect_gradient_issues()["nonfinite"]["origin"]
    assert (origin["step"], origin["kind"]) == (5, "weights")
    assert "after 1" in origin["message"]


def test_raise_stops_before_the_step_and_names_the_module(tmp_path):
    model = _planted(nn.Identity())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = GradientTracker(model, on_nonfinite="raise")
    tb = TBMetrics(tmp_path, model=model, optimizer=optimizer, gradients=tracker)
    tb.start_epoch(0)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(DATA), TARGETS).backward()
        optimizer.step()

    step()
    step()
    model[2].forward = _Logarithm().forward
    weights = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(NonFiniteError, match=r"step 3: 4 of 4 .*output of module '2'"):
        step()
    tb.finalize()
    torch.testing.assert_close([p.detach() for p in model.parameters()], weights, rtol=0, atol=0)
    assert not model._forward_hooks
    texts = [text.markdown for text in read_run(tmp_path).texts[health_tag("nonfinite")]]
    assert any("output of module '2'" in text for text in texts)


class _Masked(nn.Module):
    """Attention with a mask of its own, one that is given, and padding with the lowest number there is."""

    def __init__(self, fault):
        super().__init__()
        self.project, self.mask, self.weigh, self.fault = nn.Linear(8, 8), _Mask(), nn.Softmax(dim=-1), fault
        self.register_parameter("frozen", nn.Parameter(torch.full((2, 2), -torch.inf), requires_grad=False))
        self.head = nn.Linear(8, 3)

    def forward(self, x, mask):
        hidden = self.project(x)
        scores = self.mask(hidden @ hidden.T) + mask
        weights = self.weigh(scores.masked_fill(torch.eye(len(x)) > 0, torch.finfo(scores.dtype).min))
        return self.head(self.fault(weights @ hidden))


class _Mask(nn.Module):
    def forward(self, scores):
        return scores.masked_fill(torch.ones_like(scores).triu(2) > 0, -torch.inf)


def _train_masked(fault, mask, with_optimizer):
    torch.manual_seed(0)
    model = _Masked(fault)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    tracker = GradientTracker(model, optimizer if with_optimizer else None, every=1, detail_every=1)
    tracker.register_hooks()
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(DATA, mask), TARGETS).backward()
        optimizer.step()
    tracker.update(epoch=0)
    return tracker.detect_gradient_issues()["nonfinite"]


@pytest.mark.parametrize("with_optimizer", [True, False])
@pytest.mark.parametrize("lowest", [-torch.inf, torch.finfo(torch.float32).min])
def test_masks_are_no_finding_and_what_arises_later_is_not_blamed_on_them(lowest, with_optimizer):
    mask = torch.full((16, 16), lowest).triu(3)
    assert not _train_masked(nn.Identity(), mask, with_optimizer)["detected"]
    origin = _train_masked(_Logarithm(), mask, with_optimizer)["origin"]
    assert (origin["step"], origin["kind"], origin["name"]) == (1, "output", "fault")


def test_ignore_says_nothing_of_nonfinite_values(caplog):
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        tracker = _track(_planted(_Logarithm()), steps=2, on_nonfinite="ignore")
    assert "NaN" not in caplog.text
    assert tracker.detect_gradient_issues()["nonfinite"]["origin"] is None


def test_each_kind_is_told_once_on_the_console_and_stays_as_text(caplog):
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        tracker = _track(_deep(nn.Sigmoid), steps=12)
    told = [record.getMessage() for record in caplog.records]
    assert sum("below 0.001" in message for message in told) == 1
    texts = [text.markdown for text in tracker.history.texts[health_tag("vanishing_gradients")]]
    assert any(text.startswith("**vanishing gradients**: ") for text in texts)
