"""Steps that a `GradScaler` leaves out because scaled gradients overflowed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tbmetrics.errors import InputError


class SkipWatch:
    """Counts the calls of `scaler.step` in which the optimizer did not step, because scaled gradients overflowed.

    While attached, a counting function replaces the scaler's own `step`; it reads nothing from the device.

    Args:
        scaler: the `GradScaler`, if there is one.
        on_skip: called when a step was left out.

    Attributes:
        count: steps left out so far.

    Raises:
        InputError: `scaler` is not a GradScaler.
    """

    def __init__(self, scaler: torch.amp.GradScaler | None, on_skip: Callable[[], None]) -> None:
        if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
            raise InputError(f"scaler must be a torch.amp.GradScaler, got {type(scaler).__name__}")
        self.count = 0
        self._scaler, self._on_skip = scaler, on_skip
        self._steps = 0

    @property
    def is_needed(self) -> bool:
        """Whether there is a scaler whose steps are counted."""
        return self._scaler is not None

    def attach(self) -> None:
        """Put the counting function in the place of `scaler.step`."""
        if self._scaler is not None and "step" not in vars(self._scaler):
            self._scaler.step = _CountedStep(self._scaler, self._step)  # type: ignore[method-assign]

    def detach(self) -> None:
        """Restore the scaler's own `step`; idempotent."""
        counted = vars(self._scaler).get("step") if self._scaler is not None else None
        if isinstance(counted, _CountedStep) and counted.call == self._step:
            del self._scaler.step  # type: ignore[union-attr]

    def stepped(self) -> None:
        """Note that an optimizer has stepped."""
        self._steps += 1

    def _step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        before = self._steps
        result = torch.amp.GradScaler.step(self._scaler, optimizer, *args, **kwargs)  # type: ignore[arg-type]
        if self._steps == before:
            self.count += 1
            self._on_skip()
        return result


class _CountedStep:
    """Stands in a scaler for its `step`; in a copied or unpickled scaler stands torch's own."""

    def __init__(self, scaler: torch.amp.GradScaler, call: Callable[..., Any]) -> None:
        self._scaler, self.call = scaler, call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, tuple[Any, torch.amp.GradScaler]]:
        return partial, (torch.amp.GradScaler.step, self._scaler)
