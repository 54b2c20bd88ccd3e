"""Long-tailed digits: compare cross-entropy and balanced softmax, head against tail, in TensorBoard.

    python examples/digits_longtail.py
    tensorboard --logdir runs/digits

The 1,797 handwritten digits of scikit-learn (8×8 pixels, part of the package) become a long-tailed training set, from
140 ones to a single zero. Each image has two attributes: `digit` (one of ten) and `shape` (any of ten: loops, strokes,
symmetries). A small vision transformer, in which one prompt per class attends to the image's patches, is trained with
two losses; tbmetrics shows what the second one does for the tail.

This demonstrates the instrument and is no evidence for a loss. The hyperparameters were chosen, after about twenty
trials on this validation set, for a steady difference between the two runs; there is no test set; and the gap depends
on a single head digit. With more epochs, cross-entropy catches up.
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
VALIDATION_IMAGES = 30  # per digit: the validation set is balanced

#: Most frequent first, as small digits are in real-world numbers. This also puts all digits with a loop into the tail.
DIGITS_BY_FREQUENCY = (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)

#: Digits that have each shape.
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
    """Shapes of each digit, multi-hot float of shape (N, 10), columns in the order of `SHAPES`."""
    has_shape = torch.tensor([[digit in members for members in SHAPES.values()] for digit in range(10)])
    return has_shape[digits].float()


def long_tail_profile() -> dict[int, int]:
    """Training images per digit, n_i = n_max · imbalance^(-i / (C - 1)) for the i-th most frequent of C digits.

    The exponential profile of Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019.
    """
    last = len(DIGITS_BY_FREQUENCY) - 1
    return {digit: round(HEAD_IMAGES * IMBALANCE ** (-i / last)) for i, digit in enumerate(DIGITS_BY_FREQUENCY)}


def load_splits(seed: int) -> tuple[LabelledDigits, LabelledDigits]:
    """Load the long-tailed training set and the balanced validation set, which share no image."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    digits = torch.from_numpy(labels).long()
    rng = np.random.default_rng(seed)
    train, validation = [], []
    for digit, count in long_tail_profile().items():
        shuffled = rng.permutation(np.flatnonzero(labels == digit))
        validation.append(shuffled[:VALIDATION_IMAGES])
        train.append(shuffled[VALIDATION_IMAGES : VALIDATION_IMAGES + count])
    splits = (torch.from_numpy(np.concatenate(rows)) for rows in (train, validation))
    train_set, validation_set = (LabelledDigits(images[rows], digits[rows]) for rows in splits)
    return train_set, validation_set


def class_groups(train_set: LabelledDigits) -> ClassGroups:
    """Group classes into head (more than 100 training images), medium and tail (fewer than 20)."""
    return ClassGroups.from_labels(train_set.targets, names=CLASS_NAMES)


# --------------------------------------------------------------------------------------------------- model


class PromptAttention(nn.Module):
    """Multi-head cross-attention from class prompts to patches."""

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
    """Classify one attribute: each class has a prompt that attends to the patches and yields its logit."""

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
        features = self.norm(prompts + self.attention(prompts, patches))
        return (features * self.weight).sum(dim=-1) + self.bias


class PromptTransformer(nn.Module):
    """A vision transformer with 16 patches of 2×2 pixels and one `PromptHead` per attribute."""

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
    """Cross-entropy with each training logit shifted by the log prior of its class.

    For the digit: balanced softmax, logits + log n_c (Ren et al., "Balanced meta-softmax for long-tailed visual
    recognition", NeurIPS 2020). For the shapes, its two-class form: logits + log(n_c / (N - n_c)) (logit adjustment,
    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021). Validation logits are not shifted.
    """
    counts = {attribute: torch.from_numpy(classes.counts).float() for attribute, classes in groups.items()}
    shift = {"digit": counts["digit"].log(), "shape": counts["shape"].log() - (num_images - counts["shape"]).log()}

    def loss(logits: Tensors, targets: Tensors) -> dict[str, Tensor]:
        return cross_entropy({attribute: logits[attribute] + shift[attribute] for attribute in logits}, targets)

    return loss


LOSSES = ("cross_entropy", "balanced_softmax")


def make_loss(name: str, groups: ClassGroups, num_images: int) -> Loss:
    """Return the loss called `name`, one of `LOSSES`."""
    return cross_entropy if name == "cross_entropy" else balanced_softmax(groups, num_images)


# ------------------------------------------------------------------------------------------------ training


def attention_of(model: nn.Module, validation_set: LabelledDigits, groups: ClassGroups) -> AttentionVisualizer:
    """Track the attention of the class prompts on six fixed digits, two each of head, medium and tail."""
    digits = groups["digit"]
    probe_digits = [int(digit) for group in ("head", "medium", "tail") for digit in digits.members(group)[:2]]
    rows = [int((validation_set.targets["digit"] == digit).nonzero()[0]) for digit in probe_digits]
    return AttentionVisualizer(
        model,
        probe=validation_set.images[rows],
        sample_names=[f"{digit} ({digits.groups[digit]})" for digit in probe_digits],
        query_labels={f"heads.{attribute}": names for attribute, names in CLASS_NAMES.items()},
        max_samples=len(probe_digits),
    )


@dataclass(frozen=True)
class Result:
    """The metrics of a run, and the logits and targets of the last validation behind them."""

    metrics: dict[str, Any]
    logits: dict[str, Tensor]
    targets: dict[str, Tensor]


def train(
    loss_name: str, log_dir: Path, *, epochs: int = 20, seed: int = 0, learning_rate: float = 1e-3, batch_size: int = 16
) -> Result:
    """Train one run and write it to `log_dir`; runs with the same seed differ only in their loss."""
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
        gradients=GradientTracker(model, optimizer, every=5, detail_every=20),  # sample often, since epochs are short
        attention=attention_of(model, validation_set, groups),
        diagnostics=LongTailDiagnostics(classifiers={attribute: f"heads.{attribute}" for attribute in groups}),
        overhead_budget=None,  # frequent measurements are the point here, although steps take only 10 ms
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
    """Pass every validation batch to tbmetrics; return all logits and targets by attribute."""
    model.eval()
    outputs = []
    for images, targets in loader:
        logits = model(images)
        tb.update(logits, targets, images=images)
        outputs.append((logits, targets))
    return concatenate([logits for logits, _ in outputs]), concatenate([targets for _, targets in outputs])


def concatenate(batches: Sequence[Tensors]) -> dict[str, Tensor]:
    """Concatenate the tensors of all batches, by attribute."""
    return {attribute: torch.cat([batch[attribute] for batch in batches]) for attribute in batches[0]}


# ------------------------------------------------------------------------------------------------- command


def comparison(results: Mapping[str, Result]) -> str:
    """Format the final F1 and recall of head, medium and tail of each run as a plain-text table."""
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
    """Remove the event files of an earlier run, which tbmetrics would otherwise continue."""
    for events in log_dir.glob("events.out.tfevents.*"):
        events.unlink()


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/digits"), help="folder for one subfolder per run")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--loss", choices=(*LOSSES, "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, metavar="DIR", help="also write figures, JSON and CSV to this folder")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict[str, Result]:
    """Train the chosen runs, print a comparison and how to view them; return the results by run."""
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
    torch.set_num_threads(1)  # makes sums reproducible, whatever the number of cores
    main()
