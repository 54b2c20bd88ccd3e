"""Log directory → figures, tables, JSON and one HTML page, for use without TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tbmetrics.exporting.options import FORMATS, NothingToShowError
from tbmetrics.exporting.run import export
from tbmetrics.exporting.work import ExportReport

__all__ = ["FORMATS", "ExportReport", "NothingToShowError", "export", "json_schema"]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `all_metrics.json` and of the files that it is made of."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    return found
