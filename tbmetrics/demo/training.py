"""The two methods of the demonstration, and one training run of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.demo.model import NumberTransformer
from tbmetrics.demo.numbers import NAMES, Batch, NumberImages, Splits, class_groups, loader
from tbmetrics.session.session import TBMetrics
from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer

CROSS_ENTROPY, LOGIT_ADJUSTED = "cross_entropy", "logit_adjusted"
METHODS = (CROSS_ENTROPY, LOGIT_ADJUSTED)
SEEDS = (0, 1, 2)
#: Chosen on the validation set, for the best mean recall of cross-entropy; the test set was not looked at.
EPOCHS, LEARNING_RATE, BATCH_SIZE, WEIGHT_DECAY = 8, 3e-3, 64, 0.05

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors, Tensors], Tensor]


def cross_entropy(logits: Tensors, targets: Tensors) -> Tensor:
    """Softmax cross-entropy for the number plus binary cross-entropy for the digits whose label is known."""
    is_known = targets["digits"] >= 0
    digits = F.binary_cross_entropy_with_logits(logits["digits"][is_known], targets["digits"][is_known])
    return F.cross_entropy(logits["number"], targets["number"]) + digits


def logit_adjusted(groups: ClassGroups) -> Loss:
    """Cross-entropy with the log prior of each number added to its training logits; validation logits are as they are.

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10 with τ = 1; the same as balanced
    softmax (Ren et al., NeurIPS 2020).
    """
    counts = torch.from_numpy(groups["number"].counts).float()
    log_prior = (counts / counts.sum()).log()

    def loss(logits: Tensors, targets: Tensors) -> Tensor:
        return cross_entropy({**logits, "number": logits["number"] + log_prior}, targets)

    return loss


def make_loss(method: str, groups: ClassGroups) -> Loss:
    """The loss of a method, one of `METHODS`."""
    return cross_entropy if method == CROSS_ENTROPY else logit_adjusted(groups)


def attention_of(model: nn.Module, validation: NumberImages) -> AttentionVisualizer:
    """Track where the prompts of the digits look in six pictures of the validation set."""
    rows = torch.linspace(0, len(validation) - 1, 6).long()
    names = [NAMES["number"][number] for number in validation.targets["number"][rows].tolist()]
    return AttentionVisualizer(
        model,
        probe=validation.images[rows],
        sample_names=names,
        query_labels={"prompt_attention": NAMES["digits"]},
        max_samples=len(rows),
    )


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and its model."""

    session: TBMetrics
    model: NumberTransformer


def train(method: str, seed: int, log_dir: Path, splits: Splits, *, epochs: int = EPOCHS) -> TrainedRun:
    """Train one run, validate it after each epoch, and test it once, at the end."""
    torch.manual_seed(seed)
    training, validation = loader(splits.training, BATCH_SIZE, shuffle=True), loader(splits.validation, 500)
    groups = class_groups(splits.training)
    criterion = make_loss(method, groups)
    model = NumberTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * len(training))
    with TBMetrics(
        log_dir,
        model=model,
        optimizer=optimizer,
        classes=groups,
        attention=attention_of(model, splits.validation),
        diagnostics=True,
        hparams={"method": method, "lr": LEARNING_RATE, "batch_size": BATCH_SIZE, "epochs": epochs, "seed": seed},
    ) as tb:
        for _ in tb.epochs(range(epochs)):
            model.train()
            for images, targets in tb.batches(training):
                with tb.component("forward_pass"):
                    logits = model(images)
                    loss = criterion(logits, targets)
                tb.observe(logits, targets)
                with tb.component("backward_pass"):
                    optimizer.zero_grad()
                    loss.backward()
                with tb.component("optimizer_step"):
                    optimizer.step()
                    schedule.step()
                tb.log_scalar("loss", loss.detach())
            with tb.component("validation"):
                evaluate(model, validation, tb)
        evaluate(model, loader(splits.test, 500), tb, evaluation="test")
    return TrainedRun(tb, model)


@torch.no_grad()
def evaluate(model: nn.Module, batches: DataLoader[Batch], tb: TBMetrics, evaluation: str | None = None) -> None:
    """Pass every batch to tbmetrics."""
    model.eval()
    for images, targets in batches:
        tb.update(model(images), targets, images=images, evaluation=evaluation)
