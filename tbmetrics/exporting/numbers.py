"""Numbers as JSON and CSV text: non-finite ones as null or empty, float32 with the nine digits that keep it exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def text(value: Any) -> str:
    """Plain JSON values as JSON text; keys keep their order."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def numbers(values: NDArray[Any], undefined: str) -> list[str]:
    """Each number as text, `undefined` where it is NaN or infinite."""
    if values.dtype.kind in "iub":
        return [str(v) for v in values.tolist()]
    wide = np.asarray(values, dtype=np.float64)
    known = np.isfinite(wide)
    as_text = _as_text(np.where(known, wide, 0.0))
    if known.all():
        return [as_text(v) for v in wide.tolist()]
    return [as_text(v) if ok else undefined for v, ok in zip(wide.tolist(), known.tolist(), strict=True)]


def _as_text(values: NDArray[np.float64]) -> Callable[[float], str]:
    """The shortest way to write all of them exactly."""
    if (np.abs(values) < 2**53).all() and (values == np.floor(values)).all():
        return lambda value: f"{value:.0f}"
    with np.errstate(over="ignore"):
        return (lambda value: f"{value:.9g}") if (values.astype(np.float32) == values).all() else repr


def times(values: NDArray[np.float64]) -> list[str]:
    """Unix seconds to the microsecond."""
    return [f"{v:.6f}" for v in values.tolist()]


def json_list(parts: list[str]) -> str:
    """JSON values as a JSON list."""
    return f"[{','.join(parts)}]"


def json_numbers(values: NDArray[Any]) -> str:
    """An array of one or two dimensions as JSON lists."""
    if values.ndim == 1:
        return json_list(numbers(values, "null"))
    return json_list([json_numbers(row) for row in values])
