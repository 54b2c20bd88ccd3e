"""Where figures go: PNG files under safe names, and the cells of a notebook."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tbmetrics.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 40
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}  # on Windows

_announce: ContextVar[Callable[[str], None]] = ContextVar("announce", default=lambda name: None)


def slug(name: str, clashes: Container[str] = ()) -> str:
    """`name` as a readable file name that is safe on every system: ASCII letters, digits, '-', '_' and inner dots.

    Other characters become '-', accents are dropped. A short hash is added to a name of `clashes`, and to one that
    loses letters or its end, or that Windows reserves.

    Args:
        name: any text.
        clashes: as `clashing` gives them for all names that share a folder.
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-.")
    loses_letters = any(c.isalnum() and not c.isascii() for c in plain)
    is_whole = safe and len(safe) <= 80 and not loses_letters and safe.partition(".")[0].lower() not in _RESERVED
    if is_whole and name not in clashes:
        return safe
    return f"{safe[:80].strip('-.') or 'name'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def clashing(names: Iterable[str]) -> frozenset[str]:
    """The names whose file names would be the same, at least on a system that ignores case."""
    by_slug: dict[str, set[str]] = {}
    for name in names:
        by_slug.setdefault(slug(name).lower(), set()).add(name)
    return frozenset(name for alike in by_slug.values() if len(alike) > 1 for name in alike)


def save_figures(drawn: Mapping[str, Figure], save_dir: str | os.PathLike[str]) -> None:
    """Write each figure to `{save_dir}/{name}.png`; the same figure gives the same bytes.

    A name may have a folder before its last "/", which is made a safe file name.

    Raises:
        InputError: the directory cannot be made or written.
    """
    clashes = clashing(name.rpartition("/")[0] for name in drawn)
    for name, figure in drawn.items():
        folder, _, kind = name.rpartition("/")
        path = Path(save_dir, slug(folder, clashes) if folder else "", f"{kind}.png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(figure, dpi=150))
            _announce.get()(name)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write {os.fspath(path)!r} ({reason}); choose another save_dir") from error


def pixels(figure: Figure, dpi: int = 100) -> NDArray[np.uint8]:
    """The drawn figure as uint8 of shape (height, width, 3)."""
    return _drawn(figure, dpi)[..., :3].copy()


def _drawn(figure: Figure, dpi: int) -> NDArray[np.uint8]:
    """The drawn figure as uint8 of shape (height, width, 4), until it is drawn again."""
    figure.set_dpi(dpi)
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as a PNG file of 256 colours, a third of the size; the same figure gives the same bytes.

    `savefig` would draw it twice: once without showing, to lay it out.
    """
    from PIL import Image

    drawn, buffer = _drawn(figure, dpi), io.BytesIO()
    opaque = Image.frombuffer("RGBA", drawn.shape[1::-1], drawn, "raw", "RGBA", 0, 1).convert("RGB")
    image = opaque.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette, background = image.getpalette() or [], 3 * int(np.asarray(image)[0, 0])
    palette[background : background + 3] = drawn[0, 0, :3].tolist()  # exactly: it would be a mean of similar colours
    image.putpalette(palette)
    image.save(buffer, format="PNG", dpi=(dpi, dpi), compress_level=7)
    return buffer.getvalue()


class Figures(dict[str, Any]):
    """Figures by name; a notebook shows the first 40 of them, with their names."""

    def _repr_html_(self) -> str:
        shown = [_block(name, figure) for name, figure in list(self.items())[:MOST_SHOWN]]
        more = len(self) - len(shown)
        if more > 0:
            shown.append(f"<p>and {more} more: {html.escape(', '.join(list(self)[MOST_SHOWN:]))}</p>")
        return "".join(shown) or "<p>no figures: nothing was measured yet</p>"


def _block(name: str, figure: Figure) -> str:
    encoded = base64.b64encode(png(figure)).decode()
    escaped = html.escape(name)
    style = "max-width:100%;background:white"
    return (
        f'<figure style="margin:0 0 1em"><figcaption>{escaped}</figcaption>'
        f'<img alt="{escaped}" style="{style}" src="data:image/png;base64,{encoded}"></figure>'
    )


def collect_figures(figures: Iterable[tuple[str, Figure]], save_dir: str | os.PathLike[str] | None) -> Figures:
    """The figures by name; also written to `save_dir`, if there is one.

    Raises:
        InputError: the directory cannot be made or written.
    """
    by_name = Figures()
    for name, figure in figures:
        _announce.get()(name)
        by_name[name] = figure
    if save_dir is not None:
        save_figures(by_name, save_dir)
    return by_name


@contextmanager
def announced(announce: Callable[[str], None]) -> Iterator[None]:
    """Call `announce` with the name of each figure that `collect_figures` has drawn or written within the block."""
    token = _announce.set(announce)
    try:
        yield
    finally:
        _announce.reset(token)
