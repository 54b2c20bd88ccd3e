"""Figures of attention: heads side by side, a sample over training, weights over images, entropy over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.figures.panels import PanelGrid
from tbmetrics.figures.style import SMALL, distinct, label, legend, new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.floating]

HEADS_SHOWN = 12
NAMES_SHOWN = 24
EPOCHS_SHOWN = 6
IMAGES_SHOWN = 6
_WIDTH = 1.7  # inches of an image
_MAP = "viridis"
_NAME_AT_AN_EDGE = 17  # characters
#: Opacity of the patches laid over an image, and the most pixels of a side of the two together.
_OPACITY, _MOST_PIXELS = 0.6, 512
_STYLES = ("-", "--", "-.", ":")


def heads(weights: Array, title: str, queries: Sequence[str] = (), keys: Sequence[str] = ()) -> Figure:
    """A heat map per head, on one colour scale.

    Args:
        weights: (heads, queries, keys).
        title: of the figure.
        queries, keys: their names, if known.
    """
    maps = {f"head {i}": head for i, head in enumerate(weights[:HEADS_SHOWN])}
    return _heat_maps(maps, title, min(4, len(maps)), queries, keys)


def evolution(maps: Mapping[int, Array], title: str, queries: Sequence[str] = (), keys: Sequence[str] = ()) -> Figure:
    """The same sample over training, heads averaged.

    Args:
        maps: epoch → (queries, keys), ascending.
        title: of the figure.
        queries, keys: their names, if known.
    """
    shown = {f"epoch {epoch}": maps[epoch] for epoch in spread(list(maps), EPOCHS_SHOWN)}
    return _heat_maps(shown, title, len(shown), queries, keys)


def overlay(
    images: Sequence[Array], patches: Sequence[Sequence[Array]], titles: Sequence[str], rows: Sequence[str], title: str
) -> Figure:
    """Images, and below each of them the same image under the weights of its patches.

    Colours show the ratio of a patch's weight to the even share, so that little and much attention are both visible.

    Args:
        images: (height, width) or (height, width, 3), any range.
        patches: for each further row, the weights of each image's patches, (side, side).
        titles: above each image.
        rows: names of the further rows, e.g. epochs.
        title: of the figure.
    """
    images = images[:IMAGES_SHOWN]
    columns = len(images)
    lines = max(text.count("\n") for text in titles) + 1 if titles else 1
    height = _WIDTH * min(1.0, max(image.shape[0] / image.shape[1] for image in images))
    room = {"left": 0.3, "first_above": 0.16 * lines + 0.06}
    grid = PanelGrid(title, (1 + len(patches)) * columns, columns, _WIDTH, height=height, **room)
    ratios = [[p * p.size / max(float(p.sum()), 1e-12) for p in row[:columns]] for row in patches]
    reach = max((float(np.abs(r - 1).max()) for row in ratios for r in row), default=1.0) or 1.0
    scale = _around_one(reach)
    for column, image in enumerate(images):
        picture = _colours(image)
        shape = picture.shape[:2]
        grid.image(column, picture, titles[column], SMALL, proportions=shape)
        for row, row_ratios in enumerate(ratios, 1):
            colours = _laid_over(picture, scale.to_rgba(row_ratios[column])[..., :3])
            grid.image(row * columns + column, colours, proportions=shape)
    grid.name_rows(["image", *rows])
    if patches:
        grid.bar(scale, "attention ÷ even share", max(0.0, 1 - reach), 1 + reach)
    return grid.figure


def entropy_over_epochs(entropies: Mapping[str, tuple[Sequence[int], Array]], title: str) -> Figure:
    """Mean normalised entropy over epochs, a line per module.

    Args:
        entropies: module → (epochs, (epochs, heads)).
        title: of the figure.
    """
    figure, (ax,) = new_figure(title, width=8.2)
    from matplotlib import colormaps

    for i, (module, (epochs, values)) in enumerate(entropies.items()):
        colour = colormaps["viridis"](0.9 * i / max(len(entropies) - 1, 1))
        means = np.nanmean(values, axis=1)
        ax.plot(epochs, means, _STYLES[i % 4], color=colour, lw=1.5, marker="o", ms=3, label=short(module))
        ax.fill_between(epochs, np.nanmin(values, axis=1), np.nanmax(values, axis=1), color=colour, alpha=0.12, lw=0)
    ax.set_ylim(0, 1.02)
    ax.locator_params(axis="x", integer=True)
    label(
        ax,
        x="epoch",
        y="entropy ÷ largest possible",
        title="1 = looks at everything alike, 0 = at one key; band: heads",
    )
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


# ---------------------------------------------------------------------------------------------------- parts


def _heat_maps(
    maps: Mapping[str, Array], title: str, columns: int, queries: Sequence[str], keys: Sequence[str]
) -> Figure:
    """Heat maps, by title, of one size and on one colour scale."""
    queries, keys = _names(queries), _names(keys)
    room = {"left": 1.6 if queries else 0.6, "below": 1.55 if keys else 0.5}
    grid = PanelGrid(title, len(maps), columns, 2.2, above=0.26, **room)
    high = max(float(weights.max()) for weights in maps.values()) or 1.0
    for i, (name, weights) in enumerate(maps.items()):
        image = grid.image(i, weights, name, cmap=_MAP, vmin=0, vmax=high)
    grid.label_left(len(weights), queries, "query")
    grid.label_below(weights.shape[1], keys, "key")
    grid.bar(image, "attention weight", 0.0, high)
    return grid.figure


def _names(names: Sequence[str]) -> list[str]:
    """Names short enough for an edge; none if there are too many."""
    return distinct(names, _NAME_AT_AN_EDGE) if len(names) <= NAMES_SHOWN else []


def _around_one(reach: float) -> Any:
    """A diverging colour scale from `1 - reach` to `1 + reach`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(1 - reach, 1 + reach), "PuOr_r")


def _colours(image: Array) -> Array:
    """The image as colours in 0..1, (height, width, 3)."""
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / (high - low) if high > low else np.zeros_like(image)
    return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)


def _laid_over(picture: Array, patches: Array) -> Array:
    """`picture` under coloured patches, at a resolution that keeps the edges of both."""
    sides = []
    for pixels, squares in zip(picture.shape[:2], patches.shape[:2], strict=True):
        common = math.lcm(pixels, squares)
        sides.append(common if common <= _MOST_PIXELS else max(pixels, _MOST_PIXELS // 2))
    rows, columns = (np.arange(side) for side in sides)

    def stretched(colours: Array) -> Array:
        return colours[rows * colours.shape[0] // sides[0]][:, columns * colours.shape[1] // sides[1]]

    return (1 - _OPACITY) * stretched(picture) + _OPACITY * stretched(patches)


def spread(values: list[int], most: int) -> list[int]:
    """At most `most` of `values`, evenly spread, including the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
