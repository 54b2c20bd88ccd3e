"""The demonstration's data are what its page says."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tbmetrics.demo.numbers import NAMES, class_groups, load_splits, loader

SETS = ("training", "validation", "test")


@pytest.fixture(scope="module")
def splits():
    return load_splits()


def test_training_counts_follow_the_exponential_profile(splits):
    counts = np.sort(np.bincount(splits.training.targets["number"], minlength=100))[::-1]
    np.testing.assert_allclose(counts, 300 * np.geomspace(1, 1 / 100, 100), atol=0.5)


def test_validation_and_test_are_balanced(splits):
    for images in (splits.validation, splits.test):
        assert np.bincount(images.targets["number"]).tolist() == [20] * 100


def test_no_handwritten_digit_is_in_two_sets(splits):
    pixels = load_digits(return_X_y=True)[0].astype(np.float32) / 16
    known = {row.tobytes() for row in pixels}
    digits = []
    for name in SETS:
        halves = getattr(splits, name).images[:, 0].unflatten(2, (2, 8)).transpose(1, 2).reshape(-1, 64).numpy()
        digits.append({row.tobytes() for row in halves})
        assert digits[-1] <= known
    assert not (digits[0] & digits[1])
    assert not (digits[0] & digits[2])
    assert not (digits[1] & digits[2])


def test_digits_are_those_of_the_number_but_where_they_are_unknown(splits):
    numbers, occurs = (splits.training.targets[a].numpy() for a in ("number", "digits"))
    for number, row in zip(numbers[:500], occurs[:500], strict=True):
        expected = np.isin(np.arange(10), [number // 10, number % 10]).astype(float)
        assert np.array_equal(row[row >= 0], expected[row >= 0])
    assert (occurs == -1).mean() == pytest.approx(0.1, abs=0.01)


def test_the_sets_are_always_the_same(splits):
    again = load_splits()
    assert all(torch.equal(getattr(splits, name).images, getattr(again, name).images) for name in SETS)


def test_every_group_has_classes(splits):
    groups = class_groups(splits.training)
    assert groups["number"].sizes() == {"head": 24, "medium": 35, "tail": 41}
    assert set(groups["digits"].groups) == {"head", "medium", "tail"}
    assert {a: classes.names for a, classes in groups.items()} == NAMES
    assert groups["number"].families[37] == "thirties"


def test_a_loader_gives_every_picture_once_in_batches(splits):
    batches = list(loader(splits.validation, 300))
    assert [len(images) for images, _ in batches] == [300] * 6 + [200]
    assert torch.equal(torch.cat([images for images, _ in batches]), splits.validation.images)
    shuffled = torch.cat([targets["number"] for _, targets in loader(splits.validation, 300, shuffle=True)])
    assert not torch.equal(shuffled, splits.validation.targets["number"])
    assert torch.equal(shuffled.sort().values, splits.validation.targets["number"])
