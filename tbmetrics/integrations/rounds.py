"""A session driven by the callbacks of a framework: an epoch per validation, one component at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DistributedSampler

from tbmetrics.errors import InputError
from tbmetrics.events.writer import directory_of, writer_target
from tbmetrics.integrations.evaluations import evaluation_tracker, group_metrics
from tbmetrics.session.batch_sizes import batch_size_of
from tbmetrics.session.session import DATA_LOADING, TBMetrics, evaluation_session

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger("tbmetrics")

TRAINER_OPTIONS = ("optimizer", "initial_step")


class Rounds:
    """Translate the events of a framework into the verbs of a session.

    Each epoch of the session ends with a validation. With one validation per epoch, epochs are numbered as in the
    framework; with more, every validation ends an epoch, and they are numbered consecutively.

    Args:
        options: options of `TBMetrics`.

    Attributes:
        session: session of the current or last training; None before the first.
        next_epoch: lowest number that the next epoch may have.
        resumed: the `state()` stored in the checkpoint that training resumes from, or None.
        options: options of `TBMetrics`.
        evaluation: session of the evaluation apart from training that is under way, or None.

    Raises:
        InputError: an option is decided by the framework.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        conflicting = [name for name in TRAINER_OPTIONS if name in options]
        if conflicting:
            raise InputError(f"the trainer decides {' and '.join(conflicting)}; leave them out")
        self.session: TBMetrics | None = None
        self.next_epoch = 0
        self.resumed: Mapping[str, Any] | None = None
        self.options = dict(options)
        self._log_dir: Any = None  # of the last training
        self.evaluation: TBMetrics | None = None
        self._has_warned = False
        self._has_observed = False
        self._epoch = 0
        self._component: str | None = None

    @property
    def running(self) -> TBMetrics | None:
        """The session during training, otherwise None."""
        return self.session if self.session is not None and self.session.is_open else None

    def begin(
        self, log_dir: str | os.PathLike[str] | SummaryWriter, *, model: Any, optimizer: Any, step: int, **more: Any
    ) -> None:
        """Open a session for a training that starts or resumes after `step` optimizer steps."""
        self.finish()
        options = {"model": model, "optimizer": optimizer, "initial_step": step, **self.options, **more}
        self._log_dir, self.session = log_dir, TBMetrics(log_dir, **options)
        resumed, self.resumed = self.resumed, None
        if resumed is not None:
            self.next_epoch, self._epoch = resumed["next_epoch"], resumed["epoch"]
            self.session.load_state_dict(resumed["session"])
        self.session.start()
        if self.session.current_epoch is not None:  # the checkpoint was taken within an epoch
            self.session.start_epoch(self.session.current_epoch)

    def state(self) -> dict[str, Any]:
        """Return everything a resumed training needs, to be stored in the framework's checkpoint; see `resumed`."""
        if self.session is None or not self.session.enabled:
            return {}
        return {"epoch": self._epoch, "next_epoch": self.next_epoch, "session": self.session.state_dict()}

    def enter_epoch(self, epoch: int) -> None:
        """Begin `epoch` of the framework if it is a new one; end one that a checkpoint cut off at its last batch."""
        if epoch > self._epoch:
            self.end()
            self.epoch(epoch)

    def epoch(self, epoch: int) -> None:
        """Begin `epoch`, as numbered by the framework from 0."""
        self._epoch = epoch
        self._open()
        self.component(DATA_LOADING)

    def before_batch(self, step: int) -> None:
        """Prepare for a training batch (or the batches of one step) after `step` optimizer steps."""
        self._open()
        if self.session is not None:
            self.session.global_step = step

    def component(self, name: str | None) -> None:
        """Time component `name` from now on; None times nothing."""
        session = self.running
        if session is None or session.current_epoch is None or name == self._component:
            return
        previous, self._component = self._component, name
        if previous is not None:
            session.end_component(previous)
        if name is not None:
            session.start_component(name)

    def observe(self, logits: Any, labels: Any, loss: Any = None) -> None:
        """Show a training batch to the trackers that use it, once."""
        if self.running is not None:
            self.running.observe(logits, labels, loss)
            self._has_observed = True

    def observe_outputs(self, outputs: Any, batch: Any, advice: str) -> None:
        """Show the batch of a step to the diagnostics, from what the step returned, unless `observe` was called.

        The backward pass is over, so that gradients are those of cross-entropy.
        """
        has_observed, self._has_observed = self._has_observed, False
        if has_observed or self.running is None or self.running.diagnostics is None:
            return
        is_mapping = isinstance(outputs, Mapping)
        logits = outputs.get("logits") if is_mapping else None
        labels = outputs["labels"] if is_mapping and "labels" in outputs else labels_in(batch)
        if isinstance(logits, torch.Tensor | Mapping) and isinstance(labels, torch.Tensor | Mapping):
            self.running.observe(_detached(logits), labels)
        elif not self._has_warned:
            self._has_warned = True
            logger.warning("tbmetrics: diagnostics see no training batches; %s", advice)

    def group_metrics(self) -> dict[str, float]:
        """Group metrics of the epoch that has just ended, by the names to monitor; empty if it has no result."""
        tracker = self.session.class_performance if self.session is not None else None
        return {} if tracker is None else group_metrics(tracker, self.next_epoch - 1)

    # ---------------------------------------------------------------------------------- evaluations of their own

    def begin_evaluation(self, name: str, log_dir: Any, *, alone: bool = False) -> None:
        """Open a session in the folder `name` below the run's for an evaluation apart from training.

        Without classes there is nothing to evaluate, and no session.

        Args:
            name: e.g. "test".
            log_dir: of the run, if none was trained.
            alone: whether this process has all samples, so that others are not waited for.
        """
        self.end_evaluation()
        tracker = evaluation_tracker(self.options, name) if self.options.get("enabled", True) else None
        if tracker is not None:
            place = self._log_dir if self._log_dir is not None else log_dir
            self.evaluation = evaluation_session(
                f"{directory_of(writer_target(place))}/{name}",
                tracker,
                process_group=False if alone else self.options.get("process_group"),
                strict=self.options.get("strict", False),
            )
            self.evaluation.start_epoch(max(self.next_epoch - 1, 0))

    def end_evaluation(self) -> dict[str, float]:
        """Write the evaluation; return its group metrics by the names to monitor."""
        evaluation, self.evaluation = self.evaluation, None
        if evaluation is None:
            return {}
        evaluation.finalize()
        return group_metrics(evaluation.class_performance) if evaluation.class_performance is not None else {}

    def end(self, batch_size: int | None = None, num_samples: int | None = None) -> None:
        """End the open epoch, after a validation or without one; do nothing if none is open."""
        self.component(None)
        session = self.running
        if session is not None and session.current_epoch is not None:
            self.next_epoch = session.current_epoch + 1
            session.end_epoch(batch_size, num_samples)

    def finish(self, error: BaseException | None = None) -> None:
        """Finalize the session after training, or after `error`; idempotent."""
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


def _detached(logits: Any) -> Any:
    if isinstance(logits, Mapping):
        return {attribute: values.detach() for attribute, values in logits.items()}
    return logits.detach()


def labels_in(batch: Any) -> Any:
    """Labels of a batch: its entry "labels" or "label", or the second of a pair; otherwise None."""
    if isinstance(batch, Mapping):
        return batch.get("labels", batch.get("label"))
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[1]
    return None


def without_padding(logits: Any, labels: Any, ignored: int = -100) -> tuple[Tensor, Tensor]:
    """Flatten logits (..., C) and class indices (...) to (N, C) and (N,), without rows labelled `ignored`.

    Multi-hot labels, which have the shape of the logits, are returned unchanged.
    """
    logits, labels = torch.as_tensor(logits), torch.as_tensor(labels)
    if labels.ndim != logits.ndim - 1:
        return logits, labels
    labels = labels.reshape(-1)
    is_labelled = labels != ignored
    return logits.reshape(-1, logits.shape[-1])[is_labelled], labels[is_labelled]


class SampleIndices:
    """Dataset indices of the rows of each batch, as given by a `DistributedSampler`.

    The sampler repeats samples to fill all processes; with their indices, each sample counts once.
    """

    def __init__(self) -> None:
        self._indices: list[int] = []
        self._batch_size = 0

    def begin(self, loader: Any) -> None:
        """Begin a pass over `loader`; indices are unknown with any other sampler or with a batch sampler."""
        sampler, size = getattr(loader, "sampler", None), getattr(loader, "batch_size", None)
        self._indices, self._batch_size = [], 0
        if type(sampler) is DistributedSampler and isinstance(size, int):
            self._indices, self._batch_size = list(sampler), size

    def of_batch(self, batch_idx: int, labels: Any) -> list[int] | None:
        """Dataset indices of a batch, or None if they are unknown or do not match the rows of `labels`."""
        start = batch_idx * self._batch_size
        indices = self._indices[start : start + self._batch_size]
        return indices if indices and batch_size_of(labels) == len(indices) else None
