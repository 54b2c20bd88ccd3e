"""What a validation gives a framework to monitor, and evaluations of their own, such as that of a test set."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from tbmetrics.class_performance.inputs import LOGITS, Activation
from tbmetrics.class_performance.tracker import ClassPerformanceTracker
from tbmetrics.errors import TBMetricsWarning
from tbmetrics.records import GROUP_METRICS, mean_metrics, tag_part
from tbmetrics.session.parts import class_performance_tracker


def monitored_metrics(columns: Collection[str]) -> tuple[str, ...]:
    """Metrics among those of a group by which a model may be chosen."""
    return (*mean_metrics(columns), *GROUP_METRICS)


def group_metrics(tracker: ClassPerformanceTracker, epoch: int | None = None) -> dict[str, float]:
    """Group metrics of the last validation by the names to monitor, `longtail/{attribute}/{metric}/{group}`.

    Args:
        tracker: of a session or alone.
        epoch: leave out attributes whose last result is of another epoch; None takes all.

    Returns:
        NaN where a metric is undefined.
    """
    return {
        f"longtail/{tag_part(attribute)}/{metric}/{group}": float("nan") if value is None else float(value)
        for attribute, groups in tracker.get_class_type_metrics().items()
        if epoch is None or tracker.epochs.get(attribute) == epoch
        for group, metrics in groups.items()
        for metric, value in metrics.items()
        if metric in monitored_metrics(metrics)
    }


def evaluation_tracker(options: Mapping[str, Any], name: str = "") -> ClassPerformanceTracker | None:
    """A tracker like that of a session with these options, but empty, for evaluation `name`; None without classes."""
    given = options.get("class_performance", True)
    activation = Activation.checked(options.get("inputs", LOGITS), options.get("logit_scale"))
    further = {name: options.get(name, ()) for name in ("class_dim", "ignore_index", "top_k")}
    _, tracker = class_performance_tracker(options.get("classes"), given, activation, further)
    return None if tracker is None else tracker.empty(name)


def check_outputs(logits: Any, labels: Any, options: Mapping[str, Any]) -> None:
    """Try logits and labels of one batch on a tracker that is then discarded.

    Raises:
        InputError: they do not fit the classes.
    """
    tracker = evaluation_tracker(options)
    if tracker is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TBMetricsWarning)  # said again when it counts
            tracker.update(logits, labels)
