"""What everything costs together: whole training runs with tbmetrics at its defaults, bare, and with what others offer.

Each run is a process of its own, in turns: a transformer on handwritten digits with two attributes, trained and
validated over a few epochs. With CUDA the model is a ViT-B/16 in bfloat16 on generated images. The time is that of the
loop, from the first epoch until everything is written; loading modules and data is not in it. Processor time counts all
threads and child processes, so work in the background is not free there.

Ways: `bare`; `tbmetrics` with everything on; Lightning's Trainer bare, and with its callbacks and logger and
torchmetrics; wandb offline, watching gradients and weights, with torchmetrics.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import Comparison, Results, Run, in_child

BARE, OURS = "bare loop", "tbmetrics, everything on"
LIGHTNING_BARE, LIGHTNING, WANDB = "Lightning, bare", "Lightning's callbacks, torchmetrics", "wandb.watch, torchmetrics"
Batch = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Size:
    """How large a problem: of the model, and of an epoch."""

    dim: int
    blocks: int
    heads: int
    batch: int
    steps: int
    epochs: int


SIZES = {
    "small": Size(dim=48, blocks=2, heads=4, batch=16, steps=400, epochs=3),
    "medium": Size(dim=192, blocks=6, heads=6, batch=64, steps=100, epochs=3),
    "quick": Size(dim=48, blocks=2, heads=4, batch=16, steps=30, epochs=2),
    "vit": Size(dim=768, blocks=12, heads=12, batch=64, steps=200, epochs=2),
}


class Problem:
    """The model, its batches and its loss; the same for every way."""

    def __init__(self, size: Size, *, vit: bool) -> None:
        from tbmetrics import ClassGroups

        torch.manual_seed(0)
        self.size = size
        self.device = torch.device("cuda" if vit else "cpu")
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=vit)
        self.groups: ClassGroups
        self.model, self.training, self.validation, self.groups = _vit(size) if vit else _digits(size)
        self.model.to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The training batches of an epoch, drawn with replacement."""
        generator = torch.Generator().manual_seed(epoch)
        images, targets = self.training
        for _ in range(self.size.steps):
            rows = torch.randint(len(images), (self.size.batch,), generator=generator)
            yield self.to_device((images[rows], {a: y[rows] for a, y in targets.items()}))

    def validation_batches(self) -> Iterator[Batch]:
        """All validation batches."""
        images, targets = self.validation
        for first in range(0, len(images), self.size.batch):
            rows = slice(first, first + self.size.batch)
            yield self.to_device((images[rows], {a: y[rows] for a, y in targets.items()}))

    def to_device(self, batch: Batch) -> Batch:
        """The batch where the model is."""
        images, targets = batch
        moved = {a: y.to(self.device, non_blocking=True) for a, y in targets.items()}
        return images.to(self.device, non_blocking=True), moved

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """By attribute, in bfloat16 where the device computes so."""
        with self.autocast:
            found: dict[str, Tensor] = self.model(images)
        return found

    @staticmethod
    def loss(logits: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of single-label attributes, binary of multi-label ones."""
        parts = [
            F.cross_entropy(logits[a].float(), y)
            if y.ndim == 1
            else F.binary_cross_entropy_with_logits(logits[a].float(), y)
            for a, y in targets.items()
        ]
        return torch.stack(parts).sum()


def _digits(size: Size) -> tuple[nn.Module, Batch, Batch, Any]:
    from examples import digits_longtail as digits

    training, validation = digits.load_splits(0)
    groups = digits.class_groups(training)
    classes = {attribute: len(of) for attribute, of in groups.items()}
    model = digits.PromptTransformer(classes, size.dim, size.heads, size.blocks)
    return model, (training.images, training.targets), (validation.images, validation.targets), groups


class VisionTransformer(nn.Module):
    """ViT with patches of 16 × 16 pixels; at width 768 and depth 12 the size of ViT-B/16."""

    def __init__(self, size: Size, classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, size.dim, 16, 16)
        self.position = nn.Parameter(torch.randn(196, size.dim) * 0.02)
        options = {"dropout": 0.0, "activation": F.gelu, "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(size.dim, size.heads, 4 * size.dim, **options) for _ in range(size.blocks))
        )
        self.norm = nn.LayerNorm(size.dim)
        self.head = nn.Linear(size.dim, classes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, 224, 224) to logits (N, classes)."""
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.position
        return {"species": self.head(self.norm(self.blocks(tokens)).mean(1))}


def _vit(size: Size, classes: int = 1000) -> tuple[nn.Module, Batch, Batch, Any]:
    from tbmetrics import ClassGroups

    counts = [max(2, int(1280 * 0.004 ** (c / classes))) for c in range(classes)]

    def generated(n: int) -> Batch:
        return torch.randn(n, 3, 224, 224), {"species": torch.randint(classes, (n,))}

    return VisionTransformer(size, classes), generated(512), generated(1024), ClassGroups.from_counts(
        {"species": counts}
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the ways


def bare(problem: Problem, folder: str) -> None:
    """The loop and nothing else; validation computes the logits."""
    for epoch in range(problem.size.epochs):
        problem.model.train()
        for images, targets in problem.batches(epoch):
            problem.loss(problem.logits(images), targets).backward()
            problem.optimizer.step()
            problem.optimizer.zero_grad()
        problem.model.eval()
        with torch.no_grad():
            for images, _ in problem.validation_batches():
                problem.logits(images)


def ours(problem: Problem, folder: str) -> None:
    """Class performance, diagnostics, gradients, attention, resources, and the loss of every step."""
    from tbmetrics import TBMetrics

    with TBMetrics(
        folder, model=problem.model, optimizer=problem.optimizer, classes=problem.groups, attention=True,
        diagnostics=_diagnostics(problem),
    ) as tb:  # fmt: skip
        for epoch in tb.epochs(range(problem.size.epochs)):
            problem.model.train()
            for images, targets in tb.batches(problem.batches(epoch)):
                with tb.component("forward_pass"):
                    logits = problem.logits(images)
                    loss = problem.loss(logits, targets)
                tb.observe(logits, targets)
                with tb.component("backward_pass"):
                    loss.backward()
                with tb.component("optimizer_step"):
                    problem.optimizer.step()
                    problem.optimizer.zero_grad()
                tb.log_scalar("loss", loss.detach())
            problem.model.eval()
            with tb.component("validation"), torch.no_grad():
                for images, targets in problem.validation_batches():
                    tb.update(problem.logits(images), targets)


def _diagnostics(problem: Problem) -> Any:
    from tbmetrics import LongTailDiagnostics

    if "species" in problem.groups:
        return True
    return LongTailDiagnostics(classifiers={attribute: f"heads.{attribute}" for attribute in problem.groups})


def _torchmetrics(problem: Problem) -> Any:
    """Per class: precision, recall, F1, exact AP, PR curve; calibration: what torchmetrics has of what we record."""
    from torchmetrics import MetricCollection
    from torchmetrics import classification as c

    metrics = nn.ModuleDict()
    for attribute, targets in problem.validation[1].items():
        n = len(problem.groups[attribute])
        if targets.ndim == 1:
            found: list[Any] = [
                kind(n, average=None) for kind in (c.MulticlassPrecision, c.MulticlassRecall, c.MulticlassF1Score)
            ]
            found += [c.MulticlassAveragePrecision(n, average=None), c.MulticlassPrecisionRecallCurve(n)]
            found += [c.MulticlassCalibrationError(n), c.MulticlassConfusionMatrix(n)]
        else:
            found = [kind(n, average=None) for kind in (c.MultilabelPrecision, c.MultilabelRecall, c.MultilabelF1Score)]
            found += [c.MultilabelAveragePrecision(n, average=None), c.MultilabelPrecisionRecallCurve(n)]
        metrics[attribute] = MetricCollection(found)
    return metrics.to(problem.device)


def _per_class(computed: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Every scalar in what torchmetrics computed, class by class."""
    for name, value in computed.items():
        if isinstance(value, Tensor) and value.ndim <= 1:
            for number, item in enumerate(value.reshape(-1).tolist()):
                yield f"{name}/{number}", item


def with_wandb(problem: Problem, folder: str) -> None:
    """`watch(log="all")` every 100 steps, the loss every step, torchmetrics per class every epoch; offline."""
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
        for attribute, of in metrics.items():
            run.log({f"{attribute}/{name}": value for name, value in _per_class(of.compute())})
            of.reset()
    run.finish()


def lightning_bare(problem: Problem, folder: str) -> None:
    """Lightning's Trainer with everything switched off."""
    _fit(problem, folder, watched=False)


def with_lightning(problem: Problem, folder: str) -> None:
    """TensorBoardLogger, gradient norms every 10 steps, DeviceStatsMonitor, LearningRateMonitor, Timer, torchmetrics."""
    _fit(problem, folder, watched=True)


def _fit(problem: Problem, folder: str, *, watched: bool) -> None:
    from lightning import pytorch as pl
    from lightning.pytorch import callbacks, loggers
    from lightning.pytorch.utilities import grad_norm

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = problem.model
            self.metrics = _torchmetrics(problem) if watched else nn.ModuleDict()

        def training_step(self, batch: Batch, number: int) -> Tensor:
            images, targets = batch
            loss = problem.loss(problem.logits(images), targets)
            if watched:
                self.log("loss", loss)
            return loss

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            if watched and self.global_step % 10 == 0:
                self.log_dict(grad_norm(self.model, norm_type=2))

        def validation_step(self, batch: Batch, number: int) -> None:
            images, targets = batch
            for attribute, logits in problem.logits(images).items():
                if watched:
                    self.metrics[attribute].update(logits.float(), targets[attribute].long())

        def on_validation_epoch_end(self) -> None:
            for attribute, of in self.metrics.items():
                self.log_dict({f"{attribute}/{name}": value for name, value in _per_class(of.compute())})
                of.reset()

        def configure_optimizers(self) -> Any:
            return problem.optimizer

    class Batches(torch.utils.data.IterableDataset[Batch]):
        def __init__(self, batches: Callable[[], Iterator[Batch]]) -> None:
            self.batches = batches

        def __iter__(self) -> Iterator[Batch]:
            return self.batches()

    watching = [callbacks.DeviceStatsMonitor(), callbacks.LearningRateMonitor(), callbacks.Timer()]
    trainer = pl.Trainer(
        max_epochs=problem.size.epochs, accelerator="gpu" if problem.device.type == "cuda" else "cpu", devices=1,
        logger=loggers.TensorBoardLogger(folder) if watched else False, callbacks=watching if watched else [],
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


# --------------------------------------------------------------------------------------------------- measuring


def be_child(way: str, size: str) -> None:
    """Trains one way and prints what it took as JSON."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")
    torch.set_num_threads(2)
    problem = Problem(SIZES[size], vit=size == "vit")
    warm_up(problem)
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = processor_seconds(), time.perf_counter()
        WAYS[way](problem, folder)
        if problem.device.type == "cuda":
            torch.cuda.synchronize()
        found = {"wall": time.perf_counter() - wall, "cpu": processor_seconds() - cpu}
    print(json.dumps(found))


def warm_up(problem: Problem) -> None:
    """A few steps that leave the model as it was, so that no way pays for what the first steps load."""
    state = {name: value.clone() for name, value in problem.model.state_dict().items()}
    for number, (images, targets) in enumerate(problem.batches(0)):
        problem.loss(problem.logits(images), targets).backward()
        problem.optimizer.zero_grad()
        if number == 5:
            break
    problem.model.load_state_dict(state)


def processor_seconds() -> float:
    """Of all threads of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(size: str, turns: int, ways: list[str]) -> Results:
    """Wall time and processor time of whole runs."""
    taken: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in ways} for kind in ("wall", "cpu")}
    for turn in range(turns):
        first = turn % len(ways)
        for way in ways[first:] + ways[:first]:
            found = json.loads(in_child("benchmarks.headline", "--way", way, "--problem", size))
            for kind, of in taken.items():
                of[way].append(found[kind])
    of = SIZES[size]
    name = "ViT-B/16, bfloat16" if size == "vit" else f"digits, {size}"
    about = f"width {of.dim}, {of.blocks} blocks, batches of {of.batch}, {of.epochs} epochs of {of.steps} steps"
    step = sorted(taken["wall"][BARE])[turns // 2] / (of.epochs * of.steps) * 1e3
    about += f"; a bare step with its share of validation takes {step:.0f} ms"
    return [
        Comparison(f"{name}: {title}", "s", BARE, taken[kind], watched=(OURS,), about=about)
        for kind, title in (("wall", "a whole run by the clock"), ("cpu", "processor time of a whole run"))
    ]


def measure(run: Run) -> Results:
    """The two sizes of the digits' transformer, or ViT-B/16 where there is a GPU."""
    ways = [BARE, OURS]
    if run.has("lightning", "Lightning") and run.has("torchmetrics"):
        ways += [LIGHTNING_BARE, LIGHTNING]
    if run.has("wandb") and run.has("torchmetrics"):
        ways.append(WANDB)
    if torch.cuda.is_available():
        return compare("vit", run.choose(2, 7), ways)
    run.skip("ViT-B/16 in bfloat16", "needs CUDA")
    if run.size == "quick":
        return compare("quick", 3, ways)
    return [*compare("medium", 7, ways), *compare("small", 7, ways)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--problem", choices=SIZES, default="quick")
    options = parser.parse_args()
    be_child(options.way, options.problem)
