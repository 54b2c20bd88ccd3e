"""File names from names of runs, attributes and classes, which are untrusted text."""

from __future__ import annotations

import hashlib
import re


def slug(name: str) -> str:
    """`name` as a file name that is safe on every system; a short hash is added where it had to change.

    A name kept as it is has only lower-case letters, digits, '-', '_' and inner dots, so names that differ in case
    alone stay apart where files' names do not.
    """
    safe = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.")[:80]
    if safe and safe == name and safe not in {"con", "prn", "aux", "nul"}:
        return safe
    return f"{safe or 'run'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
