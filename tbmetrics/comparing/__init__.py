"""What can be said of two runs: group means and their differences, movers, and the conditions of a gate."""

from tbmetrics.comparing.runs import RunComparison, compare_runs

__all__ = ["RunComparison", "compare_runs"]
