"""The options of an export, checked before anything is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tbmetrics.errors import InputError
from tbmetrics.records import AREAS

FIGURE_FORMATS = ("png", "svg", "pdf")
CSV, CSV_FULL = "csv", "csv-full"
DATA_FORMATS = ("json", CSV, CSV_FULL)
FORMATS = (*FIGURE_FORMATS, *DATA_FORMATS, "html")
DEFAULT_FORMATS = ("png", "json", "csv", "html")

#: Area of everything that tbmetrics does not measure itself: a loss, the tags of other writers.
OTHER = "other"
EXPORTED_AREAS = (*AREAS, OTHER)


class NothingToShowError(InputError):
    """The log directory is empty, or holds nothing that the options select."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options; `check_options` makes them."""

    runs: re.Pattern[str]
    attributes: tuple[str, ...] | None
    only: tuple[str, ...] | None
    formats: tuple[str, ...]
    dpi: int
    jobs: int | None

    @property
    def areas(self) -> tuple[str, ...]:
        """The areas to export."""
        return EXPORTED_AREAS if self.only is None else self.only

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The formats to draw figures in; a page needs PNG."""
        wanted = {"png", *self.formats} if "html" in self.formats else {*self.formats}
        return tuple(f for f in FIGURE_FORMATS if f in wanted)

    @property
    def has_csv(self) -> bool:
        """Whether tables, scalars and texts are written as CSV."""
        return CSV in self.formats or self.has_full_csv

    @property
    def has_full_csv(self) -> bool:
        """Whether histograms and curves are written as CSV, too."""
        return CSV_FULL in self.formats

    def to_json(self) -> dict[str, Any]:
        """The options that decide which files there are and what they contain."""
        selections = {"attributes": self.attributes, "only": self.only}
        lists = {name: None if value is None else list(value) for name, value in selections.items()}
        return {"runs": self.runs.pattern, "formats": list(self.formats), "dpi": self.dpi, **lists}


def check_options(
    *,
    runs: str | None,
    attributes: Sequence[str] | None,
    only: Sequence[str] | None,
    formats: Sequence[str],
    dpi: int,
    jobs: int | None,
) -> Options:
    """Check the arguments of `export` and bring each into one spelling.

    Raises:
        InputError: an option is unknown or out of range.
    """
    for name, value in (("attributes", attributes), ("only", only), ("formats", formats)):
        if isinstance(value, str):
            raise InputError(f"{name} must be a list of names, got the text {value!r}; write [{value!r}]")
    _check_names("formats", formats, FORMATS)
    if only is not None:
        _check_names("only", only, EXPORTED_AREAS)
    if not 10 <= dpi <= 1200:
        raise InputError(f"dpi must lie in 10..1200, got {dpi}")
    if jobs is not None and not 1 <= jobs <= 256:
        raise InputError(f"jobs must lie in 1..256, got {jobs}")
    return Options(
        runs=run_pattern(runs or ""),
        attributes=None if attributes is None else tuple(sorted(set(attributes))),
        only=None if only is None else tuple(a for a in EXPORTED_AREAS if a in only),
        formats=tuple(f for f in FORMATS if f in formats),
        dpi=dpi,
        jobs=jobs,
    )


def _check_names(option: str, names: Sequence[str], allowed: Sequence[str]) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        got = ", ".join(map(repr, unknown)) or "none"
        raise InputError(f"{option} must be some of {', '.join(allowed)}; got {got}")


def run_pattern(runs: str) -> re.Pattern[str]:
    """The pattern to find in the names of runs; `InputError` if it is none."""
    try:
        return re.compile(runs)
    except re.error as error:
        raise InputError(f"runs must be a regular expression, got {runs!r}: {error}") from error
