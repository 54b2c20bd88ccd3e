"""What accumulates over a validation does not depend on how its samples are cut into batches, or on when it is read."""

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tbmetrics import InputError
from tbmetrics.class_performance.inputs import Activation, ScoreFacts
from tbmetrics.class_performance.small_batches import MAX_BATCHES
from tbmetrics.class_performance.state import AttributeState

CLASSES = 5
READS = {
    "per_sample": lambda state: state.per_sample,
    "counts": lambda state: state.counts(),
    "share": lambda state: state.share(),
    "ends": lambda state: state.ends(),
    "drop_repeated": lambda state: state.drop_repeated(),
}


def _state(max_bytes=2**30, scores="auto", inputs="logits", top_k=(3,)):
    return AttributeState("x", CLASSES, np.full(CLASSES, 0.5), scores, max_bytes, Activation(inputs), top_k)


def _columns(state):
    return [torch.cat(column).numpy() for column in zip(*state.per_sample, strict=True)]


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3 * MAX_BATCHES),
    reads=st.dictionaries(st.integers(0, 3 * MAX_BATCHES), st.sampled_from(sorted(READS))),
    max_bytes=st.sampled_from([300, 2**30]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    unknown=st.booleans(),
    seed=st.integers(0, 100),
)
def test_decisions_equal_numpy_however_batches_are_cut_and_whenever_they_are_read(
    sizes, reads, max_bytes, dtype, unknown, seed
):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(sum(sizes), CLASSES, generator=generator).to(dtype)
    labels = torch.randint(-1 if unknown else 0, CLASSES, (sum(sizes),), generator=generator)
    state, rows = _state(max_bytes), torch.arange(sum(sizes))
    for number, batch in enumerate(rows.split(sizes)):
        given_logits, given_labels = logits[batch], labels[batch]
        state.add(given_logits, given_labels, batch)
        given_logits.zero_()  # the caller may use them for something else
        given_labels.zero_()
        assert state.n_samples == int((labels[: batch[-1] + 1] >= 0).sum())
        if number in reads:
            READS[reads[number]](state)
    known = labels >= 0
    wide, truth = logits[known].double().numpy(), labels[known].numpy()
    if not len(truth):
        assert not state.has_rows
        return
    predicted, own = wide.argmax(1), np.take_along_axis(wide, truth[:, None], 1)
    earlier = np.arange(CLASSES) < truth[:, None]
    label, decided, confidence, rank = _columns(state)
    np.testing.assert_array_equal(label, truth)
    np.testing.assert_array_equal(decided, predicted)
    np.testing.assert_allclose(confidence, 1 / np.exp(wide - wide.max(1, keepdims=True)).sum(1), rtol=1e-5)
    np.testing.assert_array_equal(rank, ((wide > own) | ((wide == own) & earlier)).sum(1))
    hits, of_class = predicted == truth, np.arange(CLASSES)[:, None]
    hit_counts = (of_class == truth[hits]).sum(1)
    support, called = (of_class == truth).sum(1), (of_class == predicted).sum(1)
    np.testing.assert_array_equal(state.counts(), [hit_counts, called - hit_counts, support - hit_counts, support])
    np.testing.assert_array_equal(state.indices(), rows[known])


def test_small_batches_are_decided_together():
    state = _state()
    for _ in range(2 * MAX_BATCHES + 1):
        state.add(torch.randn(2, CLASSES), torch.tensor([0, 1]))
    assert [len(labels) for labels, *_ in state.per_sample] == [2 * MAX_BATCHES, 2 * MAX_BATCHES, 2]


def test_what_was_reset_or_merged_is_not_decided_again():
    state, other = _state(), _state()
    state.add(torch.eye(CLASSES), torch.arange(CLASSES))
    state.reset()
    assert not state.per_sample
    state.add(torch.eye(CLASSES)[:2], torch.tensor([0, 1]))
    other.add(torch.eye(CLASSES)[2:3], torch.tensor([4]))
    state.merge(other.share())
    label, decided, *_ = _columns(state)
    assert label.tolist() == [0, 1, 4]
    assert decided.tolist() == [0, 1, 2]


def test_lists_of_classes_by_rank_are_decided_together():
    state, generator = _state(inputs="classes"), torch.Generator().manual_seed(0)
    lists = torch.stack([torch.randperm(CLASSES, generator=generator)[:3] for _ in range(40)])
    labels = torch.randint(0, CLASSES, (40,), generator=generator)
    for batch in torch.arange(40).split(4):
        state.add(lists[batch], labels[batch])
    label, decided, confidence, rank = _columns(state)
    np.testing.assert_array_equal(label, labels)
    np.testing.assert_array_equal(decided, lists[:, 0])
    assert np.isnan(confidence).all()
    places = [row.tolist().index(y) if y in row else CLASSES for row, y in zip(lists, labels.tolist(), strict=True)]
    assert np.minimum(rank, 3).tolist() == np.minimum(places, 3).tolist()


def test_scores_are_freed_with_the_state():
    state = _state()
    state.add(torch.randn(4, CLASSES), torch.arange(4))
    batch = weakref.ref(next(state.scores.batches())[0])
    gc.disable()
    try:
        del state
        assert batch() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("scores", ["exact", "binned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.int8, torch.bool])
def test_multi_hot_labels_of_any_type_are_copied(dtype, scores):
    state, labels = _state(scores=scores), torch.eye(CLASSES)
    if dtype != torch.bool:
        labels[0, 1] = -1
    given_labels, logits = labels.to(dtype), torch.full((CLASSES, CLASSES), 2.0)
    for _ in range(3):
        state.add(logits, given_labels)
    given_labels.fill_(1)
    expected = np.full(CLASSES, 3 * (CLASSES - 1))
    expected[1] -= 0 if dtype == torch.bool else 3
    np.testing.assert_array_equal(state.counts(), [[3] * CLASSES, expected, [0] * CLASSES, [3] * CLASSES])


@pytest.mark.parametrize("scores", ["exact", "binned"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8])
def test_class_indices_of_any_type_are_copied(dtype, scores):
    state, labels = _state(scores=scores), torch.arange(CLASSES).to(dtype)
    for _ in range(3):
        state.add(torch.eye(CLASSES), labels)
    labels.zero_()
    np.testing.assert_array_equal(_columns(state)[0], list(range(CLASSES)) * 3)
    held = state.scores.batches() if state.scores.exact else state.scores._positives
    classes = torch.cat([part[1] if state.scores.exact else part[0] for part in held])
    np.testing.assert_array_equal(classes, list(range(CLASSES)) * 3)


@pytest.mark.parametrize(
    ("dtype", "odd"),
    [(torch.float32, v) for v in (float("nan"), float("inf"), 0.5, 2.0, -2.0, -0.5, 257.0)]
    + [(torch.int64, v) for v in (2, -2, 256, 257, -255)]
    + [(torch.uint8, 2), (torch.int8, -128), (torch.bfloat16, 0.5)],
)
def test_multi_hot_labels_that_are_none_are_refused_and_change_nothing(dtype, odd):
    state, labels = _state(), torch.zeros(3, CLASSES, dtype=dtype)
    labels[1, 2] = odd
    with pytest.raises(InputError, match="multi-hot labels must be 0, 1 or -1"):
        state.add(torch.zeros(3, CLASSES), labels)
    assert not state.has_rows
    assert state.decision is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_facts_of_scores_equal_numpy(dtype):
    scores = torch.randn(7, CLASSES, generator=torch.Generator().manual_seed(0)).to(dtype)
    values = scores.double().numpy()
    sums = values.sum(1)
    facts = ScoreFacts.measured(scores)
    assert (facts.least, facts.greatest) == (values.min(), values.max())
    assert facts.row_sum == pytest.approx(sums[np.abs(sums - 1).argmax()], rel=1e-5)
    assert ScoreFacts.measured(scores, with_sums=False)[:2] == facts[:2]
    scores[2, 1] = float("nan")
    assert np.isnan(ScoreFacts.measured(scores)).all()
    assert np.isnan(ScoreFacts.measured(scores, with_sums=False)).all()
