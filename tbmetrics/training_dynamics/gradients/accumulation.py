"""Counting backward passes between optimizer steps, and the gradient's norm after the first and after all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tbmetrics.tracking.hooks import ParameterHook
from tbmetrics.tracking.host_copies import HostCopy
from tbmetrics.training_dynamics.gradients.parameters import ParameterRows


class PassWatch:
    """Counts how often gradients are accumulated before a step.

    One hook on one parameter counts; only in a step to be measured, after one with several passes, every parameter has
    a hook. Not used in distributed training, where gradients inside a backward pass are not yet reduced.

    Attributes:
        passes: backward passes since the last `end_step`.
        passes_before: those of the step before.
    """

    def __init__(self, rows: ParameterRows, guard: Callable[..., Any]) -> None:
        self._rows, self._guard = rows, guard
        self.passes = self.passes_before = 0
        self._counting: list[Any] = []
        self._measuring: list[Any] = []
        self._first: dict[int, Tensor] = {}
        self._all: dict[int, Tensor] = {}

    def attach(self) -> None:
        """Sets the counting hook."""
        counted = next(self._rows.hookable(), None)
        if counted is not None:
            self._counting.append(counted.register_post_accumulate_grad_hook(ParameterHook(self._on_counted)))

    def detach(self) -> None:
        """Removes every hook; idempotent."""
        for handle in (*self._counting, *self._measuring):
            handle.remove()
        self._counting.clear()
        self._measuring.clear()

    def _on_counted(self, parameter: Tensor) -> None:
        self._guard(self._count)

    def _count(self) -> None:
        self.passes += 1

    def measure_next(self) -> None:
        """The next step's passes are measured, if there were several in the last one."""
        if self.passes_before > 1 and not self._measuring:
            hook = ParameterHook(self._on_measured)
            self._measuring = [p.register_post_accumulate_grad_hook(hook) for p in self._rows.hookable()]

    def _on_measured(self, parameter: Tensor) -> None:
        self._guard(self._take, parameter)

    def _take(self, parameter: Tensor) -> None:
        if parameter.grad is None or parameter.grad.is_sparse:
            return
        norm = torch.linalg.vector_norm(parameter.grad, dtype=torch.float32)
        self._first.setdefault(id(parameter), norm)
        self._all[id(parameter)] = norm

    def end_step(self) -> tuple[int, HostCopy] | None:
        """Ends a step: (passes, squared norms after the first and after all of them), None where not measured."""
        passes, self.passes_before, self.passes = self.passes, self.passes, 0
        for handle in self._measuring:
            handle.remove()
        self._measuring.clear()
        first, last = self._first, self._all
        self._first, self._all = {}, {}
        if passes < 2 or not first or len({norm.device for norm in first.values()}) > 1:
            return None
        squares = [torch.stack(list(norms.values())).square().sum() for norms in (first, last)]
        return passes, HostCopy(torch.stack(squares))
