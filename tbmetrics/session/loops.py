"""Helpers of the training loop: counting steps, sizing batches, the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from tbmetrics.records import OPTIMIZER_STEP_TAG

T = TypeVar("T")


class StepCounter:
    """Counts optimizer steps from the best source at hand, each step once.

    With an optimizer its post-step hook counts, so accumulated batches and steps skipped by a `GradScaler` do not.
    Without one, `count_explicitly` counts; a batch during which nobody called it counts as one step.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer | None, after_step: Callable[[int], None], initial_step: int | None
    ) -> None:
        self.done = initial_step or 0
        self._initial = initial_step
        self._optimizer = optimizer
        self._after_step = after_step
        self._hook: Any = None
        self._resumed_log: str | None = None
        self._explicit = False

    def attach(self, resumed_log: str | None) -> None:
        """Sets the hook; `resumed_log` is the directory of the run that is being continued, if one is."""
        self._resumed_log = resumed_log
        if self._optimizer is not None:
            self._hook = self._optimizer.register_step_post_hook(lambda *_: self._count())

    def go_on_from(self, step: int) -> None:
        """So many steps were done before, whatever the log says."""
        self.done = self._initial = step

    def detach(self) -> None:
        """Removes the hook; idempotent."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def resume(self, epoch: int) -> int | None:
        """At the first epoch of a continued run: the first step that it writes anew; None at any other time."""
        if self._resumed_log is None:
            return None
        log, self._resumed_log = self._resumed_log, None
        if self._initial is None:
            self.done = last_step_before(log, epoch)
        return self.done + 1 if self.done else 0

    def count_explicitly(self) -> None:
        """One step, counted by the caller; with an optimizer its hook has counted it already."""
        if self._optimizer is None:
            self._explicit = True
            self._count()

    @contextmanager
    def one_per_batch(self) -> Iterator[None]:
        """Around one batch: counts a step at its end if nothing else counts steps."""
        self._explicit = False
        yield
        if self._optimizer is None and not self._explicit:
            self._count()

    def _count(self) -> None:
        self.done += 1
        self._after_step(self.done)


def last_step_before(log_dir: str, epoch: int) -> int:
    """The optimizer step at the end of the last epoch before `epoch` in an existing log; 0 where it says nothing."""
    from tbmetrics.events.reader import read_run

    series = read_run(log_dir).scalars.get(OPTIMIZER_STEP_TAG)
    if series is None:
        return 0
    before = series.values[series.steps < epoch]
    return int(before[-1]) if before.size else 0


def batch_size_of(batch: Any) -> int | None:
    """First dimension of the first tensor (or array) in a batch of any nesting; None where there is none."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    if isinstance(batch, Mapping):
        parts: Iterable[Any] = batch.values()
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        parts = batch
    else:
        return None
    return next((size for size in map(batch_size_of, parts) if size is not None), None)


def with_progress(loader: Iterable[T], epoch: int | None) -> Iterator[T]:
    """The loader's items behind a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    total = len(loader) if isinstance(loader, Sized) else None
    title = "batches" if epoch is None else f"epoch {epoch}"
    yield from track(loader, description=title, total=total, console=Console(stderr=True), transient=True)
