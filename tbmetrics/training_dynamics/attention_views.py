"""Chooses what of captured attention is drawn, for whom and under which names; the drawing is in `figures`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.errors import InputError
from tbmetrics.training_dynamics import attention_statistics as statistics
from tbmetrics.training_dynamics.patterns import matches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Module → epoch → weights of shape (samples, heads, queries, keys).
Maps: TypeAlias = dict[str, dict[int, NDArray[Any]]]

_DRAWING_SHARE = 0.01


class DrawingTime:
    """Keeps drawing below 1 % of the time; entered around each drawing."""

    def __init__(self) -> None:
        self._took = 1.0  # seconds, before it was ever measured
        self._done = self._began = time.monotonic()

    def affordable(self) -> bool:
        """Whether the last drawing is long enough ago for what it took."""
        return self._took <= _DRAWING_SHARE * (time.monotonic() - self._done)

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._done = time.monotonic()
        self._took = self._done - self._began


class AttentionViews:
    """Figures of attention with the names of samples, queries and keys.

    Args:
        images: of the samples, for overlays; None = none.
        sample_names: in their order.
        query_labels, key_labels: names by pattern of modules.
        grid: (rows, columns) of the patches; None = found from their number.
    """

    def __init__(
        self,
        images: NDArray[Any] | None,
        sample_names: Sequence[str],
        query_labels: Mapping[str, Sequence[str]],
        key_labels: Mapping[str, Sequence[str]],
        grid: tuple[int, int] | None = None,
    ) -> None:
        self._images, self._sample_names = images, sample_names
        self._query_labels, self._key_labels = query_labels, key_labels
        self._grid = grid

    def figures(
        self, maps: Maps, entropies: Mapping[str, tuple[Sequence[int], NDArray[Any]]]
    ) -> Iterator[tuple[str, Figure]]:
        """(name, figure) of everything that can be drawn.

        Args:
            maps: by module and epoch.
            entropies: module → (epochs, (epochs, heads)).
        """
        from tbmetrics.figures import attention as pictures

        yield from self.heads(maps, 0, None)
        for module, by_epoch in maps.items():
            queries, keys = of_module(self._query_labels, module), of_module(self._key_labels, module)
            means = {epoch: weights[0].mean(axis=0) for epoch, weights in by_epoch.items()}
            if len(means) > 1:
                title = f"{module}: {self._sample(0)}, mean of the heads"
                yield f"{module}/evolution", pictures.evolution(means, title, queries, keys)
            yield from self._overlays(module, by_epoch, queries)
        if rolled := _rolled_out(maps):
            yield from self._overlays("rollout", rolled, ())
        if entropies:
            yield "entropy", pictures.entropy_over_epochs(entropies, "Entropy of attention")

    def heads(self, maps: Maps, sample: int, head: int | None) -> Iterator[tuple[str, Figure]]:
        """The heads of every module in its latest epoch, for one sample; all or one.

        Raises:
            InputError: a sample or head that was not captured.
        """
        from tbmetrics.figures import attention as pictures

        for module, by_epoch in maps.items():
            epoch = max(by_epoch)
            weights = by_epoch[epoch]
            for what, index, size in (("sample_idx", sample, len(weights)), ("head_idx", head or 0, weights.shape[1])):
                if not 0 <= index < size:
                    raise InputError(f"{what} must lie in 0..{size - 1} for module {module!r}, got {index}")
            chosen = weights[sample] if head is None else weights[sample, head : head + 1]
            title = f"{module}: {self._sample(sample)}, epoch {epoch}" + (f", head {head}" if head is not None else "")
            queries, keys = of_module(self._query_labels, module), of_module(self._key_labels, module)
            yield f"{module}/heads", pictures.heads(chosen, title, queries, keys)

    def _overlays(
        self, module: str, by_epoch: Mapping[int, NDArray[Any]], queries: Sequence[str]
    ) -> Iterator[tuple[str, Figure]]:
        from tbmetrics.figures import attention as pictures

        last = by_epoch[max(by_epoch)]
        grid = statistics.patch_grid(last.shape[-1], self._grid)
        if self._images is None or grid is None or len(self._images) < len(last):
            return
        extra, height, width = grid
        epochs = sorted({min(by_epoch), max(by_epoch)})
        chosen = self._queries_shown(last, extra, queries)
        patches = [
            [_row(by_epoch[epoch][i], q)[extra:].reshape(height, width) for i, q in enumerate(chosen)]
            for epoch in epochs
        ]
        prompts = [f"\nprompt: {queries[q]}" if queries and q is not None else "" for q in chosen]
        titles = [self._sample(i) + prompt for i, prompt in enumerate(prompts)]
        what = "class prompt → patches" if queries else "class token → patches" if extra else "mean query → patches"
        images = [np.asarray(image, dtype=np.float64) for image in self._images]
        title = f"{module}: {what}, mean of heads"
        yield f"{module}/overlay", pictures.overlay(images, patches, titles, [f"epoch {e}" for e in epochs], title)

    def _queries_shown(self, weights: NDArray[Any], extra: int, queries: Sequence[str]) -> list[int | None]:
        """For each sample the query that is shown; None = the mean of all.

        With prompts the one that the sample's name begins with, else the first; the class token; else the mean.
        """
        names = [self._sample(i) for i in range(len(weights))]
        if not queries:
            return [0 if extra else None] * len(weights)
        return [next((q for q, query in enumerate(queries) if n.split(" ")[0] == query), 0) for n in names]

    def _sample(self, index: int) -> str:
        return self._sample_names[index] if index < len(self._sample_names) else f"sample {index}"


def _rolled_out(maps: Maps) -> dict[int, NDArray[Any]]:
    """Rollout of each epoch through the self-attentions, where there are several of one number of tokens."""
    shape_of = {module: next(iter(by_epoch.values()))[:, 0].shape for module, by_epoch in maps.items()}
    square = [by_epoch for module, by_epoch in maps.items() if shape_of[module][1] == shape_of[module][2]]
    shapes = {shape for shape in shape_of.values() if shape[1] == shape[2]}
    if len(square) < 2 or len(shapes) > 1:
        return {}
    epochs = set.intersection(*(set(by_epoch) for by_epoch in square))
    return {e: statistics.rollout([by_epoch[e] for by_epoch in square])[:, None] for e in sorted(epochs)}


def _row(weights: NDArray[Any], query: int | None) -> NDArray[Any]:
    """Weights of one query, or of all on the mean; heads averaged."""
    row: NDArray[Any] = (weights.mean(axis=1) if query is None else weights[:, query]).mean(axis=0)
    return row


def of_module(by_pattern: Mapping[str, Sequence[str]], module: str) -> Sequence[str]:
    """The names given for `module`, by the first pattern that fits; none where no pattern does."""
    plain = module.partition("#")[0]
    return next((names for pattern, names in by_pattern.items() if matches(plain, [pattern])), ())


def as_images(images: Any) -> NDArray[Any] | None:
    """(samples, height, width[, 3]) as float, from channels first or last; None where it is no images."""
    if images is None:
        return None
    array = images.detach().float().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images, dtype=float)
    if array.ndim == 3:
        return array
    if array.ndim == 4:
        array = np.moveaxis(array, 1, -1) if array.shape[1] in (1, 3) else array
        return array[..., 0] if array.shape[-1] == 1 else array if array.shape[-1] == 3 else None
    return None
