"""Export a log that tbmetrics did not write: turn a plain `SummaryWriter` log into figures, tables and a page.

Run: python examples/export.py [--log-dir runs/plain] [--out exports/plain]
Then open exports/plain/report.html in a browser; no server is needed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

import tbmetrics


def write_log(log_dir: Path, *, steps: int = 200) -> None:
    """Write what many training scripts log: losses, a schedule, weights, images, a PR curve and notes."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2000, generator=generator)
    with SummaryWriter(str(log_dir)) as writer:
        for step in range(steps):
            noise = float(torch.randn((), generator=generator))
            writer.add_scalar("loss/train", math.exp(-step / 60) + 0.05 * abs(noise), step)
            writer.add_scalar("schedule/learning_rate", 0.05 * (1 + math.cos(math.pi * step / steps)), step)
            if step % 20 == 0:
                writer.add_scalar("loss/validation", math.exp(-step / 60) + 0.1, step)
                writer.add_histogram("weights/classifier", weights * (1 + step / steps), step)
                writer.add_image("samples", torch.rand(3, 24, 32, generator=generator), step)
                labels = torch.randint(0, 2, (300,), generator=generator)
                skill = 0.5 * step / steps
                scores = labels * skill + torch.rand(300, generator=generator) * (1 - skill)
                writer.add_pr_curve("validation/cats", labels, scores, step)
        writer.add_text("notes", "Trained on *nothing*, to show an export.")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the log, export it twice and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/plain"))
    parser.add_argument("--out", type=Path, default=Path("exports/plain"))
    arguments = parser.parse_args(argv)
    write_log(arguments.log_dir)
    first = tbmetrics.export(arguments.log_dir, arguments.out)
    again = tbmetrics.export(arguments.log_dir, arguments.out)
    print(f"{len(first.files)} files below {arguments.out}; exported again: {len(again.written)} written")
    print(f"Open {arguments.out / 'report.html'}")


if __name__ == "__main__":
    main()
