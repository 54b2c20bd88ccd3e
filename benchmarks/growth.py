"""Draw what grows, from the results of the scaling benchmark: `python -m benchmarks.growth`."""

from __future__ import annotations

import json
import math
from typing import Any

from benchmarks.__main__ import RESULTS
from benchmarks.measuring import ROOT
from tbmetrics.figures.output import png

PICTURE = ROOT / "docs/images/growth.png"
UNITS = {"s": "Seconds", "bytes": "Bytes"}
_MARKERS = "osD^vP*X"


def growth(facts: list[dict[str, Any]]) -> Any:
    """A column of panels for each kind of size, seconds above bytes, both axes logarithmic.

    Args:
        facts: the tables of the scaling benchmark.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    facts = [
        table for table in facts if sum(name.startswith("at ") for name in table["columns"]) > 2
    ]  # two are no line
    figure = Figure(figsize=(3.1 * len(facts), 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(facts), squeeze=False)
    for column, table in enumerate(facts):
        sizes = [int(name.removeprefix("at ").replace(",", "")) for name in table["columns"] if name.startswith("at ")]
        for ax, (unit, label) in zip(axes[:, column], UNITS.items(), strict=True):
            lines = [cells for cells in table["rows"] if cells[0].endswith(f" {unit}")]
            for marker, cells in zip(_MARKERS, lines, strict=False):
                values = [float(cell) for cell in cells[1 : 1 + len(sizes)]]
                ax.plot(sizes, values, marker=marker, ms=4, lw=1.2, label=cells[0].removesuffix(f" {unit}"))
            ax.set(xscale="log", yscale="log", ylabel="" if column else label)
            ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
            ax.set_xticks([], minor=True)
            ax.grid(alpha=0.25, lw=0.5)
            low, high = ax.get_ylim()
            ax.set_ylim(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)))  # whole decades
            if lines:
                ax.legend(fontsize=7, frameon=False)
            else:
                ax.set_axis_off()
        axes[0, column].set_title(table["title"], fontsize=9)
    return figure


def main() -> None:
    """Write the picture."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))["scaling"]["results"]
    PICTURE.write_bytes(png(growth(results)))


if __name__ == "__main__":
    main()
