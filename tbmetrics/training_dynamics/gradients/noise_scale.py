"""The gradient noise scale, from gradients that are accumulated over several backward passes.

Source: McCandlish et al., "An Empirical Model of Large-Batch Training" (2018), appendix A.1: two estimates of the
squared gradient norm, from a small and a big batch, give the trace of the gradient's covariance S and the squared norm
of the true gradient G; the simple noise scale is S / G, the batch size beyond which a bigger batch helps little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tbmetrics.tracking.hooks import ParameterHook
from tbmetrics.tracking.host_copies import HostCopy
from tbmetrics.training_dynamics.gradients.norms import local_norms
from tbmetrics.training_dynamics.gradients.parameters import ParameterRows


class PassWatch:
    """Counts the backward passes of sampled steps, and measures the gradient after the first and after all of them.

    One hook on one parameter counts. Only in a detailed sample, if the sample before had several passes, every
    parameter has a hook; between samples there is none. Not used in distributed training, where gradients inside a
    backward pass are not yet reduced.

    Attributes:
        passes: backward passes since `watch_next`.
        passes_before: backward passes of the watched step before.
    """

    def __init__(self, rows: ParameterRows, guard: Callable[..., Any]) -> None:
        self._rows, self._guard = rows, guard
        self.passes = self.passes_before = 0
        self._is_attached = False
        self._handles: list[Any] = []
        self._first: dict[int, Tensor] = {}
        self._last: dict[int, Tensor] = {}

    def attach(self) -> None:
        """Allow hooks to be set."""
        self._is_attached = True

    def detach(self) -> None:
        """Remove every hook; idempotent."""
        self._is_attached = False
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def watch_next(self, *, measure: bool) -> None:
        """Count the passes of the next step; with `measure`, measure them too if the watched step before had several.

        They are counted on a parameter that has a gradient now: others may be frozen, unused or replaced.
        """
        if not self._is_attached or self._handles:
            return
        with_gradient = (p for p in self._rows.hookable() if p.grad is not None)
        counted = next(with_gradient, None)
        if counted is None:
            counted = next(self._rows.hookable(), None)
        if counted is not None:
            self._handles.append(counted.register_post_accumulate_grad_hook(ParameterHook(self._on_counted)))
        if measure and self.passes_before > 1:
            hook = ParameterHook(self._on_measured)
            self._handles += [p.register_post_accumulate_grad_hook(hook) for p in self._rows.hookable()]

    def _on_counted(self, parameter: Tensor) -> None:
        self.passes += 1

    def _on_measured(self, parameter: Tensor) -> None:
        self._guard(self._measure, parameter)

    def _measure(self, parameter: Tensor) -> None:
        if parameter.grad is None or parameter.grad.layout != torch.strided:
            return
        norm = local_norms([parameter.grad])[0].double()
        self._first.setdefault(id(parameter), norm)
        self._last[id(parameter)] = norm

    def end_step(self) -> tuple[int, HostCopy] | None:
        """End a step: (passes, squared norms after the first and after all of them), or None if not measured."""
        if not self._handles:
            return None
        passes, self.passes_before, self.passes = self.passes, self.passes, 0
        self._remove_hooks()
        first, last = self._first, self._last
        self._first, self._last = {}, {}
        if passes < 2 or not first or len({norm.device for norm in first.values()}) > 1:
            return None
        squares = [torch.stack(list(norms.values())).square().sum() for norms in (first, last)]
        return passes, HostCopy(torch.stack(squares))


@dataclass(slots=True)
class NoiseScale:
    """Running estimate, in units of one backward pass (multiply by its number of samples).

    S and G are noisy and G's estimate may be negative, so each is averaged on its own and the ratio taken last.

    Args:
        decay: of the exponential averages.
    """

    decay: float = 0.9
    _noise: float = 0.0
    _signal: float = 0.0
    _weight: float = 0.0

    def add(self, first_square: float, sum_square: float, passes: int) -> None:
        """Add the squared norms of the gradient after the first of `passes` backward passes and after all of them.

        The gradients may be scaled by any common factor.
        """
        small, big = first_square, sum_square / passes**2
        signal = (passes * big - small) / (passes - 1)
        noise = (small - big) / (1 - 1 / passes)
        # The scale of the loss changes between samples; only the ratio counts.
        norm = small or 1.0
        self._signal = self.decay * self._signal + (1 - self.decay) * signal / norm
        self._noise = self.decay * self._noise + (1 - self.decay) * noise / norm
        self._weight = self.decay * self._weight + (1 - self.decay)

    def state(self) -> tuple[float, float, float]:
        """The running averages, for `restore`."""
        return self._noise, self._signal, self._weight

    def restore(self, state: tuple[float, float, float]) -> None:
        """Restore what `state` returned."""
        self._noise, self._signal, self._weight = state

    @property
    def value(self) -> float:
        """The simple noise scale in backward passes; NaN before the first sample and if noise hides the signal."""
        if not self._weight or self._signal <= 0:
            return float("nan")
        return max(self._noise, 0.0) / self._signal
