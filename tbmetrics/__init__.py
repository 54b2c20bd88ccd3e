"""Show in TensorBoard which classes of a long-tailed problem fail, why, and at what cost.

Public names are imported on first use, so `import tbmetrics` loads neither torch nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbmetrics.class_performance.diagnostics import LongTailDiagnostics
    from tbmetrics.class_performance.tracker import ClassPerformanceTracker
    from tbmetrics.classes.groups import AttributeClasses, ClassGroups
    from tbmetrics.classes.rules import GroupRule
    from tbmetrics.errors import InputError, NonFiniteError, TBMetricsWarning
    from tbmetrics.events.reader import read_logdir, read_run
    from tbmetrics.exporting import export
    from tbmetrics.records.history import History
    from tbmetrics.resource_usage.monitor import ResourceMonitor
    from tbmetrics.resource_usage.profiler import ProfilerTracker
    from tbmetrics.session.manager import MetricsManager
    from tbmetrics.session.session import TBMetrics
    from tbmetrics.tracking.tracker import Tracker
    from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
    from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

__version__ = "0.1.0"

_MODULES = {
    "AttentionVisualizer": "training_dynamics",
    "AttributeClasses": "classes.groups",
    "ClassGroups": "classes.groups",
    "ClassPerformanceTracker": "class_performance",
    "GradientTracker": "training_dynamics",
    "GroupRule": "classes.rules",
    "History": "records.history",
    "InputError": "errors",
    "LongTailDiagnostics": "class_performance.diagnostics",
    "MetricsManager": "session.manager",
    "NonFiniteError": "errors",
    "ProfilerTracker": "resource_usage.profiler",
    "ResourceMonitor": "resource_usage",
    "TBMetrics": "session",
    "TBMetricsWarning": "errors",
    "Tracker": "tracking.tracker",
    "export": "exporting",
    "read_logdir": "events.reader",
    "read_run": "events.reader",
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
    "ResourceMonitor",
    "TBMetrics",
    "TBMetricsWarning",
    "Tracker",
    "__version__",
    "export",
    "read_logdir",
    "read_run",
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
