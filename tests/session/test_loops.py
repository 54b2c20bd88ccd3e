"""Counting steps, sizing batches, the progress bar."""

import numpy as np
import pytest
import torch

from tbmetrics.session.loops import StepCounter, batch_size_of, with_progress


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(7, 3), 7),
        (np.zeros((5, 2)), 5),
        ((torch.zeros(4, 1), torch.zeros(4)), 4),
        ({"text": ["a", "b"], "image": torch.zeros(2, 8)}, 2),
        ([{"x": {"y": torch.zeros(6)}}], 6),
        (torch.tensor(1.0), None),
        ("text", None),
        (None, None),
        ((), None),
    ],
)
def test_batch_size_is_the_first_dimension_of_the_first_tensor(batch, size):
    assert batch_size_of(batch) == size


def _optimizer():
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    return torch.optim.SGD([parameter], lr=0.1)


def test_with_an_optimizer_its_hook_counts_and_batches_do_not():
    optimizer, seen = _optimizer(), []
    counter = StepCounter(optimizer, seen.append, None)
    counter.attach(None)
    for batch in range(6):
        with counter.one_per_batch():
            if batch % 3 == 2:  # accumulated over three batches
                optimizer.step()
                counter.count_explicitly()
    counter.detach()
    optimizer.step()
    assert seen == [1, 2]
    assert counter.done == 2


def test_without_an_optimizer_a_batch_is_a_step_unless_the_caller_counts():
    seen = []
    counter = StepCounter(None, seen.append, 10)
    counter.attach(None)
    with counter.one_per_batch():
        pass
    with counter.one_per_batch():
        counter.count_explicitly()
        counter.count_explicitly()
    assert seen == [11, 12, 13]


def test_detach_leaves_no_hook_on_the_optimizer():
    optimizer = _optimizer()
    before = len(optimizer._optimizer_step_post_hooks)
    counter = StepCounter(optimizer, lambda step: None, None)
    counter.attach(None)
    assert len(optimizer._optimizer_step_post_hooks) == before + 1
    counter.detach()
    counter.detach()
    assert len(optimizer._optimizer_step_post_hooks) == before


def test_progress_yields_every_item_and_writes_to_stderr_only(capsys):
    assert list(with_progress([1, 2, 3], epoch=4)) == [1, 2, 3]
    assert list(with_progress(iter([1, 2]), epoch=None)) == [1, 2]
    assert capsys.readouterr().out == ""
