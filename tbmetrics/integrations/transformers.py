"""TBMetricsCallback for the Trainer of Hugging Face Transformers."""

from __future__ import annotations

import inspect
import os
import socket
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tbmetrics.errors import InputError, TBMetricsWarning
from tbmetrics.integrations.rounds import Rounds, without_padding
from tbmetrics.session.session import DATA_LOADING

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
    """Instruments `Trainer.train`: the classes of each evaluation, gradients, times and memory.

        metrics = TBMetricsCallback(classes=groups)
        trainer = Trainer(…, compute_metrics=metrics.compute_metrics, callbacks=[metrics])

    The Trainer hands `compute_metrics` the logits and labels of the whole evaluation set, gathered over processes and
    without their padding, so every sample counts once. An epoch of tbmetrics ends with an evaluation: with
    `eval_strategy="epoch"` it is the Trainer's, with "steps" evaluations are counted, from 0. An evaluation before the
    first step is not counted, nor are those of `trainer.predict`. Steps are `state.global_step`. Event files lie beside
    the Trainer's own. Each checkpoint folder gets a file `tbmetrics.pt`, so that a training resumed from it goes on
    where it was.

    Args:
        classes: `ClassGroups`, or training counts; None leaves out class performance.
        compute_metrics: your own; what it returns is passed on.
        outputs: given the `EvalPrediction`, the logits and the labels: (N, C) and (N,) or (N, C), or one per attribute.
            By default the predictions (the first of several) and the label ids; of tokens, those labelled -100 are
            left out.
        prefix: of the evaluation that counts, where there are several: `f"eval_{name}"`.
        log_dir: None = where the Trainer writes its own event file, else `runs/` in its `output_dir`.
        options: further options of `TBMetrics`.

    Attributes:
        session: the `TBMetrics` session of the last `train`, None before.

    Raises:
        InputError: options that cannot work; in evaluation, predictions that are no logits.
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
        self._theirs, self._outputs = compute_metrics, outputs
        self._prefix, self._log_dir = prefix, log_dir
        self._evaluation: list[tuple[Any, Any]] = []  # logits and labels of the evaluation that is going on
        self._steps = 0  # since the last evaluation
        self._warned = False

    @property
    def session(self) -> TBMetrics | None:
        """The session of the last `train`."""
        return self._rounds.session

    def finalize(self) -> None:
        """Ends the session; only needed after an exception in `trainer.train()`, of which callbacks are not told."""
        self._rounds.finish()

    # ------------------------------------------------------------------------------------------------- training

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Opens the session."""
        self._steps = self._rounds.next_epoch = 0
        if state.global_step:
            self._go_on_from(args, state)
        log_dir = self._log_dir if self._log_dir is not None else log_dir_of(args)
        model, optimizer = kwargs.get("model"), kwargs.get("optimizer")
        self._rounds.begin(log_dir, model=model, optimizer=optimizer, step=state.global_step)

    def _go_on_from(self, args: Any, state: Any) -> None:
        """Takes up what `on_save` left in the checkpoint; without it, the evaluations done are counted."""
        found = checkpoint_state(args, state.global_step)
        if found is None:
            self._rounds.next_epoch = sum(f"{self._prefix}_runtime" in row for row in state.log_history)
        else:
            self._rounds.resumed, self._steps = found, found["steps"]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begins an epoch; without evaluations also ends the one before."""
        if args.eval_strategy == "no":
            self._end(args)
        self._rounds.epoch(int((state.epoch or 0) + 1e-6))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The batches of a step have arrived."""
        self._rounds.before_batch(state.global_step)
        self._rounds.component("forward_backward")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The optimizer steps."""
        self._rounds.component("optimizer_step")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The optimizer has stepped."""
        self._rounds.component(None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step is done; evaluating or saving may come before the next batch."""
        self._steps += 1
        if self.session is not None:
            self.session.step()
        self._rounds.component(_after_step(control))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluating or saving may come before the next batch."""
        self._rounds.component(_after_step(control))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is written; puts everything that a resumed run needs into its folder."""
        folder = checkpoint_folder(args, state.global_step)
        if args.should_save and not args.save_only_model and folder.is_dir() and (kept := self._rounds.state()):
            torch.save({**kept, "steps": self._steps}, folder / STATE_FILE)
        self._rounds.component(DATA_LOADING)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Writes the results and removes every hook."""
        self._end(args)
        self._rounds.finish()

    def _end(self, args: Any) -> None:
        """Ends the open epoch; a step takes the batches of one accumulation on this process."""
        size = args.train_batch_size
        samples = self._steps * size * args.gradient_accumulation_steps
        self._rounds.end(size, samples if self._steps else None)
        self._steps = 0

    # ----------------------------------------------------------------------------------------------- evaluation

    def compute_metrics(self, prediction: Any, compute_result: bool = True) -> dict[str, Any]:
        """What the Trainer is given as its `compute_metrics`: takes the logits, and returns what yours returns.

        Args:
            prediction: an `EvalPrediction`, of the whole evaluation or, with `batch_eval_metrics`, of one batch.
            compute_result: with `batch_eval_metrics`, whether it is the last batch.
        """
        session = self._rounds.running
        if session is not None and session.class_performance is not None and session.writes:
            self._evaluation.append(self._outputs(prediction) if self._outputs else logits_and_labels(prediction))
        if self._theirs is None:
            return {}
        if "compute_result" in inspect.signature(self._theirs).parameters:
            return self._theirs(prediction, compute_result=compute_result)
        return self._theirs(prediction)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Writes the evaluation that `compute_metrics` was shown, if it is the one that counts."""
        evaluation, self._evaluation = self._evaluation, []
        session = self._rounds.running
        if session is not None and state.global_step and f"{self._prefix}_runtime" in (metrics or {}):
            for logits, labels in evaluation:
                session.update(logits, labels)
            if not evaluation and session.class_performance is not None and session.writes:
                self._warn_of_missing_logits()
            self._end(args)
        self._rounds.component("checkpoint" if control.should_save else DATA_LOADING)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Predictions are not counted."""
        self._evaluation.clear()

    def _warn_of_missing_logits(self) -> None:
        if not self._warned:
            self._warned = True
            message = "classes are given, but no logits came; give the Trainer compute_metrics=callback.compute_metrics"
            warnings.warn(message, TBMetricsWarning, stacklevel=3)


def _after_step(control: Any) -> str:
    return "validation" if control.should_evaluate else "checkpoint" if control.should_save else DATA_LOADING


def logits_and_labels(prediction: Any) -> tuple[Any, Any]:
    """Logits and labels of an `EvalPrediction`, padding left out.

    Raises:
        InputError: several labels, or no logits; says what to do.
    """
    logits, labels = prediction.predictions, prediction.label_ids
    if isinstance(logits, tuple | list):
        logits = logits[0]
    if not hasattr(logits, "ndim") or not hasattr(labels, "ndim") or logits.ndim < 2:
        given = f"{type(logits).__name__} and {type(labels).__name__}"
        raise InputError(
            f"predictions and labels must be one array each, logits of shape (N, C), got {given}; "
            "give TBMetricsCallback(outputs=lambda prediction: (logits, labels))"
        )
    return without_padding(logits, labels)


def checkpoint_folder(args: Any, step: int) -> Path:
    """Where the Trainer puts its checkpoint after `step` optimizer steps."""
    return Path(args.output_dir, f"checkpoint-{step}")


def checkpoint_state(args: Any, step: int) -> dict[str, Any] | None:
    """What `on_save` left in the checkpoint that training goes on from; None where it left nothing.

    Callbacks are not told which checkpoint that is: it is `args.resume_from_checkpoint`, else the one in the output
    directory.
    """
    given = args.resume_from_checkpoint if isinstance(args.resume_from_checkpoint, str) else None
    for folder in ([Path(given)] if given else []) + [checkpoint_folder(args, step)]:
        if (folder / STATE_FILE).is_file():
            found: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
            return found
    return None


def log_dir_of(args: Any) -> str:
    """Where the Trainer's own TensorBoard callback writes in this process, else `runs/` in the output directory."""
    given = getattr(args, "logging_dir", None) or os.environ.get("TENSORBOARD_LOGGING_DIR")
    if given:
        return str(given)
    mark = f".{socket.gethostname()}.{os.getpid()}."
    files = Path(args.output_dir).glob("runs/*/events.out.tfevents.*")
    theirs = [path for path in files if mark in path.name and "tensorboard" in args.report_to]
    return str(
        max(theirs, key=lambda path: path.stat().st_mtime_ns).parent if theirs else Path(args.output_dir, "runs")
    )
