"""Untrusted names as cells of CSV, Markdown and LaTeX."""

from __future__ import annotations

import re

_NEEDS_QUOTES = re.compile(r'[",\r\n]|^\s|\s$')
#: First characters of a text that a spreadsheet would run as a formula (OWASP, "CSV injection"), wide forms included.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
#: Line ends and control characters.
_CONTROLS = re.compile("[\u0000-\u001f\u007f-\u009f\u2028\u2029]+")
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~&$@!^]|^[-+=:]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_LATEX = re.compile(r'[\\~^<>|`"\[*&%$#_{}]|-(?=-)')
_LATEX_COMMANDS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\symbol{34}",
    "[": "{[}",  # after the end of a row it would open an option
    "*": "{*}",
    "-": "-{}",  # before another, with which it would join
}


def csv_cell(text: object) -> str:
    """A text as a cell: quoted if needed, with a leading ' if a spreadsheet would run it as a formula."""
    content = str(text)
    if _FORMULA.match(content):
        content = f"'{content}"
    return '"' + content.replace('"', '""') + '"' if _NEEDS_QUOTES.search(content) else content


def one_line(text: str) -> str:
    """A text without line ends and control characters."""
    return _CONTROLS.sub(" ", text).strip()


def markdown_cell(text: str) -> str:
    """A text as a cell of GitHub Markdown: no emphasis, code, link, HTML, entity or end of the cell."""
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", one_line(text))


def latex_cell(text: str) -> str:
    """A text as a cell of LaTeX: no command, comment, group or end of the cell."""
    return _LATEX.sub(lambda match: _LATEX_COMMANDS.get(match[0], f"\\{match[0]}"), one_line(text))
