"""A typical step as Markdown: a table for people, read back for the figure that is drawn from it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_MARKUP = "\\`*_{}[]<>()#+-.!|~&"
_LENGTH = re.compile(r"^A step of middle length: ([\d.]+) ms$", re.MULTILINE)
_ROW = re.compile(r"^\| (.*) \| ([\d.]+) \| ([\d.]+) \| [\d.]+ \|$", re.MULTILINE)
_ESCAPED = re.compile(r"\\(.)")


class Span(NamedTuple):
    """One component in a step: when it began and ended, in seconds since the step began."""

    name: str
    began: float
    ended: float


def cell(name: str) -> str:
    """A name in a Markdown table: one line, and never markup."""
    printable = "".join(c if c.isprintable() else " " for c in name)
    return "".join(f"\\{c}" if c in _MARKUP else c for c in printable)


def timeline_text(seconds: float, spans: Iterable[Span]) -> str:
    """A step of `seconds` and its `spans`, in the order of their beginnings, as Markdown; times to the nanosecond."""
    lines = [f"A step of middle length: {seconds * 1e3:.6f} ms", ""]
    lines += ["| component | began (ms) | ended (ms) | took (ms) |", "|---|---:|---:|---:|"]
    for name, began, ended in spans:
        lines.append(f"| {cell(name)} | {began * 1e3:.6f} | {ended * 1e3:.6f} | {(ended - began) * 1e3:.3f} |")
    return "\n".join(lines)


def read_timeline(markdown: str) -> tuple[float, list[Span]]:
    """The inverse of `timeline_text`; (NaN, []) for a text that is none."""
    length = _LENGTH.search(markdown)
    if length is None:
        return float("nan"), []
    rows = (match.groups() for match in _ROW.finditer(markdown))
    spans = [Span(_ESCAPED.sub(r"\1", name), float(a) / 1e3, float(b) / 1e3) for name, a, b in rows]
    return float(length[1]) / 1e3, spans
