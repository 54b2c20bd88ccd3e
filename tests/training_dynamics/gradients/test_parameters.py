"""Gradients of every dtype and layout, of parameters that come, go, freeze and thaw, against plain torch in float64."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from tbmetrics import GradientTracker, TBMetrics
from tbmetrics.records import PARAMETERS_TAG

DATA = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def _tracker(model, optimizer=None):
    tracker = GradientTracker(model, optimizer, every=1, detail_every=1)
    tracker.register_hooks()
    return tracker


def _norms(tracker):
    table = tracker.history.tables[PARAMETERS_TAG][-1]
    values = dict(zip(table.rows, table.column("gradient_norm").tolist(), strict=True))
    return {name: value for name, value in values.items() if not np.isnan(value)}


def _norm(gradient):
    """In float64, of elements that are scaled first."""
    wide = gradient.detach().to_dense().resolve_conj()
    wide = np.abs(wide.to(torch.complex128 if wide.is_complex() else torch.float64).numpy())
    return np.linalg.norm(wide / wide.max()) * wide.max()


def _truth(model):
    return {name: _norm(p.grad) for name, p in model.named_parameters() if p.grad is not None}


def _step(model, optimizer):
    """Take a step and return the norms of its gradients."""
    optimizer.zero_grad()
    model(DATA).square().mean().backward()
    truth = _truth(model)
    optimizer.step()
    return truth


class _Complex(nn.Module):
    """Its gradients are conjugated lazily."""

    def __init__(self):
        super().__init__()
        self.turn = nn.Parameter(torch.tensor([1 + 2j, 3 - 1j, -2 + 0.5j]))

    def forward(self, x):
        return (self.turn.conj() * torch.tensor([1j, 2.0, 1 + 1j])).abs().square() * x.mean()


class _Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 3, sparse=True)

    def forward(self, x):
        return self.embedding(torch.tensor([1, 1, 7, 19])) * x.mean()


class _Huge(nn.Module):
    """Gradients whose squares overflow in float32, and in float64."""

    def __init__(self, dtype, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, dtype=dtype))
        self.size = size

    def forward(self, x):
        return (self.weight * self.size).sum()


def _tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


KINDS = {
    "float64": lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double(),
    "bfloat16": lambda: nn.Linear(4, 4).bfloat16(),
    "float16": lambda: nn.Linear(4, 4).half(),
    "complex": _Complex,
    "sparse": _Sparse,
    "tied": _tied,
    "parametrised": lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
    "mixed": lambda: nn.Sequential(nn.Linear(4, 4).double(), _Cast(), nn.Linear(4, 2)),
    "huge": lambda: _Huge(torch.float32, 1e30),
    "huge bfloat16": lambda: _Huge(torch.bfloat16, 1e30),
    "huge float64": lambda: _Huge(torch.float64, 1e200),
    "tiny float64": lambda: _Huge(torch.float64, 1e-200),
}


class _Cast(nn.Module):
    def forward(self, x):
        return x.float()


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("with_optimizer", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_those_of_plain_torch_in_float64(kind, with_optimizer, passes):
    torch.manual_seed(0)
    model = KINDS[kind]()
    first = next(model.parameters())
    inputs = DATA.to(first.dtype if not first.is_complex() else torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    tracker = _tracker(model, optimizer if with_optimizer else None)
    for _ in range(3):
        optimizer.zero_grad()
        for _ in range(passes):
            model(inputs).sum().abs().backward()
        truth = _truth(model)
        optimizer.step()
    tracker.update(epoch=0)
    in_float64 = {name: values[-1] for name, values in tracker.get_metrics()["gradient_norms"].items()}
    steady = passes == 1 or with_optimizer  # else the mean is over the passes, each with what it leaves
    if steady:
        exact = kind in ("float64", "huge float64", "tiny float64")
        assert in_float64 == {name: pytest.approx(norm, rel=1e-12 if exact else 1e-5) for name, norm in truth.items()}
    if "float64" not in kind or kind == "float64":
        assert _norms(tracker) == pytest.approx(truth, rel=1e-5)
    issues = tracker.detect_gradient_issues()
    assert not issues["nonfinite"]["detected"]
    assert not issues["dead_layers"]["detected"]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("with_optimizer", [True, False])
def test_integer_quantised_meta_and_lazy_parameters_leave_the_others_measured_and_it_is_said_once(
    caplog, with_optimizer
):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Parameter(torch.ones(4, 4, dtype=torch.int8), requires_grad=False)
            quantised = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.quint8)
            self.quantised = nn.Parameter(quantised, requires_grad=False)
            self.elsewhere = nn.Parameter(torch.empty(3, device="meta"), requires_grad=False)
            self.used, self.unused = nn.LazyLinear(2), nn.LazyLinear(2)

        def forward(self, x):
            return self.used(x @ self.base.float())

    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        tracker = _tracker(model, optimizer if with_optimizer else None)
        for epoch in range(4):
            truth = _step(model, optimizer)
            tracker.update(epoch)
    assert _norms(tracker) == pytest.approx(truth, rel=1e-5)
    assert "training_dynamics/gradient_norm/used.weight" in tracker.history.scalars
    (record,) = caplog.records
    assert "not measured: base (torch.int8), quantised (torch.quint8)" in record.getMessage()


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_what_thaws_or_takes_anothers_place_is_measured_in_the_same_row(with_optimizer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    tracker = None
    for epoch in range(3):
        if epoch == 1:
            model[0].requires_grad_(True)
        if epoch == 2:
            model[2] = nn.Linear(4, 5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if tracker is None or with_optimizer:
            before = tracker
            tracker = _tracker(model, optimizer if with_optimizer else None)
            if before is not None:
                before.remove_hooks()
        for _ in range(2):
            truth = _step(model, optimizer)
        tracker.update(epoch)
        assert _norms(tracker) == pytest.approx(truth, rel=1e-5)
        assert tracker.history.tables[PARAMETERS_TAG][-1].rows == ("0.weight", "0.bias", "2.weight", "2.bias")


def test_a_parameter_that_takes_anothers_place_in_the_optimizer_too_lets_the_old_one_go():
    import gc
    import weakref

    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = _tracker(model, optimizer)
    gone = []
    for _ in range(3):
        optimizer.zero_grad()
        model(DATA).square().mean().backward()
        optimizer.step()
        gone.append(weakref.ref(model.weight))
        model.weight = nn.Parameter(torch.randn(2, 4))
        optimizer.param_groups[0]["params"][0] = model.weight
    model(DATA).square().mean().backward()
    truth = _truth(model)
    optimizer.step()
    tracker.update(0)
    assert _norms(tracker) == pytest.approx(truth, rel=1e-5)
    tracker.remove_hooks()
    optimizer.state.clear()
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]


def test_the_noise_scale_counts_passes_though_the_first_parameter_is_frozen_later():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    tracker = _tracker(model, optimizer)
    for step in range(8):
        if step == 1:
            model[0].requires_grad_(False)
            model[0].weight.grad = model[0].bias.grad = None
        optimizer.zero_grad()
        for half in DATA.chunk(2):
            model(half).square().mean().backward()
        optimizer.step()
    tracker.update(0)
    assert tracker.history.scalars["training_dynamics/noise_scale_passes"].steps[-1] == 8


def test_training_without_gradients_on_the_model_says_once_what_to_write(caplog, tmp_path):
    """As under FSDP, whose backward passes leave nothing on the sharded parameters."""
    model = nn.Linear(4, 2)
    with caplog.at_level(logging.WARNING, logger="tbmetrics"), TBMetrics(tmp_path, model=model, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            model(DATA)
            tb.step()
    (record,) = caplog.records
    assert "give the optimizer" in record.getMessage()
