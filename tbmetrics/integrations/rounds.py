"""A session driven by the events of a framework's loop: epochs between validations, one component at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DistributedSampler

from tbmetrics.errors import InputError
from tbmetrics.session.loops import batch_size_of
from tbmetrics.session.session import DATA_LOADING, TBMetrics

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

OWN_OPTIONS = ("optimizer", "initial_step")


class Rounds:
    """Turns a framework's events into the verbs of a session.

    An epoch of the session ends with a validation. With one validation an epoch its number is the framework's; where
    there are more, each validation is an epoch and they are counted on.

    Args:
        options: of `TBMetrics`.

    Attributes:
        session: the session of the training that is going on, or of the last one; None before the first.
        next_epoch: the lowest number that the next epoch may have.
        resumed: what `state` gave, of the checkpoint that training goes on from; None = no such thing.

    Raises:
        InputError: an option that the framework decides.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        decided = [name for name in OWN_OPTIONS if name in options]
        if decided:
            raise InputError(f"the trainer decides {' and '.join(decided)}; leave them out")
        self.session: TBMetrics | None = None
        self.next_epoch = 0
        self.resumed: Mapping[str, Any] | None = None
        self._options = dict(options)
        self._epoch = 0
        self._component: str | None = None

    @property
    def running(self) -> TBMetrics | None:
        """The session while training goes on."""
        return self.session if self.session is not None and self.session.is_open else None

    def begin(
        self, log_dir: str | os.PathLike[str] | SummaryWriter, *, model: Any, optimizer: Any, step: int, **more: Any
    ) -> None:
        """Training begins, or begins again, after `step` optimizer steps."""
        self.finish()
        options = {"model": model, "optimizer": optimizer, "initial_step": step, **self._options, **more}
        self.session = TBMetrics(log_dir, **options)
        resumed, self.resumed = self.resumed, None
        if resumed is not None:
            self.next_epoch, self._epoch = resumed["next_epoch"], resumed["epoch"]
            self.session.load_state_dict(resumed["session"])
        self.session.start()
        if self.session.current_epoch is not None:  # the checkpoint lies within an epoch
            self.session.start_epoch(self.session.current_epoch)

    def state(self) -> dict[str, Any]:
        """For the framework's checkpoint: everything that a resumed training needs, here called `resumed`."""
        if self.session is None or not self.session.enabled:
            return {}
        return {"epoch": self._epoch, "next_epoch": self.next_epoch, "session": self.session.state_dict()}

    def enter_epoch(self, epoch: int) -> None:
        """What comes is of the framework's `epoch`; ends one before it that a checkpoint cut off at its last batch."""
        if epoch > self._epoch:
            self.end()
            self.epoch(epoch)

    def epoch(self, epoch: int) -> None:
        """The framework is in `epoch`, its own number from 0."""
        self._epoch = epoch
        self._open()
        self.component(DATA_LOADING)

    def before_batch(self, step: int) -> None:
        """A training batch (or the batches of one step) has arrived; `step` optimizer steps are done."""
        self._open()
        if self.session is not None:
            self.session.global_step = step

    def component(self, name: str | None) -> None:
        """What the loop does from now on; None = nothing that is timed."""
        session = self.running
        if session is None or session.current_epoch is None or name == self._component:
            return
        before, self._component = self._component, name
        if before is not None:
            session.end_component(before)
        if name is not None:
            session.start_component(name)

    def end(self, batch_size: int | None = None, num_samples: int | None = None) -> None:
        """A validation, or an epoch without one, is over; does nothing where none is open."""
        self.component(None)
        session = self.running
        if session is not None and session.current_epoch is not None:
            self.next_epoch = session.current_epoch + 1
            session.end_epoch(batch_size, num_samples)

    def finish(self, error: BaseException | None = None) -> None:
        """Training is over, with `error` or without; everything is removed and written. Idempotent."""
        session = self.running
        if session is None:
            return
        if error is None:
            self.end()
        self.component(None)
        session.__exit__(None if error is None else type(error), error, None if error is None else error.__traceback__)

    def _open(self) -> None:
        session = self.running
        if session is not None and session.current_epoch is None:
            session.start_epoch(max(self._epoch, self.next_epoch))


def labels_in(batch: Any) -> Any:
    """The labels of a batch: its entry "labels" (or "label"), or the second of a pair; None where it has neither."""
    if isinstance(batch, Mapping):
        return batch.get("labels", batch.get("label"))
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[1]
    return None


def without_padding(logits: Any, labels: Any, ignored: int = -100) -> tuple[Tensor, Tensor]:
    """Logits (..., C) and class indices (...) as (N, C) and (N,), without those labelled `ignored`.

    Multi-hot labels, of the shape of the logits, are left as they are.
    """
    scores, truth = torch.as_tensor(logits), torch.as_tensor(labels)
    if truth.ndim != scores.ndim - 1:
        return scores, truth
    truth = truth.reshape(-1)
    is_labelled = truth != ignored
    return scores.reshape(-1, scores.shape[-1])[is_labelled], truth[is_labelled]


class SampleNumbers:
    """Which sample of the data set each row of a batch is, where a `DistributedSampler` says so.

    It repeats samples until they are a multiple of the processes; with their numbers each counts once.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._batch_size = 0

    def begin(self, loader: Any) -> None:
        """A pass over `loader` begins; loaders with another sampler, or batches of their own, have no numbers."""
        sampler, size = getattr(loader, "sampler", None), getattr(loader, "batch_size", None)
        self._numbers, self._batch_size = [], 0
        if type(sampler) is DistributedSampler and isinstance(size, int):
            self._numbers, self._batch_size = list(sampler), size

    def numbers(self, batch_idx: int, labels: Any) -> list[int] | None:
        """The numbers of the batch's rows; None where they are not known, or not one a row of `labels`."""
        begin = batch_idx * self._batch_size
        numbers = self._numbers[begin : begin + self._batch_size]
        return numbers if numbers and batch_size_of(labels) == len(numbers) else None
