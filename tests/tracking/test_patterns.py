"""Choosing parameters and modules by name."""

import pytest
import torch
from torch import nn

from tbmetrics.errors import InputError
from tbmetrics.tracking.patterns import choose, matches, named_modules, named_parameters

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


class _Wrapper(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class DistributedDataParallel(_Wrapper):
    """Stands for torch's, which needs a process group, by its name."""


def _wrapped(name):
    linear = nn.Linear(2, 2)
    return {
        "plain": _Wrapper(head=linear),
        "parallel": nn.DataParallel(_Wrapper(head=linear)),
        "compiled": _Wrapper(_orig_mod=DistributedDataParallel(module=_Wrapper(head=linear))),
        "averaged": torch.optim.swa_utils.AveragedModel(_Wrapper(head=linear)),
        "sharded": _Wrapper(head=_Wrapper(_fsdp_wrapped_module=linear)),
        "checkpointed": _Wrapper(head=_Wrapper(_checkpoint_wrapped_module=linear)),
    }[name]


@pytest.mark.parametrize("how", ["plain", "parallel", "compiled", "averaged", "sharded", "checkpointed"])
def test_wrappers_leave_no_trace_in_names(how):
    model = _wrapped(how)
    assert [name for name, _ in named_parameters(model)] == ["head.weight", "head.bias"]
    assert {name for name, _ in named_modules(model)} == {"", "head"}


def test_a_part_that_is_called_module_keeps_its_name():
    model = _Wrapper(module=nn.Linear(2, 2), weight=nn.Parameter(torch.ones(2)))
    assert [name for name, _ in named_parameters(model)] == ["weight", "module.weight", "module.bias"]
    assert [name for name, _ in named_modules(nn.DataParallel(model))] == ["", "", "module"]
