"""The verbs of a session: the state machine behind every style of training loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.events.places import event_file_names
from tbmetrics.records import MEAN_METRICS, OPTIMIZER_STEP_TAG, HParams, Record, Scalar
from tbmetrics.records.history import History
from tbmetrics.session.earlier_run import EarlierRun
from tbmetrics.session.evaluations import Evaluations
from tbmetrics.session.learning_rates import LearningRates
from tbmetrics.session.loops import StepCounter
from tbmetrics.session.overhead import OverheadBudget
from tbmetrics.session.parts import SessionTrackers, number_of_parameters
from tbmetrics.session.run_log import RunLog
from tbmetrics.session.run_page import NO_VALIDATION, final_metrics, layout, results_text, run_text
from tbmetrics.session.step_ends import StepEnds
from tbmetrics.session.termination import Termination
from tbmetrics.session.tracker_calls import TrackerCalls
from tbmetrics.tracking.checks import whole_epoch
from tbmetrics.tracking.isolation import Isolation
from tbmetrics.tracking.ranks import Ranks, reduce_trackers

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("tbmetrics")


class SessionVerbs:
    """`start`, `start_epoch`, `step`, `start_component`, `end_component`, `end_epoch` and `finalize`.

    Everything that drives a session (`with`, `epochs`, `batches`, a framework's callback) calls pairs of these.
    Trackers hand over the records of an epoch in `end_epoch` only, which is idempotent.

    Args:
        log: where measurements go.
        trackers: trackers of the session.
        optimizers: whose learning rates are recorded; the steps of the first are counted.
        model: the model whose number of parameters is reported, or None.
        hparams: hyperparameters.
        overhead_budget: share of the training time that trackers may take, or None.
        initial_step: optimizer steps done before, or None to read it from the log.
        process_group: the ranks whose results are combined.
        strict: raise exceptions of trackers.
        enabled: False makes every verb a no-op.
        open_evaluation: opens the session of an evaluation, given its name and model.
        evaluations: models of evaluations by name.
    """

    def __init__(
        self,
        log: RunLog,
        trackers: SessionTrackers,
        *,
        optimizers: Sequence[torch.optim.Optimizer],
        model: torch.nn.Module | None,
        hparams: dict[str, Any],
        overhead_budget: float | None,
        initial_step: int | None,
        process_group: Any,
        strict: bool,
        enabled: bool,
        open_evaluation: Callable[[str, torch.nn.Module | None], Any],
        evaluations: Mapping[str, torch.nn.Module | None],
    ) -> None:
        self.enabled = enabled
        self.current_epoch: int | None = None
        self._state = "new"
        self._last_epoch = -1
        self._earlier: EarlierRun | None = None  # the run in the directory, until the first epoch
        self._resumed_epoch: int | None = None  # epoch that a resumed run continues within
        self._is_failing = False  # an exception is propagating, so other ranks would wait in vain
        self._ranks = Ranks(process_group)
        self._exchange = Isolation("the exchange between ranks", lambda: None, strict=strict)
        self._evaluations = Evaluations(open_evaluation, evaluations, self._ranks, self._exchange)
        self._log = log
        self._hparams = hparams
        self._parameters = number_of_parameters(model)
        self._termination = Termination(self._end_at_once, self._write_so_far)
        self.classes: ClassGroups | None = trackers.classes
        self.class_performance = trackers.class_performance
        self.diagnostics = trackers.diagnostics
        self.gradients = trackers.gradients
        self.attention = trackers.attention
        self.resources = trackers.resources
        self.profiler = trackers.profiler
        self.trackers = trackers.all if enabled else ()
        if self.diagnostics is not None and self.attention is not None and self._ranks.size == 1:
            self.diagnostics.show_attention(self.attention.look_at)
        self._calls = TrackerCalls(self.trackers, log.history, strict=strict)
        self._call = self._calls.call
        self._budget = OverheadBudget(overhead_budget, self.trackers) if overhead_budget is not None else None
        learning_rates = LearningRates(optimizers)
        self._step_ends = StepEnds(log, self._calls, learning_rates, self._budget, self._count_costs)
        self._steps = StepCounter(next(iter(optimizers), None), self._step_ends.after_step, initial_step)
        if self.resources in self.trackers:
            self._call_resources = self._calls.untimed(self.resources)

    @property
    def history(self) -> History:
        """Everything measured in this session."""
        return self._log.history

    @property
    def global_step(self) -> int:
        """Optimizer steps done; a framework that counts them itself may set this before a step."""
        return self._steps.done

    @global_step.setter
    def global_step(self, step: int) -> None:
        if step != self._steps.done:
            self._step_ends.catch_up()
            self._step_ends.ask_anew()
            self._steps.done = step
            if self.resources is not None:
                self.resources.skip_to(step)

    @property
    def is_open(self) -> bool:
        """Whether the session has started and is not finished."""
        return self._state == "running"

    @property
    def log_dir(self) -> str:
        """Directory of the run."""
        return self._log.directory

    @property
    def writes(self) -> bool:
        """Whether this process writes: the first rank of a distributed job, or the only one."""
        return self._ranks.writes

    # ---------------------------------------------------------------------------------------- start and end

    def start(self) -> Self:
        """Open the log and set hooks; idempotent. Called by `with` and by the first verb."""
        if self._state == "new" and self.enabled:
            self._state = "running"
            try:
                self._open()
            except BaseException:  # `__exit__` will not run, so leave no hook on the model
                self._fail()
                self._state = "finished"
                self._log.close()
                raise
            self._termination.attach()
        elif self._state == "finished":
            raise InputError(
                "this TBMetrics session is finished; make a new one to go on (the same log_dir continues it)"
            )
        return self

    def _open(self) -> None:
        if event_file_names(self.log_dir):
            self._earlier = EarlierRun.read(self.log_dir)
        if self._ranks.writes:
            self._log.open()
            if self.diagnostics is not None:
                self.diagnostics.write_projector_to(self.log_dir)
        self._steps.attach()
        for tracker in self.trackers:
            self._call(tracker, tracker.start)
        metrics = MEAN_METRICS if self.class_performance is None else self.class_performance.measured
        about_run: list[Record] = [
            run_text(self.classes, self._hparams, self._parameters),
            layout(self.classes, metrics=metrics, training_dynamics=self.gradients is not None),
        ]
        self._log.write(self._log.file(0, about_run))
        self._log.write(list(self.history.filed(self._calls.earlier)))
        self._evaluations.open()
        self._calls.take_spent()  # setting hooks belongs to no step

    def finalize(self) -> None:
        """End the open epoch, remove all hooks, write the results and close the log; idempotent."""
        if self.enabled and self._state != "running":
            return
        self.end_epoch()
        self._evaluations.finalize(max(self._last_epoch, 0), alone=self._is_failing)
        if not self.enabled:
            return
        self._detach()
        self._state = "finished"
        self._log.write(self._log.file(max(self._last_epoch, 0), self._closing_records()))
        self._log.close()
        self._termination.detach()

    def _fail(self) -> None:
        """Remove all hooks, before anything that could fail; other ranks are not waited for, and nothing is drawn."""
        self._is_failing = True
        for tracker in self.trackers:
            tracker.is_interrupted = True
        self._evaluations.fail()
        self._detach()

    def _end_at_once(self) -> None:
        """Write everything, since the process is being ended."""
        if self._state == "running":
            self._fail()
            self.finalize()
        self._log.close()

    def _write_so_far(self) -> None:
        """Write the measurements of steps, since the process may be about to end."""
        self._step_ends.catch_up()
        for tracker in self.trackers:
            self._log.write(self._calls.collect(tracker, tracker.pending))
        self._log.flush()

    def _detach(self) -> None:
        self._steps.detach()
        self._calls.settle()
        for tracker in self.trackers:
            self._call(tracker, tracker.stop)

    def _closing_records(self) -> Iterator[Record]:
        if self.class_performance is not None:
            metrics = self._call(self.class_performance, self.class_performance.get_class_type_metrics, default={})
            if not metrics and self.writes and not self._is_failing:
                logger.warning("tbmetrics: %s", NO_VALIDATION)
            yield results_text(metrics, self._calls.faults())
        if self._hparams:
            yield HParams(self._hparams, final_metrics(self.history))
        for tracker in self.trackers if not self._is_failing else ():
            yield from self._call(tracker, _as_list, tracker.closing, default=())

    # ----------------------------------------------------------------------------------------------- epochs

    def start_epoch(self, epoch: int) -> None:
        """Begin `epoch`; end one that is still open.

        Raises:
            InputError: `epoch` is no whole number.
        """
        epoch = whole_epoch(epoch)
        is_running = self._is_running()
        if not is_running and self.enabled:
            return
        if is_running and self._earlier is not None:
            self._resume(self._earlier, epoch)
        if epoch != self._resumed_epoch:
            self.end_epoch()
        self.current_epoch, self._resumed_epoch = epoch, None
        if not is_running:
            return
        self._step_ends.ask_anew()
        self._calls.settle()
        for tracker in self.trackers:
            self._call(tracker, tracker.start_epoch, epoch)

    def _resume(self, earlier: EarlierRun, epoch: int) -> None:
        """Count on from the run that is continued, and say what of it is superseded."""
        self._earlier = None
        first_new_step = self._steps.resume(earlier.steps_before(epoch))
        self._log.mark_restart(earlier.restart_step(epoch, first_new_step))
        if self._ranks.writes:
            for conflict in earlier.conflicts(epoch, first_new_step, self.classes, self._parameters):
                logger.warning("tbmetrics: %s", conflict)

    def end_epoch(self, batch_size: int | None = None, num_samples: int | None = None) -> None:
        """End the open epoch and write what every tracker measured; do nothing if none is open.

        Args:
            batch_size, num_samples: for the throughput, if the training batches did not pass through `batches`.
        """
        if self.current_epoch is None:
            return
        epoch, self.current_epoch = self.current_epoch, None
        self._last_epoch = epoch
        self._steps.end_epoch()
        self._step_ends.catch_up()
        self._count_costs()
        if self.resources is not None and self.enabled:
            self._call(self.resources, self.resources.end_epoch, batch_size, num_samples)
        if self._ranks.size > 1:
            self._reduce()
        if self.enabled:
            self._write_epoch(epoch)
        self._evaluations.end_epoch(epoch, alone=self._is_failing)

    def _write_epoch(self, epoch: int) -> None:
        filed = self._log.file(epoch, self._epoch_scalars())
        for tracker in self.trackers:
            filed += self._calls.collect(tracker, tracker.records, epoch)
        self._calls.settle()
        self._log.write_scalars(wait=True)
        self._log.write(filed)
        self._log.look_for_others()

    def _epoch_scalars(self) -> Iterator[Record]:
        yield Scalar(OPTIMIZER_STEP_TAG, float(self.global_step))
        if self._budget is not None:
            yield from self._budget.records()

    def _reduce(self) -> None:
        """Combine the measurements of all ranks; if that fails, discard them, since one rank's share is no result."""
        failed: list[str] | None = None
        if not self._is_failing and not self._exchange.stopped:
            failed = self._exchange.call(reduce_trackers, self.trackers, self._ranks, self._call)
            self._exchange.stopped = failed is None
        if failed is None:
            for tracker in self.trackers:
                self._call(tracker, tracker.take_outcome, None)
        elif failed and self._ranks.writes:
            logger.warning("tbmetrics: %s failed on some rank: no result for this epoch.", ", ".join(failed))

    # ---------------------------------------------------------------------------------- steps and components

    def step(self) -> None:
        """Count one optimizer step; only needed without `optimizer` and without `batches`."""
        if self._is_running():
            self._steps.count_explicitly()

    def start_component(self, name: str) -> None:
        """Start timing component `name`; components nest."""
        if self.resources is not None and self._is_running():
            self._call_resources(self.resources.start_component, name)

    def end_component(self, name: str | None = None) -> None:
        """Stop timing component `name`, or the innermost."""
        if self.resources is not None and self._is_running():
            self._call_resources(self.resources.end_component, name)

    # --------------------------------------------------------------------------------------------- internals

    def _is_running(self) -> bool:
        if self._state == "new" and self.enabled:
            self.start()
        return self._state == "running"

    def _count_costs(self) -> None:
        """Report the time trackers took since the last report to the monitor and the budget."""
        for name, nanoseconds in self._calls.take_spent().items():
            if self.resources is not None:
                self.resources.add_overhead(name, nanoseconds)
            is_profile = self.profiler is not None and name == self.profiler.name
            if self._budget is not None and not is_profile:
                self._budget.add(name, nanoseconds)


def _as_list(measure: Callable[[], Iterable[Record]]) -> list[Record]:
    return list(measure())
