"""Cost of 200 scalars per step on the training thread: `SummaryWriter.add_scalar` compared with our writer."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable

from torch.utils.tensorboard import SummaryWriter

from benchmarks.measuring import Comparison, Results, Run, in_turns, seconds
from tbmetrics import TBMetrics
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import Scalar

TAGS = [f"group/{i}" for i in range(200)]
TORCH = "`SummaryWriter.add_scalar` × 200"


def measure(run: Run) -> Results:
    """Compare the writers, each over several steps."""
    steps = run.choose(10, 50)
    with tempfile.TemporaryDirectory() as root:
        theirs, drop_in, ours = SummaryWriter(f"{root}/torch"), EventWriter(f"{root}/drop"), EventWriter(f"{root}/ours")
        session = TBMetrics(f"{root}/session").start()
        ways = {
            TORCH: _per_step(lambda step: [theirs.add_scalar(tag, 1.0, step) for tag in TAGS], steps),
            "`EventWriter.add_scalar` × 200 (drop-in)": _per_step(
                lambda step: [drop_in.add_scalar(tag, 1.0, step) for tag in TAGS], steps
            ),
            "`tb.log_scalars` (200 tags)": _per_step(
                lambda step: session.log_scalars(dict.fromkeys(TAGS, 1.0), step), steps
            ),
            "`EventWriter.write` (200 records)": _per_step(
                lambda step: ours.write([Scalar(tag, 1.0) for tag in TAGS], step=step), steps
            ),
        }
        values = in_turns(ways, run.choose(5, 15))
        for writer in (theirs, ours, drop_in):
            writer.close()
        session.finalize()
    watched = tuple(way for way in ways if way != TORCH)
    title = "200 scalars a step, on the training thread"
    return [Comparison(title, "µs a step", TORCH, values, inverse=True, watched=watched)]


def _per_step(write: Callable[[int], object], steps: int) -> Callable[[], float]:
    """Return a function that measures microseconds per step; each call continues with the next steps."""
    step_numbers = itertools.count()
    return lambda: 1e6 / steps * seconds(lambda: [write(next(step_numbers)) for _ in range(steps)])
