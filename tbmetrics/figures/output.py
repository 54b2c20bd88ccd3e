"""Where figures go: PNG files under safe names, and the cells of a notebook."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tbmetrics.errors import InputError

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

MOST_SHOWN = 40


def slug(name: str) -> str:
    """`name` as a file name that is safe on every system; a short hash is added if it had to change.

    A name kept as it is has only lower-case letters, digits, '-', '_' and inner dots, so that names that differ in case
    alone stay apart on file systems that ignore it.
    """
    safe = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.")[:80]
    if safe and safe == name and safe not in {"con", "prn", "aux", "nul"}:
        return safe
    return f"{safe or 'run'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def save_figures(drawn: Mapping[str, Figure], save_dir: str | os.PathLike[str]) -> None:
    """Write each figure to `{save_dir}/{name}.png`; the same figure gives the same bytes.

    A name may have a folder before its last "/", which is made a safe file name.

    Raises:
        InputError: the directory cannot be made or written.
    """
    for name, figure in drawn.items():
        folder, _, kind = name.rpartition("/")
        path = Path(save_dir, slug(folder) if folder else "", f"{kind}.png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(figure, dpi=150))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write {os.fspath(path)!r} ({reason}); choose another save_dir") from error


def png(figure: Figure, dpi: int = 100) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes.

    `savefig` would draw it twice: once without showing, to lay it out.
    """
    from PIL import Image

    buffer, canvas = io.BytesIO(), cast("FigureCanvasAgg", figure.canvas)
    figure.set_dpi(dpi)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, format="PNG", dpi=(dpi, dpi))
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
    by_name = Figures(figures)
    if save_dir is not None:
        save_figures(by_name, save_dir)
    return by_name
