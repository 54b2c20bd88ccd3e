"""What is asked of an export, checked where it enters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tbmetrics.errors import InputError
from tbmetrics.records import AREAS

FIGURE_FORMATS = ("png", "svg", "pdf")
DATA_FORMATS = ("json", "csv")
FORMATS = (*FIGURE_FORMATS, *DATA_FORMATS, "html")
DEFAULT_FORMATS = ("png", "json", "csv", "html")

#: Area of what is none of tbmetrics' own: a loss, what other writers logged.
OTHER = "other"
EXPORTED_AREAS = (*AREAS, OTHER)


class NothingToShowError(InputError):
    """The log directory holds nothing, or nothing that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked for; made by `checked`."""

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
        """Formats that figures are drawn in; a page needs PNG."""
        wanted = {"png", *self.formats} if "html" in self.formats else {*self.formats}
        return tuple(f for f in FIGURE_FORMATS if f in wanted)

    def to_json(self) -> dict[str, Any]:
        """What decides the content of files, for the manifest."""
        found: dict[str, Any] = {"runs": self.runs.pattern, "formats": list(self.formats), "dpi": self.dpi}
        for name in ("attributes", "only"):
            value = getattr(self, name)
            found[name] = None if value is None else list(value)
        return found


def checked(
    *,
    runs: str | None,
    attributes: Sequence[str] | None,
    only: Sequence[str] | None,
    formats: Sequence[str],
    dpi: int,
    jobs: int | None,
) -> Options:
    """The options, each in one spelling.

    Raises:
        InputError: one is not known or out of range.
    """
    for name, value in (("attributes", attributes), ("only", only), ("formats", formats)):
        if isinstance(value, str):
            raise InputError(f"{name} must be a list of names, got the text {value!r}; write [{value!r}]")
    _known("formats", formats, FORMATS)
    if only is not None:
        _known("only", only, EXPORTED_AREAS)
    if not 10 <= dpi <= 1200:
        raise InputError(f"dpi must lie in 10..1200, got {dpi}")
    if jobs is not None and not 1 <= jobs <= 256:
        raise InputError(f"jobs must lie in 1..256, got {jobs}")
    return Options(
        runs=_pattern(runs or ""),
        attributes=None if attributes is None else tuple(sorted(set(attributes))),
        only=None if only is None else tuple(a for a in EXPORTED_AREAS if a in only),
        formats=tuple(f for f in FORMATS if f in formats),
        dpi=dpi,
        jobs=jobs,
    )


def _known(name: str, came: Sequence[str], known: Sequence[str]) -> None:
    unknown = [one for one in came if one not in known]
    if unknown or not came:
        raise InputError(f"{name} must be some of {', '.join(known)}; got {', '.join(map(repr, unknown)) or 'none'}")


def _pattern(runs: str) -> re.Pattern[str]:
    try:
        return re.compile(runs)
    except re.error as error:
        raise InputError(f"runs must be a regular expression, got {runs!r}: {error}") from error
