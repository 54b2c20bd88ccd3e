"""Figures that notebooks show: one as its picture, a dictionary of them one below the other."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from matplotlib.figure import Figure

MOST_SHOWN = 40


class ShownFigure(Figure):
    """A figure that Jupyter shows although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


class Figures(dict[str, Any]):
    """Figures by name; as the last value of a notebook's cell they are shown with their names, the first 40 of them."""

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
