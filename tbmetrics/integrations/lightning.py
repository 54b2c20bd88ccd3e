"""TBMetricsCallback for Lightning: `Trainer(callbacks=[TBMetricsCallback(classes=…)])`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tbmetrics.errors import InputError
from tbmetrics.integrations.rounds import Rounds, SampleNumbers, labels_in
from tbmetrics.session.session import DATA_LOADING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from tbmetrics.classes.groups import ClassGroups
    from tbmetrics.session.session import TBMetrics

__all__ = ["TBMetricsCallback"]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _base() -> Any:
    """Lightning's `Callback`, of the package that is in use where both are installed."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(name).Callback
        except ModuleNotFoundError as error:
            if not name.startswith(f"{error.name}"):
                raise
    raise ImportError("tbmetrics.integrations.lightning needs Lightning: pip install 'tbmetrics[lightning]'")


Callback: Any = _base()


class TBMetricsCallback(Callback):  # type: ignore[misc]  # Lightning may be missing
    """Instruments `Trainer.fit`: the classes of each validation, gradients, times and memory, beside the logger's file.

        trainer = Trainer(callbacks=[TBMetricsCallback(classes=groups)])

    `validation_step` returns `{"logits": logits, "labels": labels}` (more entries do no harm), or is told apart by
    `outputs`. Each epoch of tbmetrics is Lightning's; where validation runs several times an epoch, each validation is
    an epoch and they are counted on. The sanity check is not counted, nor is `fast_dev_run`. Steps are
    `trainer.global_step`. Lightning's exceptions pass through, after everything measured is written. Lightning's
    checkpoints hold the callback's state, so that `trainer.fit(…, ckpt_path=…)` goes on where it was.

    With several processes each measures its share of the validation set and the epoch's end puts them together; samples
    that Lightning's `DistributedSampler` repeats count once.

    Args:
        classes: `ClassGroups`, or training counts; None leaves out class performance.
        outputs: given what `validation_step` returned and the batch, the logits and the labels: (N, C) and (N,) or
            (N, C), or one per attribute; as a third, the samples' numbers in the data set. By default the entries
            "logits" and "labels"; without "labels" those of the batch: its entry "labels", or the second of a pair.
        dataloader: which validation loader, where there are several.
        log_dir: None = the directory of the `TensorBoardLogger`; without one `tensorboard/` in the trainer's directory.
            Or a `SummaryWriter`, e.g. `logger.experiment`, to write into the logger's own file.
        options: further options of `TBMetrics`. `model` is the LightningModule or, where one child holds all of its
            parameters, that child, whose forward pass is then watched however it is called.

    Attributes:
        session: the `TBMetrics` session of the last `fit`, None before.

    Raises:
        InputError: options that cannot work; in validation, outputs without logits or labels.
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
        self._numbers = SampleNumbers()

    @property
    def session(self) -> TBMetrics | None:
        """The session of the last `fit`."""
        return self._rounds.session

    # ------------------------------------------------------------------------------------------------- training

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Opens the session; everything before (the sanity check) is not measured."""
        if trainer.global_step == 0:
            self._rounds.next_epoch = 0
        log_dir = self._log_dir if self._log_dir is not None else trainer.strategy.broadcast(log_dir_of(trainer))
        more = {"enabled": False} if trainer.fast_dev_run else {}
        self._rounds.begin(
            log_dir, model=model_of(pl_module), optimizer=trainer.optimizers, step=trainer.global_step, **more
        )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins an epoch."""
        self._rounds.enter_epoch(trainer.current_epoch)
        self._rounds.epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The batch has arrived."""
        self._rounds.enter_epoch(trainer.current_epoch)
        self._rounds.before_batch(trainer.global_step)
        if self.session is not None:
            self.session.count_samples(batch)
        self._rounds.component("forward_pass")

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        """The forward pass is done."""
        self._rounds.component("backward_pass")

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """The backward pass is done."""
        self._rounds.component(None)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """The optimizer steps."""
        self._rounds.component("optimizer_step")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """From here to the next batch is data loading."""
        self._rounds.component(DATA_LOADING)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Ends an epoch that no validation has ended."""
        self._rounds.end()

    # ----------------------------------------------------------------------------------------------- validation

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Validation begins."""
        self._rounds.component("validation")
        loaders = trainer.val_dataloaders
        if isinstance(loaders, Mapping):
            loaders = list(loaders.values())
        self._numbers.begin(loaders[self._dataloader] if isinstance(loaders, list | tuple) else loaders)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Adds one batch to the class performance."""
        session = self._rounds.running
        if session is None or session.class_performance is None or dataloader_idx != self._dataloader:
            return
        logits, labels, *numbers = (self._outputs or logits_and_labels)(outputs, batch)
        session.update(logits, labels, indices=numbers[0] if numbers else self._numbers.numbers(batch_idx, labels))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Writes what was measured."""
        self._rounds.end()

    # ------------------------------------------------------------------------------------------------------ end

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Writes the results and removes every hook."""
        self._rounds.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Removes every hook and writes what was measured; the exception goes on."""
        self._rounds.finish(exception)

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoints: everything that a resumed run needs to go on as if it had never stopped."""
        return self._rounds.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From Lightning's checkpoints; taken up when training starts."""
        self._rounds.resumed = state_dict or None


def model_of(module: Any) -> nn.Module:
    """The child that holds all parameters of a LightningModule, else the module itself."""
    inside = [child for child in module.children() if any(True for _ in child.parameters())]
    has_parameters = any(True for _ in module.parameters(recurse=False))
    only_one = len(inside) == 1 and not has_parameters and not isinstance(inside[0], nn.ModuleList | nn.ModuleDict)
    model: nn.Module = inside[0] if only_one else module
    return model


def log_dir_of(trainer: Any) -> str:
    """The directory of the trainer's `TensorBoardLogger`, else `tensorboard/` in the trainer's own."""
    for logger in trainer.loggers:
        if type(logger).__name__ == "TensorBoardLogger":  # of either package
            return str(logger.log_dir)
    return str(Path(trainer.log_dir or trainer.default_root_dir, "tensorboard"))


def logits_and_labels(outputs: Any, batch: Any) -> tuple[Any, Any]:
    """Logits and labels by their usual names.

    Raises:
        InputError: they are not there; says what came and what to do.
    """
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
    labels = outputs["labels"] if isinstance(outputs, Mapping) and "labels" in outputs else labels_in(batch)
    if logits is None or labels is None:
        what = (
            f"the entries {', '.join(map(repr, outputs))}" if isinstance(outputs, Mapping) else type(outputs).__name__
        )
        missing = "logits" if logits is None else "labels"
        raise InputError(
            f"validation_step gave no {missing} but {what}; let it return "
            '{"logits": logits, "labels": labels}, or give TBMetricsCallback(outputs=lambda outputs, batch: (…, …))'
        )
    return logits, labels
