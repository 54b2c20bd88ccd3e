"""The exceptions and warnings of tbmetrics, and where in the user's code a warning points.

ValueError
└── InputError      an argument cannot be used; always raised, never suppressed
ArithmeticError
└── NonFiniteError  a NaN or infinity, raised only on request
UserWarning
└── TBMetricsWarning
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_PACKAGE = str(Path(__file__).parent)


class InputError(ValueError):
    """An argument cannot be used; the message says what was given, what was expected and how to fix it.

    Always raised, unlike faults of tbmetrics itself, which are logged to keep training running.
    """


class NonFiniteError(ArithmeticError):
    """A gradient is NaN or infinite and `on_nonfinite="raise"` is set; the message says where it first appeared.

    Raised before the optimizer steps, so the weights are unchanged.
    """


class TBMetricsWarning(UserWarning):
    """Something was left out or could not be measured; training continues."""


def caller_level() -> int:
    """The `stacklevel` with which a warning of the calling function names the line that called this package.

    Decorators of other packages may lie between its own frames.
    """
    frames = enumerate(_frames(sys._getframe(1)), start=1)
    return 1 + max((level for level, frame in frames if frame.f_code.co_filename.startswith(_PACKAGE)), default=0)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
