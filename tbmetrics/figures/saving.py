"""Writing figures as PNG files, for the trackers' `visualize`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tbmetrics.errors import InputError
from tbmetrics.file_names import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
