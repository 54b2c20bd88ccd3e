"""Small batches are processed together, in order, each once."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics.class_performance.small_batches import MAX_BATCHES, SMALL_BYTES, SmallBatchBuffer

SHAPES = st.sampled_from([(2, 3), (4, 3), (SMALL_BYTES // 8, 3)])


@given(st.lists(st.tuples(SHAPES, st.booleans()), max_size=60))
def test_every_batch_is_processed_once_and_in_order_with_others_of_its_shape(kinds):
    processed = []

    def process(values, other):
        assert (other is None) or other.shape == values.shape[:2]
        processed.extend((values[i], None if other is None else other[i]) for i in range(len(values)))

    buffer = SmallBatchBuffer(process)
    batches = [
        (torch.full(shape, float(i)), torch.zeros(shape[0]) if more else None) for i, (shape, more) in enumerate(kinds)
    ]
    for i, batch in enumerate(batches):
        buffer.put(*batch)
        assert i + 1 - len(processed) < MAX_BATCHES
    buffer.flush()
    assert [values[0, 0].item() for values, _ in processed] == list(range(len(batches)))
    for (values, other), (expected, expected_other) in zip(processed, batches, strict=True):
        assert torch.equal(values, expected)
        assert (other is None) == (expected_other is None)


def test_a_large_batch_is_processed_at_once_and_not_copied():
    processed = []
    buffer = SmallBatchBuffer(lambda values: processed.append(values))
    large = torch.zeros(SMALL_BYTES, 1)
    buffer.put(large)
    assert processed[0].data_ptr() == large.data_ptr()
    buffer.flush()
    assert len(processed) == 1


def test_what_is_cleared_is_not_processed():
    buffer = SmallBatchBuffer(lambda values: 1 / 0)
    buffer.put(torch.zeros(2, 2))
    buffer.clear()
    buffer.flush()
