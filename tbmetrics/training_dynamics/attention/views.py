"""Choose what of captured attention is drawn, and under which names; the drawing is in `figures`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from tbmetrics.errors import InputError
from tbmetrics.training_dynamics.attention.store import Array, FloatArray, Maps, StoredMap
from tbmetrics.training_dynamics.attention.token_names import TokenNames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OVERLAY_EPOCHS = 4
_EXTRA_TOKENS = (0, 1, 2, 5)  # none; a class token; and one of distillation; or four registers


class Plan(NamedTuple):
    """A figure that can be drawn; the lower its rank, the more telling it is."""

    rank: tuple[int, ...]
    name: str
    draw: Callable[[], Figure]


class AttentionViews:
    """Figures of attention with the names of samples, queries and keys.

    Args:
        images: of the samples, for overlays, or None.
        sample_names: in the order of the samples.
        names: of queries and keys.
        grid: (rows, columns) of the patches in an image; None = found from their number.
    """

    def __init__(
        self,
        images: Array | None,
        sample_names: Sequence[str],
        names: TokenNames,
        grid: tuple[int, int] | None = None,
    ) -> None:
        self._images, self._sample_names = images, sample_names
        self._tokens, self._grid = names, grid

    def plans(self, maps: Maps, entropies: Mapping[str, tuple[Sequence[int], Array]]) -> Iterator[Plan]:
        """Everything that can be drawn; the most telling figures have the lowest rank.

        Args:
            maps: by module and epoch.
            entropies: module → (epochs, (epochs, heads)).
        """
        from tbmetrics.figures import attention as pictures

        order = self._ranked(list(maps))
        for module, by_epoch in maps.items():
            place = order.index(module)
            yield from self._overlays((place // 2, 0, place), module, by_epoch)
            yield Plan((place // 2, 2, place), f"{module}/heads", partial(self._heads, module, by_epoch, 0, None))
            if len(by_epoch) > 1:
                yield Plan((place // 2, 3, place), f"{module}/evolution", partial(self._evolution, module, by_epoch))
        if rolled := _rolled_out(maps):
            yield from self._overlays((0, 1, 0), "rollout", rolled)
        if any(len(epochs) > 1 for epochs, _ in entropies.values()):
            draw = partial(pictures.entropy_over_epochs, entropies, "Entropy of attention")
            yield Plan((0, 4, 0), "entropy", draw)

    def heads(self, maps: Maps, sample: int, head: int | None) -> Iterator[tuple[str, Figure]]:
        """The heads of every module in its latest epoch, for one sample; all or one.

        Raises:
            InputError: a sample or head that was not captured.
        """
        for module, by_epoch in maps.items():
            weights = by_epoch[max(by_epoch)].weights
            limits = ("sample_idx", sample, len(weights)), ("head_idx", head or 0, weights.shape[1])
            for argument, index, size in limits:
                if not 0 <= index < size:
                    raise InputError(f"{argument} must lie in 0..{size - 1} for module {module!r}, got {index}")
            yield f"{module}/heads", self._heads(module, by_epoch, sample, head)

    def on_images(self, maps: Mapping[str, StoredMap], size: tuple[int, ...], queries: Sequence[str]) -> Array | None:
        """(samples, rows, columns): attention of each sample's class prompt, class token or mean query.

        Args:
            maps: of one pass, by module.
            size: height and width of the images.
            queries: for each sample the name of its class prompt.
        """
        for module in self._ranked(list(maps)):
            stored, prompts = maps[module], list(self._tokens.queries(module))
            grid = patch_grid(stored.tokens[1], size, self._grid)
            if grid is None or not stored.batch == len(stored.mean) == len(queries):
                continue
            if prompts and not set(queries) <= set(prompts):
                continue
            extra, shape = grid
            class_token = 0 if extra else None
            rows = [prompts.index(query) if prompts else class_token for query in queries]
            if all(row is None or stored.has_row(row) for row in rows):
                return np.stack([stored.row(i, row)[extra:].reshape(shape) for i, row in enumerate(rows)])
        return None

    def _ranked(self, modules: list[str]) -> list[str]:
        """Modules with class prompts first, then the last, the first, and the rest in order."""
        named = [m for m in modules if self._tokens.queries(m) or self._tokens.keys(m)]
        return list(dict.fromkeys([*named, *modules[-1:], *modules]))

    def _heads(self, module: str, by_epoch: Mapping[int, StoredMap], sample: int, head: int | None) -> Figure:
        from tbmetrics.figures import attention as pictures

        epoch = max(by_epoch)
        stored = by_epoch[epoch]
        weights = stored.weights[sample] if head is None else stored.weights[sample, head : head + 1]
        title = f"{module}: {self._sample(sample)}, epoch {epoch}" + (f", head {head}" if head is not None else "")
        title += _omissions(stored)
        queries, keys = self._names(module, stored)
        return pictures.heads(weights, title, queries, keys)

    def _evolution(self, module: str, by_epoch: Mapping[int, StoredMap]) -> Figure:
        from tbmetrics.figures import attention as pictures

        means = {epoch: stored.weights[0].mean(axis=0) for epoch, stored in by_epoch.items()}
        latest = by_epoch[max(by_epoch)]
        queries, keys = self._names(module, latest)
        title = f"{module}: {self._sample(0)}, mean of the heads{_omissions(latest)}"
        return pictures.evolution(means, title, queries, keys)

    def _names(self, module: str, stored: StoredMap) -> list[Sequence[str]]:
        """Names of the queries and keys in a map."""
        all_labels = (self._tokens.queries(module), self._tokens.keys(module))
        return [
            labels[::step] if len(labels) == tokens else ()
            for labels, step, tokens in zip(all_labels, stored.steps, stored.tokens, strict=True)
        ]

    def _overlays(self, rank: tuple[int, ...], module: str, by_epoch: Mapping[int, StoredMap]) -> Iterator[Plan]:
        images, latest = self._images, by_epoch[max(by_epoch)]
        if images is None or latest.batch != len(images):  # windows of images have no overlay
            return
        grid = patch_grid(latest.tokens[1], images.shape[1:3], self._grid)
        if grid is not None:
            yield Plan(rank, f"{module}/overlay", partial(self._overlay, module, by_epoch, *grid))

    def _overlay(self, module: str, by_epoch: Mapping[int, StoredMap], extra: int, grid: tuple[int, int]) -> Figure:
        from tbmetrics.figures import attention as pictures

        labels = self._tokens.queries(module)
        epochs = pictures.spread(sorted(by_epoch), _OVERLAY_EPOCHS)
        samples = min(len(by_epoch[e].mean) for e in epochs)
        queries = [
            q if q is not None and all(by_epoch[e].has_row(q) for e in epochs) else None
            for q in self._shown_queries(samples, extra, labels)
        ]
        patches = [[by_epoch[e].row(i, q)[extra:].reshape(grid) for i, q in enumerate(queries)] for e in epochs]
        titles = [
            self._sample(i) + (f"\nprompt: {labels[q] if q is not None else 'mean'}" if labels else "")
            for i, q in enumerate(queries)
        ]
        unnamed = "class token" if extra else "mean query"
        query = "class prompt" if labels else unnamed
        images = [np.asarray(image, dtype=np.float64) for image in (self._images if self._images is not None else ())]
        rows = [f"epoch {epoch}" for epoch in epochs]
        return pictures.overlay(
            images[: len(queries)], patches, titles, rows, f"{module}: {query} → patches, mean of heads"
        )

    def _shown_queries(self, samples: int, extra: int, labels: Sequence[str]) -> list[int | None]:
        """The query to show for each sample; None = the mean of all.

        With prompts, the prompt that the sample's name begins with, or the first; else the class token or the mean.
        """
        names = [self._sample(i) for i in range(samples)]
        if not labels:
            return [0 if extra else None] * samples
        return [next((q for q, label in enumerate(labels) if name.split(" ")[0] == label), 0) for name in names]

    def _sample(self, index: int) -> str:
        return self._sample_names[index] if index < len(self._sample_names) else f"sample {index}"


def drawn(plans: Iterable[Plan]) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of each plan."""
    return ((plan.name, plan.draw()) for plan in plans)


def _omissions(stored: StoredMap) -> str:
    """Suffix of the title of a heat map that was cut."""
    parts = [f"one {axis} in {step}" for axis, step in zip(("query", "key"), stored.steps, strict=True) if step > 1]
    return f" ({', '.join(parts)})" if parts else ""


def _rolled_out(maps: Maps) -> dict[int, StoredMap]:
    """Rollout of each epoch through the self-attentions, if there are several of the same number of tokens."""
    latest = {module: by_epoch[max(by_epoch)] for module, by_epoch in maps.items()}
    square = [module for module, m in latest.items() if m.tokens[0] == m.tokens[1]]
    kinds = {(latest[m].tokens, latest[m].batch) for m in square}
    if len(square) < 2 or len(kinds) > 1:
        return {}
    epochs = set.intersection(*(set(maps[m]) for m in square))
    usable = [e for e in sorted(epochs) if all(maps[m][e].has_all_rows for m in square)]
    rolled = {e: rollout([maps[m][e].rows[:, None] for m in square]) for e in usable}
    return {e: _rolled_map(product, latest[square[0]]) for e, product in rolled.items()}


def _rolled_map(rolled: Array, layer: StoredMap) -> StoredMap:
    return StoredMap(rolled[:, None], rolled.mean(axis=1), rolled, 1, (1, 1), layer.tokens, layer.batch)


def images_of_probe(probe: Any) -> Array | None:
    """The images of a probe of shape (samples, 1 or 3, height, width), else None."""
    return as_images(probe) if isinstance(probe, Tensor) and probe.dim() == 4 and probe.shape[1] in (1, 3) else None


def as_images(images: Any) -> Array | None:
    """(samples, height, width[, 3]) as float, from channels first or last; None if these are not images."""
    array = images.detach().float().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images, dtype=float)
    if array.ndim == 3:
        return array
    if array.ndim == 4:
        array = np.moveaxis(array, 1, -1) if array.shape[1] in (1, 3) else array
        if array.shape[-1] == 1:
            return array[..., 0]
        if array.shape[-1] == 3:
            return array
    return None


def rollout(maps: Sequence[FloatArray]) -> FloatArray:
    """Attention rollout through layers: (samples, tokens, tokens).

    Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (2020): heads averaged, half of each layer
    for its residual connection, layers multiplied.

    Args:
        maps: square self-attention of one number of tokens, first layer first.

    Raises:
        ValueError: the maps are of another kind.
    """
    shapes = {m.shape[-2:] for m in maps}
    if len(shapes) != 1 or next(iter(shapes))[0] != next(iter(shapes))[1]:
        raise ValueError(f"rollout needs square self-attention of one number of tokens, got {sorted(shapes)}")
    identity = np.eye(maps[0].shape[-1])
    product = identity
    for layer in maps:
        mixed = (layer.mean(axis=1) + identity) / 2
        product = mixed / mixed.sum(axis=-1, keepdims=True) @ product
    return product


def patch_grid(
    tokens: int, image: tuple[int, ...] = (1, 1), given: tuple[int, int] | None = None
) -> tuple[int, tuple[int, int]] | None:
    """(tokens before the patches, (rows, columns) of the patches) in an image; None if the tokens are not patches.

    Args:
        tokens: number of tokens: patches, after no or a few other tokens (a class token, registers).
        image: height and width; patches are taken to be square.
        given: rows and columns, if known.
    """
    for extra in _EXTRA_TOKENS if given is None else (tokens - given[0] * given[1],):
        patches = tokens - extra
        rows, columns = given or _rectangle(patches, image[0] / image[1])
        if extra >= 0 and rows * columns == patches > 1:
            return extra, (rows, columns)
    return None


def _rectangle(patches: int, ratio: float) -> tuple[int, int]:
    """Rows and columns of about so many patches, in the image's ratio."""
    rows = max(round((max(patches, 0) * ratio) ** 0.5), 1)
    return rows, round(rows / ratio)
