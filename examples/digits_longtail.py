"""Long-tailed digits, twice: cross-entropy and balanced softmax, compared head against tail in TensorBoard.

    python examples/digits_longtail.py
    tensorboard --logdir runs/digits

scikit-learn's 1,797 handwritten digits (8×8 pixels, part of the package) become a long-tailed training set: 140 ones,
one zero. Each image is classified twice over, by `digit` (one of ten) and by `shape` (any of ten: loops, strokes,
symmetries). A small vision transformer, in which one prompt per class looks at the image's patches, is trained with
two losses; what the second one does for the tail is what tbmetrics shows.

This demonstrates the instrument; it is no evidence for a loss. The hyperparameters were chosen, after about twenty
trials on this validation set, for a steady difference between the two runs; there is no test set; and the gap rests on
the only head digit. With more epochs cross-entropy catches up.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tbmetrics import AttentionVisualizer, ClassGroups, GradientTracker, LongTailDiagnostics, TBMetrics
from tbmetrics.exporting import export

# ---------------------------------------------------------------------------------------------------- data

HEAD_IMAGES = 140  # training images of the most frequent digit
IMBALANCE = 100  # most frequent / rarest
VALIDATION_IMAGES = 30  # of every digit: the validation set is balanced

#: Most frequent first: small digits lead in real-world numbers. It also puts all digits with a loop into the tail, so
#: that a shape which is common elsewhere is rare here.
DIGITS_BY_FREQUENCY = (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)

#: The digits that show each shape.
SHAPES: Mapping[str, frozenset[int]] = {
    "vertical stroke": frozenset({1, 4}),
    "open curve": frozenset({2, 3, 5, 6, 9}),
    "horizontal stroke": frozenset({2, 4, 5, 7}),
    "diagonal stroke": frozenset({2, 4, 7}),
    "top-bottom symmetry": frozenset({0, 3, 8}),
    "corner": frozenset({4, 5, 7}),
    "crossing": frozenset({4, 8}),
    "closed loop": frozenset({0, 6, 8, 9}),
    "left-right symmetry": frozenset({0, 8}),
    "two loops": frozenset({8}),
}

CLASS_NAMES = {"digit": tuple(map(str, range(10))), "shape": tuple(SHAPES)}

Batch = tuple[Tensor, dict[str, Tensor]]


class LabelledDigits(Dataset[Batch]):
    """Images (N, 1, 8, 8) in [0, 1] with the targets `digit`, (N,) class indices, and `shape`, (N, 10) multi-hot."""

    def __init__(self, images: Tensor, digits: Tensor) -> None:
        self.images = images
        self.targets = {"digit": digits, "shape": shapes_of(digits)}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], {attribute: target[index] for attribute, target in self.targets.items()}


def shapes_of(digits: Tensor) -> Tensor:
    """The shapes each digit shows: multi-hot float of shape (N, 10), columns in the order of `SHAPES`."""
    shows = torch.tensor([[digit in shown_by for shown_by in SHAPES.values()] for digit in range(10)])
    return shows[digits].float()


def long_tail_profile() -> dict[int, int]:
    """Training images per digit, n_i = n_max · imbalance^(-i / (C - 1)) for the i-th most frequent of C digits.

    The exponential profile of Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019.
    """
    last = len(DIGITS_BY_FREQUENCY) - 1
    return {digit: round(HEAD_IMAGES * IMBALANCE ** (-i / last)) for i, digit in enumerate(DIGITS_BY_FREQUENCY)}


def load_splits(seed: int) -> tuple[LabelledDigits, LabelledDigits]:
    """The long-tailed training set and the balanced validation set; they share no image."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    digits = torch.from_numpy(labels).long()
    rng = np.random.default_rng(seed)
    train, validation = [], []
    for digit, count in long_tail_profile().items():
        shuffled = rng.permutation(np.flatnonzero(labels == digit))
        validation.append(shuffled[:VALIDATION_IMAGES])
        train.append(shuffled[VALIDATION_IMAGES : VALIDATION_IMAGES + count])
    chosen = (torch.from_numpy(np.concatenate(parts)) for parts in (train, validation))
    train_set, validation_set = (LabelledDigits(images[rows], digits[rows]) for rows in chosen)
    return train_set, validation_set


def class_groups(train_set: LabelledDigits) -> ClassGroups:
    """Head (more than 100 training images), medium and tail (fewer than 20), counted from the training labels."""
    return ClassGroups.from_labels(train_set.targets, names=CLASS_NAMES)


# --------------------------------------------------------------------------------------------------- model


class PromptAttention(nn.Module):
    """Multi-head cross-attention: prompts ask, patches answer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, prompts: Tensor, patches: Tensor) -> Tensor:
        """Prompts (N, C, dim) attend to patches (N, P, dim); returns (N, C, dim)."""
        query = self._split_heads(self.query(prompts))
        key, value = map(self._split_heads, self.key_value(patches).chunk(2, dim=-1))
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        attention = scores.softmax(dim=-1)  # (N, heads, C, P): where each class looks
        return self.out((attention @ value).transpose(1, 2).flatten(2))

    def _split_heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class PromptHead(nn.Module):
    """Classifies one attribute: each class has a prompt that looks at the patches, and a logit from what it saw."""

    def __init__(self, num_classes: int, dim: int, heads: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(num_classes, dim) * dim**-0.5)
        self.attention = PromptAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.weight = nn.Parameter(torch.randn(num_classes, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, patches: Tensor) -> Tensor:
        """Patches (N, P, dim) to logits (N, C)."""
        prompts = self.prompts.expand(len(patches), -1, -1)
        seen = self.norm(prompts + self.attention(prompts, patches))
        return (seen * self.weight).sum(dim=-1) + self.bias


class PromptTransformer(nn.Module):
    """A vision transformer over the 16 patches (2×2 pixels) of a digit, with one `PromptHead` per attribute."""

    def __init__(self, num_classes: Mapping[str, int], dim: int = 48, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, dim, kernel_size=2, stride=2)
        self.position = nn.Parameter(torch.randn(16, dim) * 0.02)
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
                for _ in range(blocks)
            )
        )
        self.norm = nn.LayerNorm(dim)
        self.heads = nn.ModuleDict({attribute: PromptHead(n, dim, heads) for attribute, n in num_classes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, 1, 8, 8) to logits (N, C) per attribute."""
        patches = self.embed(images).flatten(2).transpose(1, 2) + self.position
        patches = self.norm(self.blocks(patches))
        return {attribute: head(patches) for attribute, head in self.heads.items()}


# -------------------------------------------------------------------------------------------------- losses

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors, Tensors], dict[str, Tensor]]


def cross_entropy(logits: Tensors, targets: Tensors) -> dict[str, Tensor]:
    """Softmax cross-entropy for the digit, binary cross-entropy for the shapes."""
    return {
        "digit": F.cross_entropy(logits["digit"], targets["digit"]),
        "shape": F.binary_cross_entropy_with_logits(logits["shape"], targets["shape"]),
    }


def balanced_softmax(groups: ClassGroups, num_images: int) -> Loss:
    """Cross-entropy in which each training logit is shifted by its class's log prior, so that the model need not be.

    For the digit: balanced softmax, logits + log n_c (Ren et al., "Balanced meta-softmax for long-tailed visual
    recognition", NeurIPS 2020). For the shapes, its two-class form: logits + log(n_c / (N - n_c)) (logit adjustment,
    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021). In validation nothing is added.
    """
    counts = {attribute: torch.from_numpy(classes.counts).float() for attribute, classes in groups.items()}
    shift = {"digit": counts["digit"].log(), "shape": counts["shape"].log() - (num_images - counts["shape"]).log()}

    def loss(logits: Tensors, targets: Tensors) -> dict[str, Tensor]:
        return cross_entropy({attribute: logits[attribute] + shift[attribute] for attribute in logits}, targets)

    return loss


LOSSES = ("cross_entropy", "balanced_softmax")


def make_loss(name: str, groups: ClassGroups, num_images: int) -> Loss:
    """The loss called `name`, one of `LOSSES`."""
    return cross_entropy if name == "cross_entropy" else balanced_softmax(groups, num_images)


# ------------------------------------------------------------------------------------------------ training


def attention_of(model: nn.Module, validation_set: LabelledDigits, groups: ClassGroups) -> AttentionVisualizer:
    """Watches what the class prompts look at, always on the same six digits: two of head, of medium and of tail."""
    digits = groups["digit"]
    chosen = [int(digit) for group in ("head", "medium", "tail") for digit in digits.members(group)[:2]]
    rows = [int((validation_set.targets["digit"] == digit).nonzero()[0]) for digit in chosen]
    return AttentionVisualizer(
        model,
        probe=validation_set.images[rows],
        sample_names=[f"{digit} ({digits.groups[digit]})" for digit in chosen],
        query_labels={f"heads.{attribute}": names for attribute, names in CLASS_NAMES.items()},
        max_samples=len(chosen),
    )


@dataclass(frozen=True)
class Result:
    """What a run ends with: tbmetrics' numbers, and the logits and targets of the last validation they come from."""

    metrics: dict[str, Any]
    logits: dict[str, Tensor]
    targets: dict[str, Tensor]


def train(
    loss_name: str, log_dir: Path, *, epochs: int = 20, seed: int = 0, learning_rate: float = 1e-3, batch_size: int = 16
) -> Result:
    """Trains one run and writes it to `log_dir`; two runs of one seed differ in nothing but their loss."""
    torch.manual_seed(seed)
    train_set, validation_set = load_splits(seed)
    shuffle = torch.Generator().manual_seed(seed)
    train_loader = DataLoader(train_set, batch_size, shuffle=True, generator=shuffle)
    validation_loader = DataLoader(validation_set, batch_size=100)

    groups = class_groups(train_set)
    criterion = make_loss(loss_name, groups, len(train_set))
    model = PromptTransformer({attribute: len(classes) for attribute, classes in groups.items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * len(train_loader))

    with TBMetrics(
        log_dir,
        model=model,
        optimizer=optimizer,
        classes=groups,
        gradients=GradientTracker(model, optimizer, every=5, detail_every=20),  # short epochs: look more often
        attention=attention_of(model, validation_set, groups),
        diagnostics=LongTailDiagnostics(classifiers={attribute: f"heads.{attribute}" for attribute in groups}),
        overhead_budget=None,  # a step takes 10 ms here: measuring often is not cheap, but the point of the example
        hparams={"loss": loss_name, "lr": learning_rate, "batch_size": batch_size, "epochs": epochs, "seed": seed},
    ) as tb:
        for _ in tb.epochs(range(epochs)):
            model.train()
            for images, targets in tb.batches(train_loader):
                with tb.component("forward_pass"):
                    logits = model(images)
                    losses = criterion(logits, targets)
                    total = losses["digit"] + losses["shape"]
                tb.observe(logits, targets)
                with tb.component("backward_pass"):
                    optimizer.zero_grad()
                    total.backward()
                with tb.component("optimizer_step"):
                    optimizer.step()
                    schedule.step()
                tb.log_scalars({"loss/total": total.detach(), **{f"loss/{a}": v.detach() for a, v in losses.items()}})
            with tb.component("validation"):
                logits, targets = validate(model, validation_loader, tb)
        return Result(tb.get_metrics(), logits, targets)


@torch.no_grad()
def validate(model: nn.Module, loader: DataLoader[Batch], tb: TBMetrics) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Shows every validation batch to tbmetrics; returns all logits and targets by attribute."""
    model.eval()
    seen = []
    for images, targets in loader:
        logits = model(images)
        tb.update(logits, targets, images=images)
        seen.append((logits, targets))
    return concatenate([logits for logits, _ in seen]), concatenate([targets for _, targets in seen])


def concatenate(batches: Sequence[Tensors]) -> dict[str, Tensor]:
    """One tensor per attribute from one per attribute and batch."""
    return {attribute: torch.cat([batch[attribute] for batch in batches]) for attribute in batches[0]}


# ------------------------------------------------------------------------------------------------- command


def comparison(results: Mapping[str, Result]) -> str:
    """The final F1 and recall of head, medium and tail of each run, as a table in plain text."""
    lines = [f"{'':24}{'':18}{'head':>8}{'medium':>8}{'tail':>8}{'gap':>8}"]
    for attribute in CLASS_NAMES:
        for metric in ("f1", "recall"):
            for name, result in results.items():
                groups = result.metrics["class_performance"]["type_metrics"][attribute]
                head, medium, tail = (groups[group][metric] for group in ("head", "medium", "tail"))
                values = "".join(f"{value:8.3f}" for value in (head, medium, tail, head - tail))
                lines.append(f"{attribute + ' ' + metric:24}{name:18}{values}")
    return "\n".join(lines)


def remove_old_run(log_dir: Path) -> None:
    """Removes the event files of an earlier run: a run here starts anew, where tbmetrics would continue the old one."""
    for events in log_dir.glob("events.out.tfevents.*"):
        events.unlink()


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/digits"), help="one folder a run goes here")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--loss", choices=(*LOSSES, "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, metavar="DIR", help="also write figures, JSON and CSV to this folder")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Result]:
    """Trains the chosen runs, prints how they compare and how to look at them; returns the results by run."""
    arguments = parse_arguments(argv)
    results = {}
    for name in LOSSES if arguments.loss == "both" else (arguments.loss,):
        print(f"training {name} ...", flush=True)
        remove_old_run(arguments.log_dir / name)
        results[name] = train(name, arguments.log_dir / name, epochs=arguments.epochs, seed=arguments.seed)
    print(f"\n{comparison(results)}\n")
    if arguments.export is not None:
        written = export(arguments.log_dir, arguments.export).files
        print(f"Exported:      {len(written)} files below {arguments.export}")
    print(f"Look at them:  tensorboard --logdir {shlex.quote(str(arguments.log_dir))}   (tab: Long Tail)")
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)  # sums are then added in the same order, whatever the machine's number of cores
    main()
