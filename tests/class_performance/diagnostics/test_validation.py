"""What is kept of a validation; when a class was learnt and what was forgotten, over validations."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups
from tbmetrics.class_performance import small_batches
from tbmetrics.class_performance.diagnostics.options import TAUS
from tbmetrics.class_performance.diagnostics.validation import MAX_POINTS, PositiveOutcomes, Progress, ValidationState


def _outcomes(classes, hits):
    return PositiveOutcomes(np.array(classes, dtype=np.int64), np.array(hits, dtype=bool))


def test_half_of_the_latest_recall_is_reached_at_the_first_such_validation():
    progress = Progress(3)
    for step, recall in ((10, [0.0, 0.6, np.nan]), (20, [0.3, 0.7, np.nan]), (30, [0.6, 0.8, 0.0])):
        progress = progress.after(step, np.array(recall), _outcomes([], []))
    np.testing.assert_array_equal(progress.half_recall_steps(), [20, 10, np.nan])
    assert np.isnan(Progress(2).after(1, np.ones(2), _outcomes([], [])).half_recall_steps()).all()


def test_forgetting_counts_found_then_missed():
    progress = Progress(2)
    for hits in ([1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0]):
        progress = progress.after(1, np.zeros(2), _outcomes([0, 0, 1, 1], hits))
    np.testing.assert_array_equal(progress.forgetting_events(), [3 / 2, 0])
    np.testing.assert_array_equal(progress.forgetting_rate(), [3 / 4, 0])  # of the hits before the last validation


def test_validations_in_another_order_are_not_compared():
    progress = Progress(2).after(1, np.zeros(2), _outcomes([0, 1], [1, 1]))
    assert np.isnan(progress.forgetting_events()).all()
    progress = progress.after(2, np.zeros(2), _outcomes([1, 0], [0, 0]))
    assert np.isnan(progress.forgetting_events()).all()
    progress = progress.after(3, np.zeros(2), _outcomes([1, 0], [0, 0]))
    np.testing.assert_array_equal(progress.forgetting_events(), [0, 0])


def test_memory_is_bounded_and_the_first_validation_stays():
    progress = Progress(1)
    for step in range(1000):
        progress = progress.after(step, np.array([step / 1000]), _outcomes([0], [True]))
    assert len(progress._points) < MAX_POINTS
    assert progress._points[0][0] == 0
    assert abs(progress.half_recall_steps()[0] - 500) <= 1000 / MAX_POINTS * 2


@pytest.mark.parametrize("multi", [False, True])
def test_small_batches_count_as_each_alone(monkeypatch, multi):
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(size, 4, generator=generator), torch.randint(0, 4, (size,), generator=generator))
        for size in (16, 16, 9, 16, 16)
    ]

    def measured(small_bytes):
        monkeypatch.setattr(small_batches, "SMALL_BYTES", small_bytes)
        state = ValidationState(ClassGroups.from_counts({"x": [900, 50, 30, 5]})["x"], TAUS, np.full(4, 0.5), 2**20)
        for logits, labels in batches:
            state.add(logits, torch.nn.functional.one_hot(labels, 4).to(torch.int8) if multi else labels)
        return state.columns(), state.outcomes(), state.n_samples

    together, alone = measured(small_batches.SMALL_BYTES), measured(0)
    for name, values in alone[0].items():
        np.testing.assert_allclose(together[0][name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_array_equal(together[1].classes, alone[1].classes)
    np.testing.assert_array_equal(together[1].hits, alone[1].hits)
    assert together[2] == alone[2] == 73
