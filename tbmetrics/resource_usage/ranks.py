"""What the ranks of a job cost beside each other: the slowest in each component, and the one that others wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median_low
from typing import Any

from tbmetrics.figures.resource_data import markdown_cell
from tbmetrics.records import RESOURCES, Record, Scalar, Text, tag_part

TAG = f"{RESOURCES}/ranks"
#: Where ranks wait for each other, so that long times there tell of another rank.
WAITING = ("backward_pass", "other")


def rank_records(announced: Sequence[Mapping[str, Any] | None]) -> Iterator[Record]:
    """Scalars and a text of one epoch.

    In synchronous training all ranks end an epoch together, and those that are quick wait in the backward pass. A
    straggler is told by what it does on its own: the rank that is furthest above the median in a component where no
    one waits.

    Args:
        announced: by rank the epoch's row, `components` (name → row) among it; None where a rank measured nothing.
    """
    rows = {rank: row for rank, row in enumerate(announced) if row is not None}
    if len(rows) < 2:
        return
    yield Scalar(f"{TAG}/count", float(len(rows)))
    speeds = [row["throughput"] for row in rows.values() if row["throughput"]]
    if speeds:
        yield Scalar(f"{TAG}/throughput_samples_per_second", float(sum(speeds)))
    peaks = {rank: row["peak_memory"] or row["memory"] for rank, row in rows.items()}
    known = {rank: float(peak) for rank, peak in peaks.items() if peak is not None}
    if known:
        yield Scalar(f"{TAG}/memory_bytes_max", max(known.values()))
        yield Scalar(f"{TAG}/memory_bytes_min", min(known.values()))
    times = {rank: float(row["time"]) for rank, row in rows.items()}
    yield Scalar(f"{TAG}/epoch_seconds_max", max(times.values()))
    yield Scalar(f"{TAG}/epoch_seconds_min", min(times.values()))
    found = list(_by_component(rows))
    for name, middle, most, _ in found:
        yield Scalar(f"{TAG}/component_seconds_median/{tag_part(name)}", middle)
        yield Scalar(f"{TAG}/component_seconds_max/{tag_part(name)}", most)
    own = [entry for entry in found if entry[0] not in WAITING] or found
    name, middle, most, rank = max(own, key=lambda entry: entry[2] - entry[1])
    yield Scalar(f"{TAG}/slowest_rank", float(rank))
    yield Scalar(f"{TAG}/slowest_rank_excess_seconds", most - middle)
    yield Text(f"{TAG}/summary", _summary(rows, found, name, middle, most, rank, known))


def _by_component(rows: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, float, float, int]]:
    """(component, median seconds, most seconds, the rank that took them)."""
    for name in dict.fromkeys(name for row in rows.values() for name in row["components"]):
        own = {rank: float(row["components"].get(name, {}).get("self_time", 0.0)) for rank, row in rows.items()}
        slowest = max(own, key=lambda rank: own[rank])
        yield name, median_low(own.values()), own[slowest], slowest


def _summary(
    rows: Mapping[int, Mapping[str, Any]],
    found: Sequence[tuple[str, float, float, int]],
    name: str,
    middle: float,
    most: float,
    rank: int,
    memory: Mapping[int, float],
) -> str:
    epoch = next(iter(rows.values()))["epoch"]
    host = rows[rank].get("host", "")
    lines = [
        f"Epoch {epoch} on {len(rows)} ranks. Slowest: **rank {rank}**{f' on {markdown_cell(host)}' if host else ''}, "
        f"{most - middle:.2f} s above the median in {markdown_cell(name)}.",
        "",
        "| component | median seconds | most seconds | by rank |",
        "|---|---:|---:|---:|",
    ]
    lines += [f"| {markdown_cell(n)} | {m:.3f} | {x:.3f} | {r} |" for n, m, x, r in sorted(found, key=lambda e: -e[2])]
    if memory:
        fullest = max(memory, key=lambda r: memory[r])
        lines += ["", f"Most memory: {memory[fullest] / 2**20:,.0f} MiB on rank {fullest}."]
    return "\n".join(lines)
