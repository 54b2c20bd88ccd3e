"""The sample for the Projector tab: as many of each class, the tail never missing, what the model said of each."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups
from tbmetrics.class_performance.diagnostics.feature_sample import FeatureSample

COUNTS = (900, 500, 60, 30, 5, 2)
CLASSES = ClassGroups.from_counts({"x": COUNTS})["x"]


def _added(sample, labels, batch=64, images=None, cuts=None, logits=None):
    """The sample after rows whose feature is their number."""
    rows = torch.arange(len(labels))
    logits = torch.eye(6)[labels] if logits is None else logits
    for part in rows.split(batch):
        sample.add(part[:, None].float(), logits[part], labels[part], cuts, None if images is None else images[part])
    return sample.points()


def test_every_class_has_its_share_and_each_sample_is_one_of_the_validation():
    labels = torch.cat([torch.zeros(2000), torch.ones(900), torch.full((40,), 2), torch.full((3,), 5)]).long()
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    points = _added(FeatureSample(CLASSES, 60, 2**20), labels)
    assert np.bincount([p.label for p in points], minlength=6).tolist() == [10, 10, 10, 0, 0, 3]
    for point in points:
        assert labels[int(point.features[0])] == point.label
        assert point.called == (point.label,)
    assert len({float(p.features[0]) for p in points}) == len(points)


def test_samples_are_drawn_evenly_and_the_same_for_the_same_order():
    labels = torch.zeros(1000).long()
    sample = FeatureSample(CLASSES, 600, 2**20)
    drawn = sorted(float(p.features[0]) for p in _added(sample, labels))
    assert len(drawn) == 100
    assert 400 < np.mean(drawn) < 600  # a hundred of a thousand: 29 is their standard error
    sample.reset()
    assert sorted(float(p.features[0]) for p in _added(sample, labels, batch=500)) == drawn


def test_tail_classes_come_first_where_there_are_more_classes_than_samples():
    points = _added(FeatureSample(CLASSES, 3, 2**20), torch.arange(60) % 6)
    tail = set(CLASSES.members("tail").tolist())
    assert len(points) == 3
    assert tail <= {p.label for p in points}


def test_the_byte_budget_bounds_the_sample_and_rows_that_are_not_finite_are_left_out():
    sample = FeatureSample(CLASSES, 1000, 4 * 6 * 2)
    assert len(_added(sample, torch.arange(600) % 6)) == 12
    sample.reset()
    features = torch.full((6, 1), torch.nan)
    sample.add(features, torch.eye(6), torch.arange(6), None, None)
    assert sample.points() == []


def test_a_multi_label_sample_counts_as_its_rarest_class_with_all_that_was_called():
    labels = torch.tensor([[1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0]])
    logits = torch.tensor([[2.0, -1, -1, -1, 0.5, -1], [-1.0, -1, 0.2, -1, -1, -1], [1.0] * 6])
    points = _added(FeatureSample(CLASSES, 60, 2**20), labels, cuts=torch.zeros(6), logits=logits)
    assert [(p.label, p.called) for p in points] == [(1, (2,)), (4, (0, 4))]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 100, 50)])
def test_images_are_shrunk_to_tiles(shape):
    images = torch.rand(12, *shape, generator=torch.Generator().manual_seed(0))
    points = _added(FeatureSample(CLASSES, 60, 2**20), torch.arange(12) % 6, images=images)
    expected = (8, 8, 3) if shape[0] == 3 else (48, 24, 3)
    assert {p.pixels.shape for p in points} == {expected}
    if shape[0] == 3:
        point = points[0]
        original = (images[int(point.features[0])] * 255).round().byte().movedim(0, -1).numpy()
        np.testing.assert_array_equal(point.pixels, original)
