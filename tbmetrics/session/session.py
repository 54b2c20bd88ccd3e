"""TBMetrics: the session around a training loop; it owns the clock, the writer and the trackers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from tbmetrics.class_performance.diagnostics import LongTailDiagnostics
from tbmetrics.class_performance.tracker import ClassPerformanceTracker
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.records import OPTIMIZER_STEP_TAG, HParams, Record, Scalar
from tbmetrics.records.history import History, Stamped
from tbmetrics.resource_usage.monitor import ResourceMonitor
from tbmetrics.resource_usage.profiler import ProfilerTracker
from tbmetrics.resource_usage.timers import ComponentBlock
from tbmetrics.session.loops import StepCounter, batch_size_of, with_progress
from tbmetrics.session.overhead import OverheadBudget
from tbmetrics.session.parts import (
    attention_visualizer,
    class_performance_tracker,
    first_optimizer,
    gradient_tracker,
    holds_events,
    long_tail_diagnostics,
    looks_at_validation,
    number_of_parameters,
    profiler_tracker,
    resource_monitor,
    uniquely_named,
)
from tbmetrics.session.run_log import RunLog
from tbmetrics.session.run_page import final_metrics, layout, results_text, run_text
from tbmetrics.session.tracker_calls import TrackerCalls
from tbmetrics.tracking.ranks import Ranks, reduce_trackers
from tbmetrics.tracking.state import STATE_VERSION, checked, history_state, restore_history, without_copies
from tbmetrics.tracking.tracker import Isolation, Tracker
from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")

logger = logging.getLogger("tbmetrics")

DATA_LOADING = "data_loading"


class TBMetrics:
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
        self.enabled = enabled
        self._ranks = Ranks(process_group)
        self._exchange = Isolation("the exchange between ranks", lambda: None, strict=strict)
        self._leaving = False  # an exception is on its way out: other ranks do not come to where this one is
        self._log = RunLog(log_dir, policy, strict=strict)
        self.current_epoch: int | None = None
        self._hparams = dict(hparams or {})
        self._state = "new"
        self._last_epoch = -1
        self._goes_on: int | None = None  # the epoch that a resumed run is in the middle of
        self._steps = StepCounter(first_optimizer(optimizer), self._after_step, initial_step)
        self._parameters = number_of_parameters(model)
        self.classes, self.class_performance = class_performance_tracker(classes, class_performance)
        self.diagnostics = long_tail_diagnostics(diagnostics, self.classes, model, self.class_performance)
        self.gradients = gradient_tracker(gradients, model, optimizer)
        self.attention = attention_visualizer(attention, model)
        if self.diagnostics is not None and self.attention is not None and self._ranks.size == 1:
            self.diagnostics.show_attention(self.attention.look_at)
        self.resources = resource_monitor(resources)
        self.profiler = profiler_tracker(profiler, trackers, self.log_dir)
        parts = (
            self.class_performance, self.diagnostics, self.gradients, self.attention, self.resources, self.profiler,
        )  # fmt: skip
        own = [t for t in parts if t is not None]
        self.trackers: tuple[Tracker, ...] = uniquely_named(tuple(dict.fromkeys((*own, *trackers)))) if enabled else ()
        self._calls = TrackerCalls(self.trackers, strict=strict)
        self._call = self._calls.call
        self._budget = OverheadBudget(overhead_budget, self.trackers) if overhead_budget is not None else None
        self._blocks: dict[str, ComponentBlock] = {}

    # ---------------------------------------------------------------------------------------- start and end

    @property
    def history(self) -> History:
        """Everything measured in this session."""
        return self._log.history

    @property
    def global_step(self) -> int:
        """Optimizer steps done; a framework that counts them itself may set it before a step."""
        return self._steps.done

    @global_step.setter
    def global_step(self, step: int) -> None:
        self._steps.done = step

    @property
    def is_open(self) -> bool:
        """Whether it is started and not finished."""
        return self._state == "running"

    @property
    def log_dir(self) -> str:
        """The run's directory."""
        return self._log.directory

    @property
    def writes(self) -> bool:
        """Whether this process writes: the first rank of a distributed job, or the only one."""
        return self._ranks.writes

    def start(self) -> TBMetrics:
        """Opens the log and sets hooks; idempotent. Called by `with` and by the first verb."""
        if self._state == "new" and self.enabled:
            self._state = "running"
            try:
                self._open()
            except BaseException:  # `with` does not come to its end then: nothing of ours stays on the model
                self._leaving = True
                self._detach()
                self._state = "finished"
                self._log.close()
                raise
        elif self._state == "finished":
            raise InputError(
                "this TBMetrics session is finished; make a new one to go on (the same log_dir continues it)"
            )
        return self

    def _open(self) -> None:
        resumed = holds_events(self.log_dir)
        if self._ranks.writes:
            self._log.open()
        self._steps.attach(self.log_dir if resumed else None)
        for tracker in self.trackers:
            self._call(tracker, tracker.start)
        opening: list[Record] = [
            run_text(self.classes, self._hparams, self._parameters),
            layout(self.classes, training_dynamics=self.gradients is not None),
        ]
        self._log.write([Stamped(0, time.time(), record) for record in opening])
        self._calls.take_spent()  # setting hooks belongs to no step

    def finalize(self) -> None:
        """Ends the open epoch, removes every hook, writes the results and closes the log; idempotent."""
        if not self.enabled:
            self.end_epoch()
        if self._state != "running":
            return
        self.end_epoch()
        self._detach()
        self._state = "finished"
        self._log.write([Stamped(max(self._last_epoch, 0), time.time(), r) for r in self._closing_records()])
        self._log.close()

    def __enter__(self) -> TBMetrics:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._leaving = True
            self._detach()  # first of all, so that the user's exception leaves nothing of ours on the model
        self.finalize()

    def _detach(self) -> None:
        self._steps.detach()
        self._calls.settle()
        for tracker in self.trackers:
            self._call(tracker, tracker.stop)

    def _closing_records(self) -> Iterator[Record]:
        faults = self._calls.faults()
        if self.class_performance is not None:
            yield results_text(
                self._call(self.class_performance, self.class_performance.get_class_type_metrics, default={}), faults
            )
        for tracker in self.trackers:
            yield from self._call(tracker, lambda t=tracker: list(t.closing()), default=())
        if self._hparams:
            yield HParams(self._hparams, final_metrics(self.history))

    # ----------------------------------------------------------------------------------------------- epochs

    def start_epoch(self, epoch: int) -> None:
        """Begins `epoch`; one still open is ended first."""
        running = self._running()
        if not running and self.enabled:
            return
        if running and (resumed_at := self._steps.resume(epoch)) is not None:
            self._log.mark_restart(resumed_at)
        if epoch != self._goes_on:
            self.end_epoch()
        self.current_epoch, self._goes_on = epoch, None
        if not running:
            return
        self._calls.settle()
        for tracker in self.trackers:
            self._call(tracker, tracker.start_epoch, epoch)

    def end_epoch(self, batch_size: int | None = None, num_samples: int | None = None) -> None:
        """Ends the open epoch and writes what every tracker measured; does nothing where none is open.

        Args:
            batch_size, num_samples: for the throughput, where the batches did not pass through `batches`.
        """
        if self.current_epoch is None:
            return
        epoch, self.current_epoch = self.current_epoch, None
        self._last_epoch = epoch
        self._count_costs()
        if self.resources is not None and self.enabled:
            self._call(self.resources, self.resources.end_epoch, batch_size, num_samples)
        if self._ranks.size > 1:
            self._reduce()
        if not self.enabled:
            return
        of_session: list[Record] = [Scalar(OPTIMIZER_STEP_TAG, float(self.global_step))]
        if self._budget is not None:
            of_session += self._budget.records()
        stamped = [Stamped(epoch, time.time(), record) for record in of_session]
        for tracker in self.trackers:
            stamped += self._call(tracker, lambda t=tracker: list(t.records(epoch)), default=[])
        self._calls.settle()
        self._log.write_scalars(wait=True)
        self._log.write(stamped)

    def _reduce(self) -> None:
        """Puts together what all ranks measured; without them a rank has no result of its share alone."""
        failed: list[str] | None = None
        if not self._leaving and not self._exchange.stopped:
            failed = self._exchange.call(reduce_trackers, self.trackers, self._ranks, self._call)
            self._exchange.stopped = failed is None
        if failed is None:
            for tracker in self.trackers:
                self._call(tracker, tracker.take_outcome, None)
        elif failed and self._ranks.writes:
            logger.warning("tbmetrics: %s failed on some rank: no result for this epoch.", ", ".join(failed))

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
                self._leaving = True
                self.end_epoch()
                raise
            self.end_epoch()

    # ---------------------------------------------------------------------------------- steps and components

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

    def step(self) -> None:
        """Counts one optimizer step; only needed without `optimizer` and without `batches`."""
        if self._running():
            self._steps.count_explicitly()

    def _after_step(self, step: int) -> None:
        self._calls.each("after_step", step)
        self._write_arrived()
        self._count_costs()
        if self._budget is not None:
            self._budget.after_step()

    def _write_arrived(self) -> None:
        for tracker in self._calls.having("arrived"):
            if arrived := self._call(tracker, lambda t=tracker: list(t.arrived()), default=[]):
                self._log.write(arrived)

    def start_component(self, name: str) -> None:
        """Starts timing `name`; components nest."""
        if self.resources is not None and self._running():
            self._calls.uncounted(self.resources, self.resources.start_component, name)

    def end_component(self, name: str) -> None:
        """Stops timing `name`."""
        if self.resources is not None and self._running():
            self._calls.uncounted(self.resources, self.resources.end_component, name)

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
        logits: Tensor | Mapping[str, Tensor],
        labels: Tensor | Mapping[str, Tensor],
        images: Tensor | NDArray[Any] | None = None,
        *,
        indices: Tensor | Sequence[int] | None = None,
    ) -> None:
        """Adds one validation batch to the class performance of the open epoch (one is opened where none is).

        Further trackers are shown it, too (`Tracker.validate`).

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
        if not any(map(looks_at_validation, self.trackers)):
            raise InputError("update() needs classes: give TBMetrics(..., classes=ClassGroups.from_counts({...}))")
        if self.current_epoch is None:
            self.start_epoch(self._last_epoch + 1)
        if self.diagnostics is not None:
            self._call(self.diagnostics, self.diagnostics.update, logits, labels, images)
        if self.class_performance is not None:
            counted = partial(self.class_performance.update, indices=indices)
            self._call(self.class_performance, counted, logits, labels)
        self._calls.each("validate", logits, labels)

    def observe(
        self,
        logits: Tensor | Mapping[str, Tensor],
        labels: Tensor | Mapping[str, Tensor],
        loss: Tensor | Mapping[str, Tensor] | None = None,
    ) -> None:
        """Shows a training batch to the trackers that look at training outputs; best before `backward()`.

        Args:
            logits: (N, C), or one per attribute.
            labels: class indices (N,) or multi-hot (N, C), -1 = unknown; or one per attribute.
            loss: of each sample, (N,), or one per attribute; None = cross-entropy.
        """
        if self._running():
            self._calls.each("observe", logits, labels, *(() if loss is None else (loss,)))

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
        found: dict[str, Any] = {}
        for tracker in self.trackers:
            if tracker is self.class_performance:
                found["class_performance"] = {
                    "class_metrics": self._call(tracker, self.class_performance.get_metrics, default={}),
                    "type_metrics": self._call(tracker, self.class_performance.get_class_type_metrics, default={}),
                }
            else:
                found[tracker.name] = self._call(tracker, tracker.get_metrics, default={})
        return found

    # --------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to go on as if nothing had happened: save it with the checkpoint.

        When it returns, all that was measured before is on disk, for a resumed run adds to it. Plain containers,
        numbers, strings and tensors, so that `torch.load(..., weights_only=True)` reads it. Call `end_epoch()` before
        it where the epoch is over; within an epoch, the resumed run goes on in that epoch.
        """
        trackers = {t.name: self._call(t, t.state_dict, default={}) for t in self.trackers}
        self._write_arrived()
        self._log.flush()
        state = {
            "version": STATE_VERSION,
            "global_step": self.global_step,
            "last_epoch": self._last_epoch,
            "open_epoch": self.current_epoch,
            "history": history_state(self.history),
            "trackers": {name: kept for name, kept in trackers.items() if kept},
        }
        found: dict[str, Any] = without_copies(state)
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave, on any machine and any number of ranks, before the first epoch.

        The optimizer step, histories and all trackers go on from there; what the log holds from later steps is
        superseded. Trackers that are only in the state, or only here, are left as they are.

        Raises:
            InputError: the session has begun an epoch, or classes, parameters or the version do not fit.
        """
        if self.current_epoch is not None or self._last_epoch >= 0 or self._state == "finished":
            raise InputError("load_state_dict() must come before the first epoch of the session")
        found = checked(state, "TBMetrics.load_state_dict")
        if not self.enabled:
            return
        for tracker in self.trackers:
            if tracker.name in found["trackers"]:
                self._call(tracker, tracker.load_state_dict, found["trackers"][tracker.name])
        restore_history(self._log.history, found["history"])
        self._steps.go_on_from(found["global_step"])
        self._last_epoch = found["last_epoch"]
        self.current_epoch = self._goes_on = found["open_epoch"]

    def flush(self) -> None:
        """Waits until everything written so far is on disk."""
        self._log.flush()

    # --------------------------------------------------------------------------------------------- internals

    def _running(self) -> bool:
        if self._state == "new" and self.enabled:
            self.start()
        return self._state == "running"

    def _count_costs(self) -> None:
        """Tells the monitor and the budget what trackers took since the last step."""
        for name, nanoseconds in self._calls.take_spent().items():
            if self.resources is not None:
                self.resources.add_overhead(name, nanoseconds)
            asked_for = self.profiler is not None and name == self.profiler.name
            if self._budget is not None and not asked_for:
                self._budget.add(name, nanoseconds)
