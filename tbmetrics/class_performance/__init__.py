"""Streaming class performance: which classes fail, by head, medium and tail."""

from tbmetrics.class_performance.tracker import ClassPerformanceTracker

__all__ = ["ClassPerformanceTracker"]
