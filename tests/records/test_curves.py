"""Curves of the "curves" table: their points, their area, and those of older logs."""

import numpy as np
import pytest

from tbmetrics.records import CURVE_COLUMNS, OLDER_CURVE_COLUMNS, RECALL_LEVELS, curve_points, mean_curve


def test_the_polygon_through_the_points_has_the_mean_as_its_area():
    means = np.random.default_rng(0).random((5, len(RECALL_LEVELS)))
    recall, precision = curve_points(CURVE_COLUMNS, means)
    assert (recall[0], recall[-1]) == (0, 1)
    assert precision.shape == (5, len(recall))
    np.testing.assert_allclose(np.trapezoid(precision, recall, axis=1), means.mean(axis=1), rtol=1e-12)


def test_a_group_is_the_mean_of_its_defined_classes():
    values = np.random.default_rng(1).random((4, len(RECALL_LEVELS)))
    values[2] = np.nan
    curve = mean_curve(CURVE_COLUMNS, values, np.array([30, 4, 0, 1]))
    assert (curve.n_classes, curve.n_few_positives, curve.is_point) == (3, 2, False)
    np.testing.assert_allclose(curve.precision[1:-1], values[[0, 1, 3]].mean(axis=0))
    assert mean_curve(CURVE_COLUMNS, values[2:], np.array([0, 1])).is_point
    nothing = mean_curve(CURVE_COLUMNS, values[2:3], np.array([0]))
    assert (nothing.n_classes, nothing.is_point, np.isnan(nothing.precision).all()) == (0, False, True)


def test_older_logs_have_points_where_recall_reaches_each_level():
    values = np.random.default_rng(2).random(len(RECALL_LEVELS))
    recall, precision = curve_points(OLDER_CURVE_COLUMNS, values)
    np.testing.assert_allclose(recall, RECALL_LEVELS)
    np.testing.assert_array_equal(precision, values)
    with pytest.raises(ValueError, match="columns of curves"):
        curve_points(("p", "q"), np.zeros(2))
