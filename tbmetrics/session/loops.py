"""Helpers for the training loop: step counting, batch sizes and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

import torch

from tbmetrics.tracking.optimizers import OptimizerSteps, UnseenSteps

T = TypeVar("T")


class StepCounter:
    """Count optimizer steps, each once, from the best source available.

    With an optimizer, its hooks count, so accumulated batches and steps skipped by a `GradScaler` do not. Without one,
    the caller counts with `count_explicitly`; a batch without such a call counts as one step. If the optimizer's steps
    cannot be seen, batches count all the same, or backward passes if there are no batches.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer | None, after_step: Callable[[int], None], initial_step: int | None
    ) -> None:
        self.done = initial_step or 0
        self._initial = initial_step
        self._after_step = after_step
        self._counted_explicitly = False
        self._has_seen = False
        self._counts_passes = True  # for want of batches and explicit calls
        self._uncounted = 0  # batches and explicit calls while the optimizer's hooks were relied on
        self._optimizer = optimizer
        self._hooks: OptimizerSteps | None = None
        self._unseen: UnseenSteps | None = None
        if optimizer is not None:
            self._hooks = OptimizerSteps(optimizer, self._see, self._count_seen)
            self._unseen = UnseenSteps(self._catch_up, self._count_pass)

    def attach(self) -> None:
        """Set the hooks."""
        if self._optimizer is not None and self._hooks is not None and self._unseen is not None:
            self._hooks.attach()
            self._unseen.attach([self._optimizer])

    def restore(self, step: int) -> None:
        """Continue from `step`, whatever the log says."""
        self.done = self._initial = step

    def detach(self) -> None:
        """Remove the hooks; idempotent."""
        if self._hooks is not None and self._unseen is not None:
            self._hooks.remove()
            self._unseen.detach()

    def end_epoch(self) -> None:
        """Judge, at the end of an epoch, whether steps go by unseen."""
        if self._unseen is not None:
            self._unseen.end_epoch()

    def resume(self, steps_before: int) -> int:
        """Go on after `steps_before` steps, unless it was given; return the first step that is written anew."""
        if self._initial is None:
            self.done = steps_before
        return self.done + 1 if self.done else 0

    def count_explicitly(self) -> None:
        """Count one step for the caller; do nothing if the optimizer's hooks have counted it."""
        self._counted_explicitly = True
        self._count_unless_seen()

    def start_batch(self) -> None:
        """Begin the first of several batches, each of which `end_batch` ends."""
        self._counted_explicitly = self._counts_passes = False

    def end_batch(self) -> None:
        """Count a step at the end of a batch unless the optimizer or the caller counts."""
        if self._counted_explicitly:
            self._counted_explicitly = False
        else:
            self._count_unless_seen()

    def _count_unless_seen(self) -> None:
        self._counts_passes = False
        if self._unseen is None or self._unseen.is_certain:
            self._count()
        else:
            self._uncounted += 1

    def _see(self, optimizer: torch.optim.Optimizer) -> None:
        if self._unseen is not None:
            self._unseen.saw_step()

    def _count_seen(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._has_seen and self._hooks is not None:
            self._has_seen = True
            self._hooks.forget_before()
        self.done += 1
        self._after_step(self.done)

    def _catch_up(self, passes: int) -> None:
        """Count the steps that went by unseen; a batch that is open counts at its end."""
        self.done += passes if self._counts_passes else self._uncounted
        self._after_step(self.done)

    def _count_pass(self) -> None:
        if self._counts_passes:
            self._count()

    def _count(self) -> None:
        self.done += 1
        self._after_step(self.done)


def length_of(items: object) -> int | None:
    """`len(items)`, or None of a generator, a stream, or anything else whose length cannot be told."""
    if not isinstance(items, Sized):
        return None
    try:
        return len(items)
    except Exception:  # a loader over a stream raises TypeError, others NotImplementedError or their own
        return None


def with_progress(loader: Iterable[T], epoch: int | None) -> Iterator[T]:
    """Iterate over `loader` behind a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    title = "batches" if epoch is None else f"epoch {epoch}"
    items = (item for item in loader)  # rich asks for a length of its own, which may fail
    yield from track(items, description=title, total=length_of(loader), console=Console(stderr=True), transient=True)
