"""TBMetricsCallback for the Trainer of Hugging Face Transformers."""

from __future__ import annotations

import inspect
import os
import socket
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tbmetrics.errors import InputError, TBMetricsWarning
from tbmetrics.integrations.evaluations import evaluation_tracker, group_metrics
from tbmetrics.integrations.rounds import Rounds, without_padding
from tbmetrics.session.session import DATA_LOADING
from tbmetrics.tracking.hooks import Hook

__all__ = ["TBMetricsCallback"]

try:
    from transformers.trainer_callback import TrainerCallback as _Base
except ModuleNotFoundError as error:
    if f"{error.name}".partition(".")[0] != "transformers":
        raise
    raise ImportError(
        "tbmetrics.integrations.transformers needs Transformers: pip install 'tbmetrics[transformers]'"
    ) from error

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from tbmetrics.classes.groups import ClassGroups
    from tbmetrics.session.session import TBMetrics

STATE_FILE = "tbmetrics.pt"


class TBMetricsCallback(_Base):  # type: ignore[misc]  # Transformers is not followed
    """Instrument `Trainer.train`: class performance of each evaluation, gradients, times and memory.

        metrics = TBMetricsCallback(classes=groups)
        trainer = Trainer(…, compute_metrics=metrics.compute_metrics, callbacks=[metrics])

    `metric_for_best_model` and early stopping may use the group metrics, e.g. "longtail/digit/recall/tail". With
    `diagnostics=True`, training batches are seen as the model's forward pass takes "labels" and gives logits; if it
    does not, call `observe` in `compute_loss`. Evaluations with another prefix, and `trainer.predict` of labelled data,
    are evaluations of their own, written to a folder with the prefix as its name below the run's.

    The Trainer passes `compute_metrics` the logits and labels of the whole evaluation set, gathered over processes and
    without duplicates, so every sample counts once. Each epoch of tbmetrics ends with an evaluation: with
    `eval_strategy="epoch"` epochs are those of the Trainer, with "steps" evaluations are numbered from 0. Evaluations
    before the first step are ignored. Steps are `state.global_step`. Event files are
    written next to the Trainer's own. A file `tbmetrics.pt` in each checkpoint folder lets a resumed training continue
    its measurements.

    Args:
        classes: `ClassGroups`, or training counts; None leaves out class performance.
        compute_metrics: your own function, whose result is returned to the Trainer.
        outputs: maps the `EvalPrediction` to logits (N, C) and labels (N,) or (N, C), or one per attribute. By default,
            the predictions (the first of several) and the label ids; tokens labelled -100 are left out.
        prefix: prefix of the evaluation to measure, if there are several: `f"eval_{name}"`.
        log_dir: directory or `SummaryWriter`; None writes next to the Trainer's own event file, or to `runs/` in its
            `output_dir`.
        options: further options of `TBMetrics`.

    Attributes:
        session: `TBMetrics` session of the last `train`, or None before.

    Raises:
        InputError: an option cannot be used; in evaluation, the predictions are not logits.
    """

    def __init__(
        self,
        classes: ClassGroups | Mapping[Any, Any] | None = None,
        *,
        compute_metrics: Callable[..., dict[str, Any]] | None = None,
        outputs: Callable[[Any], tuple[Any, Any]] | None = None,
        prefix: str = "eval",
        log_dir: str | os.PathLike[str] | SummaryWriter | None = None,
        **options: Any,
    ) -> None:
        self._rounds = Rounds({"classes": classes, **options})
        self._compute_metrics, self._outputs = compute_metrics, outputs
        self._prefix, self._log_dir = prefix, log_dir
        self._evaluation: list[tuple[Any, Any]] = []  # logits and labels of the current evaluation
        self._handle: Any = None  # of the hook that shows training batches to the diagnostics
        self._steps = 0  # since the last evaluation
        self._has_warned = False

    @property
    def session(self) -> TBMetrics | None:
        """Session of the last `train`, or None before."""
        return self._rounds.session

    def finalize(self) -> None:
        """End the session; only needed after an exception in `trainer.train()`, which callbacks do not see."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        self._rounds.finish()

    # ------------------------------------------------------------------------------------------------- training

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the session."""
        self._steps = self._rounds.next_epoch = 0
        if state.global_step:
            self._resume(args, state)
        log_dir = self._log_dir if self._log_dir is not None else log_dir_of(args)
        model, optimizer = kwargs.get("model"), kwargs.get("optimizer")
        self._rounds.begin(log_dir, model=model, optimizer=optimizer, step=state.global_step)
        if self.session is not None and self.session.diagnostics is not None and model is not None:
            self._handle = model.register_forward_hook(Hook(self._see_forward), with_kwargs=True)

    def _resume(self, args: Any, state: Any) -> None:
        """Restore the state in the checkpoint, or count the past evaluations if it has none."""
        saved = checkpoint_state(args, state.global_step)
        if saved is None:
            self._rounds.next_epoch = sum(f"{self._prefix}_runtime" in row for row in state.log_history)
        else:
            self._rounds.resumed, self._steps = saved, saved["steps"]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an epoch; without evaluations, also end the previous one."""
        if args.eval_strategy == "no":
            self._end(args)
        self._rounds.epoch(int((state.epoch or 0) + 1e-6))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Time the forward and backward passes of a step, whose batches have been loaded."""
        self._rounds.before_batch(state.global_step)
        self._rounds.component("forward_backward")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Time the optimizer step."""
        self._rounds.component("optimizer_step")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop timing the optimizer step."""
        self._rounds.component(None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a step; time the evaluation or checkpoint if one comes before the next batch."""
        self._steps += 1
        if self.session is not None:
            self.session.step()
        self._rounds.observe_outputs(None, None, "call TBMetricsCallback.observe(logits, labels) in compute_loss")
        self._rounds.component(_next_component(control))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Time the evaluation or checkpoint if one comes before the next batch."""
        self._rounds.component(_next_component(control))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add everything a resumed run needs to the folder of a checkpoint."""
        folder = checkpoint_folder(args, state.global_step)
        if args.should_save and not args.save_only_model and folder.is_dir() and (saved := self._rounds.state()):
            torch.save({**saved, "steps": self._steps}, folder / STATE_FILE)
        self._rounds.component(DATA_LOADING)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the results and remove all hooks."""
        self._end(args)
        self.finalize()

    def observe(self, logits: Any, labels: Any, loss: Any = None) -> None:
        """Show a training batch to the diagnostics, from within `compute_loss`; see `TBMetrics.observe`."""
        self._rounds.observe(logits, labels, loss)

    def _see_forward(self, model: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        """Observe a training batch as it passes the model, before the backward pass."""
        labels, logits = kwargs.get("labels"), output.get("logits") if isinstance(output, Mapping) else None
        if not isinstance(logits, torch.Tensor) or not isinstance(labels, torch.Tensor):
            return
        if model.training and torch.is_grad_enabled() and labels.ndim == logits.ndim - 1:
            with suppress(InputError):  # of several attributes, or another task: `on_step_end` says what to do
                if logits.ndim == 2:
                    self._rounds.observe(logits, labels)
                else:  # the gradient does not come by the flattened tokens; that of cross-entropy is counted
                    self._rounds.observe(logits.detach().flatten(0, -2), labels.flatten())

    def _end(self, args: Any) -> None:
        """End the open epoch; a step consists of the accumulated batches of this process."""
        size = args.train_batch_size
        samples = self._steps * size * args.gradient_accumulation_steps
        self._rounds.end(size, samples if self._steps else None)
        self._steps = 0

    # ----------------------------------------------------------------------------------------------- evaluation

    def compute_metrics(self, prediction: Any, compute_result: bool = True) -> dict[str, Any]:
        """Collect the logits and return the result of your own `compute_metrics`; pass this method to the Trainer.

        Args:
            prediction: `EvalPrediction` of the whole evaluation or, with `batch_eval_metrics`, of one batch.
            compute_result: with `batch_eval_metrics`, whether this is the last batch.
        """
        metrics = self._group_metrics(prediction, compute_result)
        if self._compute_metrics is None:
            return metrics
        if "compute_result" in inspect.signature(self._compute_metrics).parameters:
            return {**metrics, **(self._compute_metrics(prediction, compute_result=compute_result) or {})}
        return {**metrics, **self._compute_metrics(prediction)}

    def _group_metrics(self, prediction: Any, compute_result: bool) -> dict[str, float]:
        """Collect the logits, and return the group metrics once the evaluation is complete."""
        tracker = evaluation_tracker(self._rounds.options)
        if tracker is None:
            return {}
        self._evaluation.append(self._outputs(prediction) if self._outputs else logits_and_labels(prediction))
        if not compute_result:
            return {}
        for logits, labels in self._evaluation:
            tracker.update(logits, labels)
        return group_metrics(tracker)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record what `compute_metrics` collected and end the epoch, if this is the evaluation to measure."""
        evaluation, self._evaluation = self._evaluation, []
        session = self._rounds.running
        is_measured = f"{self._prefix}_runtime" in (metrics or {})
        if not is_measured:
            self._evaluate_apart(args, evaluation, metrics)
        elif session is not None and state.global_step:
            for logits, labels in evaluation if session.writes else ():
                session.update(logits, labels)
            if not evaluation and session.class_performance is not None and session.writes:
                self._warn_of_missing_logits()
            self._end(args)
        self._rounds.component("checkpoint" if control.should_save else DATA_LOADING)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record a prediction of labelled data as an evaluation of its own."""
        evaluation, self._evaluation = self._evaluation, []
        self._evaluate_apart(args, evaluation, metrics)

    def _evaluate_apart(self, args: Any, evaluation: list[tuple[Any, Any]], metrics: Any) -> None:
        """Write an evaluation to a folder of its own, named by the prefix of its metrics."""
        prefix = next((key.removesuffix("_runtime") for key in metrics or () if key.endswith("_runtime")), None)
        if not evaluation or not prefix or not args.should_save:
            return
        self._rounds.begin_evaluation(
            prefix, self._log_dir if self._log_dir is not None else log_dir_of(args), alone=True
        )
        if self._rounds.evaluation is not None:
            for logits, labels in evaluation:
                self._rounds.evaluation.update(logits, labels)
        self._rounds.end_evaluation()

    def _warn_of_missing_logits(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            message = "classes are given, but no logits came; give the Trainer compute_metrics=callback.compute_metrics"
            warnings.warn(message, TBMetricsWarning, stacklevel=3)


def _next_component(control: Any) -> str:
    return "validation" if control.should_evaluate else "checkpoint" if control.should_save else DATA_LOADING


def logits_and_labels(prediction: Any) -> tuple[Any, Any]:
    """Return logits and labels of an `EvalPrediction`, without padding.

    Raises:
        InputError: there are several labels, or no logits; the message says what to do.
    """
    logits, labels = prediction.predictions, prediction.label_ids
    if isinstance(logits, tuple | list):
        logits = logits[0]
    if not hasattr(logits, "ndim") or not hasattr(labels, "ndim") or logits.ndim < 2:
        types = f"{type(logits).__name__} and {type(labels).__name__}"
        raise InputError(
            f"predictions and labels must be one array each, logits of shape (N, C), got {types}; "
            "give TBMetricsCallback(outputs=lambda prediction: (logits, labels))"
        )
    return without_padding(logits, labels)


def checkpoint_folder(args: Any, step: int) -> Path:
    """Folder of the Trainer's checkpoint after `step` optimizer steps."""
    return Path(args.output_dir, f"checkpoint-{step}")


def checkpoint_state(args: Any, step: int) -> dict[str, Any] | None:
    """Load the state saved by `on_save` in the checkpoint that training resumes from, or None without one.

    Callbacks do not learn which checkpoint that is, so `args.resume_from_checkpoint` is tried first, then the one in
    the output directory.
    """
    requested = args.resume_from_checkpoint if isinstance(args.resume_from_checkpoint, str) else None
    for folder in ([Path(requested)] if requested else []) + [checkpoint_folder(args, step)]:
        if (folder / STATE_FILE).is_file():
            state: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
            return state
    return None


def log_dir_of(args: Any) -> str:
    """Directory of the Trainer's own TensorBoard callback in this process, or `runs/` in the output directory."""
    configured = getattr(args, "logging_dir", None) or os.environ.get("TENSORBOARD_LOGGING_DIR")
    if configured:
        return str(configured)
    process_mark = f".{socket.gethostname()}.{os.getpid()}."
    files = Path(args.output_dir).glob("runs/*/events.out.tfevents.*")
    own_files = [path for path in files if process_mark in path.name and "tensorboard" in args.report_to]
    latest = max(own_files, key=lambda path: path.stat().st_mtime_ns, default=None)
    return str(latest.parent if latest is not None else Path(args.output_dir, "runs"))
