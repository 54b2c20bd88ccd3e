"""`tbmetrics doctor`: check the installation, the device and a log directory, and suggest fixes."""

from tbmetrics.doctor.examination import examine
from tbmetrics.doctor.findings import FAILED, OK, WARNING, Finding, to_json, to_text, worst

__all__ = ["FAILED", "OK", "WARNING", "Finding", "examine", "to_json", "to_text", "worst"]
