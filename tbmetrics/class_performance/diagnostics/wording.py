"""What a remedy would do, in one plain sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tbmetrics.class_performance.diagnostics.remedies import RemedyRow, RemedyTable
from tbmetrics.records import ALL, CLASS_THRESHOLDS, HEAD, LOGIT_ADJUSTMENT, TAIL, TAU_NORMALIZATION

_TITLES = {
    LOGIT_ADJUSTMENT: "logit adjustment",
    TAU_NORMALIZATION: "τ-normalisation of the classifier",
    CLASS_THRESHOLDS: "a threshold for each class",
}


def sentence(table: RemedyTable, remedy: str, aim: str) -> str:
    """What the remedy would do, chosen for `aim`, in one plain sentence; "" where it was not tried."""
    row = table.row(remedy, None)
    if row is None or np.isnan(table.value(row, "all_recall")):
        return ""
    tau = table.value(row, "tau")
    what = _TITLES[remedy]
    if remedy != CLASS_THRESHOLDS:
        if tau == 0 and table.halves.get(remedy, (0.0, 0.0)) == (0.0, 0.0):
            return f"{_capital(what)} would not help: no τ gives a better {aim} than the model as trained."
        what += f" with τ = {tau:g}"
        if tau == max(r.tau or 0.0 for r in table.rows):
            what += " (the largest tried)"
    metrics = [("recall", g) for g in (TAIL, HEAD)] + ([("f1", ALL)] if remedy == CLASS_THRESHOLDS else [])
    changes = [_change(table, row, metric, group) for metric, group in metrics]
    said = [c for c in changes if c]
    if not said:
        return ""
    text = f"{_capital(what)} would {_joined(said)}"
    halves = table.halves.get(remedy)
    return text + (
        f" (each half judged with what the other chose: τ = {halves[0]:g}, {halves[1]:g})." if halves else "."
    )


def _change(table: RemedyTable, row: RemedyRow, metric: str, group: str) -> str:
    before, after = table.value(table.rows[0], f"{group}_{metric}"), table.value(row, f"{group}_{metric}")
    if np.isnan(before) or np.isnan(after):
        return ""
    low, high = (table.value(row, f"{group}_{metric}{end}") for end in ("_lower", "_upper"))
    spread = "" if np.isnan(low) else f" ± {(high - low) / 2:.2f}"
    name = "F1" if metric == "f1" else metric
    of = f"{'mean' if group == ALL else group} {name}"
    if abs(after - before) < 0.005:
        return f"leave {of} at {after:.2f}{spread}"
    return f"{'raise' if after > before else 'lower'} {of} from {before:.2f} to {after:.2f}{spread}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _capital(text: str) -> str:
    return text if text.startswith("τ") else text[0].upper() + text[1:]
