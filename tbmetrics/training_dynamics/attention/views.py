"""Chooses what of captured attention is drawn, for whom and under which names; the drawing is in `figures`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from tbmetrics.errors import InputError
from tbmetrics.training_dynamics.attention import statistics as statistics
from tbmetrics.training_dynamics.attention.store import Array, Maps, StoredMap, of_module

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OVERLAY_EPOCHS = 4


class Plan(NamedTuple):
    """A figure that can be drawn; the lower its rank, the more it is worth."""

    rank: tuple[int, ...]
    name: str
    draw: Callable[[], Figure]


class AttentionViews:
    """Figures of attention with the names of samples, queries and keys.

    Args:
        images: of the samples, for overlays; None = none.
        sample_names: in their order.
        query_labels, key_labels: names by pattern of modules.
        grid: (rows, columns) of the patches in an image; None = found from their number.
    """

    def __init__(
        self,
        images: Array | None,
        sample_names: Sequence[str],
        query_labels: Mapping[str, Sequence[str]],
        key_labels: Mapping[str, Sequence[str]],
        grid: tuple[int, int] | None = None,
    ) -> None:
        self._images, self._sample_names = images, sample_names
        self._query_labels, self._key_labels, self._grid = query_labels, key_labels, grid

    def plans(self, maps: Maps, entropies: Mapping[str, tuple[Sequence[int], Array]]) -> Iterator[Plan]:
        """Everything that can be drawn; of more than one kind and module, the telling ones have the lowest rank.

        Args:
            maps: by module and epoch.
            entropies: module → (epochs, (epochs, heads)).
        """
        from tbmetrics.figures import attention as pictures

        order = self._by_worth(list(maps))
        for module, by_epoch in maps.items():
            place = order.index(module)
            yield from self._overlays((place // 2, 0, place), module, by_epoch)
            yield Plan((place // 2, 2, place), f"{module}/heads", partial(self._heads, module, by_epoch, 0, None))
            if len(by_epoch) > 1:
                yield Plan((place // 2, 3, place), f"{module}/evolution", partial(self._evolution, module, by_epoch))
        if rolled := _rolled_out(maps):
            yield from self._overlays((0, 1, 0), "rollout", rolled)
        if entropies:
            draw = partial(pictures.entropy_over_epochs, entropies, "Entropy of attention")
            yield Plan((0, 4, 0), "entropy", draw)

    def heads(self, maps: Maps, sample: int, head: int | None) -> Iterator[tuple[str, Figure]]:
        """The heads of every module in its latest epoch, for one sample; all or one.

        Raises:
            InputError: a sample or head that was not captured.
        """
        for module, by_epoch in maps.items():
            weights = by_epoch[max(by_epoch)].weights
            for what, index, size in (("sample_idx", sample, len(weights)), ("head_idx", head or 0, weights.shape[1])):
                if not 0 <= index < size:
                    raise InputError(f"{what} must lie in 0..{size - 1} for module {module!r}, got {index}")
            yield f"{module}/heads", self._heads(module, by_epoch, sample, head)

    def on_images(self, maps: Mapping[str, StoredMap], size: tuple[int, ...], queries: Sequence[str]) -> Array | None:
        """(samples, rows, columns): what each sample's class prompt, class token or mean query looks at.

        Args:
            maps: of one pass, by module.
            size: height and width of the images.
            queries: for each sample the name of its class prompt.
        """
        for module in self._by_worth(list(maps)):
            found, prompts = maps[module], list(of_module(self._query_labels, module))
            grid = statistics.patch_grid(found.tokens[1], size, self._grid)
            if grid is None or not found.batch == len(found.mean) == len(queries):
                continue
            if prompts and not set(queries) <= set(prompts):
                continue
            extra, shape = grid
            asked = [prompts.index(q) if prompts else 0 if extra else None for q in queries]
            if all(q is None or found.has_row(q) for q in asked):
                return np.stack([found.row(i, q)[extra:].reshape(shape) for i, q in enumerate(asked)])
        return None

    def _by_worth(self, modules: list[str]) -> list[str]:
        """Modules with class prompts first, then the last, the first, and the rest in order."""
        named = [m for m in modules if of_module(self._query_labels, m) or of_module(self._key_labels, m)]
        return list(dict.fromkeys([*named, *modules[-1:], *modules]))

    def _heads(self, module: str, by_epoch: Mapping[int, StoredMap], sample: int, head: int | None) -> Figure:
        from tbmetrics.figures import attention as pictures

        epoch = max(by_epoch)
        found = by_epoch[epoch]
        chosen = found.weights[sample] if head is None else found.weights[sample, head : head + 1]
        title = f"{module}: {self._sample(sample)}, epoch {epoch}" + (f", head {head}" if head is not None else "")
        title += _what_is_left_out(found)
        queries, keys = self._names(module, found)
        return pictures.heads(chosen, title, queries, keys)

    def _evolution(self, module: str, by_epoch: Mapping[int, StoredMap]) -> Figure:
        from tbmetrics.figures import attention as pictures

        means = {epoch: found.weights[0].mean(axis=0) for epoch, found in by_epoch.items()}
        latest = by_epoch[max(by_epoch)]
        queries, keys = self._names(module, latest)
        title = f"{module}: {self._sample(0)}, mean of the heads{_what_is_left_out(latest)}"
        return pictures.evolution(means, title, queries, keys)

    def _names(self, module: str, found: StoredMap) -> list[Sequence[str]]:
        """Names of the queries and keys that are in a map."""
        given = (of_module(self._query_labels, module), of_module(self._key_labels, module))
        return [
            labels[::step] if len(labels) == tokens else ()
            for labels, step, tokens in zip(given, found.steps, found.tokens, strict=True)
        ]

    def _overlays(self, rank: tuple[int, ...], module: str, by_epoch: Mapping[int, StoredMap]) -> Iterator[Plan]:
        images, last = self._images, by_epoch[max(by_epoch)]
        if images is None or last.batch != len(images):  # windows of images are none
            return
        found = statistics.patch_grid(last.tokens[1], images.shape[1:3], self._grid)
        if found is not None:
            yield Plan(rank, f"{module}/overlay", partial(self._overlay, module, by_epoch, *found))

    def _overlay(self, module: str, by_epoch: Mapping[int, StoredMap], extra: int, grid: tuple[int, int]) -> Figure:
        from tbmetrics.figures import attention as pictures

        labels = of_module(self._query_labels, module)
        epochs = pictures.spread(sorted(by_epoch), _OVERLAY_EPOCHS)
        samples = min(len(by_epoch[e].mean) for e in epochs)
        shown = [
            q if q is not None and all(by_epoch[e].has_row(q) for e in epochs) else None
            for q in self._queries_shown(samples, extra, labels)
        ]
        patches = [[by_epoch[e].row(i, q)[extra:].reshape(grid) for i, q in enumerate(shown)] for e in epochs]
        titles = [
            self._sample(i) + (f"\nprompt: {labels[q] if q is not None else 'mean'}" if labels else "")
            for i, q in enumerate(shown)
        ]
        what = "class prompt → patches" if labels else "class token → patches" if extra else "mean query → patches"
        images = [np.asarray(image, dtype=np.float64) for image in (self._images if self._images is not None else ())]
        rows = [f"epoch {epoch}" for epoch in epochs]
        return pictures.overlay(images[: len(shown)], patches, titles, rows, f"{module}: {what}, mean of heads")

    def _queries_shown(self, samples: int, extra: int, queries: Sequence[str]) -> list[int | None]:
        """For each sample the query that is shown; None = the mean of all.

        With prompts the one that the sample's name begins with, else the first; the class token; else the mean.
        """
        names = [self._sample(i) for i in range(samples)]
        if not queries:
            return [0 if extra else None] * samples
        return [next((q for q, query in enumerate(queries) if n.split(" ")[0] == query), 0) for n in names]

    def _sample(self, index: int) -> str:
        return self._sample_names[index] if index < len(self._sample_names) else f"sample {index}"


def drawn(plans: Iterable[Plan]) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of each plan."""
    return ((plan.name, plan.draw()) for plan in plans)


def _what_is_left_out(found: StoredMap) -> str:
    """What the title of a heat map says of one that was cut."""
    parts = [f"one {what} in {step}" for what, step in zip(("query", "key"), found.steps, strict=True) if step > 1]
    return f" ({', '.join(parts)})" if parts else ""


def _rolled_out(maps: Maps) -> dict[int, StoredMap]:
    """Rollout of each epoch through the self-attentions, where there are several of one whole number of tokens."""
    latest = {module: by_epoch[max(by_epoch)] for module, by_epoch in maps.items()}
    square = [module for module, m in latest.items() if m.tokens[0] == m.tokens[1]]
    kinds = {(latest[m].tokens, latest[m].batch) for m in square}
    if len(square) < 2 or len(kinds) > 1:
        return {}
    epochs = set.intersection(*(set(maps[m]) for m in square))
    usable = [e for e in sorted(epochs) if all(maps[m][e].has_all_rows for m in square)]
    rolled = {e: statistics.rollout([maps[m][e].rows[:, None] for m in square]) for e in usable}
    return {e: _as_map(product, latest[square[0]]) for e, product in rolled.items()}


def _as_map(rolled: Array, like: StoredMap) -> StoredMap:
    return StoredMap(rolled[:, None], rolled.mean(axis=1), rolled, 1, (1, 1), like.tokens, like.batch)


def images_of_probe(probe: Any) -> Array | None:
    """The images of a probe that is nothing but images, (samples, 1 or 3, height, width); else None."""
    return as_images(probe) if isinstance(probe, Tensor) and probe.dim() == 4 and probe.shape[1] in (1, 3) else None


def as_images(images: Any) -> Array | None:
    """(samples, height, width[, 3]) as float, from channels first or last; None where it is no images."""
    array = images.detach().float().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images, dtype=float)
    if array.ndim == 3:
        return array
    if array.ndim == 4:
        array = np.moveaxis(array, 1, -1) if array.shape[1] in (1, 3) else array
        return array[..., 0] if array.shape[-1] == 1 else array if array.shape[-1] == 3 else None
    return None
