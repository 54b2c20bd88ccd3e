"""The exceptions and warnings of tbmetrics, and where in the user's code a warning points.

ValueError
└── InputError      an argument cannot be used; always raised, never suppressed
ArithmeticError
└── NonFiniteError  a NaN or infinity, raised only on request
UserWarning
└── TBMetricsWarning
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_OURS = (str(Path(__file__).parent), contextlib.__file__)


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
    """The `stacklevel` with which a warning of the calling function names the line outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    return level
