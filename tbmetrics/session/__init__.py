"""What people call around a training loop: `TBMetrics`, and `MetricsManager`, which translates to it."""

from tbmetrics.session.manager import MetricsManager
from tbmetrics.session.session import TBMetrics

__all__ = ["MetricsManager", "TBMetrics"]
