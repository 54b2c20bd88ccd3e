"""Steps of wrapped optimizers, those that take turns, and those that no hook sees, against plain torch in float64."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import GradientTracker, InputError, TBMetrics
from tbmetrics.records import PARAMETERS_TAG
from tbmetrics.tracking.optimizers import as_optimizers

DATA = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (16,), generator=torch.Generator().manual_seed(2))


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def _backward(model):
    F.cross_entropy(model(DATA), TARGETS).backward()


class SAM(torch.optim.Optimizer):
    """As davda54/sam: the base optimizer steps within `second_step`, with the gradient at the perturbed weights."""

    def __init__(self, params, base_optimizer, rho=0.05, **options):
        super().__init__(params, dict(rho=rho, **options))
        self.base_optimizer = base_optimizer(self.param_groups, **options)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self):
        parameters = [p for group in self.param_groups for p in group["params"]]
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        for p in parameters:
            self.state[p]["climb"] = p.grad * (0.05 / norm)
            p.add_(self.state[p]["climb"])
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.state[p]["climb"])
        self.base_optimizer.step()
        self.zero_grad()

    @torch.no_grad()
    def step(self, closure=None):
        self.first_step()
        torch.enable_grad()(closure)()
        self.second_step()


class LARC:
    """As apex's: no Optimizer itself, scales the gradients and steps what it wraps."""

    def __init__(self, optimizer):
        self.optim = optimizer

    @property
    def param_groups(self):
        return self.optim.param_groups

    def zero_grad(self):
        self.optim.zero_grad()

    def step(self):
        for group in self.optim.param_groups:
            for p in group["params"]:
                p.grad.mul_(0.5)
        self.optim.step()


class ScheduleFreeWrapper(torch.optim.Optimizer):
    """As schedule-free's: an Optimizer that does not initialise its base class, and steps `base`."""

    def __init__(self, base):
        self.base = base

    @property
    def param_groups(self):
        return self.base.param_groups

    def zero_grad(self, set_to_none=True):
        self.base.zero_grad(set_to_none)

    def step(self, closure=None):
        self.base.step()


class EightBit(torch.optim.Optimizer):
    """As bitsandbytes': its own step, on states of its own."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["state"] = (p.grad * 127).clamp(-127, 127).to(torch.int8)
                p.sub_(group["lr"] * self.state[p]["state"].float() / 127)


def _sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def _plain(model, optimizer):
    _backward(model)
    optimizer.step()
    optimizer.zero_grad()


def _sam_by_halves(model, optimizer):
    _backward(model)
    optimizer.first_step()
    _backward(model)
    optimizer.second_step()


def _sam_by_closure(model, optimizer):
    _backward(model)
    optimizer.step(lambda: _backward(model))


LOOPS = {
    "sgd": (_sgd, _plain),
    "sam by halves": (lambda model: SAM(model.parameters(), torch.optim.SGD, lr=0.1), _sam_by_halves),
    "sam by closure": (lambda model: SAM(model.parameters(), torch.optim.SGD, lr=0.1), _sam_by_closure),
    "larc": (lambda model: LARC(_sgd(model)), _plain),
    "schedule-free": (lambda model: ScheduleFreeWrapper(_sgd(model)), _plain),
    "8 bit": (lambda model: EightBit(model.parameters(), 0.1), _plain),
}


def _base(optimizer):
    for name in ("base_optimizer", "optim", "base"):
        optimizer = getattr(optimizer, name, optimizer)
    return optimizer


@pytest.mark.parametrize("name", LOOPS)
def test_the_step_that_changes_the_weights_is_counted_and_measured_and_training_stays_the_same(tmp_path, name):
    make, step = LOOPS[name]
    model, twin = _model(), _model()
    optimizer, optimizer_of_twin = make(model), make(twin)
    truth = []
    _base(optimizer_of_twin).register_step_pre_hook(
        lambda *_: truth.append({n: p.grad.double().norm().item() for n, p in twin.named_parameters()})
    )
    gradients = GradientTracker(model, optimizer, every=1, detail_every=1)
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, gradients=gradients, strict=True) as tb:
        tb.start_epoch(0)
        for _ in range(4):
            before = model[0].weight.detach().clone()
            step(model, optimizer)
            step(twin, optimizer_of_twin)
            change = (model[0].weight.detach() - before).double().norm() / before.double().norm()
    assert tb.global_step == 4
    tables = tb.history.tables[PARAMETERS_TAG]
    assert tables.steps.tolist() == [1, 2, 3, 4]
    for table, norms in zip(tables, truth, strict=True):
        assert dict(zip(table.rows, table.column("gradient_norm").tolist(), strict=True)) == pytest.approx(norms, 1e-5)
    assert tables[-1].column("update_ratio")[0] == pytest.approx(change.item(), rel=1e-3)
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_what_is_no_optimizer_is_refused_and_wrappers_of_frameworks_are_taken_off():
    optimizer = _sgd(_model())
    wrapped = type("Accelerated", (), {"optimizer": optimizer})()
    assert as_optimizers([wrapped, LARC(optimizer)]) == [optimizer, optimizer]
    with pytest.raises(InputError, match="got LARC"):
        as_optimizers(LARC("none"))


@pytest.mark.parametrize("order", ["critic first", "generator first"])
def test_optimizers_that_take_turns_each_have_their_norms_in_every_step(tmp_path, order):
    torch.manual_seed(0)
    both = nn.ModuleDict({"generator": nn.Linear(2, 2), "critic": nn.Linear(2, 1)})
    generator, critic = (torch.optim.SGD(part.parameters(), lr=0.01) for part in both.values())
    tracker, truth = GradientTracker(both, [generator, critic], every=1), []

    def turn_of_critic():
        critic.zero_grad()
        both["critic"](both["generator"](torch.randn(8, 2)).detach()).square().mean().backward()
        critic.step()

    def turn_of_generator():
        generator.zero_grad()
        (both["critic"](both["generator"](torch.randn(8, 2))) - 1).square().mean().backward()
        truth.append(both["generator"].weight.grad.double().norm().item())
        generator.step()

    turns = [*[turn_of_critic] * 3, turn_of_generator]
    with TBMetrics(tmp_path, model=both, optimizer=[generator, critic], gradients=tracker, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            for _ in range(3):
                for turn in turns if order == "critic first" else reversed(turns):
                    turn()
    series = tb.history.scalars["training_dynamics/gradient_norm/generator.weight"]
    assert series.steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert series.values == pytest.approx(truth, rel=1e-6)
    critics = tb.history.scalars["training_dynamics/gradient_norm/critic.weight"].values
    assert (critics > 0).all()


def _unseen(model):
    """Steps by hand."""
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(0.1 * p.grad)


@pytest.mark.parametrize("clear", ["to none", "in place"])
@pytest.mark.parametrize("batches", [False, True])
def test_steps_that_no_hook_sees_are_said_once_counted_and_measured_in_backward_passes(
    tmp_path, caplog, clear, batches
):
    model = _model()
    optimizer = _sgd(model)
    gradients = GradientTracker(model, optimizer, every=1)
    truth = []
    with (
        caplog.at_level(logging.WARNING, logger="tbmetrics"),
        TBMetrics(tmp_path, model=model, optimizer=optimizer, gradients=gradients, strict=True) as tb,
    ):
        for _ in tb.epochs(range(2)):
            for _ in tb.batches(range(25)) if batches else range(25):
                optimizer.zero_grad(set_to_none=clear == "to none")
                _backward(model)
                truth.append(model[0].weight.grad.double().norm().item())
                _unseen(model)
    assert tb.global_step == 50
    assert caplog.text.count("no step() of SGD was seen") == 1
    assert "optimizer=… the optimizer whose step() runs" in caplog.text
    series = tb.history.scalars["training_dynamics/gradient_norm/0.weight"]
    first = 20 if clear == "to none" else 25
    assert series.steps.tolist() == list(range(first + 1, 51))
    assert series.values == pytest.approx(truth[first:], rel=1e-6)


def test_many_passes_to_one_step_are_no_unseen_steps(caplog):
    model = _model()
    optimizer = _sgd(model)
    tracker = GradientTracker(model, optimizer, every=1)
    tracker.register_hooks()
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        for _ in range(40):
            _backward(model)
        optimizer.step()
        tracker.update(epoch=0)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=30)
        tracker = GradientTracker(model, optimizer, every=1)
        tracker.register_hooks()

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(DATA), TARGETS)
            loss.backward()
            return loss

        optimizer.step(closure)
        tracker.update(epoch=0)
    assert caplog.text == ""
    assert tracker.history.tables[PARAMETERS_TAG].steps.tolist() == [1]


def test_a_step_that_is_seen_after_all_is_measured_again_where_it_steps():
    model = _model()
    optimizer = _sgd(model)
    tracker = GradientTracker(model, optimizer, every=1)
    tracker.register_hooks()
    for _ in range(22):
        optimizer.zero_grad()
        _backward(model)
        _unseen(model)
    optimizer.zero_grad()
    _backward(model)
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()
    tracker.update(epoch=0)
    series = tracker.history.scalars["training_dynamics/gradient_norm"]
    assert series.values[-1] == pytest.approx(0.01, rel=1e-3)
    assert (series.values[:-1] > 0.02).all()


def _train_compiled(model, optimizer):
    """24 steps; returns how many graphs there are, and the breaks between them."""
    counters = torch._dynamo.utils.counters
    counters.clear()
    step = torch.compile(lambda: optimizer.step(), backend="eager")
    for _ in range(24):
        _backward(model)
        step()
        optimizer.zero_grad()
    return counters["stats"]["unique_graphs"], dict(counters["graph_break"])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_step_keeps_its_graph_and_is_measured_in_backward_passes(caplog):
    torch._dynamo.reset()
    model, twin = _model(), _model()
    optimizer, optimizer_of_twin = _sgd(model), _sgd(twin)
    tracker = GradientTracker(model, optimizer, every=1)
    tracker.register_hooks()
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        stats = [_train_compiled(model, optimizer), _train_compiled(twin, optimizer_of_twin)]
    assert stats[0] == stats[1]
    tracker.update(epoch=0)
    assert "no step() of SGD was seen" in caplog.text
    assert len(tracker.history.tables[PARAMETERS_TAG]) == 4
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, expected)
