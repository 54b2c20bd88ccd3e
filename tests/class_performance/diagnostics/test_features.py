"""Class means and scatter against float64 numpy in one piece; projections keep them; memory stays in its bounds."""

import numpy as np
import pytest
import torch

from tbmetrics.class_performance.diagnostics.features import FeatureState

CLASSES, WIDTH = 6, 12
HEAD = np.array([0, 1])


def _data(seed=0, n=240, width=WIDTH, spread=2.0, offset=50.0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(CLASSES, width, generator=generator) * spread
    labels = torch.randint(0, CLASSES - 1, (n,), generator=generator)
    scales = torch.linspace(0.5, 1.5, width)
    return means[labels] + torch.randn(n, width, generator=generator) * scales + offset, labels


def _truth(features, labels):
    """nc1, mean_norm, nearest classes and separations, by the definitions, in float64."""
    x, y = features.double().numpy(), labels.numpy()
    seen = [c for c in range(CLASSES) if (y == c).sum() >= 2]
    mean = {c: x[y == c].mean(0) for c in seen}
    n = {c: (y == c).sum() for c in seen}
    variance = {c: x[y == c].var(0, ddof=1).sum() for c in seen}
    centre = np.mean([mean[c] for c in seen], axis=0)
    apart = sum(((mean[c] - centre) ** 2).sum() - variance[c] / n[c] for c in seen) / (len(seen) - 1)
    within = sum((x[y == c] - mean[c]).T @ (x[y == c] - mean[c]) for c in seen) / (len(y) - len(seen))
    columns = {name: np.full(CLASSES, np.nan) for name in ("nc1", "mean_norm", "nearest_mean_class", "separation")}
    for c in seen:
        squared = {
            o: ((mean[c] - mean[o]) ** 2).sum() - variance[c] / n[c] - variance[o] / n[o] for o in seen if o != c
        }
        near = min(squared, key=squared.get)
        line = (mean[c] - mean[near]) / np.linalg.norm(mean[c] - mean[near])
        columns["nc1"][c], columns["mean_norm"][c] = variance[c] / apart, np.linalg.norm(mean[c] - centre)
        columns["nearest_mean_class"][c] = near
        columns["separation"][c] = np.sqrt(max(squared[near], 0) / (line @ within @ line))
    return columns


@pytest.mark.parametrize("batch", [240, 37, 1])
def test_columns_equal_numpy_however_the_rows_come(batch):
    features, labels = _data()
    state = FeatureState(CLASSES, 2**20)
    for rows in torch.arange(len(labels)).split(batch):
        state.add(features[rows], labels[rows])
    columns = state.columns(HEAD)
    for name, expected in _truth(features, labels).items():
        np.testing.assert_allclose(columns[name], expected, rtol=2e-3, err_msg=name)
    near_head = columns["nearest_head_class"][:5]
    assert set(near_head) <= {0.0, 1.0}
    assert near_head[0] == 1
    assert near_head[1] == 0
    assert (columns["head_separation"][2:5] >= columns["separation"][2:5] - 1e-6).all()


def test_multi_hot_labels_count_a_sample_for_each_of_its_classes():
    features, labels = _data()
    one_hot = torch.nn.functional.one_hot(labels, CLASSES)
    two = torch.cat([one_hot, one_hot.roll(1, 1)])
    single, multi = FeatureState(CLASSES, 2**20), FeatureState(CLASSES, 2**20)
    single.add(torch.cat([features, features]), torch.cat([labels, (labels + 1) % CLASSES]))
    multi.add(torch.cat([features, features]), two)
    for name, values in single.columns(HEAD).items():
        np.testing.assert_allclose(multi.columns(HEAD)[name], values, rtol=1e-3, err_msg=name)
    both = FeatureState(CLASSES, 2**20)
    both.add(features, (one_hot + one_hot.roll(1, 1)).clamp(max=1))
    np.testing.assert_allclose(both.columns(HEAD)["nc1"], single.columns(HEAD)["nc1"], rtol=1e-3)


def test_a_projection_keeps_distances_and_the_bytes():
    features, labels = _data(n=3000, width=400, spread=0.5)
    whole, small = FeatureState(CLASSES, 2**30), FeatureState(CLASSES, 4 * 128 * (128 + CLASSES))
    for state in (whole, small):
        state.add(features, labels)
    assert whole.dimensions == (400, 400)
    assert small.dimensions == (400, 128)
    assert small.nbytes <= 4 * 128 * (128 + CLASSES)
    exact, projected = whole.columns(HEAD), small.columns(HEAD)
    np.testing.assert_allclose(projected["nc1"][:5], exact["nc1"][:5], rtol=0.3)
    np.testing.assert_allclose(projected["mean_norm"][:5], exact["mean_norm"][:5], rtol=0.3)


def test_too_few_samples_are_undefined_and_not_zero():
    features, labels = _data(n=240)
    features[labels == 4] = features[labels == 3][:1]
    rows = (labels != 4) | (torch.cumsum(labels == 4, 0) <= 1)
    state = FeatureState(CLASSES, 2**20)
    state.add(features[rows], labels[rows])
    columns = state.columns(HEAD)
    for name in columns:
        assert np.isnan(columns[name][[4, 5]]).all(), name
    assert FeatureState(CLASSES, 2**20).columns(HEAD) == {}


def test_means_that_sampling_cannot_tell_apart_are_undefined_with_few_samples_and_0_with_many():
    generator = torch.Generator().manual_seed(0)
    for per_class, is_told in ((3, False), (800, True)):
        labels = torch.arange(CLASSES).repeat(per_class)
        state = FeatureState(CLASSES, 2**20)
        state.add(torch.randn(len(labels), WIDTH, generator=generator), labels)
        separation = state.columns(HEAD)["separation"]
        if is_told:
            assert (separation < 0.5).all()
        else:
            assert np.isnan(separation).mean() > 0.5


def test_rows_that_are_not_finite_are_left_out():
    features, labels = _data()
    clean, dirty = FeatureState(CLASSES, 2**20), FeatureState(CLASSES, 2**20)
    clean.add(features[10:], labels[10:])
    features[:10, 0] = float("nan")
    dirty.add(features, labels)
    assert dirty.n_samples == 230
    np.testing.assert_allclose(dirty.columns(HEAD)["nc1"], clean.columns(HEAD)["nc1"], rtol=1e-4)
