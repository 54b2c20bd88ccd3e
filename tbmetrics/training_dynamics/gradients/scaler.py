"""Steps that a GradScaler leaves out because scaled gradients overflowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tbmetrics.errors import InputError


class SkipWatch:
    """Counts the calls of `scaler.step` in which the optimizer did not step.

    A function is put before the scaler's own `step` while attached; it reads nothing from the device.

    Attributes:
        count: steps left out so far.

    Raises:
        InputError: `scaler` is no GradScaler.
    """

    def __init__(self, scaler: torch.amp.GradScaler | None, skipped: Callable[[], None]) -> None:
        if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
            raise InputError(f"scaler must be a torch.amp.GradScaler, got {type(scaler).__name__}")
        self.count = 0
        self._scaler, self._skipped = scaler, skipped
        self._steps = 0

    def attach(self) -> None:
        """Puts the counting function before `scaler.step`."""
        if self._scaler is not None and "step" not in vars(self._scaler):
            self._scaler.step = self._step  # type: ignore[method-assign]

    def detach(self) -> None:
        """Gives the scaler its own `step` back; idempotent."""
        if self._scaler is not None and vars(self._scaler).get("step") == self._step:
            del self._scaler.step

    def stepped(self) -> None:
        """An optimizer has stepped."""
        self._steps += 1

    def _step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        before = self._steps
        result = torch.amp.GradScaler.step(self._scaler, optimizer, *args, **kwargs)  # type: ignore[arg-type]
        if self._steps == before:
            self.count += 1
            self._skipped()
        return result
