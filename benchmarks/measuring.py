"""Measuring in turns, and the results of a benchmark: values, ratios per turn and their spread."""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
QUICK, NORMAL, LARGE = "quick", "normal", "large"


@dataclass(slots=True)
class Comparison:
    """Alternative ways to do the same, measured in turns; value i of each way belongs to turn i.

    Attributes:
        title: what is compared.
        unit: unit of the values, of which less is better.
        base: the way that the others are compared with, turn by turn.
        values: one value per turn, by way.
        inverse: ratios are base ÷ way ("times cheaper") instead of way ÷ base.
        watched: ways whose ratio must not get worse. If empty, all except the base, which is then ours: it is a loss
            if a peer comes closer.
        about: sizes and settings, in words.
    """

    title: str
    unit: str
    base: str
    values: dict[str, list[float]]
    inverse: bool = False
    watched: tuple[str, ...] = ()
    about: str = ""

    def ratios(self, way: str) -> list[float]:
        """Ratio of each turn."""
        pairs = zip(self.values[way], self.values[self.base], strict=True)
        return [base / value if self.inverse else value / base for value, base in pairs]

    @property
    def falling_is_worse(self) -> bool:
        """Whether a smaller ratio is a loss."""
        return self.inverse or not self.watched

    def summaries(self) -> dict[str, Summary]:
        """Summary of each way except the base."""
        return {way: Summary.of(self, way) for way in self.values if way != self.base}


@dataclass(slots=True)
class Summary:
    """The ratios of one way over all turns.

    Attributes:
        ratio: median of the ratios of the turns.
        low, high: 95 % interval of that median, bootstrapped over the turns.
        of_totals: ratio of the sums, which includes occasional expensive turns.
        of_fastest: ratio of the fastest turns, which excludes the influence of other processes.
        turns: number of turns.
        error: robust standard error of the logarithm of `ratio`.
    """

    ratio: float
    low: float
    high: float
    of_totals: float
    of_fastest: float
    turns: int
    error: float

    @classmethod
    def of(cls, comparison: Comparison, way: str) -> Summary:
        """Summarize the turns of `way`."""
        ratios = np.array(comparison.ratios(way))
        values, base = comparison.values[way], comparison.values[comparison.base]
        whole, fastest = sum(values) / sum(base), min(values) / min(base)
        medians = np.median(ratios[np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))], axis=1)
        low, high = np.quantile(medians, (0.025, 0.975))
        return cls(
            float(np.median(ratios)), float(low), float(high),
            1 / whole if comparison.inverse else whole, 1 / fastest if comparison.inverse else fastest,
            len(ratios), median_error(np.log(ratios)),
        )  # fmt: skip


def median_error(values: np.ndarray[Any, Any]) -> float:
    """Standard error of the median of `values`, from their median absolute deviation; NaN for fewer than three."""
    if len(values) < 3:
        return float("nan")
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    return float(1.2533 * spread / np.sqrt(len(values)))


@dataclass(slots=True)
class Facts:
    """A table of numbers without a peer, such as sizes, slopes and waiting times; not compared with a baseline."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    about: str = ""


@dataclass(slots=True)
class Run:
    """The requested size of a benchmark, and what it had to leave out."""

    size: str = NORMAL
    skipped: list[str] = field(default_factory=list)

    def choose(self, quick: Any, normal: Any, large: Any = None) -> Any:
        """Return the argument for the requested size."""
        return {QUICK: quick, NORMAL: normal, LARGE: normal if large is None else large}[self.size]

    def has(self, module: str, name: str = "") -> bool:
        """Whether the module of a peer is installed; if not, record that it is left out."""
        if importlib.util.find_spec(module) is not None:
            return True
        self.skip(name or module, "is not installed: pip install 'tbmetrics[bench]'")
        return False

    def skip(self, what: str, why: str) -> None:
        """Record what is left out, and why."""
        self.skipped.append(f"{what} {why}")


Results = Sequence[Comparison | Facts]


def in_turns(ways: Mapping[str, Callable[[], float]], turns: int, *, warm_up: int = 1) -> dict[str, list[float]]:
    """Call each way once per turn and return their values; the order rotates from turn to turn."""
    names = list(ways)
    values: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warm_up, turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            value = ways[name]()
            if turn >= 0:
                values[name].append(value)
    return values


def seconds(action: Callable[[], object], device: torch.device | None = None) -> float:
    """Time `action`, including its work on `device`."""
    synchronise(device)
    start = time.perf_counter()
    action()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device | None) -> None:
    """Wait for a CUDA device, so that its work is attributed correctly."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()


def two_threads() -> torch.device:
    """Return the device to measure on: CUDA, or the CPU with two threads."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(2)
    return torch.device("cpu")


def environment() -> dict[str, str]:
    """Environment of child processes: this checkout on their path, and bytecode kept as in an installation."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": path}


def in_child(module: str, *arguments: str, timeout: float = 900) -> str:
    """Run `python -m module arguments`; return the last line it prints."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment())
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stderr[-4000:]}")
    return process.stdout.splitlines()[-1]


def median(values: Sequence[float]) -> float:
    """Of one or more."""
    return statistics.median(values)
