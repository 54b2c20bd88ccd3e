"""At what cost: memory, component times, throughput, and profiles."""

from tbmetrics.resource_usage.monitor import ResourceMonitor
from tbmetrics.resource_usage.profiler import ProfilerTracker

__all__ = ["ProfilerTracker", "ResourceMonitor"]
