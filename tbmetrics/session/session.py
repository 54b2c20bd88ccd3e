"""TBMetrics: the session around a training loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from tbmetrics.class_performance.diagnostics import LongTailDiagnostics
from tbmetrics.class_performance.tracker import ClassPerformanceTracker
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.resource_usage.monitor import ResourceMonitor
from tbmetrics.resource_usage.profiler import ProfilerTracker
from tbmetrics.resource_usage.timers import ComponentBlock
from tbmetrics.session.loops import batch_size_of, with_progress
from tbmetrics.session.parts import SessionTrackers, first_optimizer
from tbmetrics.session.run_log import RunLog
from tbmetrics.session.verbs import SessionVerbs
from tbmetrics.tracking.batches import Tensors, TrainingBatch, ValidationBatch
from tbmetrics.tracking.state import STATE_VERSION, checked, history_state, restore_history
from tbmetrics.tracking.tracker import Tracker
from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")

DATA_LOADING = "data_loading"


class TBMetrics(SessionVerbs):
    """Instruments a training loop; everything goes to TensorBoard event files in `log_dir`.

        groups = ClassGroups.from_counts({"digit": {"0": 900, "1": 512, "2": 9}})
        with TBMetrics("runs/focal", model=model, optimizer=optimizer, classes=groups) as tb:
            for epoch in tb.epochs(range(30)):
                for images, labels in tb.batches(train_loader):
                    ...
                for images, labels in val_loader:
                    tb.update(model(images), labels)

    The plain verbs (`start`, `start_epoch`, `start_component`, `end_component`, `step`, `end_epoch`, `finalize`) do
    all the work; `with`, `epochs`, `batches` and `component` are pairs of them, so both styles mix freely.
    `end_epoch` is idempotent and the only place where trackers hand over what they measured. Per-epoch records carry
    the epoch, per-step records the optimizer step. In a distributed job only rank 0 writes.

    Args:
        log_dir: directory of this run, made if missing; a URL (`s3://…`, `gs://…`); or a `SummaryWriter` of your own,
            which is never closed here.
            An existing run is continued: the optimizer step goes on from the epoch before the first one seen, and
            what is written again wins.
        model: the model. Turns training dynamics on.
        optimizer: one or several; steps are counted by a hook on the first. Without one, `batches` counts a step per
            batch, or call `step()` yourself.
        classes: `ClassGroups`, or training counts as for `ClassGroups.from_counts`. Turns class performance on.
        hparams: hyperparameters for the HParams tab, written with the final group metrics.
        class_performance: a configured `ClassPerformanceTracker` instead of the default one; False switches it off.
        gradients: a configured `GradientTracker` instead of the default one; False switches it off.
        attention: a configured `AttentionVisualizer`, best with a probe; True watches the first training pass of each
            epoch of `model`.
        resources: a configured `ResourceMonitor` instead of the default one; False switches it off.
        diagnostics: True says why the tail fails and what would help without training again; or a configured
            `LongTailDiagnostics`. Show it training batches with `observe`.
        profiler: None profiles on request only (`profile()`, or a file named PROFILE in `log_dir`), True also the steps
            after step 10; or a configured `ProfilerTracker`; False never.
        overhead_budget: share of the training time that tbmetrics may take; trackers that sample do so less often
            until it holds. A profile does not count. None switches that off.
        trackers: further trackers.
        initial_step: optimizer steps done before this session; None = found in the existing log, else 0.
        policy: what the writer does when its queue is full: "drop" (images first, scalars never) or "block".
        process_group: the ranks of a distributed job whose validation is put together at the end of each epoch: a
            `torch.distributed` process group (its first rank writes), None for all, False for this rank alone.
        strict: raise exceptions of trackers instead of logging them and training on.
        enabled: False makes every call a no-op with the same results for your loop.

    Raises:
        InputError: arguments that cannot work; the message says which and why.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | SummaryWriter,
        *,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
        classes: ClassGroups | Mapping[Any, Any] | None = None,
        hparams: Mapping[str, bool | str | float | int] | None = None,
        class_performance: ClassPerformanceTracker | bool = True,
        gradients: GradientTracker | bool = True,
        attention: AttentionVisualizer | bool = False,
        resources: ResourceMonitor | bool = True,
        diagnostics: LongTailDiagnostics | bool = False,
        profiler: ProfilerTracker | bool | None = None,
        overhead_budget: float | None = 0.01,
        trackers: Sequence[Tracker] = (),
        initial_step: int | None = None,
        policy: str = "drop",
        process_group: Any = None,
        strict: bool = False,
        enabled: bool = True,
    ) -> None:
        log = RunLog(log_dir, policy, strict=strict)
        super().__init__(
            log,
            SessionTrackers.build(
                model=model,
                optimizer=optimizer,
                classes=classes,
                class_performance=class_performance,
                gradients=gradients,
                attention=attention,
                resources=resources,
                diagnostics=diagnostics,
                profiler=profiler,
                further=trackers,
                log_dir=log.directory,
            ),
            optimizer=first_optimizer(optimizer),
            model=model,
            hparams=dict(hparams or {}),
            overhead_budget=overhead_budget,
            initial_step=initial_step,
            process_group=process_group,
            strict=strict,
            enabled=enabled,
        )
        self._blocks: dict[str, ComponentBlock] = {}

    # ------------------------------------------------------------------------------------------ pairs of verbs

    def __enter__(self) -> TBMetrics:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._is_failing = True
            self._detach()  # first of all, so that the user's exception leaves nothing of ours on the model
        self.finalize()

    def epochs(self, epochs: Iterable[int]) -> Iterator[int]:
        """Yields each epoch between `start_epoch` and `end_epoch`; `break` and exceptions end it too.

        With several ranks an epoch that is left by `break` is ended by the next verb, as ranks meet there.
        """
        if self.resources is not None and isinstance(epochs, Sized):
            self.resources.expect_epochs(len(epochs))
        for epoch in epochs:
            self.start_epoch(epoch)
            try:
                yield epoch
            except GeneratorExit:  # by `break`, or because this rank alone has failed: then no other would come
                if self._ranks.size == 1:
                    self.end_epoch()
                raise
            except BaseException:
                self._is_failing = True
                self.end_epoch()
                raise
            self.end_epoch()

    def batches(
        self, loader: Iterable[T], *, progress: bool = False, tokens: Callable[[T], int] | None = None
    ) -> Iterator[T]:
        """Yields the loader's batches; measures data-loading time, samples and steps.

        Args:
            loader: any iterable of batches. The batch size is the first dimension of the first tensor in a batch.
            progress: show a progress bar on stderr.
            tokens: gives the number of tokens in a batch, for tokens per second.
        """
        if not self._running():
            yield from loader
            return
        iterator = iter(with_progress(loader, self.current_epoch) if progress else loader)
        while True:
            self.start_component(DATA_LOADING)
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self.end_component(DATA_LOADING)
            self.count_samples(batch, tokens(batch) if tokens is not None else 0)
            with self._steps.one_per_batch():
                yield batch

    def count_samples(self, batch: Any, tokens: int = 0) -> None:
        """Counts the samples of a training batch that did not pass through `batches`: the first dimension of its first
        tensor."""
        size = batch_size_of(batch)
        if self.resources is not None and size is not None and self._running():
            self._call(self.resources, partial(self.resources.count_samples, size, tokens=tokens))

    def component(self, name: str) -> ComponentBlock:
        """A context manager that times its block as component `name`."""
        block = self._blocks.get(name)
        if block is None:
            block = self._blocks[name] = ComponentBlock(self, name)
        return block

    def profile(self, steps: int | None = None) -> None:
        """Profiles the next `steps` optimizer steps (default: as the profiler was configured, else 5).

        The trace goes to `log_dir`, for TensorBoard's PyTorch Profiler tab and for Perfetto.

        Raises:
            InputError: a number out of 1..1000, or the session has `profiler=False`.
        """
        if not self._running():
            return
        if self.profiler is None:
            raise InputError(
                "profile() needs the profiler: leave profiler=False out of TBMetrics(...); with a remote log_dir give "
                "profiler=ProfilerTracker('traces')"
            )
        self._call(self.profiler, self.profiler.profile, steps)

    # ------------------------------------------------------------------------------------------ measurements

    def update(
        self,
        logits: Tensors,
        labels: Tensors,
        images: Tensor | NDArray[Any] | None = None,
        *,
        indices: Tensor | Sequence[int] | None = None,
    ) -> None:
        """Hand a validation batch of the open epoch to every tracker; an epoch is opened if none is.

        Args:
            logits: (N, C), any float type and device; or one per attribute.
            labels: class indices (N,) or multi-hot (N, C), -1 = unknown; or one per attribute.
            images: of the samples, (N, C, H, W), (N, H, W) or (N, H, W, C); the gallery of `diagnostics` keeps a few.
            indices: integers (N,): which sample of the data set each row is, so that each counts once, however many
                ranks were given it.

        Raises:
            InputError: shapes, types or attributes that do not fit the classes, or no classes were given.
        """
        if not self._running():
            if not self.enabled and self.current_epoch is None:
                self.start_epoch(self._last_epoch + 1)
            return
        if not self._calls.having("validate"):
            raise InputError("update() needs classes: give TBMetrics(..., classes=ClassGroups.from_counts({...}))")
        if self.current_epoch is None:
            self.start_epoch(self._last_epoch + 1)
        self._calls.each("validate", ValidationBatch(logits, labels, images, indices))

    def observe(
        self,
        logits: Tensors,
        labels: Tensors,
        loss: Tensors | None = None,
    ) -> None:
        """Shows a training batch to the trackers that look at training outputs; best before `backward()`.

        Args:
            logits: (N, C), or one per attribute.
            labels: class indices (N,) or multi-hot (N, C), -1 = unknown; or one per attribute.
            loss: of each sample, (N,), or one per attribute; None = cross-entropy.
        """
        if self._running():
            self._calls.each("observe", TrainingBatch(logits, labels, loss))

    def log_scalar(self, tag: str, value: float | Tensor, step: int | None = None) -> None:
        """Writes one scalar at `step` (default: the optimizer step). A CUDA tensor is copied without waiting."""
        self.log_scalars({tag: value}, step)

    def log_scalars(self, scalars: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Writes several scalars of one step as one event.

        Raises:
            InputError: a value that is neither a number nor a tensor of one element.
        """
        if self._running():
            self._log.put_scalars(scalars, self.global_step if step is None else step)

    def get_metrics(self) -> dict[str, Any]:
        """Everything measured so far, JSON-ready: `{"class_performance": …, tracker name: …}`."""
        metrics: dict[str, Any] = {}
        for tracker in self.trackers:
            if tracker is self.class_performance:
                metrics["class_performance"] = {
                    "class_metrics": self._call(tracker, self.class_performance.get_metrics, default={}),
                    "type_metrics": self._call(tracker, self.class_performance.get_class_type_metrics, default={}),
                }
            else:
                metrics[tracker.name] = self._call(tracker, tracker.get_metrics, default={})
        return metrics

    # --------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to go on as if nothing had happened: save it with the checkpoint.

        When it returns, all that was measured before is on disk, for a resumed run adds to it. Plain containers,
        numbers, strings and tensors, so that `torch.load(..., weights_only=True)` reads it. Call `end_epoch()` before
        it where the epoch is over; within an epoch, the resumed run goes on in that epoch.
        """
        trackers = {t.name: self._call(t, t.state_dict, default={}) for t in self.trackers}
        for tracker in self.trackers:
            self._log.write(self._calls.collect(tracker, tracker.pending))
        self._log.flush()
        return {
            "version": STATE_VERSION,
            "global_step": self.global_step,
            "last_epoch": self._last_epoch,
            "open_epoch": self.current_epoch,
            "history": history_state(self.history),
            "trackers": {name: state for name, state in trackers.items() if state},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave, on any machine and any number of ranks, before the first epoch.

        The optimizer step, histories and all trackers go on from there; what the log holds from later steps is
        superseded. Trackers that are only in the state, or only here, are left as they are.

        Raises:
            InputError: the session has begun an epoch, or classes, parameters or the version do not fit.
        """
        if self.current_epoch is not None or self._last_epoch >= 0 or self._state == "finished":
            raise InputError("load_state_dict() must come before the first epoch of the session")
        saved = checked(state, "TBMetrics.load_state_dict")
        if not self.enabled:
            return
        for tracker in self.trackers:
            if tracker.name in saved["trackers"]:
                self._call(tracker, tracker.load_state_dict, saved["trackers"][tracker.name])
        restore_history(self._log.history, saved["history"])
        self._steps.go_on_from(saved["global_step"])
        self._last_epoch = saved["last_epoch"]
        self.current_epoch = self._resumed_epoch = saved["open_epoch"]

    def flush(self) -> None:
        """Waits until everything written so far is on disk."""
        self._log.flush()
