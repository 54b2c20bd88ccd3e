"""The session around a training loop: its verbs, its log and its trackers."""

from tbmetrics.session.session import TBMetrics

__all__ = ["TBMetrics"]
