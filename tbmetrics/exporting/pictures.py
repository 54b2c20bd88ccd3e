"""Pictures as bytes of files: figures drawn under matplotlib's defaults, and the images of the log."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tbmetrics.events.decoding import encoded_image
from tbmetrics.events.file_index import StoredRecord
from tbmetrics.exporting.contents import CLASS_PERFORMANCE
from tbmetrics.exporting.files import tag_path
from tbmetrics.exporting.options import OTHER
from tbmetrics.figures.output import png, slug
from tbmetrics.records import ATTENTION, ATTENTION_PREFIX, DYNAMICS, OPTIMIZER_STEP_TAG, RESOURCES, Image
from tbmetrics.records.history import History, Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
_SETTINGS = {"svg.hashsalt": "tbmetrics", "pdf.fonttype": 42}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Left out of paths, since attention has a folder of its own.
_BEFORE_ATTENTION = ATTENTION_PREFIX.removesuffix(f"{ATTENTION}/")
# matplotlib's settings and Python's warning filters belong to the process: one thread at a time may change them.
_SETTINGS_LOCK = threading.RLock()


def draw_figures(
    history: History, area: str, formats: Sequence[str], dpi: int, page: int, clashes: Container[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """(path below the run's folder, content) of each figure of `area` that `history` has the data for.

    Args:
        history: the data to draw.
        area: one that has figures.
        formats: of "png", "svg", "pdf".
        dpi: dots per inch of PNG.
        page: number of the first figure, in an area that numbers its figures.
        clashes: names that need a hash to stay apart.
    """
    figures = _other(history, page) if area == OTHER else _FIGURES[area](history)
    with _usual_settings():
        contents = [
            (f"{_figure_path(area, name, clashes)}.{fmt}", _encode_figure(figure, fmt, dpi))
            for name, figure in figures
            for fmt in formats
        ]
    yield from contents


def _figure_path(area: str, name: str, clashes: Container[str]) -> str:
    if area == OTHER:
        kind, group, *page = name.split("/")
        return "/".join((area, kind, "=".join((slug(group, clashes), *page))))
    *folders, kind = name.rsplit("/", 1)
    return "/".join((area, *(slug(folder, clashes) for folder in folders), slug(kind)))


@contextmanager
def _usual_settings() -> Iterator[None]:
    """matplotlib's defaults, without warnings, in the one thread that draws."""
    import matplotlib.style

    with _SETTINGS_LOCK, warnings.catch_warnings(), matplotlib.style.context(["default", _SETTINGS]):
        warnings.simplefilter("ignore")  # a name may have characters that the fonts lack
        yield


def _encode_figure(figure: Figure, fmt: str, dpi: int) -> bytes:
    if fmt == "png":
        return png(figure, dpi)
    content = io.BytesIO()
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


#: Area → its figures by name; what precedes a "/" in a name is a folder.
_FIGURES: dict[str, Callable[[History], Iterator[tuple[str, Figure]]]] = {
    CLASS_PERFORMANCE: _class_performance,
    DYNAMICS: _training_dynamics,
    RESOURCES: _resource_usage,
}


def image_paths(tag: str, area: str, steps: list[int], clashes: Container[str] = ()) -> list[str]:
    """Paths below the run's folder: one per step if there are several, then that of the last image without a step."""
    path = tag_path(tag.removeprefix(_BEFORE_ATTENTION), encoded=area != OTHER, clashes=clashes)
    path = f"{OTHER}/images/{path}" if area == OTHER else path
    step_paths = [f"{path}/step={step:08d}.png" for step in steps] if len(steps) > 1 else []
    return [*step_paths, f"{path}.png"]


def logged_images(
    tag: str, area: str, series: Series[Image], clashes: Container[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """(path below the run's folder, content) of each image of a tag."""
    *step_paths, last_path = image_paths(tag, area, series.steps.tolist(), clashes)
    content = b""
    for i, stored in enumerate(series.stored()):
        content = _png(stored)
        if step_paths:
            yield step_paths[i], content
    yield last_path, content


def _png(stored: StoredRecord) -> bytes:
    """The bytes in the log if they are PNG; other formats, such as JPEG, are encoded again."""
    from PIL import Image as PillowImage

    encoded = encoded_image(stored.value())
    if encoded.startswith(_PNG_SIGNATURE):
        return encoded
    image: Image = stored()
    content = io.BytesIO()
    PillowImage.fromarray(image.pixels).save(content, format="PNG")
    return content.getvalue()
