"""The learning rate of each parameter group as a scalar."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from tbmetrics.records import dynamics_tag
from tbmetrics.tracking.cadence import Cadence


class LearningRates:
    """Reads the learning rates of optimizers; a rate that is a tensor on a device is read without waiting.

    Args:
        optimizers: of the session.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._optimizers = tuple(optimizers)
        self._cadence = Cadence(None, "every")

    def next_after(self, step: int) -> float:
        """The first step after `step` whose rates may be recorded."""
        return self._cadence.next_after(step) if self._optimizers else math.inf

    def due(self, step: int) -> bool:
        """Whether to record those of `step`; then the next are due half a second later at the earliest."""
        if not self._optimizers or not self._cadence.due(step):
            return False
        self._cadence.sampled(step)
        return True

    def scalars(self) -> dict[str, Any]:
        """Rates by tag: `training_dynamics/learning_rate` of a single group, otherwise with the group's name.

        A group is called after its entry "name" or its number, with several optimizers after the optimizer too.
        """
        groups = list(self._groups())
        if len(self._optimizers) == len(self._optimizers[0].param_groups) == 1:
            return {dynamics_tag("learning_rate"): rate for _, rate in groups}
        return {dynamics_tag("learning_rate", name): rate for name, rate in groups}

    def _groups(self) -> Iterator[tuple[str, Any]]:
        kinds = Counter(type(optimizer).__name__ for optimizer in self._optimizers)
        for number, optimizer in enumerate(self._optimizers):
            kind = type(optimizer).__name__
            prefix = f"{kind} " if len(self._optimizers) > 1 else ""
            prefix = f"{kind} {number} " if kinds[kind] > 1 else prefix
            names = Counter(str(group.get("name")) for group in optimizer.param_groups)
            for index, group in enumerate(optimizer.param_groups):
                name = str(group.get("name"))
                label = name if name != "None" and names[name] == 1 else f"group {index}"
                if isinstance(group.get("lr"), Real | Tensor):
                    yield prefix + label, group["lr"]
