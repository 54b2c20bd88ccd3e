"""What a benchmark gives: values measured in turns, and the ratios of each turn with their spread."""

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
    """Ways to do the same, measured in turns: value i of each way belongs to turn i.

    Attributes:
        title: what is compared.
        unit: of the values; less is better.
        base: the way that the others are compared with, turn by turn.
        values: by way, one a turn.
        inverse: ratios are base ÷ way ("times cheaper") instead of way ÷ base.
        watched: the ways whose ratio must not get worse; empty = all but the base, which then is ours: a peer that
            comes closer is a loss.
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
        """One a turn."""
        pairs = zip(self.values[way], self.values[self.base], strict=True)
        return [base / own if self.inverse else own / base for own, base in pairs]

    @property
    def falling_is_worse(self) -> bool:
        """Whether a smaller ratio is a loss."""
        return self.inverse or not self.watched

    def summaries(self) -> dict[str, Summary]:
        """By way but the base."""
        return {way: Summary.of(self, way) for way in self.values if way != self.base}


@dataclass(slots=True)
class Summary:
    """The ratios of one way over all turns.

    Attributes:
        ratio: median of the ratios of the turns.
        low, high: 95 % interval of that median, bootstrapped over the turns.
        of_totals: ratio of the sums: where a few turns are dear, it holds them.
        of_fastest: ratio of the fastest turns: what other processes take is not in it.
        turns: how many.
        error: standard error of the logarithm of `ratio`, robust.
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
        """Sums up the turns of `way`."""
        ratios = np.array(comparison.ratios(way))
        own, base = comparison.values[way], comparison.values[comparison.base]
        whole, fastest = sum(own) / sum(base), min(own) / min(base)
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
    """Numbers without a peer: sizes, slopes, what a person waits for; not compared with a baseline."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    about: str = ""


@dataclass(slots=True)
class Run:
    """What a benchmark is asked for, and which of its peers it had to leave out."""

    size: str = NORMAL
    skipped: list[str] = field(default_factory=list)

    def choose(self, quick: Any, normal: Any, large: Any = None) -> Any:
        """The one of the asked size."""
        return {QUICK: quick, NORMAL: normal, LARGE: normal if large is None else large}[self.size]

    def has(self, module: str, name: str = "") -> bool:
        """Whether the module of a peer is installed; notes it as left out where it is not."""
        if importlib.util.find_spec(module) is not None:
            return True
        self.skip(name or module, "is not installed: pip install 'tbmetrics[bench]'")
        return False

    def skip(self, what: str, why: str) -> None:
        """Says what was left out."""
        self.skipped.append(f"{what} {why}")


Results = Sequence[Comparison | Facts]


def in_turns(ways: Mapping[str, Callable[[], float]], turns: int, *, warm_up: int = 1) -> dict[str, list[float]]:
    """What each way returns, one after the other, so many times; each turn begins with another way."""
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
    """How long `action` takes, with what it leaves to the device."""
    synchronise(device)
    began = time.perf_counter()
    action()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: torch.device | None) -> None:
    """Waits for the device, so that a time is its own."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()


def two_threads() -> torch.device:
    """The device to measure on; on the CPU with two threads."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(2)
    return torch.device("cpu")


def environment() -> dict[str, str]:
    """Of child processes: with what is measured on their path."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def in_child(module: str, *arguments: str, timeout: float = 900) -> str:
    """The last line that `python -m module arguments` prints."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return done.stdout.splitlines()[-1]


def median(values: Sequence[float]) -> float:
    """Of one or more."""
    return statistics.median(values)
