"""The exceptions and warnings of tbmetrics.

ValueError
└── InputError      what the caller gave cannot be measured; always raised, never swallowed
UserWarning
└── TBMetricsWarning
"""


class InputError(ValueError):
    """The caller's mistake: the message says what came, what was expected and how to fix it.

    It passes through the isolation that keeps tbmetrics' own faults out of training.
    """


class TBMetricsWarning(UserWarning):
    """Something was left out or could not be measured; training goes on."""
