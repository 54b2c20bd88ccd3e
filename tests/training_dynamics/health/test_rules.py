"""The rules of health on norms made for them, and where NaN and infinity are said to come from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tbmetrics.training_dynamics.health import rules as health

NAMES = [f"layer{i}.weight" for i in range(10)]


def _norms(**columns):
    norms = np.ones((6, 10))
    for column, value in columns.items():
        norms[:, int(column[1:])] = value
    return norms


def test_vanishing_and_exploding_go_by_the_median_and_come_worst_first():
    norms = _norms(c2=1e-5, c4=1e-4, c7=1e5)
    norms[0, 2] = 1e9  # one odd step does not matter
    assert [name for name, _ in health.vanishing(norms, NAMES).layers] == [NAMES[2], NAMES[4]]
    assert health.exploding(norms, NAMES).layers == ((NAMES[7], 1e5),)
    assert health.vanishing(norms, NAMES, threshold=1e-6) is None
    assert health.exploding(norms, NAMES, threshold=1e6) is None


@pytest.mark.parametrize(("first", "word"), [(1e-5, "shrink"), (1e5, "grow")])
def test_gradients_that_change_with_depth_are_found_whatever_their_scale(first, word):
    norms = 1e-4 * np.geomspace(first, 1, 10)[None].repeat(4, axis=0)
    finding = health.by_depth(norms, NAMES)
    assert [name for name, _ in finding.layers] == NAMES[:2]
    assert word in finding.message


def test_depth_needs_layers_and_a_difference():
    assert health.by_depth(np.geomspace(1e-9, 1, 7)[None], NAMES[:7]) is None
    assert health.by_depth(_norms(), NAMES) is None


def test_dead_is_zero_throughout_and_measured_twice():
    norms = _norms(c3=0, c5=np.nan)
    norms[0, 6] = 0
    assert health.dead(norms, NAMES).layers == ((NAMES[3], 0.0),)
    assert health.dead(norms[:1], NAMES) is None


def test_frozen_layers_and_dead_units():
    assert health.frozen(_norms(c1=1e-9), NAMES).layers == ((NAMES[1], 1e-9),)
    assert health.dead_units(_norms(c1=0.99) - 0.5 * (np.arange(10) != 1), NAMES).layers == ((NAMES[1], 0.99),)


def test_a_message_names_three_and_counts_the_rest():
    message = health.vanishing(np.zeros((2, 10)), NAMES).message
    assert message.startswith("layer0.weight (0), layer1.weight (0), layer2.weight (0) and 7 more: ")


@pytest.mark.parametrize(
    ("value", "spike"), [(1.2, False), (4.0, False), (6.0, True), (float("inf"), False), (float("nan"), False)]
)
def test_a_spike_stands_out_from_the_running_scale(value, spike):
    before = [1.0, 1.1, 0.9, 1.05, 0.95, float("nan")] * 4
    assert health.is_spike(value, before) is spike


def test_noise_makes_no_spikes_and_few_samples_tell_nothing():
    before = np.random.default_rng(0).lognormal(0, 1, 50)
    assert not health.is_spike(float(before.max()), before)
    assert not health.is_spike(1e9, [1.0] * 5)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(10)), elements=st.floats(width=32)))
def test_no_history_whatever_makes_a_rule_fail(norms):
    rules = (health.vanishing, health.exploding, health.by_depth, health.dead, health.frozen, health.dead_units)
    for rule in rules:
        finding = rule(norms, NAMES)
        assert finding is None or {name for name, _ in finding.layers} <= set(NAMES)


def test_small_gradients_are_a_sure_sign_only_where_they_shrink_with_depth():
    assert not health.vanishing(_norms() * 1e-4, NAMES).sure
    assert not health.vanishing(_norms(c3=1e-5), NAMES).sure
    assert health.vanishing(np.geomspace(1e-6, 1, 10)[None], NAMES).sure


ORDER = ["", "embed", "block", "head"]


def _origin(bad=(), n=4, weights=(), order=ORDER, finite=(True, True, True, True), last_good=None):
    return health.find_origin(list(bad), n, list(weights), order, finite, last_good)


def test_all_finite_is_no_origin():
    assert _origin() is None
    assert _origin(order=[], finite=[]) is None


def test_the_first_module_in_the_forward_pass_is_named():
    origin = _origin(bad=["embed.weight"], finite=(True, True, False, False))
    assert (origin.kind, origin.name) == ("output", "block")


def test_bad_data_are_told_from_a_bad_module():
    assert _origin(finite=(False, False, False, False)).kind == "input"


def test_what_reaches_neither_gradients_nor_the_last_output_is_no_finding():
    assert _origin(finite=(True, False, False, True)) is None
    assert _origin(finite=(False, True, True, True)) is None
    assert _origin(bad=["head.weight"], finite=(True, False, False, True)).name == "embed"


def test_weights_that_are_not_tracked_leave_open_whether_they_were_spoilt_before():
    origin = health.find_origin(["head.weight"], 4, None, ORDER, (True, True, False, False), 40)
    assert (origin.kind, origin.name) == ("output", "block")
    assert "on_nonfinite='raise'" in origin.message


def test_without_a_watched_pass_it_is_said_how_far_the_origin_is_known():
    message = _origin(bad=["a.weight"], order=[], finite=[], last_good=30).message
    assert "since some step after 30" in message
    assert "GradientTracker(model, optimizer, on_nonfinite='raise')" in message


def test_weights_that_are_bad_already_are_not_blamed_on_the_first_module():
    origin = _origin(weights=["block.weight", "head.weight"], finite=(True, True, False, False), last_good=40)
    assert (origin.kind, origin.name) == ("weights", "block.weight")
    assert "after 40" in origin.message
    assert "on_nonfinite='raise'" in origin.message


def test_finite_outputs_and_all_gradients_bad_point_to_the_loss():
    assert _origin(bad=["a.weight", "b.weight", "c.weight", "d.weight"]).kind == "loss"


def test_in_the_backward_pass_the_module_that_ran_last_had_it_first():
    origin = _origin(bad=["embed.weight", "block.weight"])
    assert (origin.kind, origin.name) == ("gradient", "block.weight")


def test_without_an_order_the_last_named_parameter_stands():
    assert _origin(bad=["a.weight", "b.weight"], order=[], finite=[]).name == "b.weight"
