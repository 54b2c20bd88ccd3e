"""Where NaN and infinity are said to come from."""

from tbmetrics.training_dynamics.health.nonfinite import find_origin

ORDER = ["", "embed", "block", "head"]


def _origin(bad=(), n=4, weights=(), order=ORDER, finite=(True, True, True, True), last_good=None):
    return find_origin(list(bad), n, list(weights), order, finite, last_good)


def test_all_finite_is_no_origin():
    assert _origin() is None
    assert _origin(order=[], finite=[]) is None


def test_the_first_module_in_the_forward_pass_is_named():
    origin = _origin(bad=["embed.weight"], finite=(True, True, False, False))
    assert (origin.kind, origin.name) == ("output", "block")


def test_bad_data_are_told_from_a_bad_module():
    assert _origin(finite=(False, False, False, False)).kind == "input"


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
