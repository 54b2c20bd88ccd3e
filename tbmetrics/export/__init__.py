"""Log directory → figures, tables, JSON and one HTML page, for use without TensorBoard.

This package can be called: `tbmetrics.export("runs", "out")` is `tbmetrics.export.export("runs", "out")`.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tbmetrics.export.options import FORMATS, NothingToShowError
from tbmetrics.export.run import export
from tbmetrics.export.work import ExportReport

__all__ = ["FORMATS", "ExportReport", "NothingToShowError", "export", "json_schema"]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `all_metrics.json` and of the files that it is made of."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    return found


class _CallableModule(ModuleType):
    """Lets `tbmetrics.export` be both the package and its main function."""

    __signature__ = inspect.signature(export)

    def __call__(self, *arguments: Any, **options: Any) -> ExportReport:
        return export(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
