"""The page: one HTML file that holds everything it shows and asks nothing of anyone.

A section is a function from the page's data to a fragment of HTML; `SECTIONS` lists them in order, and a further one is
added there. A fragment with scripts must say so in `Section.scripts`, for the page forbids them otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tbmetrics.exporting.longtail_tab import tab_section
from tbmetrics.exporting.manifest import RunEntry, versions_for
from tbmetrics.exporting.report_parts import Page, Section, escape
from tbmetrics.exporting.report_sections import classes_section, figures_sections, groups_section, runs_section

SECTIONS: tuple[Callable[[Page], Iterable[Section]], ...] = (
    runs_section,
    groups_section,
    tab_section,
    classes_section,
    figures_sections,
)


def report_key(runs: dict[str, RunEntry], files: dict[str, dict[str, object]]) -> str:
    """Changes when the page does."""
    content = {
        run: [entry.summary, entry.problems, entry.tags.get("tables"), [files[path] for path in entry.paths()]]
        for run, entry in runs.items()
    }
    text = json.dumps([list(content.items()), versions_for("html")], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def report_page(out: Path, runs: dict[str, RunEntry], folders: dict[str, Path]) -> Iterator[bytes]:
    """The page, piece by piece.

    Args:
        out: where the figures lie.
        runs: what is known of each run.
        folders: where the runs' event files lie.
    """
    page = Page(out, runs, {run: folders[run] for run in runs})
    sections = [section for of_page in SECTIONS for section in of_page(page)]
    for piece in _pieces(page, sections):
        yield piece.encode("utf-8", "replace")


def _pieces(page: Page, sections: list[Section]) -> Iterator[str]:
    scripts = "; script-src 'unsafe-inline'" if any(section.scripts for section in sections) else ""
    policy = f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'{scripts}"
    title = "Training runs" if len(page.runs) > 1 else f"Training run {next(iter(page.runs))}"
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
    yield '<nav aria-label="Contents"><h2>Contents</h2>\n<ul>\n'
    for section in sections:
        level = ' class="inner"' if section.level > 2 else ""
        yield f'<li{level}><a href="#{section.anchor}">{escape(section.title)}</a></li>\n'
    yield f"</ul></nav>\n<main>\n<h1>{escape(title)}</h1>\n"
    for section in sections:
        yield f'<section id="{section.anchor}"><h{section.level}>{escape(section.title)}</h{section.level}>\n'
        yield from section.body
        yield "</section>\n"
    yield "</main>\n</body>\n</html>\n"
