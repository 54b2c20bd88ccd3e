"""The validation that is under way, as it would be recorded now."""

from __future__ import annotations

from tbmetrics.class_performance import report
from tbmetrics.class_performance.decisions import DecisionLog
from tbmetrics.class_performance.validations import ValidationTracker
from tbmetrics.records.history import History, TimedRecord


def open_validation(tracker: ValidationTracker, step: int) -> History:
    """What `tracker.records` would yield at `step`, without handing it over; empty without new batches.

    The evaluation is kept, so that it is made once.
    """
    history, results = History(), tracker._evaluate()
    for attribute in sorted(tracker._unrecorded):
        result = results[attribute]
        records = [report.class_list(result.classes, result.decision), *report.records(result, ())]
        decided = DecisionLog(tracker._decisions.max_bytes).records(tracker._states[attribute])
        for record in (*records, *decided):
            history.add(TimedRecord(step, 0.0, record))
    return history
