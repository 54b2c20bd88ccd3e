"""Findings of checks, with advice, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: From best to worst. A warning: it works, but less than it could.
OK, WARNING, FAILED = "ok", "warning", "failed"
_ORDER = (OK, WARNING, FAILED)
_MARKS = {OK: "ok     ", WARNING: "warning", FAILED: "FAILED "}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: the name of the check.
        status: `OK`, `WARNING` or `FAILED`.
        message: what was found.
        advice: what to do; empty if the status is `OK`.
        details: versions, sizes and the like, JSON-ready.
    """

    check: str
    status: str
    message: str
    advice: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def worst(findings: Sequence[Finding]) -> str:
    """The worst status of all; `OK` without findings."""
    return max((finding.status for finding in findings), key=_ORDER.index, default=OK)


def to_text(findings: Sequence[Finding]) -> str:
    """One line per finding, its advice below it."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.status]}  {finding.check:{width}}  {finding.message}")
        if finding.advice:
            lines.append(f"{'':9}{'':{width}}  → {finding.advice}")
    counts = {status: sum(finding.status == status for finding in findings) for status in (FAILED, WARNING)}
    lines.append(f"{len(findings)} checks: {counts[FAILED]} failed, {counts[WARNING]} with a warning")
    return "\n".join(lines)


def to_json(findings: Sequence[Finding]) -> str:
    """All findings as one JSON object, `{"status": …, "checks": […]}`."""
    report = {"status": worst(findings), "checks": [asdict(finding) for finding in findings]}
    return json.dumps(report, indent=2, sort_keys=True, allow_nan=False)
