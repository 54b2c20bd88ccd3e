"""Summary of a profile: time of a step by category, and the operators that take most of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Categories by priority: a moment of a step counts for the first one that is going on.
KERNEL, COPY, COMMUNICATION, RUNTIME = "kernel", "memory_copy", "communication", "device_runtime"
LOADING, OPTIMIZER, OPERATOR, OTHER = "data_loading", "optimizer", "cpu_operator", "other"
CATEGORIES = (COMMUNICATION, KERNEL, COPY, RUNTIME, LOADING, OPTIMIZER, OPERATOR, OTHER)

_STEP = "ProfilerStep"


def category(name: str, device_type: object) -> str | None:
    """Category of a profiler's event, or None if it only groups others."""
    if name.startswith((_STEP, "PyTorch Profiler", "[memory]")):
        return None
    if "CPU" not in str(device_type):
        if "nccl" in name.lower():
            return COMMUNICATION
        return COPY if name.startswith(("Memcpy", "Memset")) else KERNEL
    if name.startswith(("cuda", "hip")):
        return RUNTIME
    if name.startswith("enumerate(DataLoader)"):
        return LOADING
    return OPTIMIZER if name.startswith("Optimizer.") else OPERATOR


def step_breakdown(events: Iterable[Any]) -> dict[str, float]:
    """Mean seconds of a step by category, in the order of `CATEGORIES`; they add up to the step. Empty without steps.

    Args:
        events: `torch.profiler.profile.events()`.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    steps: list[tuple[float, float]] = []
    for event in events:
        span = (float(event.time_range.start), float(event.time_range.end))
        if event.name.startswith(_STEP) and "CPU" in str(event.device_type):
            steps.append(span)
        elif (kind := category(event.name, event.device_type)) is not None:
            spans.setdefault(kind, []).append(span)
    if not steps:
        return {}
    by_category = _exclusive(spans, steps)
    return {kind: by_category[kind] / len(steps) / 1e6 for kind in CATEGORIES if by_category.get(kind)}


def _exclusive(spans: dict[str, list[tuple[float, float]]], steps: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Microseconds within the steps by category; each moment counts for the first category that is going on."""
    everything: dict[str, list[tuple[float, float]]] = {**spans, OTHER: list(steps)}
    ranked = [np.array(everything.get(kind, []), dtype=np.float64).reshape(-1, 2) for kind in CATEGORIES]
    edges = np.unique(np.concatenate([part.ravel() for part in ranked]))
    lengths = np.diff(edges)
    unassigned = _covered(np.array(steps, dtype=np.float64), edges)
    microseconds: dict[str, float] = {}
    for kind, part in zip(CATEGORIES, ranked, strict=True):
        assigned = _covered(part, edges) & unassigned
        microseconds[kind] = float(lengths[assigned].sum())
        unassigned &= ~assigned
    return microseconds


def _covered(spans: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the intervals between `edges` lie in one of `spans`; shape (edges - 1,)."""
    change = np.zeros(len(edges), dtype=np.int64)
    np.add.at(change, np.searchsorted(edges, spans[:, 0]), 1)
    np.add.at(change, np.searchsorted(edges, spans[:, 1]), -1)
    return np.cumsum(change)[:-1] > 0


def top_operators(averages: Iterable[Any], most: int = 15) -> str:
    """A Markdown table of the operators that take most time themselves, by device time if there is any.

    Args:
        averages: `torch.profiler.profile.key_averages()`.
        most: largest number of rows.
    """
    rows = [a for a in averages if category(a.key, a.device_type) not in (None, RUNTIME)]
    on_device = any(a.self_device_time_total > 0 for a in rows)
    rows.sort(key=lambda a: -(a.self_device_time_total if on_device else a.self_cpu_time_total))
    lines = [
        "| operator | calls | CPU itself (ms) | CPU in all (ms) |" + (" device itself (ms) |" if on_device else ""),
        "|---|---:|---:|---:|" + ("---:|" if on_device else ""),
    ]
    for a in rows[:most]:
        cells = [_code(a.key), f"{a.count:,}", f"{a.self_cpu_time_total / 1e3:.3f}", f"{a.cpu_time_total / 1e3:.3f}"]
        cells += [f"{a.self_device_time_total / 1e3:.3f}"] if on_device else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _code(name: str) -> str:
    """An operator's name as code in a table cell; the C++ names of kernels are cut."""
    line = "".join(c if c.isprintable() and c not in "`|" else " " for c in name)
    return f"`{line if len(line) <= 80 else line[:79] + '…'}`"
