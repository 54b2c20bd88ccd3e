"""Times and memory of the ranks of a job compared: the slowest in each component, and the straggler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median_low
from typing import Any, NamedTuple

from tbmetrics.figures.resource_data import markdown_cell
from tbmetrics.records import RESOURCES, Record, Scalar, Text, tag_part

TAG = f"{RESOURCES}/ranks"
#: Components in which ranks wait for each other: a long time there is caused by another rank.
WAITING = ("backward_pass", "other")


class ComponentSpread(NamedTuple):
    """Seconds of one component over the ranks: the median, the most, and the rank that took it."""

    name: str
    median: float
    most: float
    slowest_rank: int

    @property
    def excess(self) -> float:
        """Seconds of the slowest rank above the median."""
        return self.most - self.median


def rank_records(announced: Sequence[Mapping[str, Any] | None]) -> Iterator[Record]:
    """Scalars and a text of one epoch.

    In synchronous training all ranks end an epoch together, and the fast ones wait in the backward pass. The straggler
    is therefore the rank that is furthest above the median in a component in which no rank waits for others.

    Args:
        announced: the epoch's row by rank, with its `components` (name → row); None for a rank without measurements.
    """
    rows = {rank: row for rank, row in enumerate(announced) if row is not None}
    if len(rows) < 2:
        return
    yield Scalar(f"{TAG}/count", float(len(rows)))
    speeds = [row["throughput"] for row in rows.values() if row["throughput"]]
    if speeds:
        yield Scalar(f"{TAG}/throughput_samples_per_second", float(sum(speeds)))
    peaks = {rank: row["peak_memory"] or row["memory"] for rank, row in rows.items()}
    memory = {rank: float(peak) for rank, peak in peaks.items() if peak is not None}
    if memory:
        yield Scalar(f"{TAG}/memory_bytes_max", max(memory.values()))
        yield Scalar(f"{TAG}/memory_bytes_min", min(memory.values()))
    times = {rank: float(row["time"]) for rank, row in rows.items()}
    yield Scalar(f"{TAG}/epoch_seconds_max", max(times.values()))
    yield Scalar(f"{TAG}/epoch_seconds_min", min(times.values()))
    spreads = list(_spreads(rows))
    for spread in spreads:
        yield Scalar(f"{TAG}/component_seconds_median/{tag_part(spread.name)}", spread.median)
        yield Scalar(f"{TAG}/component_seconds_max/{tag_part(spread.name)}", spread.most)
    independent = [spread for spread in spreads if spread.name not in WAITING]
    worst = max(independent or spreads, key=lambda spread: spread.excess)
    yield Scalar(f"{TAG}/slowest_rank", float(worst.slowest_rank))
    yield Scalar(f"{TAG}/slowest_rank_excess_seconds", worst.excess)
    yield Text(f"{TAG}/summary", _summary(rows, spreads, worst, memory))


def _spreads(rows: Mapping[int, Mapping[str, Any]]) -> Iterator[ComponentSpread]:
    for name in dict.fromkeys(name for row in rows.values() for name in row["components"]):
        seconds = {rank: float(row["components"].get(name, {}).get("self_time", 0.0)) for rank, row in rows.items()}
        slowest = max(seconds, key=lambda rank: seconds[rank])
        yield ComponentSpread(name, median_low(seconds.values()), seconds[slowest], slowest)


def _summary(
    rows: Mapping[int, Mapping[str, Any]],
    spreads: Sequence[ComponentSpread],
    worst: ComponentSpread,
    memory: Mapping[int, float],
) -> str:
    epoch = next(iter(rows.values()))["epoch"]
    host = rows[worst.slowest_rank].get("host", "")
    rank = f"**rank {worst.slowest_rank}**{f' on {markdown_cell(host)}' if host else ''}"
    lines = [
        f"Epoch {epoch} on {len(rows)} ranks. Slowest: {rank}, "
        f"{worst.excess:.2f} s above the median in {markdown_cell(worst.name)}.",
        "",
        "| component | median seconds | most seconds | by rank |",
        "|---|---:|---:|---:|",
    ]
    for name, median, most, slowest in sorted(spreads, key=lambda spread: -spread.most):
        lines.append(f"| {markdown_cell(name)} | {median:.3f} | {most:.3f} | {slowest} |")
    if memory:
        fullest = max(memory, key=lambda rank: memory[rank])
        lines += ["", f"Most memory: {memory[fullest] / 2**20:,.0f} MiB on rank {fullest}."]
    return "\n".join(lines)
