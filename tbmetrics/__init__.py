"""Show in TensorBoard which classes of a long-tailed problem fail, why, and at what cost.

Public names are imported on first use, so `import tbmetrics` loads neither torch nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbmetrics.class_performance import ClassPerformanceTracker
    from tbmetrics.class_performance.diagnostics import LongTailDiagnostics, Remedy
    from tbmetrics.classes import AttributeClasses, ClassGroups, GroupRule
    from tbmetrics.errors import InputError, NonFiniteError, TBMetricsWarning
    from tbmetrics.events import read_logdir, read_run
    from tbmetrics.exporting import export, table
    from tbmetrics.predictions import evaluate
    from tbmetrics.records import History
    from tbmetrics.resource_usage import ProfilerTracker, ResourceMonitor
    from tbmetrics.session import MetricsManager, TBMetrics
    from tbmetrics.tracking.batches import TrainingBatch, ValidationBatch
    from tbmetrics.tracking.tracker import Tracker
    from tbmetrics.training_dynamics import AttentionVisualizer, GradientTracker

__version__ = "0.1.0"

_MODULES = {
    "AttentionVisualizer": "training_dynamics",
    "AttributeClasses": "classes",
    "ClassGroups": "classes",
    "ClassPerformanceTracker": "class_performance",
    "GradientTracker": "training_dynamics",
    "GroupRule": "classes",
    "History": "records",
    "InputError": "errors",
    "LongTailDiagnostics": "class_performance.diagnostics",
    "MetricsManager": "session",
    "NonFiniteError": "errors",
    "ProfilerTracker": "resource_usage",
    "Remedy": "class_performance.diagnostics",
    "ResourceMonitor": "resource_usage",
    "TBMetrics": "session",
    "TBMetricsWarning": "errors",
    "Tracker": "tracking.tracker",
    "TrainingBatch": "tracking.batches",
    "ValidationBatch": "tracking.batches",
    "evaluate": "predictions",
    "export": "exporting",
    "read_logdir": "events",
    "read_run": "events",
    "table": "exporting",
}

__all__ = [
    "AttentionVisualizer",
    "AttributeClasses",
    "ClassGroups",
    "ClassPerformanceTracker",
    "GradientTracker",
    "GroupRule",
    "History",
    "InputError",
    "LongTailDiagnostics",
    "MetricsManager",
    "NonFiniteError",
    "ProfilerTracker",
    "Remedy",
    "ResourceMonitor",
    "TBMetrics",
    "TBMetricsWarning",
    "Tracker",
    "TrainingBatch",
    "ValidationBatch",
    "__version__",
    "evaluate",
    "export",
    "read_logdir",
    "read_run",
    "table",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tbmetrics' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(f"tbmetrics.{_MODULES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
