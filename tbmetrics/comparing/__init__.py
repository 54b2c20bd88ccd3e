"""What can be said of runs: two with their difference, movers and the conditions of a gate; and the table of all."""

from tbmetrics.comparing.runs import RunComparison, compare_runs
from tbmetrics.comparing.tables import RunTable, TableCell, TableRow

__all__ = ["RunComparison", "RunTable", "TableCell", "TableRow", "compare_runs"]
