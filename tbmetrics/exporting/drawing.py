"""Figures as bytes of files: matplotlib's object interface under its own defaults, the same bytes every time."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tbmetrics.exporting.contents import CLASS_PERFORMANCE
from tbmetrics.exporting.options import OTHER
from tbmetrics.figures.output import slug
from tbmetrics.records import DYNAMICS, OPTIMIZER_STEP_TAG, RESOURCES
from tbmetrics.records.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_DATES = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_SETTINGS = {"svg.hashsalt": "tbmetrics", "pdf.fonttype": 42}
# matplotlib's settings and Python's filters of warnings belong to the process: one thread at a time changes them.
_ALONE = threading.RLock()


def draw(history: History, area: str, formats: Sequence[str], dpi: int, page: int) -> Iterator[tuple[str, bytes]]:
    """(path below the run's folder, content) of each figure of `area` that `history` has the data for.

    Args:
        history: of what is drawn.
        area: one with figures.
        formats: of "png", "svg", "pdf".
        dpi: of PNG.
        page: number of the first figure, where an area's figures are numbered.
    """
    drawn = _other(history, page) if area == OTHER else _FIGURES[area](history)
    while True:
        with _ALONE:
            figure = _next(drawn)
            if figure is None:
                return
            path = _path(area, figure[0])
            contents = [(f"{path}.{fmt}", _encoded(figure[1], fmt, dpi)) for fmt in formats]
        yield from contents


def _path(area: str, name: str) -> str:
    if area == OTHER:
        kind, group, *page = name.split("/")
        return "/".join((area, kind, "=".join((slug(group), *page))))
    *inner, kind = name.rsplit("/", 1)
    return "/".join((area, *map(slug, inner), slug(kind)))


def _next(drawn: Iterator[tuple[str, Figure]]) -> tuple[str, Figure] | None:
    import matplotlib.style

    with warnings.catch_warnings(), matplotlib.style.context("default"):
        warnings.simplefilter("ignore")
        return next(drawn, None)


def _encoded(figure: Figure, fmt: str, dpi: int) -> bytes:
    import matplotlib.style

    content = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.style.context(["default", _SETTINGS]):
        warnings.simplefilter("ignore")  # a name may have characters that no font here has
        figure.savefig(content, format=fmt, dpi=dpi, metadata=_NO_DATES[fmt])
    return content.getvalue()


def _class_performance(history: History) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures import class_metrics, diagnostics

    yield from class_metrics.figures(history)
    yield from diagnostics.figures(history)


def _training_dynamics(history: History) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures.training_dynamics import figures

    return figures(history)


def _resource_usage(history: History) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures.resource_usage import figures

    return figures(history)


def _other(history: History, page: int) -> Iterator[tuple[str, Figure]]:
    from tbmetrics.figures.other import figures

    history.scalars.pop(OPTIMIZER_STEP_TAG, None)
    return figures(history, page=page)


#: Area → its figures, each with its name: a file's, below a folder of its own where it has a "/".
_FIGURES: dict[str, Callable[[History], Iterator[tuple[str, Figure]]]] = {
    CLASS_PERFORMANCE: _class_performance,
    DYNAMICS: _training_dynamics,
    RESOURCES: _resource_usage,
}
