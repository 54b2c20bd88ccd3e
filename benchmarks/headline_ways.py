"""The ways compared by the headline benchmark: a bare loop, tbmetrics with everything on, and alternatives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.headline_problem import Batch, Problem

BARE, OURS = "bare loop", "tbmetrics, everything on"
LIGHTNING_BARE, LIGHTNING, WANDB = "Lightning, bare", "Lightning's callbacks, torchmetrics", "wandb.watch, torchmetrics"


class Laps:
    """Processor time of the training thread, by what it went into."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.thread_time()

    def __call__(self, name: str) -> None:
        """Count the time since the last call for `name`."""
        now = time.thread_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def no_lap(name: str) -> None:
    """Count nothing."""


def bare(problem: Problem, folder: str, lap: Callable[[str], None] = no_lap) -> None:
    """Train without instrumentation; validation only computes logits."""
    for epoch in range(problem.size.epochs):
        problem.model.train()
        for images, targets in problem.batches(epoch):
            lap("batches")
            loss = problem.loss(problem.logits(images), targets)
            lap("forward")
            loss.backward()
            lap("backward")
            problem.optimizer.step()
            problem.optimizer.zero_grad()
            lap("optimizer")
        problem.model.eval()
        with torch.no_grad():
            for images, _ in problem.validation_batches():
                problem.logits(images)
                lap("forward, validation")


def ours(problem: Problem, folder: str, lap: Callable[[str], None] = no_lap) -> None:
    """Track class performance, diagnostics, gradients, attention, resources and the loss of every step."""
    from tbmetrics import TBMetrics

    with TBMetrics(
        folder, model=problem.model, optimizer=problem.optimizer, classes=problem.groups, attention=True,
        diagnostics=True,
    ) as tb:  # fmt: skip
        lap("start of the run")
        for epoch in tb.epochs(range(problem.size.epochs)):
            lap("ends of epochs")
            problem.model.train()
            for images, targets in tb.batches(problem.batches(epoch)):
                lap("batches")
                with tb.component("forward_pass"):
                    logits = problem.logits(images)
                    loss = problem.loss(logits, targets)
                lap("forward")
                tb.observe(logits, targets)
                lap("observe")
                with tb.component("backward_pass"):
                    loss.backward()
                lap("backward")
                with tb.component("optimizer_step"):
                    problem.optimizer.step()
                    problem.optimizer.zero_grad()
                lap("optimizer")
                tb.log_scalar("loss", loss.detach())
                lap("log_scalar")
            problem.model.eval()
            with tb.component("validation"), torch.no_grad():
                for images, targets in problem.validation_batches():
                    logits = problem.logits(images)
                    lap("forward, validation")
                    tb.update(logits, targets)
                    lap("update")
        lap("ends of epochs")
    lap("end of the run")


def _torchmetrics(problem: Problem) -> Any:
    """Those of our metrics that torchmetrics has: per-class precision, recall, F1, AP, PR curve; calibration."""
    from torchmetrics import MetricCollection
    from torchmetrics import classification as c

    metrics = nn.ModuleDict()
    for attribute, targets in problem.validation[1].items():
        n = len(problem.groups[attribute])
        if targets.ndim == 1:
            kinds: tuple[Any, ...] = (c.MulticlassPrecision, c.MulticlassRecall, c.MulticlassF1Score)
            members = [kind(n, average=None) for kind in kinds]
            members += [c.MulticlassAveragePrecision(n, average=None), c.MulticlassPrecisionRecallCurve(n)]
            members += [c.MulticlassCalibrationError(n), c.MulticlassConfusionMatrix(n)]
        else:
            kinds = (c.MultilabelPrecision, c.MultilabelRecall, c.MultilabelF1Score)
            members = [kind(n, average=None) for kind in kinds]
            members += [c.MultilabelAveragePrecision(n, average=None), c.MultilabelPrecisionRecallCurve(n)]
        metrics[attribute] = MetricCollection(members)
    return metrics.to(problem.device)


def _per_class(computed: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield every scalar computed by torchmetrics, class by class."""
    for name, value in computed.items():
        if isinstance(value, Tensor) and value.ndim <= 1:
            for index, item in enumerate(value.reshape(-1).tolist()):
                yield f"{name}/{index}", item


def with_wandb(problem: Problem, folder: str) -> None:
    """Use wandb offline: `watch(log="all")` every 100 steps, the loss every step, torchmetrics every epoch."""
    import wandb

    metrics = _torchmetrics(problem)
    run = wandb.init(project="bench", dir=folder, mode="offline", settings=wandb.Settings(silent=True))
    run.watch(problem.model, log="all", log_freq=100)
    for epoch in range(problem.size.epochs):
        problem.model.train()
        for images, targets in problem.batches(epoch):
            loss = problem.loss(problem.logits(images), targets)
            loss.backward()
            problem.optimizer.step()
            problem.optimizer.zero_grad()
            run.log({"loss": loss.detach()})
        problem.model.eval()
        with torch.no_grad():
            for images, targets in problem.validation_batches():
                for attribute, logits in problem.logits(images).items():
                    metrics[attribute].update(logits.float(), targets[attribute].long())
        for attribute, collection in metrics.items():
            run.log({f"{attribute}/{name}": value for name, value in _per_class(collection.compute())})
            collection.reset()
    run.finish()


def lightning_bare(problem: Problem, folder: str) -> None:
    """Use Lightning's Trainer with everything switched off."""
    _fit(problem, folder, watched=False)


def with_lightning(problem: Problem, folder: str) -> None:
    """Use Lightning's logger, device and learning-rate monitors, Timer, gradient norms and torchmetrics."""
    _fit(problem, folder, watched=True)


def _fit(problem: Problem, folder: str, *, watched: bool) -> None:
    import pytorch_lightning as pl
    from pytorch_lightning import callbacks, loggers
    from pytorch_lightning.utilities import grad_norm

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = problem.model
            self.metrics = _torchmetrics(problem) if watched else nn.ModuleDict()

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            images, targets = batch
            loss = problem.loss(problem.logits(images), targets)
            if watched:
                self.log("loss", loss)
            return loss

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            if watched and self.global_step % 10 == 0:
                self.log_dict(grad_norm(self.model, norm_type=2))

        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            images, targets = batch
            for attribute, logits in problem.logits(images).items():
                if watched:
                    self.metrics[attribute].update(logits.float(), targets[attribute].long())

        def on_validation_epoch_end(self) -> None:
            for attribute, collection in self.metrics.items():
                self.log_dict({f"{attribute}/{name}": value for name, value in _per_class(collection.compute())})
                collection.reset()

        def configure_optimizers(self) -> Any:
            return problem.optimizer

    class Batches(torch.utils.data.IterableDataset[Batch]):
        def __init__(self, batches: Callable[[], Iterator[Batch]]) -> None:
            self.batches = batches

        def __iter__(self) -> Iterator[Batch]:
            return self.batches()

    monitors = [callbacks.DeviceStatsMonitor(), callbacks.LearningRateMonitor(), callbacks.Timer()]
    trainer = pl.Trainer(
        max_epochs=problem.size.epochs, accelerator="gpu" if problem.device.type == "cuda" else "cpu", devices=1,
        logger=loggers.TensorBoardLogger(folder) if watched else False, callbacks=monitors if watched else [],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        log_every_n_steps=10,
    )  # fmt: skip
    loaders = [
        torch.utils.data.DataLoader(Batches(batches), batch_size=None)
        for batches in (lambda: problem.batches(trainer.current_epoch), problem.validation_batches)
    ]
    trainer.fit(Module(), *loaders)


WAYS: dict[str, Callable[[Problem, str], None]] = {
    BARE: bare,
    OURS: ours,
    LIGHTNING_BARE: lightning_bare,
    LIGHTNING: with_lightning,
    WANDB: with_wandb,
}
#: Ways that say where their time goes.
WAYS_IN_LAPS = {BARE: bare, OURS: ours}
