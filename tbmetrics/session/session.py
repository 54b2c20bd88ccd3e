"""TBMetrics: the session around a training loop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tbmetrics.class_performance.inputs import LOGITS, Activation
from tbmetrics.class_performance.tracker import ClassPerformanceTracker
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.resource_usage.monitor import DATA_LOADING, ResourceMonitor
from tbmetrics.resource_usage.profiler import ProfilerTracker
from tbmetrics.session.evaluations import models_by_name
from tbmetrics.session.hyperparameters import plain_hparams
from tbmetrics.session.measurements import SessionMeasurements
from tbmetrics.session.parts import SessionTrackers
from tbmetrics.session.run_log import RunLog
from tbmetrics.tracking.optimizers import as_optimizers
from tbmetrics.tracking.state import STATE_VERSION, checked, history_state, restore_history
from tbmetrics.tracking.tracker import Tracker
from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from tbmetrics.class_performance.diagnostics import LongTailDiagnostics

__all__ = ["DATA_LOADING", "TBMetrics"]


class TBMetrics(SessionMeasurements):
    """Instrument a training loop and write TensorBoard event files to `log_dir`.

        groups = ClassGroups.from_counts({"digit": {"0": 900, "1": 512, "2": 9}})
        with TBMetrics("runs/focal", model=model, optimizer=optimizer, classes=groups) as tb:
            for epoch in tb.epochs(range(30)):
                for images, labels in tb.batches(train_loader):
                    ...
                for images, labels in val_loader:
                    tb.update(model(images), labels)

    The plain verbs (`start`, `start_epoch`, `start_component`, `end_component`, `step`, `end_epoch`, `finalize`) do
    all the work; `with`, `epochs`, `batches` and `component` are pairs of them, so both styles can be mixed. Results
    of an epoch are written by `end_epoch`, which is idempotent. Per-epoch records carry the epoch as their step,
    per-step records the optimizer step. In a distributed job, only rank 0 writes.

    Args:
        log_dir: directory of this run, created if missing; a URL (`s3://…`, `gs://…`); or your own `SummaryWriter`,
            which is not closed here. An existing run is continued: the optimizer step resumes where the epoch before
            the first new one ended, and steps that are written again replace the old ones.
        model: the model; turns on training dynamics.
        optimizer: one or several; a hook on the first counts steps. Without one, `batches` counts one step per
            batch, or call `step()` yourself.
        classes: `ClassGroups`, or training counts as for `ClassGroups.from_counts`; turns on class performance.
        inputs, logit_scale, class_dim, ignore_index: what `update` is given, as for `ClassPerformanceTracker`.
        top_k: recalls at k that are measured, as there.
        hparams: hyperparameters for the HParams tab, written with the final group metrics: a dictionary, `vars(args)`,
            a `Namespace` or a dataclass; what is no number is written as text.
        class_performance: a configured `ClassPerformanceTracker` instead of the default one; False turns it off.
        gradients: a configured `GradientTracker` instead of the default one; False turns it off.
        attention: a configured `AttentionVisualizer`, preferably with a probe; True samples the first training pass
            of `model` in each epoch.
        resources: a configured `ResourceMonitor` instead of the default one; False turns it off.
        diagnostics: True explains why the tail fails and what would help without retraining; or a configured
            `LongTailDiagnostics`. Pass training batches to `observe` for a full diagnosis.
        profiler: None profiles on request (`profile()`, or a file named PROFILE in `log_dir`); True also profiles the
            steps after step 10; False never profiles; or a configured `ProfilerTracker`.
        overhead_budget: share of the training time that tbmetrics may take; trackers that sample do so less often
            to stay within it, but a number given to a tracker (`every=…`) is kept. Profiling does not count. None sets
            no limit.
        trackers: additional trackers.
        evaluations: names of evaluations beside the validation, such as "test"; others may follow, see `update`. With
            `{name: model}`, `diagnostics` looks at that model's features too, e.g. `{"ema": ema_model}`.
        initial_step: optimizer steps done before this session; None reads it from the existing log, or starts at 0.
        policy: what the writer does if its queue is full: "drop" (images first, scalars never) or "block".
        process_group: ranks of a distributed job whose results are combined at the end of each epoch: a
            `torch.distributed` process group (its first rank writes), None for all ranks, False for this rank alone.
        strict: raise exceptions of trackers instead of logging them and continuing.
        enabled: False makes every call a no-op; your loop runs unchanged.

    Raises:
        InputError: an argument cannot be used; the message says which and why.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | SummaryWriter,
        *,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
        classes: ClassGroups | Mapping[Any, Any] | None = None,
        inputs: str = LOGITS,
        logit_scale: float | None = None,
        class_dim: int | None = None,
        ignore_index: int | Sequence[int] = (),
        top_k: int | Sequence[int] = (),
        hparams: Mapping[str, Any] | object | None = None,
        class_performance: ClassPerformanceTracker | bool = True,
        gradients: GradientTracker | bool = True,
        attention: AttentionVisualizer | bool = False,
        resources: ResourceMonitor | bool = True,
        diagnostics: LongTailDiagnostics | bool = False,
        profiler: ProfilerTracker | bool | None = None,
        overhead_budget: float | None = 0.01,
        trackers: Sequence[Tracker] = (),
        evaluations: Mapping[str, torch.nn.Module | None] | Sequence[str] = (),
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
                activation=Activation.checked(inputs, logit_scale),
                performance_options={"class_dim": class_dim, "ignore_index": ignore_index, "top_k": top_k},
                further=trackers,
                log_dir=log.directory,
            ),
            optimizers=as_optimizers(optimizer),
            model=model,
            hparams=plain_hparams(hparams),
            overhead_budget=overhead_budget,
            initial_step=initial_step,
            process_group=process_group,
            strict=strict,
            enabled=enabled,
            open_evaluation=partial(self._open_evaluation, process_group=process_group, strict=strict),
            evaluations=models_by_name(evaluations),
        )

    def _open_evaluation(
        self, name: str, model: torch.nn.Module | None, *, process_group: Any, strict: bool
    ) -> TBMetrics:
        """A session for evaluation `name`, in a directory of this name below the run's."""
        if self.class_performance is None:
            raise InputError("an evaluation needs classes: give TBMetrics(..., classes=ClassGroups.from_counts({...}))")
        diagnostics: LongTailDiagnostics | bool = False
        if self.diagnostics is not None and model is not None:
            from tbmetrics.class_performance.diagnostics import LongTailDiagnostics

            diagnostics = LongTailDiagnostics(model)
        tracker = self.class_performance.empty(name)
        options = {"process_group": process_group, "strict": strict, "enabled": self.enabled, "hparams": self._hparams}
        return evaluation_session(f"{self.log_dir}/{name}", tracker, diagnostics=diagnostics, **options)

    # --------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs to continue seamlessly; save it with the checkpoint.

        Flushes the log, since a resumed run appends to it. The state holds plain containers, numbers, strings and
        tensors, so that `torch.load(..., weights_only=True)` can read it. Call `end_epoch()` first if the epoch is
        over; otherwise the resumed run continues within it.
        """
        self._step_ends.catch_up()
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
            "evaluations": self._evaluations.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict()` before the first epoch, on any machine and with any number of ranks.

        The optimizer step, the history and all trackers continue from there; later steps in the log are superseded.
        Trackers that are only in the state, or only in this session, are left alone.

        Raises:
            InputError: an epoch has begun, or classes, parameters or the version do not match.
        """
        if self.current_epoch is not None or self._last_epoch >= 0 or self._state == "finished":
            raise InputError("load_state_dict() must come before the first epoch of the session")
        saved = checked(state, "TBMetrics.load_state_dict")
        if not self.enabled:
            return
        for tracker in self.trackers:
            if tracker.name in saved["trackers"]:
                self._call(tracker, tracker.load_state_dict, saved["trackers"][tracker.name])
        self._evaluations.load_state_dict(saved.get("evaluations", {}))
        restore_history(self._log.history, saved["history"])
        self._steps.restore(saved["global_step"])
        self._last_epoch = saved["last_epoch"]
        self.current_epoch = self._resumed_epoch = saved["open_epoch"]

    def flush(self) -> None:
        """Wait until everything written so far is on disk."""
        self._log.flush()


def evaluation_session(log_dir: str, class_performance: ClassPerformanceTracker, **options: Any) -> TBMetrics:
    """A session that measures how classes do and nothing of a training.

    Args:
        log_dir: its directory.
        class_performance: a tracker without samples.
        options: further options of `TBMetrics`.
    """
    options |= {"class_performance": class_performance, "resources": False, "profiler": False, "overhead_budget": None}
    return TBMetrics(log_dir, **options)
