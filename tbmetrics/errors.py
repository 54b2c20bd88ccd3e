"""The exceptions and warnings of tbmetrics.

ValueError
└── InputError      what the caller gave cannot be measured; always raised, never swallowed
ArithmeticError
└── NonFiniteError  a NaN or infinity that the caller asked to be stopped by
UserWarning
└── TBMetricsWarning
"""


class InputError(ValueError):
    """The caller's mistake: the message says what came, what was expected and how to fix it.

    It passes through the isolation that keeps tbmetrics' own faults out of training.
    """


class NonFiniteError(ArithmeticError):
    """A gradient is NaN or infinite and `on_nonfinite="raise"` was asked for; the message names where it began.

    Raised before the optimizer's step, so the weights are still as they were.
    """


class TBMetricsWarning(UserWarning):
    """Something was left out or could not be measured; training goes on."""
