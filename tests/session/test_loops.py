"""Counting steps, lengths of loaders, the progress bar."""

import torch
from torch.utils.data import DataLoader, IterableDataset

from tbmetrics.session.loops import StepCounter, length_of, with_progress


def _optimizer():
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    return torch.optim.SGD([parameter], lr=0.1)


def test_with_an_optimizer_its_hook_counts_and_batches_do_not():
    optimizer, seen = _optimizer(), []
    counter = StepCounter(optimizer, seen.append, None)
    counter.attach()
    for batch in range(6):
        counter.start_batch()
        if batch % 3 == 2:  # accumulated over three batches
            optimizer.step()
            counter.count_explicitly()
        counter.end_batch()
    counter.detach()
    optimizer.step()
    assert seen == [1, 2]
    assert counter.done == 2


def test_without_an_optimizer_a_batch_is_a_step_unless_the_caller_counts():
    seen = []
    counter = StepCounter(None, seen.append, 10)
    counter.attach()
    counter.start_batch()
    counter.end_batch()
    counter.start_batch()
    counter.count_explicitly()
    counter.count_explicitly()
    counter.end_batch()
    assert seen == [11, 12, 13]


def test_detach_leaves_no_hook_on_the_optimizer():
    optimizer = _optimizer()
    before = len(optimizer._optimizer_step_post_hooks)
    counter = StepCounter(optimizer, lambda step: None, None)
    counter.attach()
    assert len(optimizer._optimizer_step_post_hooks) == before + 1
    counter.detach()
    counter.detach()
    assert len(optimizer._optimizer_step_post_hooks) == before


def test_progress_yields_every_item_and_writes_to_stderr_only(capsys):
    assert list(with_progress([1, 2, 3], epoch=4)) == [1, 2, 3]
    assert list(with_progress(iter([1, 2]), epoch=None)) == [1, 2]
    assert capsys.readouterr().out == ""


class _Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(4.0))


class _Broken:
    def __len__(self):
        raise NotImplementedError("nobody knows")

    def __iter__(self):
        return iter("abc")


def test_a_length_that_cannot_be_told_is_none():
    assert length_of([1, 2]) == 2
    assert length_of(range(0)) == 0
    assert [length_of(items) for items in (iter([1]), DataLoader(_Stream(), batch_size=2), _Broken())] == [None] * 3


def test_progress_of_unknown_length():
    assert [len(batch) for batch in with_progress(DataLoader(_Stream(), batch_size=2), epoch=0)] == [2, 2]
    assert list(with_progress(_Broken(), epoch=0)) == ["a", "b", "c"]
