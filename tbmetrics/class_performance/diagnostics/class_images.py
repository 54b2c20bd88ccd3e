"""A few images of every class within a budget of bytes, of the rarest classes if not all fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.diagnostics.tiles import as_pixels, tile_shape
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.records import (
    ALL,
    CLASS_IMAGE_COLUMNS,
    EVERY_CLASS,
    HARDEST,
    MISTAKES,
    Image,
    IntArray,
    Record,
    Table,
    class_images_tag,
    gallery_tag,
)

#: Score (N,), -inf = not of that kind, and facts (N, 3) of the samples of a batch: label, predicted class, probability.
Scored = Mapping[tuple[str, int | None], tuple[Tensor, Tensor]]

#: Images of one class.
MOST_OF_CLASS = 6
#: Images in all.
MOST_IMAGES = 4096
#: Bytes of all images, one a colour and pixel.
MOST_BYTES = 8 * 2**20
#: Sheets of more bytes lose a little quality, so that the log stays small.
LOSSLESS_BYTES = 2**20
#: Images that are shrunk at once.
_CHUNK = 64


class ClassImages:
    """At most `MOST_OF_CLASS` samples of each class, in memory that does not grow; nothing waits for the device.

    The most confident mistake of each confusion comes first, then the hardest hit, then the next of each. A sample
    belongs to its true class; with several labels, to the class that it was worst at, once for each group.

    Args:
        classes: of the attribute.
        side: pixels of the longer side of a stored image.
    """

    def __init__(self, classes: AttributeClasses, side: int) -> None:
        self._classes, self._side = classes, side
        self._rows = min(MOST_OF_CLASS * len(classes), MOST_IMAGES)
        self._validations = 0  # with images
        self._places: _Places | None = None
        self.has_news = False  # whether there are images that `records` has not returned

    @property
    def are_due(self) -> bool:
        """Whether to record now: at validations 1, 2, 4, 8, … of those with images."""
        return self.has_news and self._validations & (self._validations - 1) == 0

    def reset(self) -> None:
        """Forget all samples; a validation begins."""
        self._places, self.has_news = None, False

    @torch.no_grad()
    def add(self, scored: Scored, images: Tensor) -> None:
        """Add a batch.

        Args:
            scored: by kind and group (None = any).
            images: (N, channels, height, width).
        """
        if self._places is None:
            self._validations += 1
            self._places = _Places(self._classes, self._rows, tile_shape(images, self._side), images.device)
        self.has_news = True
        for group in dict.fromkeys(group for _, group in scored):
            mistakes, mistaken = scored[MISTAKES, group]
            hits, hit = scored[HARDEST, group]
            is_mistake = mistakes > -torch.inf
            score, facts = torch.where(is_mistake, mistakes, hits), torch.where(is_mistake[:, None], mistaken, hit)
            worth = torch.where(score > -torch.inf, is_mistake + score.sigmoid(), -torch.inf)
            self._places.add(worth.to(images.device), facts.to(images.device), images)

    def records(self) -> Iterator[Record]:
        """One sheet of all images, and the table of what and where they are; the worst of each class first."""
        self.has_news = False
        facts, tiles = self._places.sorted() if self._places is not None else (np.empty((0, 3)), np.empty(0))
        if not len(facts):
            return
        n, height, width = tiles.shape[:3]
        columns = math.ceil(math.sqrt(n * height / width))
        top, left = height * (np.arange(n) // columns), width * (np.arange(n) % columns)
        sheet = np.full((int(top[-1]) + height, columns * width, 3), 255, dtype=np.uint8)
        for tile, y, x in zip(tiles, top, left, strict=True):
            sheet[y : y + height, x : x + width] = tile
        values = np.full((self._rows, len(CLASS_IMAGE_COLUMNS)), np.nan, dtype=np.float32)
        values[:n] = np.column_stack([facts, left, top, np.full(n, width), np.full(n, height)])
        attribute = self._classes.attribute
        yield Image(gallery_tag(attribute, EVERY_CLASS, ALL), sheet, is_lossy=sheet.nbytes > LOSSLESS_BYTES)
        yield Table(class_images_tag(attribute), attribute, "class_images", CLASS_IMAGE_COLUMNS, values)


class _Places:
    """Places for images, shared by the classes as `quotas` says.

    Args:
        classes: of the attribute.
        most: places, if the bytes suffice.
        shape: height and width of an image.
        device: where the images are.
    """

    def __init__(self, classes: AttributeClasses, most: int, shape: tuple[int, int], device: torch.device) -> None:
        self._shape, self._nobody = shape, len(classes)
        n_places = min(most, MOST_BYTES // (3 * shape[0] * shape[1]))
        quota = quotas(classes.counts, n_places)
        self._quota = torch.from_numpy(np.append(quota, 0)).to(device)  # nobody has none
        self._pixels = torch.zeros(n_places, *shape, 3, dtype=torch.uint8, device=device)
        self._owner = torch.full((n_places,), self._nobody, device=device)  # the class of each, nobody = empty
        self._worth = torch.full((n_places,), -torch.inf, device=device)
        self._facts = torch.zeros(n_places, 3, device=device)

    def add(self, worth: Tensor, facts: Tensor, images: Tensor) -> None:
        """Let the samples of a batch in that are worth more than those of their class, which leave."""
        owner = torch.where(facts[:, 0] >= 0, facts[:, 0], facts[:, 1]).long()
        owner = torch.where(worth > -torch.inf, owner, self._nobody)
        predicted = torch.cat([self._facts[:, 1], facts[:, 1]])
        is_best = self._best(torch.cat([self._owner, owner]), predicted, torch.cat([self._worth, worth]))
        stays, enters = is_best.split([len(self._owner), len(owner)])
        self._owner = torch.where(stays, self._owner, self._nobody)
        most = _most_new(enters, len(stays))
        for rows, places in zip(_true_first(enters, most), _true_first(~stays, most), strict=True):
            is_new = enters[rows]
            self._owner[places] = torch.where(is_new, owner[rows], self._owner[places])
            self._worth[places] = torch.where(is_new, worth[rows], self._worth[places])
            self._facts[places] = torch.where(is_new[:, None], facts[rows], self._facts[places])
            tiles = as_pixels(images[rows], self._shape)
            self._pixels[places] = torch.where(is_new[:, None, None, None], tiles, self._pixels[places])

    def _best(self, owner: Tensor, predicted: Tensor, worth: Tensor) -> Tensor:
        """Which samples are among the best of their class, as many as its quota; the first of equals.

        The best of each confusion come before the second of any, so that few images show many confusions.
        """
        confusion = owner * (self._nobody + 1) + predicted.long() + 1
        order = worth.sort(descending=True, stable=True).indices
        rank = _rank_within(confusion, order)
        order = order[rank[order].sort(stable=True).indices]
        return _rank_within(owner, order) < self._quota[owner]

    def sorted(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Facts (n, 3) and pixels (n, height, width, 3) on the host, by class, the worst of each first."""
        owner, worth = self._owner.cpu().numpy(), self._worth.cpu().numpy()
        order = np.lexsort((-worth, owner))[: int((owner < self._nobody).sum())]
        return self._facts.cpu().numpy()[order], self._pixels.cpu().numpy()[order]


def _most_new(enters: Tensor, n_places: int) -> int:
    """How many images may enter: their number on the host; an accelerator would have to be waited for."""
    return int(enters.sum()) if enters.device.type == "cpu" else min(len(enters), n_places)


def _rank_within(group: Tensor, order: Tensor) -> Tensor:
    """The rank of each sample among those of its group, if they come in `order`."""
    order = order[group[order].sort(stable=True).indices]
    in_order = group[order]
    ranks = torch.arange(len(group), device=group.device) - torch.searchsorted(in_order, in_order)
    return torch.empty_like(order).scatter(0, order, ranks)


def _true_first(mask: Tensor, most: int) -> tuple[Tensor, ...]:
    """Indices of the first `most` places of `mask`, the true ones first, in chunks."""
    return mask.int().sort(descending=True, stable=True).indices[:most].split(_CHUNK)


def quotas(counts: IntArray, places: int) -> IntArray:
    """Images of each class, int64 (classes,): as many of each, up to `MOST_OF_CLASS`, and one more of the rarest.

    Args:
        counts: training counts, -1 = unknown.
        places: images in all.
    """
    each = min(places // len(counts), MOST_OF_CLASS)
    quota = np.full(len(counts), each, dtype=np.int64)
    if each < MOST_OF_CLASS:
        rarest = np.argsort(np.where(counts < 0, np.iinfo(np.int64).max, counts), kind="stable")
        quota[rarest[: places - each * len(counts)]] += 1
    return quota
