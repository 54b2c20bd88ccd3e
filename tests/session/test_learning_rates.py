"""The learning rate of each parameter group, as the optimizer used it."""

import pytest
import torch

from tbmetrics import TBMetrics
from tbmetrics.session.learning_rates import LearningRates


def _parameters(number):
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(number)]
    for parameter in parameters:
        parameter.grad = torch.ones(2)
    return parameters


def test_the_rates_of_a_schedule_are_those_that_the_steps_used(tmp_path):
    (parameter,) = _parameters(1)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with TBMetrics(tmp_path, optimizer=optimizer) as tb:
        for _ in tb.epochs(range(2)):
            for _ in range(10):
                optimizer.step()
                schedule.step()
    series = tb.history.scalars["training_dynamics/learning_rate"]
    assert series.steps.tolist() == [1, 2, 5, 10, 20]
    assert series.values == pytest.approx([0.5 ** (step - 1) for step in (1, 2, 5, 10, 20)])


def test_groups_are_called_after_their_names():
    first, second, third = _parameters(3)
    named = torch.optim.SGD([{"params": [first], "name": "body"}, {"params": [second], "lr": 0.5}], lr=0.1)
    prefix = "training_dynamics/learning_rate"
    assert LearningRates([named]).scalars() == {f"{prefix}/body": 0.1, f"{prefix}/group 1": 0.5}
    other = torch.optim.Adam([third], lr=torch.tensor(0.2))
    rates = LearningRates([named, other]).scalars()
    assert list(rates) == [f"{prefix}/SGD body", f"{prefix}/SGD group 1", f"{prefix}/Adam group 0"]
    assert LearningRates([named, named]).scalars().keys() == {
        f"{prefix}/SGD {n} {group}" for n in (0, 1) for group in ("body", "group 1")
    }


def test_a_rate_that_is_no_number_is_left_out():
    (parameter,) = _parameters(1)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    optimizer.param_groups[0]["lr"] = "auto"
    assert LearningRates([optimizer]).scalars() == {}
    assert not LearningRates([]).due(1)
