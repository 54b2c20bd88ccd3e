"""Floating-point operations of one step, and how much of the device's peak they use (model FLOPs utilisation)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: Dense matrix-product peak with 16-bit inputs (bfloat16, or float16 where that is all), in FLOP/s, by a part of the
#: name that CUDA gives the device; from the vendor's data sheets. The first match counts.
PEAK_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A40": 150e12,
    "A30": 165e12,
    "A10G": 70e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
}


@dataclass(slots=True)
class FlopCount:
    """What one step did: `flops` floating-point operations, forward and backward; 0 until the block is left."""

    flops: int = 0


@contextmanager
def count_flops() -> Iterator[FlopCount]:
    """Counts the floating-point operations of the block with `torch.utils.flop_counter`.

    Matrix products, convolutions and attention are counted, each multiply-add as two. The block runs slower, and an
    operator that a compiled model hides is not seen: count on the model before `torch.compile`.
    """
    from torch.utils.flop_counter import FlopCounterMode

    count = FlopCount()
    with FlopCounterMode(display=False) as mode:
        yield count
    count.flops = int(mode.get_total_flops())


def peak_flops(device_name: str) -> float | None:
    """The known peak of the device in FLOP/s; None for one that is not in the table."""
    return next((peak for part, peak in PEAK_FLOPS.items() if re.search(rf"\b{part}\b", device_name)), None)
