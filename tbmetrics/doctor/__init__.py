"""`tbmetrics doctor`: is everything there that measuring and looking needs, and what to do where it is not."""

from __future__ import annotations

from tbmetrics.doctor.examination import examine
from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding, to_json, to_text, worst

__all__ = ["FAILED", "OK", "WARNING", "Finding", "examine", "to_json", "to_text", "worst"]
