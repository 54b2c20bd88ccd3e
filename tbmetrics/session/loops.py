"""Helpers for the training loop: step counting, batch sizes and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class StepCounter:
    """Count optimizer steps, each once, from the best source available.

    With an optimizer, its post-step hook counts, so accumulated batches and steps skipped by a `GradScaler` do not.
    Without one, the caller counts with `count_explicitly`; a batch without such a call counts as one step.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer | None, after_step: Callable[[int], None], initial_step: int | None
    ) -> None:
        self.done = initial_step or 0
        self._initial = initial_step
        self._optimizer = optimizer
        self._after_step = after_step
        self._hook: Any = None
        self._counted_explicitly = False

    def attach(self) -> None:
        """Set the hook."""
        if self._optimizer is not None:
            self._hook = self._optimizer.register_step_post_hook(lambda *_: self._count())

    def restore(self, step: int) -> None:
        """Continue from `step`, whatever the log says."""
        self.done = self._initial = step

    def detach(self) -> None:
        """Remove the hook; idempotent."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def resume(self, steps_before: int) -> int:
        """Go on after `steps_before` steps, unless it was given; return the first step that is written anew."""
        if self._initial is None:
            self.done = steps_before
        return self.done + 1 if self.done else 0

    def count_explicitly(self) -> None:
        """Count one step for the caller; do nothing with an optimizer, whose hook has counted it."""
        if self._optimizer is None:
            self._counted_explicitly = True
            self._count()

    @contextmanager
    def one_per_batch(self) -> Iterator[None]:
        """Wrap one batch; count a step at its end unless the optimizer or the caller counts."""
        self._counted_explicitly = False
        yield
        if self._optimizer is None and not self._counted_explicitly:
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
