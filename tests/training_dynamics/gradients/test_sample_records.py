"""Means over the samples of epochs, against numpy."""

import numpy as np
import pytest

from tbmetrics.training_dynamics.gradients.sample_records import EpochMeans


def test_an_epochs_value_is_the_mean_of_what_was_finite():
    samples = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    samples[1, 0, 0], samples[2, 0, 0], samples[:, 1, 0] = np.nan, np.inf, np.nan
    means = EpochMeans()
    for sample in samples:
        means.add(sample)
    means.end(7)
    found = means.column(["a", "b", "c"], 0)
    assert list(found) == ["a", "c"]
    assert found["a"] == [pytest.approx(samples[[0, 3, 4], 0, 0].mean(), rel=1e-6)]
    assert means.epochs == [7]


def test_rows_that_come_later_are_undefined_before():
    means = EpochMeans()
    means.add(np.ones((1, 1), np.float32))
    means.end(0)
    means.add(np.full((2, 1), 3, np.float32))
    means.end(1)
    found = means.column(["a", "b"], 0)
    assert found["a"] == [1, 3]
    assert np.isnan(found["b"][0])
    assert found["b"][1] == 3


def test_an_epoch_ended_again_takes_the_later_samples_and_one_without_samples_does_not_count():
    means = EpochMeans()
    means.end(0)
    for value in (1, 5):
        means.add(np.full((1, 1), value, np.float32))
        means.end(1)
    assert means.epochs == [1]
    assert means.column(["a"], 0) == {"a": [5]}
