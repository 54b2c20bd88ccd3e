"""The building blocks of the page's sections: escaped text, tables, and embedded figures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tbmetrics.exporting.files import RunEntry


@dataclass(frozen=True, slots=True)
class Page:
    """The data of the page.

    Attributes:
        out: directory of the export.
        runs: by name.
        tab: the section with the Long Tail tab, if there is one.
    """

    out: Path
    runs: dict[str, RunEntry]
    tab: Section | None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its id, plain letters, digits and "-".
        title: any text.
        body: HTML, piece by piece.
        level: of its heading, 2 or 3.
        has_scripts: whether the body has scripts; they must be inline.
        is_printed_only: whether a screen does not show it.
    """

    anchor: str
    title: str
    body: Iterable[str]
    level: int = 2
    has_scripts: bool = False
    is_printed_only: bool = False


def escape(text: object) -> str:
    """Untrusted text as HTML, with unprintable characters replaced."""
    printable = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return html.escape(printable, quote=True)


def name(text: object) -> str:
    """Untrusted text with a writing direction that does not affect its neighbours."""
    return f"<bdi>{escape(text)}</bdi>"


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number, or "–" if it is undefined."""
    if value is None or value != value:
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> Iterator[str]:
    """A table of cells that are HTML already; numbers follow the first `text_columns` columns."""
    yield '<div class="wide"><table><thead><tr>'
    for i, heading in enumerate(headings):
        yield f'<th scope="col"{"" if i < text_columns else " class=n"}>{escape(heading)}</th>'
    yield "</tr></thead><tbody>\n"
    for row in rows:
        yield "<tr>"
        for i, cell in enumerate(row):
            yield f"<td>{cell}</td>" if i < text_columns else f"<td class=n>{cell}</td>"
        yield "</tr>\n"
    yield "</tbody></table></div>\n"


def figure(path: Path, title: str, description: str) -> Iterator[str]:
    """A PNG file, embedded, with its title and description."""
    content = path.read_bytes()
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    kind, content = _smaller(content)
    alt = escape(f"{title}. {description}".strip())
    broad = ' class="broad"' if width > 4 * height else ""
    yield f'<figure{broad}><img alt="{alt}" width="{width}" height="{height}" src="data:image/{kind};base64,'
    yield base64.b64encode(content).decode("ascii")
    caption = f" <span>{escape(description)}</span>" if description else ""
    yield f'"><figcaption>{escape(title)}{caption}</figcaption></figure>\n'


def _smaller(content: bytes) -> tuple[str, bytes]:
    """Kind and bytes of a PNG file, without loss in half the space if it has no palette, as images of the log."""
    from PIL import Image, features

    with Image.open(io.BytesIO(content)) as image:
        if image.mode == "P" or not features.check("webp"):
            return "png", content
        encoded = io.BytesIO()
        image.save(encoded, format="WEBP", lossless=True, method=1, quality=20)
    return "webp", encoded.getvalue()
