"""Floating-point operations of one step, and the peak of known devices, for the model FLOPs utilisation."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

#: The step after this one is counted: the first ones still initialise things.
_STEP_BEFORE = 2

#: Dense matrix-product peak with 16-bit inputs (bfloat16, or float16 on older devices), in FLOP/s, by a part of the
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
    """Floating-point operations of one step, forward and backward; `flops` is 0 until the block ends."""

    flops: int = 0


@contextmanager
def count_flops() -> Iterator[FlopCount]:
    """Count the floating-point operations of the block with `torch.utils.flop_counter`.

    Matrix products, convolutions and attention are counted, each multiply-add as two. The block runs slower. A compiled
    model runs uncompiled in it, since its kernels hide their operators; it stays compiled for later calls.
    """
    from torch.utils.flop_counter import FlopCounterMode

    count = FlopCount()
    mode = FlopCounterMode(display=False)
    mode.mod_tracker = _NoModules()  # type: ignore[assignment]
    with _uncompiled(), mode:
        yield count
    count.flops = int(mode.get_total_flops())


class _NoModules:
    """Replaces the counter's tracker of modules, whose hooks on every module of the process are not needed."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _uncompiled() -> AbstractContextManager[Any]:
    """Run compiled models eagerly in the block; loads nothing if the process has compiled nothing."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    import torch

    return torch.compiler.set_stance("force_eager")


class StepFlops:
    """Counts the operations of one step: from the end of the second step of the run to the end of the third.

    Attributes:
        flops: operations of that step; 0 until it is over.
    """

    def __init__(self) -> None:
        self.flops = 0
        self._steps = 0
        self._counting: AbstractContextManager[FlopCount] | None = None
        self._count = FlopCount()

    def step_ended(self) -> None:
        """Note the end of an optimizer step."""
        if self._counting is not None:
            self.drop()
            self.flops = self._count.flops
            return
        self._steps += 1
        if self._steps >= _STEP_BEFORE and not self.flops:
            self._counting = count_flops()
            self._count = self._counting.__enter__()

    def drop(self) -> None:
        """Stop counting and discard an unfinished step; idempotent."""
        counting, self._counting = self._counting, None
        if counting is not None:
            counting.__exit__(None, None, None)


def peak_flops(device_name: str) -> float | None:
    """Peak of the device in FLOP/s, or None if it is not in the table."""
    return next((peak for part, peak in PEAK_FLOPS.items() if re.search(rf"\b{part}\b", device_name)), None)
