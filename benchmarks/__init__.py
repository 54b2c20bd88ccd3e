"""Benchmarks of the cost and speed of tbmetrics compared with its peers; see docs/benchmarks.md."""
