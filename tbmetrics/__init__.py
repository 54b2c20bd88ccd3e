"""tbmetrics: which classes of a long-tailed problem fail, why, and at what cost, in TensorBoard.

Names load on first use, so `import tbmetrics` itself loads neither torch nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbmetrics.class_groups import AttributeClasses, ClassGroups
    from tbmetrics.class_performance.diagnostics import LongTailDiagnostics
    from tbmetrics.class_performance.tracker import ClassPerformanceTracker
    from tbmetrics.errors import InputError, NonFiniteError, TBMetricsWarning
    from tbmetrics.events.reader import read_logdir, read_run
    from tbmetrics.export import export
    from tbmetrics.group_rules import GroupRule
    from tbmetrics.history import History
    from tbmetrics.manager import MetricsManager
    from tbmetrics.resource_usage.monitor import ResourceMonitor
    from tbmetrics.resource_usage.profiler import ProfilerTracker
    from tbmetrics.session import TBMetrics
    from tbmetrics.tracker import Tracker
    from tbmetrics.training_dynamics.attention import AttentionVisualizer
    from tbmetrics.training_dynamics.gradients import GradientTracker

__version__ = "0.1.0"

_HOMES = {
    "AttentionVisualizer": "training_dynamics.attention",
    "AttributeClasses": "class_groups",
    "ClassGroups": "class_groups",
    "ClassPerformanceTracker": "class_performance.tracker",
    "GradientTracker": "training_dynamics.gradients",
    "GroupRule": "group_rules",
    "History": "history",
    "InputError": "errors",
    "LongTailDiagnostics": "class_performance.diagnostics",
    "MetricsManager": "manager",
    "NonFiniteError": "errors",
    "ProfilerTracker": "resource_usage.profiler",
    "ResourceMonitor": "resource_usage.monitor",
    "TBMetrics": "session",
    "TBMetricsWarning": "errors",
    "Tracker": "tracker",
    "export": "export",
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
    if name not in _HOMES:
        raise AttributeError(f"module 'tbmetrics' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(f"tbmetrics.{_HOMES[name]}")
    if name == _HOMES[name]:
        return module  # a package that can be called: the name stays the package's
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
