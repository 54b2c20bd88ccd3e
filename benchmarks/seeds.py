"""How often the tab calls two experiments different whose seeds have the same mean: the tab's own code, in node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import ROOT, Facts, Results, Run

FloatArray = NDArray[np.float64]
MODULE = ROOT / "plugins/tbmetrics_longtail/static/model/seeds.js"
SCRIPT = f"""
import {{ readFileSync }} from 'node:fs';
import {{ seedDifference, seedInterval }} from '{MODULE.as_posix()}';
const judged = JSON.parse(readFileSync(0, 'utf8')).map(([a, b]) => ({{
  ...seedDifference(a, b),
  mean: seedInterval(a, [-Infinity, Infinity]),
}}));
console.log(JSON.stringify(judged));
"""
#: Numbers of seeds of the two experiments, and their spreads.
SIZES = ((2, 2), (3, 3), (3, 8), (5, 5), (8, 8))
SPREADS = ((1.0, 1.0), (3.0, 1.0), (1.0, 3.0))
#: Draws of mean 0 and spread 1.
SHAPES: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], FloatArray]] = MappingProxyType(
    {
        "normal": lambda rng, shape: rng.normal(size=shape),
        "heavy tails (t, 3)": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3),
        "skewed (exponential)": lambda rng, shape: rng.exponential(size=shape) - 1,
    }
)


def judge(a: FloatArray, b: FloatArray) -> list[dict[str, object]]:
    """What the tab says of each pair of experiments, whose seeds are the rows of `a` and of `b`."""
    pairs = json.dumps(list(zip(a.tolist(), b.tolist(), strict=True)))
    command = ["node", "--input-type=module", "-e", SCRIPT]
    done = subprocess.run(command, input=pairs, capture_output=True, text=True, check=True)
    judged: list[dict[str, object]] = json.loads(done.stdout)
    return judged


def false_alarms(
    shape: str, sizes: tuple[int, int], spreads: tuple[float, float], repetitions: int, seed: int = 0
) -> dict[str, float]:
    """Shares of experiments of the same mean that are called different, and of intervals that contain the mean."""
    rng = np.random.default_rng(seed)
    a, b = (SHAPES[shape](rng, (repetitions, n)) * spread for n, spread in zip(sizes, spreads, strict=True))
    judged = judge(a, b)
    said, permutation = (np.array([j[k] for j in judged], dtype=float) for k in ("sign", "permutation"))
    ends = np.array([j["mean"] for j in judged], dtype=float)
    return {
        "said": float((said != 0).mean()),
        "permutation": float((permutation < 0.05).mean()),
        "contains": float(((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()),
    }


def measure(run: Run) -> Results:
    """False alarms by shape, numbers of seeds and spreads."""
    if shutil.which("node") is None:
        run.skip("seeds", "node is not installed")
        return []
    repetitions = run.choose(200, 2000, 10_000)
    rows = []
    for shape in SHAPES:
        for sizes in SIZES:
            for spreads in SPREADS:
                shares = false_alarms(shape, sizes, spreads, repetitions)
                numbers = [f"{shares[k]:.3f}" for k in ("said", "permutation", "contains")]
                rows.append([shape, f"{sizes[0]} and {sizes[1]}", f"{spreads[0]:g} and {spreads[1]:g}", *numbers])
    columns = [
        "seeds are",
        "seeds of A and B",
        "spread of A and B",
        "called different",
        "the permutation test alone would",
        "t-interval of A contains its mean",
    ]
    return [Facts("two experiments of the same mean", columns, rows, f"{repetitions:,} pairs a row")]
