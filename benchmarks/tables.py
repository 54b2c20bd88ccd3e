"""Results as JSON, and as Markdown tables between the marks of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.measuring import Comparison, Facts, Results, median


def as_json(results: Results) -> list[dict[str, Any]]:
    """Convert results to JSON: all turns and their summaries."""
    entries = []
    for result in results:
        entry = {"kind": type(result).__name__, **asdict(result)}
        if isinstance(result, Comparison):
            entry["summaries"] = {way: asdict(summary) for way, summary in result.summaries().items()}
        entries.append(entry)
    return entries


def from_json(entries: list[dict[str, Any]]) -> list[Comparison | Facts]:
    """Invert `as_json`."""
    kinds: dict[str, Any] = {"Comparison": Comparison, "Facts": Facts}
    results = []
    for entry in entries:
        fields = {key: value for key, value in entry.items() if key not in ("kind", "summaries")}
        if "watched" in fields:
            fields["watched"] = tuple(fields["watched"])
        results.append(kinds[entry["kind"]](**fields))
    return results


def markdown(area: Mapping[str, Any]) -> str:
    """Format one area: conditions, tables, and what was left out."""
    load = " to ".join(f"{value:.1f}" for value in area["load"])
    about = f"Commit `{area['commit']}`, {area['date']}, {area['size']} size, load average {load}; {area['machine']}."
    tables = [_table(result) for result in from_json(area["results"])]
    left_out = [f"Left out: {reason}." for reason in area["skipped"]]
    return "\n\n".join([about, *tables, *left_out])


def folded(text: str) -> str:
    """`text` behind a line that opens it."""
    return f'<details markdown="1">\n<summary>Tables</summary>\n\n{text}\n\n</details>'


def _table(result: Comparison | Facts) -> str:
    if isinstance(result, Facts):
        return f"{_title(result.title, result.about)}\n\n{_rows(result.columns, result.rows)}"
    how = f"{result.base} ÷ way" if result.inverse else f"way ÷ {result.base}"
    turns = len(result.values[result.base])
    about = "; ".join(filter(None, [result.about, f"ratio: {how}", f"{turns} turns" if turns > 1 else "one turn"]))
    return f"{_title(result.title, about)}\n\n{_comparison(result)}"


def _title(title: str, about: str) -> str:
    return f"**{title}**" + (f" ({about})" if about else "")


def _comparison(result: Comparison) -> str:
    columns = ["way", f"median ({result.unit})", "ratio", "95 % of it", "of totals", "of the fastest"]
    rows = [[result.base, number(median(result.values[result.base])), "1", "", "", ""]]
    for way, s in result.summaries().items():
        spread = f"{number(s.low)} to {number(s.high)}" if s.turns > 2 else ""
        ratios = [number(ratio) for ratio in (s.ratio, s.of_totals, s.of_fastest)]
        rows.append([way, number(median(result.values[way])), ratios[0], spread, *ratios[1:]])
    return _rows(columns, rows)


def number(value: float) -> str:
    """Format ratios near one with three decimals, everything else with three significant digits."""
    if 0.9 <= abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rows(columns: list[str], rows: list[list[str]]) -> str:
    line = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [columns, line, *rows])


def marks(area: str) -> tuple[str, str]:
    """Lines before and after the tables of an area in the page."""
    return f"<!-- measured: {area} -->", f"<!-- end of {area} -->"


def put(page: str, area: str, text: str) -> str:
    """Return `page` with the tables of `area` replaced.

    Raises:
        ValueError: the page lacks the marks of `area`.
    """
    first, last = marks(area)
    before, start, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        raise ValueError(f"the page has no place for {area!r}: it lacks the lines {first!r} and {last!r}")
    return f"{before}{first}\n\n{text}\n\n{last}{after}"
