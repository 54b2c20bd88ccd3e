"""The session around a training loop: its verbs, its log, and the trackers that it builds."""

from tbmetrics.session.session import TBMetrics

__all__ = ["TBMetrics"]
