"""Choosing parameters and modules by name."""

import pytest

from tbmetrics.errors import InputError
from tbmetrics.tracking.patterns import choose, matches, plain_name

NAMES = ["embed.weight", "blocks.0.attn.proj.weight", "blocks.0.mlp.weight", "blocks.1.attn.proj.bias", "head.bias"]


def test_a_pattern_fits_a_parameter_or_a_module_that_holds_it():
    assert choose(NAMES, ["blocks.*.attn"], None, "parameter") == [NAMES[1], NAMES[3]]
    assert choose(NAMES, ["head", "*.mlp"], None, "parameter") == [NAMES[2], NAMES[4]]
    assert choose(NAMES, None, ["*.bias"], "parameter") == NAMES[:3]
    assert not matches("blocks.10.weight", ["blocks.1"])


def test_all_are_chosen_without_patterns():
    assert choose(NAMES, None, None, "parameter") == NAMES


def test_a_pattern_that_fits_nothing_is_refused_and_names_are_shown():
    with pytest.raises(InputError, match=r"no parameter fits 'block\.\*'; the first parameters are 'embed.weight'"):
        choose(NAMES, ["head", "block.*"], None, "parameter")


@pytest.mark.parametrize("patterns", ["head", [1, 2]])
def test_patterns_that_are_no_list_of_strings_are_refused(patterns):
    with pytest.raises(InputError, match="include must be a list of patterns"):
        choose(NAMES, patterns, None, "parameter")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("module.head.weight", "head.weight"),
        ("_orig_mod.module.head.weight", "head.weight"),
        ("blocks.0._fsdp_wrapped_module.fc.weight", "blocks.0.fc.weight"),
        ("head.weight", "head.weight"),
    ],
)
def test_wrappers_leave_no_trace_in_names(name, plain):
    assert plain_name(name) == plain
