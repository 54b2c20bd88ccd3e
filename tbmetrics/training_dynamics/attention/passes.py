"""The passes in which attention is captured: runs on a probe that leave training as it was, or training passes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from tbmetrics.errors import InputError
from tbmetrics.tracking.hooks import after_forward, before_forward, is_compiled
from tbmetrics.training_dynamics.attention.capture import AttentionCapture, CapturedMap, CaptureReport
from tbmetrics.training_dynamics.attention.weights import Bounds, explicit_sample


class AttentionPasses:
    """Captures attention of a model in a run on a probe or, without a probe, in the next training pass.

    Hooks are set when a pass is to be captured and removed at the beginning of the one after it.

    Args:
        model: the model as it is called in training.
        probe: input of the model, or None.
        bounds: what to keep of each map.
        max_bytes: of all maps of a pass together.
        modules: patterns of module names; None = all.
        guard: runs the actions of hooks.

    Attributes:
        logged: maps that the model gave itself since the last `take`.
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        bounds: Bounds,
        max_bytes: int,
        modules: Sequence[str] | None,
        guard: Callable[..., Any],
    ) -> None:
        self._hooked, self._model, self._probe = model, inner_module(model), probe
        self._bounds, self._max_bytes, self._modules, self._guard = bounds, max_bytes, modules, guard
        self._is_due = self._is_attached = False
        self.logged: list[CapturedMap] = []
        self._report: CaptureReport | None = None
        self._capture: AttentionCapture | None = None
        self._handles: list[Any] = []

    def attach(self) -> bool:
        """Set the hooks that watch training passes (none with a probe); False if the model is compiled."""
        if self._probe is None and is_compiled(self._hooked):
            return False
        self._is_attached = self._probe is None
        self._set_hooks()
        return True

    @property
    def is_due(self) -> bool:
        """Whether the next training pass is captured."""
        return self._is_due

    @is_due.setter
    def is_due(self, is_due: bool) -> None:
        self._is_due = is_due
        if is_due:
            self._set_hooks()

    def _set_hooks(self) -> None:
        if self._is_attached and not self._handles:
            self._handles = [
                before_forward(self._hooked, partial(self._guard, self._begin)),
                after_forward(self._hooked, partial(self._guard, self._end), always=True),
            ]

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def detach(self) -> None:
        """Remove every hook; idempotent."""
        self._is_due = self._is_attached = False
        self._remove_hooks()
        self._leave()

    def _begin(self, module: nn.Module, args: Any) -> None:
        self._leave()
        if not self.is_due:
            self._remove_hooks()  # torch allows it here, but not after a pass that raised
        elif module is self._hooked:
            self.is_due = False
            self._capture = self._new_capture(self._bounds)
            self._capture.__enter__()  # type: ignore[no-untyped-call]

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        if module is self._hooked and self._capture is not None:
            self._report = self._leave()

    def _leave(self) -> CaptureReport | None:
        capture, self._capture = self._capture, None
        if capture is None:
            return None
        capture.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return capture.report()

    def _new_capture(self, bounds: Bounds) -> AttentionCapture:
        return AttentionCapture(self._model, bounds, self._max_bytes, self._modules)

    def log(self, name: str, weights: Tensor) -> None:
        """Take weights (samples, heads, queries, keys) from inside the model, if this pass is sampled."""
        sampled = self._capture is not None or (self._probe is None and self.is_due)
        if sampled and all(logged.module != name for logged in self.logged):
            with torch.no_grad():
                self.logged.append(CapturedMap(name, explicit_sample(weights, self._bounds)))

    def take(self) -> tuple[CaptureReport | None, list[CapturedMap]]:
        """The report of the probe, run now, or of the last captured pass; and the maps that the model gave itself."""
        report = self.run_probe() if self._probe is not None else self._report
        logged, self.logged, self._report = self.logged, [], None
        return report, logged

    def run_probe(self) -> CaptureReport:
        """Run the model on the probe.

        Raises:
            InputError: there is no probe.
        """
        if self._probe is None:
            raise InputError("run_probe() needs a probe: give AttentionVisualizer(..., probe=batch)")
        self._capture = self._new_capture(self._bounds)
        try:
            return self._run(self._probe, self._capture)
        finally:
            self._capture = None

    def run_on(self, inputs: Any, bounds: Bounds) -> CaptureReport:
        """Run the model on `inputs` as on a probe."""
        return self._run(inputs, self._new_capture(bounds))

    def _run(self, inputs: Any, capture: AttentionCapture) -> CaptureReport:
        with undisturbed(self._model), capture:
            _call(self._model, inputs)
        return capture.report()


def inner_module(model: nn.Module) -> nn.Module:
    """The module itself: uncompiled, and without the wrapper of data-parallel training, whose forward is collective."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model.get_submodule("_orig_mod")
        else:
            return model


def _call(model: nn.Module, inputs: Any) -> None:
    """Call `model` on inputs moved to its device: a tensor, a tuple of arguments, or a dictionary of them."""
    first = next(model.parameters(), next(model.buffers(), None))
    if first is not None:
        inputs = tree_map(partial(_moved, device=first.device), inputs)
    if isinstance(inputs, Mapping):
        model(**inputs)
    elif isinstance(inputs, tuple | list):
        model(*inputs)
    else:
        model(inputs)


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, uncompiled, without gradients; afterwards everything is as before.

    Restored: each module's mode, every buffer (running statistics, counters), and the random states of torch (the CPU
    and the model's CUDA devices), numpy and Python.
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
    """The buffers of a model and their values now."""

    def __init__(self, model: nn.Module) -> None:
        self._named = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
        self._values = [
            (buffer, buffer._version, buffer.detach().clone())
            for _, _, buffer in self._named
            if buffer is not None and not buffer.is_inference()
        ]

    def restore(self) -> None:
        """Undo replacements and changes."""
        for module, name, buffer in self._named:
            module._buffers[name] = buffer
        for buffer, version, copy in self._values:
            if buffer._version != version:
                buffer.detach().copy_(copy)
