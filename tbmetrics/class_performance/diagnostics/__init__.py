"""Why the tail fails, class by class, and what would help without training again."""

from tbmetrics.class_performance.diagnostics.remedy import Remedy
from tbmetrics.class_performance.diagnostics.tracker import LongTailDiagnostics

__all__ = ["LongTailDiagnostics", "Remedy"]
