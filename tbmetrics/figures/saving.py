"""Write figures as PNG files under safe names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tbmetrics.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def slug(name: str) -> str:
    """`name` as a file name that is safe on every system; a short hash is added where it had to change.

    A name kept as it is has only lower-case letters, digits, '-', '_' and inner dots, so names that differ in case
    alone stay apart where files' names do not.
    """
    safe = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.")[:80]
    if safe and safe == name and safe not in {"con", "prn", "aux", "nul"}:
        return safe
    return f"{safe or 'run'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def save_figures(drawn: Mapping[str, Figure], save_dir: str | os.PathLike[str]) -> None:
    """Writes each figure to `{save_dir}/{name}.png`; the same figure gives the same bytes.

    A name may have a folder before its last "/"; what is no safe file name in it is changed.

    Raises:
        InputError: the directory cannot be made or written.
    """
    for name, figure in drawn.items():
        folder, _, kind = name.rpartition("/")
        path = Path(save_dir, slug(folder) if folder else "", f"{kind}.png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=150, metadata={"Software": None})
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write {os.fspath(path)!r} ({reason}); choose another save_dir") from error
