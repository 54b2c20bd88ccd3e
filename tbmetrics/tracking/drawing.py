"""Loading matplotlib, which takes as long as a hundred steps, beside training."""

from __future__ import annotations

import contextlib
import sys
import threading
from importlib import import_module

_MODULES = ("matplotlib.figure", "matplotlib.backends.backend_agg")
_loading: threading.Thread | None = None


def matplotlib_is_loaded() -> bool:
    """Whether a figure can be drawn at once; if not, matplotlib is loaded in a thread, so that training does not wait.

    What is left undrawn meanwhile is drawn later, at the end of the run at the latest.
    """
    global _loading
    if _loading is None:
        if all(module in sys.modules for module in _MODULES):
            return True
        _loading = threading.Thread(target=_load, name="tbmetrics-matplotlib", daemon=True)
        _loading.start()
    return not _loading.is_alive()


def _load() -> None:
    with contextlib.suppress(Exception):  # it fails again, and is said, when something is drawn
        for module in _MODULES:
            import_module(module)
