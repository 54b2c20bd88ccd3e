"""Figures, tables, JSON and one HTML page from a log directory, for use without TensorBoard.

`export` writes them, `ExportReport` says what it did, and `json_schema` describes the JSON files. `table` is the table
of all runs for a paper.
"""

from tbmetrics.exporting.exporter import ExportReport, export
from tbmetrics.exporting.json_files import json_schema
from tbmetrics.exporting.options import FORMATS, NothingToShowError
from tbmetrics.exporting.run_table import table

__all__ = ["FORMATS", "ExportReport", "NothingToShowError", "export", "json_schema", "table"]
