"""What the sections of the page are made of: text that is only ever text, tables, figures."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tbmetrics.exporting.manifest import RunEntry


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows.

    Attributes:
        out: directory of the export.
        runs: by name.
        folders: where each run's event files lie.
    """

    out: Path
    runs: dict[str, RunEntry]
    folders: dict[str, Path]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its id, plain letters, digits and "-".
        title: any text.
        body: HTML, piece by piece.
        level: of its heading, 2 or 3.
        scripts: whether the body has scripts of its own; they must be inline.
    """

    anchor: str
    title: str
    body: Iterable[str]
    level: int = 2
    scripts: bool = False


def escape(text: object) -> str:
    """Untrusted text as HTML; what cannot be shown is replaced."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return html.escape(shown, quote=True)


def name(text: object) -> str:
    """Untrusted text in a line of its own direction, so that it cannot turn its neighbours around."""
    return f"<bdi>{escape(text)}</bdi>"


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number, or "–" where it is undefined."""
    if value is None or value != value:
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> Iterator[str]:
    """A table of cells that are HTML already; its first `texts` columns hold text, the others numbers."""
    yield '<div class="wide"><table><thead><tr>'
    for i, head in enumerate(heads):
        yield f'<th scope="col"{"" if i < texts else " class=n"}>{escape(head)}</th>'
    yield "</tr></thead><tbody>\n"
    for row in rows:
        yield "<tr>"
        for i, cell in enumerate(row):
            yield f"<td>{cell}</td>" if i < texts else f"<td class=n>{cell}</td>"
        yield "</tr>\n"
    yield "</tbody></table></div>\n"


def figure(path: Path, title: str, said: str) -> Iterator[str]:
    """A PNG file, embedded, with its title and a sentence about it."""
    width, height = _size(path)
    alt = escape(f"{title}. {said}".strip())
    broad = ' class="broad"' if width > 2.3 * height else ""
    yield f'<figure{broad}><img alt="{alt}" width="{width}" height="{height}" src="data:image/png;base64,'
    with path.open("rb") as file:
        while piece := file.read(3 * 2**18):
            yield base64.b64encode(piece).decode("ascii")
    more = f" <span>{escape(said)}</span>" if said else ""
    yield f'"><figcaption>{escape(title)}{more}</figcaption></figure>\n'


def _size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file, which its header holds."""
    with path.open("rb") as file:
        header = file.read(24)
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
