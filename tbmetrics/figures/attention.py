"""Pictures of attention: heads side by side, one sample over training, class prompts on images, entropy over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.figures.style import NORMAL, SMALL, label, legend, new_figure, plain, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating]

HEADS_SHOWN = 12
NAMES_SHOWN = 24
EPOCHS_SHOWN = 6
IMAGES_SHOWN = 6
_MAP = "viridis"
_STYLES = ("-", "--", "-.", ":")


def heads(weights: Array, title: str, queries: Sequence[str] = (), keys: Sequence[str] = ()) -> Figure:
    """One heat map a head, on one colour scale.

    Args:
        weights: (heads, queries, keys).
        title: of the figure.
        queries, keys: names, where known.
    """
    shown = weights[:HEADS_SHOWN]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, panels = _grid(title, rows, columns, 2.3)
    high = float(shown.max()) or 1.0
    for i, ax in enumerate(panels):
        if i >= len(shown):
            ax.set_axis_off()
            continue
        image = _heat(ax, shown[i], high)
        label(
            ax, title=f"head {i}", x="key" if i >= len(panels) - columns else "", y="query" if i % columns == 0 else ""
        )
        _names(ax, queries if i % columns == 0 else (), keys if i >= len(panels) - columns else ())
    _bar(figure, image, panels)
    return figure


def evolution(maps: Mapping[int, Array], title: str, queries: Sequence[str] = (), keys: Sequence[str] = ()) -> Figure:
    """The same sample over training, heads averaged.

    Args:
        maps: epoch → (queries, keys), ascending.
        title: of the figure.
        queries, keys: names, where known.
    """
    epochs = spread(list(maps), EPOCHS_SHOWN)
    figure, panels = _grid(title, 1, len(epochs), 2.3)
    high = max(float(maps[e].max()) for e in epochs) or 1.0
    for i, (ax, epoch) in enumerate(zip(panels, epochs, strict=True)):
        image = _heat(ax, maps[epoch], high)
        label(ax, title=f"epoch {epoch}", x="key", y="query" if i == 0 else "")
        _names(ax, queries if i == 0 else (), keys)
    _bar(figure, image, panels)
    return figure


def overlay(
    images: Sequence[Array], patches: Sequence[Sequence[Array]], titles: Sequence[str], rows: Sequence[str], title: str
) -> Figure:
    """What is looked at in images: each image as it is, and below it with the weights of its patches laid over.

    Colours say how many times the even share a patch gets, so that little and much attention show alike.

    Args:
        images: (height, width) or (height, width, 3), any range.
        patches: for each row below the images: for each image the weights of its patches, (side, side).
        titles: above each image.
        rows: what each row is, e.g. the epoch.
        title: of the figure.
    """
    images = images[:IMAGES_SHOWN]
    figure, panels = _grid(title, 1 + len(patches), len(images), 1.7)
    ratios = [[p * p.size / max(float(p.sum()), 1e-12) for p in row[: len(images)]] for row in patches]
    reach = max((float(np.abs(r - 1).max()) for row in ratios for r in row), default=1.0) or 1.0
    for i, ax in enumerate(panels):
        row, column = divmod(i, len(images))
        picture = _grey(images[column])
        height, width = picture.shape[:2]
        ax.imshow(picture, cmap="gray", extent=(0, width, height, 0), vmin=0, vmax=1)
        ax.set_xticks([])
        ax.set_yticks([])
        if row:
            seen = ratios[row - 1][column]
            frame = (0, width, height, 0)
            image = ax.imshow(seen, cmap="PuOr_r", alpha=0.6, extent=frame, vmin=1 - reach, vmax=1 + reach)
        if column == 0:
            label(ax, y=rows[row - 1] if row else "image")
        if row == 0:
            plain(ax.set_title(titles[column], fontsize=SMALL))
    if patches:
        _bar(figure, image, panels, "attention ÷ even share")
    return figure


def entropy_over_epochs(entropies: Mapping[str, tuple[Sequence[int], Array]], title: str) -> Figure:
    """Mean normalised entropy over epochs, a line a module.

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
    label(
        ax,
        x="epoch",
        y="entropy ÷ largest possible",
        title="1 = looks at everything alike, 0 = at one key; band: heads",
    )
    legend(ax, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def pixels(figure: Figure, dpi: int = 100) -> NDArray[np.uint8]:
    """The drawn figure as uint8 of shape (height, width, 3)."""
    figure.set_dpi(dpi)
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


# ---------------------------------------------------------------------------------------------------- parts


def _grid(title: str, rows: int, columns: int, size: float) -> tuple[Figure, list[Axes]]:
    figure, _ = new_figure(title, width=max(size * columns + 1.4, 4.4), height=size * rows + 0.7)
    figure.clear()
    plain(figure.suptitle(title, fontsize=NORMAL + 2))
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _heat(ax: Axes, weights: Array, high: float) -> Any:
    from matplotlib.ticker import MaxNLocator

    ax.tick_params(labelsize=SMALL - 1)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.grid(visible=False)
    return ax.imshow(weights, cmap=_MAP, vmin=0, vmax=high, aspect="auto", interpolation="nearest")


def _names(ax: Axes, queries: Sequence[str], keys: Sequence[str]) -> None:
    if queries and len(queries) <= NAMES_SHOWN:
        ax.set_yticks(range(len(queries)), [short(name)[:14] for name in queries], fontsize=SMALL - 1)
    if keys and len(keys) <= NAMES_SHOWN:
        ax.set_xticks(range(len(keys)), [short(name)[:14] for name in keys], fontsize=SMALL - 1, rotation=90)


def _bar(figure: Figure, image: Any, panels: list[Axes], text: str = "attention weight") -> None:
    bar = figure.colorbar(image, ax=panels, pad=0.01, shrink=0.8)
    bar.set_label(text, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL - 1)


def _grey(image: Array) -> Array:
    """The image with its values in 0..1."""
    low, high = float(image.min()), float(image.max())
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def spread(values: list[int], most: int) -> list[int]:
    """At most `most` of `values`, evenly spread, first and last among them."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
