"""Resource usage: component times, throughput and memory of training."""

from tbmetrics.resource_usage.monitor import ResourceMonitor

__all__ = ["ResourceMonitor"]
