"""Gathered batches are handed on whole, in order, alike with alike, and never more than a few wait."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics.class_performance.diagnostics.gathered import MOST_BATCHES, SMALL_BYTES, Gathered

SHAPES = st.sampled_from([(2, 3), (4, 3), (SMALL_BYTES // 8, 3)])


@given(st.lists(st.tuples(SHAPES, st.booleans()), max_size=60))
def test_every_batch_is_handed_on_once_and_in_order_with_others_of_its_shape(kinds):
    taken = []

    def take(values, other):
        assert (other is None) or other.shape == values.shape[:2]
        taken.extend((values[i], None if other is None else other[i]) for i in range(len(values)))

    gathered = Gathered(take)
    batches = [
        (torch.full(shape, float(i)), torch.zeros(shape[0]) if more else None) for i, (shape, more) in enumerate(kinds)
    ]
    for i, batch in enumerate(batches):
        gathered.put(*batch)
        assert i + 1 - len(taken) < MOST_BATCHES
    gathered.flush()
    assert [values[0, 0].item() for values, _ in taken] == list(range(len(batches)))
    for (values, other), (expected, expected_other) in zip(taken, batches, strict=True):
        assert torch.equal(values, expected)
        assert (other is None) == (expected_other is None)


def test_a_large_batch_is_handed_on_at_once_and_not_copied():
    taken = []
    gathered = Gathered(lambda values: taken.append(values))
    large = torch.zeros(SMALL_BYTES, 1)
    gathered.put(large)
    assert taken[0].data_ptr() == large.data_ptr()
    gathered.flush()
    assert len(taken) == 1


def test_what_is_forgotten_is_not_handed_on():
    gathered = Gathered(lambda values: 1 / 0)
    gathered.put(torch.zeros(2, 2))
    gathered.forget()
    gathered.flush()
