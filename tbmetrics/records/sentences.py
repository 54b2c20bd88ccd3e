"""Sentences with numbers: templates that are recorded once, filled with the numbers of a step where they are shown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_PLACE = re.compile(r"\{(\w+)(?::(\+?)(?:\.([0-4])([f%])|g))?\}")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")


def filled(template: str, numbers: Mapping[str, float | None]) -> str:
    """The template with its places filled; "" if a number is not known.

    Places are written `{name:.2f}`, `{name:+.2f}`, `{name:.0%}` or `{name:g}`. A part in square brackets is left out if
    one of its numbers is not known. Templates may come from any log: nothing else is interpreted.

    Args:
        template: at most a few sentences.
        numbers: by name; None and NaN are not known.
    """
    text = _OPTIONAL.sub(lambda part: _filled(part[1], numbers) or "", template)
    return _filled(text, numbers) or ""


def _filled(template: str, numbers: Mapping[str, float | None]) -> str | None:
    places = list(_PLACE.finditer(template))
    values = [numbers.get(place[1]) for place in places]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    written = iter([_written(float(value or 0), place) for value, place in zip(values, places, strict=True)])
    return _PLACE.sub(lambda _: next(written), template)


def _written(value: float, place: re.Match[str]) -> str:
    _, sign, digits, kind = place.groups()
    if kind is None:
        return f"{value:+g}" if sign else f"{value:g}"
    text = f"{value:{sign or ''}.{digits}{kind}}"
    return text.replace("%", "\N{NO-BREAK SPACE}%")
