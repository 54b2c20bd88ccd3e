"""Long-tailed numbers from 00 to 99, each a picture of two of scikit-learn's handwritten digits side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.classes.rules import TERCILES

NUMBERS, DIGITS = 100, 10
HEAD_IMAGES = 300  # training images of the most frequent number
IMBALANCE = 100  # most frequent / rarest
EVALUATION_IMAGES = 20  # per number, in validation and in test: both are balanced
UNKNOWN_SHARE = 0.1  # of the labels of `digits`
TENS = ("zeros", "tens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")

NAMES = {"number": tuple(f"{n:02}" for n in range(NUMBERS)), "digits": tuple(map(str, range(DIGITS)))}
FAMILIES = {"number": {f"{n:02}": TENS[n // 10] for n in range(NUMBERS)}}

Batch = tuple[Tensor, dict[str, Tensor]]


class NumberImages(Dataset[Batch]):
    """Pictures of numbers with two attributes; an index may be a list, which gives a batch.

    Attributes:
        images: float32 (N, 1, 8, 16) in [0, 1].
        targets: "number": class indices, int64 (N,); "digits": which digits occur, float32 (N, 10), -1 = unknown.
    """

    def __init__(self, images: Tensor, targets: Mapping[str, Tensor]) -> None:
        self.images, self.targets = images, dict(targets)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | list[int]) -> Batch:
        return self.images[index], {attribute: target[index] for attribute, target in self.targets.items()}


@dataclass(frozen=True)
class Splits:
    """Training set (long-tailed), validation and test set (balanced); no handwritten digit is in two of them."""

    training: NumberImages
    validation: NumberImages
    test: NumberImages


def training_counts(rng: np.random.Generator) -> NDArray[np.int64]:
    """Training images of each number, n_max · imbalance^(-i / (C - 1)) for the i-th most frequent, int64 (100,).

    The exponential profile of Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019. Which
    numbers are frequent is drawn at random.
    """
    counts = np.empty(NUMBERS, dtype=np.int64)
    counts[rng.permutation(NUMBERS)] = np.round(HEAD_IMAGES * IMBALANCE ** (-np.arange(NUMBERS) / (NUMBERS - 1)))
    return counts


def load_splits() -> Splits:
    """The three sets, always the same."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    pools = [np.array_split(rng.permutation(np.flatnonzero(labels == digit)), [90, 135]) for digit in range(DIGITS)]
    balanced = np.full(NUMBERS, EVALUATION_IMAGES)
    counts = (training_counts(rng), balanced, balanced)
    images = pixels.reshape(-1, 8, 8) / 16
    return Splits(*(_draw(images, [pool[i] for pool in pools], counts[i], rng) for i in range(3)))


def _draw(
    images: NDArray[np.float64], pools: list[NDArray[np.int64]], counts: NDArray[np.int64], rng: np.random.Generator
) -> NumberImages:
    """So many pictures of each number, the digits drawn from their pools with replacement."""
    numbers = np.repeat(np.arange(NUMBERS), counts)
    halves = [np.array([rng.choice(pools[digit]) for digit in digits]) for digits in (numbers // 10, numbers % 10)]
    pictures = np.concatenate([images[rows] for rows in halves], axis=2)[:, None]
    occurs = np.zeros((len(numbers), DIGITS), dtype=np.float32)
    occurs[np.arange(len(numbers)), numbers // 10] = occurs[np.arange(len(numbers)), numbers % 10] = 1
    occurs[rng.random(occurs.shape) < UNKNOWN_SHARE] = -1
    targets = {"number": torch.from_numpy(numbers), "digits": torch.from_numpy(occurs)}
    return NumberImages(torch.from_numpy(pictures).float(), targets)


def class_groups(training: NumberImages) -> ClassGroups:
    """Numbers by the usual thresholds (head above 100 images, tail below 20) and in families by their tens; digits, all
    frequent, by terciles.
    """
    numbers = ClassGroups.from_labels(
        {"number": training.targets["number"]}, names={"number": NAMES["number"]}, families=FAMILIES
    )
    digits = ClassGroups.from_labels(
        {"digits": training.targets["digits"]}, names={"digits": NAMES["digits"]}, rule=TERCILES
    )
    return ClassGroups({**numbers, **digits})


def loader(images: NumberImages, batch_size: int, *, shuffle: bool = False) -> DataLoader[Batch]:
    """A loader that takes a whole batch out of the tensors at once."""
    sampler = RandomSampler(images) if shuffle else SequentialSampler(images)
    return DataLoader(images, sampler=BatchSampler(sampler, batch_size, drop_last=False), batch_size=None)
