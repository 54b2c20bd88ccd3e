"""Runs a model on a fixed probe so that training cannot tell: modes, buffers and random states come back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


def inner_module(model: nn.Module) -> nn.Module:
    """The module itself: uncompiled, and without the wrapper of data-parallel training, whose forward is collective."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model.get_submodule("_orig_mod")
        else:
            return model


def run(model: nn.Module, probe: Any) -> None:
    """Calls `model` on `probe`, moved to the model's device: a tensor, a tuple of arguments, a dictionary of them."""
    first = next(model.parameters(), next(model.buffers(), None))
    if first is not None:
        probe = tree_map(lambda value: value.to(first.device) if isinstance(value, Tensor) else value, probe)
    if isinstance(probe, Mapping):
        model(**probe)
    elif isinstance(probe, tuple | list):
        model(*probe)
    else:
        model(probe)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, uncompiled, no gradients; afterwards everything is as it was.

    What comes back: each module's mode, every buffer (running statistics, counters), and the random states of torch
    (the CPU and the model's CUDA devices), numpy and Python.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {t.device.index for t in (*model.parameters(), *model.buffers()) if t.is_cuda}
    python, numpy = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=sorted(devices)))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.no_grad())
        buffers = _Buffers(model)
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            buffers.restore()
            random.setstate(python)
            np.random.set_state(numpy)


class _Buffers:
    """Every buffer of a model, and what it holds now."""

    def __init__(self, model: nn.Module) -> None:
        self._held = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
        self._values = [
            (buffer, buffer._version, buffer.detach().clone())
            for _, _, buffer in self._held
            if buffer is not None and not buffer.is_inference()
        ]

    def restore(self) -> None:
        """Puts back what has changed."""
        for module, name, buffer in self._held:
            module._buffers[name] = buffer
        for buffer, version, copy in self._values:
            if buffer._version != version:
                buffer.detach().copy_(copy)
