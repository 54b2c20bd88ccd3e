"""TBMetricsCallback for Lightning: `Trainer(callbacks=[TBMetricsCallback(classes=…)])`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tbmetrics.errors import InputError
from tbmetrics.integrations.evaluations import check_outputs, evaluation_tracker
from tbmetrics.integrations.rounds import Rounds, SampleIndices, labels_in
from tbmetrics.session.session import DATA_LOADING
from tbmetrics.tracking.optimizers import as_optimizers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from tbmetrics.classes.groups import ClassGroups
    from tbmetrics.session.session import TBMetrics

__all__ = ["TBMetricsCallback"]

_OBSERVE_ADVICE = (
    "let training_step return {'loss': loss, 'logits': logits, 'labels': labels}, or call "
    "TBMetricsCallback.observe(logits, labels) in it"
)
_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _base() -> Any:
    """Lightning's `Callback`; if both packages are installed, that of the one already imported."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(name).Callback
        except ModuleNotFoundError as error:
            if not name.startswith(f"{error.name}"):
                raise
    raise ImportError("tbmetrics.integrations.lightning needs Lightning: pip install 'tbmetrics[lightning]'")


Callback: Any = _base()


class TBMetricsCallback(Callback):  # type: ignore[misc]  # Lightning may be missing
    """Instrument `Trainer.fit`: class performance of each validation, gradients, times and memory.

        trainer = Trainer(callbacks=[TBMetricsCallback(classes=groups)])

    `ModelCheckpoint` and `EarlyStopping` may monitor the group metrics, e.g. "longtail/digit/recall/tail".
    `trainer.test` is an evaluation of its own, written to `test/` below the run's directory; `test_step` returns the
    same as `validation_step`. With `diagnostics=True`, let `training_step` return "logits" (and "labels") beside the
    loss, or call `observe` in it, which also measures the gradients that reach the logits.

    `validation_step` must return `{"logits": logits, "labels": labels}` (other entries are ignored) unless `outputs`
    is given. Epochs are those of Lightning; if validation runs several times per epoch, every validation ends an epoch,
    and they are numbered consecutively. The sanity check tries `outputs` and is not measured, nor is `fast_dev_run`.
    Steps are `trainer.global_step`. On an exception, measurements are written before it propagates. Lightning's
    checkpoints include the state of the callback, so `trainer.fit(…, ckpt_path=…)` resumes it too.

    With several processes, each measures its share of the validation set, and shares are combined at the end of the
    epoch; samples repeated by Lightning's `DistributedSampler` count once.

    Args:
        classes: `ClassGroups`, or training counts; None leaves out class performance.
        outputs: maps the result of `validation_step` and the batch to logits (N, C) and labels (N,) or (N, C), or one
            per attribute, optionally followed by dataset indices. By default, the entries "logits" and "labels";
            without "labels", those of the batch: its entry "labels", or the second of a pair.
        dataloader: index of the validation loader to measure, if there are several.
        log_dir: directory, or a `SummaryWriter` such as `logger.experiment` to share the logger's file. None writes to
            the directory of the `TensorBoardLogger`, or to `tensorboard/` in the trainer's directory.
        options: further options of `TBMetrics`. `model` defaults to the LightningModule or, if one child holds all its
            parameters, to that child, so that its forward pass is measured however it is called.

    Attributes:
        session: `TBMetrics` session of the last `fit`, or None before.

    Raises:
        InputError: an option cannot be used; in validation, logits or labels are missing.
    """

    def __init__(
        self,
        classes: ClassGroups | Mapping[Any, Any] | None = None,
        *,
        outputs: Callable[[Any, Any], tuple[Any, ...]] | None = None,
        dataloader: int = 0,
        log_dir: str | os.PathLike[str] | SummaryWriter | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._rounds = Rounds({"classes": classes, **options})
        self._outputs, self._dataloader, self._log_dir = outputs, dataloader, log_dir
        self._indices = SampleIndices()
        self._handles: list[Any] = []

    @property
    def session(self) -> TBMetrics | None:
        """Session of the last `fit`, or None before."""
        return self._rounds.session

    # ------------------------------------------------------------------------------------------------- training

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the session; the sanity check comes before and is not measured."""
        if trainer.global_step == 0:
            self._rounds.next_epoch = 0
        log_dir = self._log_dir if self._log_dir is not None else trainer.strategy.broadcast(log_dir_of(trainer))
        more = {"enabled": False} if trainer.fast_dev_run else {}
        self._rounds.begin(
            log_dir, model=model_of(pl_module), optimizer=trainer.optimizers, step=trainer.global_step, **more
        )

        if not pl_module.automatic_optimization:  # steps in between are followed by more forward passes
            self._handles = [
                unwrapped.register_step_post_hook(lambda *_: self._rounds.component("forward_pass"))
                for unwrapped in as_optimizers(trainer.optimizers)
            ]

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an epoch."""
        self._rounds.enter_epoch(trainer.current_epoch)
        self._rounds.epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Count the batch; time the forward pass."""
        self._rounds.enter_epoch(trainer.current_epoch)
        self._rounds.before_batch(trainer.global_step)
        if self.session is not None:
            self.session.count_samples(batch)
        self._rounds.component("forward_pass")

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """Time the backward pass."""
        self._rounds.component("backward_pass")

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Stop timing the backward pass."""
        self._rounds.component(None)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Time the optimizer step."""
        self._rounds.component("optimizer_step")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Time data loading until the next batch; show the diagnostics what `training_step` returned."""
        self._rounds.component(DATA_LOADING)
        self._rounds.observe_outputs(outputs, batch, _OBSERVE_ADVICE)

    def observe(self, logits: Any, labels: Any, loss: Any = None) -> None:
        """Show a training batch to the diagnostics, from within `training_step`; see `TBMetrics.observe`."""
        self._rounds.observe(logits, labels, loss)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End an epoch without validation."""
        self._rounds.end()

    # ----------------------------------------------------------------------------------------------- validation

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Time the validation; look up the dataset indices of its samples."""
        self._rounds.component("validation")
        self._begin_pass(trainer.val_dataloaders)

    def _begin_pass(self, loaders: Any) -> None:
        loaders = list(loaders.values()) if isinstance(loaders, Mapping) else loaders
        if not isinstance(loaders, list | tuple):
            loaders = [loaders]
        if self._dataloader >= len(loaders):
            raise InputError(f"dataloader={self._dataloader} is given, but there are {len(loaders)} loaders")
        self._indices.begin(loaders[self._dataloader])

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch to the class performance; in the sanity check, only try whether that works."""
        if trainer.sanity_checking and dataloader_idx == self._dataloader and evaluation_tracker(self._rounds.options):
            logits, labels, *_ = (self._outputs or logits_and_labels)(outputs, batch)
            check_outputs(logits, labels, self._rounds.options)
        self._add(self._rounds.running, outputs, batch, batch_idx, dataloader_idx)

    def _add(self, session: TBMetrics | None, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        if session is None or session.class_performance is None or dataloader_idx != self._dataloader:
            return
        logits, labels, *indices = (self._outputs or logits_and_labels)(outputs, batch)
        session.update(logits, labels, indices=indices[0] if indices else self._indices.of_batch(batch_idx, labels))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End the epoch, write its measurements, and give Lightning the group metrics to monitor."""
        if self._rounds.running is not None:
            self._rounds.end()
            _monitor(trainer, self._rounds.group_metrics())

    # --------------------------------------------------------------------------------------------------- testing

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Open a session of its own for the test set."""
        if not trainer.fast_dev_run:
            log_dir = self._log_dir if self._log_dir is not None else trainer.strategy.broadcast(log_dir_of(trainer))
            self._rounds.begin_evaluation("test", log_dir)
        self._begin_pass(trainer.test_dataloaders)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a batch to the class performance of the test set."""
        self._add(self._rounds.evaluation, outputs, batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the evaluation; give Lightning its group metrics."""
        if self._rounds.evaluation is not None:
            _monitor(trainer, self._rounds.end_evaluation())

    # ------------------------------------------------------------------------------------------------------ end

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the results and remove all hooks."""
        self._finish(None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Remove all hooks and write all measurements; the exception propagates."""
        self._finish(exception)

    def _finish(self, error: BaseException | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._rounds.end_evaluation()
        self._rounds.finish(error)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs, for Lightning's checkpoints."""
        return self._rounds.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state from Lightning's checkpoint until training starts."""
        self._rounds.resumed = state_dict or None


def _monitor(trainer: Any, metrics: Mapping[str, float]) -> None:
    """Give Lightning metrics to monitor; every process has the same ones, so that nothing is averaged or shown."""
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})


def model_of(module: Any) -> nn.Module:
    """Return the child that holds all parameters of a LightningModule, or the module itself."""
    candidates = [child for child in module.children() if any(True for _ in child.parameters())]
    has_parameters = any(True for _ in module.parameters(recurse=False))
    if len(candidates) == 1 and not has_parameters and not isinstance(candidates[0], nn.ModuleList | nn.ModuleDict):
        return candidates[0]
    return module


def log_dir_of(trainer: Any) -> str:
    """Directory of the trainer's `TensorBoardLogger`, or `tensorboard/` in that of the trainer."""
    for logger in trainer.loggers:
        if type(logger).__name__ == "TensorBoardLogger":  # from either package
            return str(logger.log_dir)
    return str(Path(trainer.log_dir or trainer.default_root_dir, "tensorboard"))


def logits_and_labels(outputs: Any, batch: Any) -> tuple[Any, Any]:
    """Return logits and labels from the entries with these names.

    Raises:
        InputError: one is missing; the message says what was returned and what to do.
    """
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
    labels = outputs["labels"] if isinstance(outputs, Mapping) and "labels" in outputs else labels_in(batch)
    if logits is None or labels is None:
        is_mapping = isinstance(outputs, Mapping)
        returned = f"the entries {', '.join(map(repr, outputs))}" if is_mapping else type(outputs).__name__
        missing = "logits" if logits is None else "labels"
        raise InputError(
            f"validation_step or test_step gave no {missing} but {returned}; let it return "
            '{"logits": logits, "labels": labels}, or give TBMetricsCallback(outputs=lambda outputs, batch: (…, …))'
        )
    return logits, labels
