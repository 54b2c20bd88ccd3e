"""What 200 scalars a step cost the training thread: `SummaryWriter.add_scalar` against one event through our writer."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

from torch.utils.tensorboard import SummaryWriter

from tbmetrics import TBMetrics
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import Scalar

TAGS = [f"group/{i}" for i in range(200)]
STEPS = 50


def per_step(write: Callable[[int], None], first: int) -> float:
    """Microseconds of the calling thread per step, over `STEPS` steps."""
    began = time.perf_counter()
    for step in range(first, first + STEPS):
        write(step)
    return (time.perf_counter() - began) / STEPS * 1e6


def main() -> None:
    """Runs the writers in turn and prints medians and the ratio to torch's, pair by pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as root:
        torchs = SummaryWriter(f"{root}/torch")
        ours = EventWriter(f"{root}/ours")
        drop_in = EventWriter(f"{root}/drop_in")
        session = TBMetrics(f"{root}/session").start()

        def with_torch(step: int) -> None:
            for tag in TAGS:
                torchs.add_scalar(tag, 1.0, step)

        def with_drop_in(step: int) -> None:
            for tag in TAGS:
                drop_in.add_scalar(tag, 1.0, step)

        def with_ours(step: int) -> None:
            ours.write([Scalar(tag, 1.0) for tag in TAGS], step=step)

        def with_session(step: int) -> None:
            session.log_scalars(dict.fromkeys(TAGS, 1.0), step)

        ways = {
            "SummaryWriter.add_scalar × 200": with_torch,
            "EventWriter.add_scalar × 200 (drop-in)": with_drop_in,
            "tb.log_scalars (200 tags)": with_session,
            "EventWriter.write (200 records)": with_ours,
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):  # the first is a warm-up
            for name, way in ways.items():
                taken = per_step(way, turn * STEPS)
                if turn:
                    times[name].append(taken)
        for writer in (torchs, ours, drop_in):
            writer.close()
        session.finalize()
    base = times["SummaryWriter.add_scalar × 200"]
    print(
        "| 200 scalars a step | µs on the training thread (median) | times cheaper, pair by pair (min / median / max) |"
    )
    print("|---|---:|---:|")
    for name, taken in times.items():
        ratios = sorted(b / t for b, t in zip(base, taken, strict=True))
        spread = f"{ratios[0]:.0f} / {statistics.median(ratios):.0f} / {ratios[-1]:.0f}"
        print(f"| {name} | {statistics.median(taken):.0f} | {spread} |")


if __name__ == "__main__":
    main()
