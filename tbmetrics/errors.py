"""The exceptions and warnings of tbmetrics.

ValueError
└── InputError      an argument cannot be used; always raised, never suppressed
ArithmeticError
└── NonFiniteError  a NaN or infinity, raised only on request
UserWarning
└── TBMetricsWarning
"""


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
