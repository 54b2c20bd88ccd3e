"""Problems in the last samples: logged to the console once, and as text records whenever they change."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from tbmetrics.records import FloatArray, Text, health_tag
from tbmetrics.training_dynamics.gradients.step_sample import GRADIENT_NORM, UPDATE_RATIO
from tbmetrics.training_dynamics.health import rules
from tbmetrics.training_dynamics.health.rules import Finding, Origin

logger = logging.getLogger("tbmetrics")

WINDOW = 20  # samples looked at
SPIKE_WINDOW = 100
MOST_SPIKES = 100

#: The kinds of finding, in the order in which `issues` gives them.
KINDS = (
    "vanishing_gradients",
    "exploding_gradients",
    "nonfinite",
    "gradients_by_depth",
    "dead_layers",
    "frozen_layers",
    "dead_units",
    "spikes",
)
_SAMPLES_BEFORE_CONSOLE = 3  # so that the first steps of a warm-up raise no alarm


class HealthLog:
    """The health of training, from samples as they arrive.

    Args:
        vanishing_threshold, exploding_threshold: of the median gradient norm.
    """

    def __init__(self, vanishing_threshold: float, exploding_threshold: float) -> None:
        self._thresholds = vanishing_threshold, exploding_threshold
        self._tables: deque[FloatArray] = deque(maxlen=WINDOW)
        self._dead_shares: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self._names: Sequence[str] = ()
        self._global_norms: deque[float] = deque(maxlen=SPIKE_WINDOW)
        self._spikes: deque[tuple[int, float]] = deque(maxlen=MOST_SPIKES)
        self._nonfinite: dict[str, int] = {}  # parameter → samples
        self.origin: tuple[int, Origin] | None = None
        self._logged_kinds: set[str] = set()
        self._written: dict[str, frozenset[str]] = {}

    def state(self) -> dict[str, Any]:
        """All samples and what was said of them, for `restore`."""
        origin = None if self.origin is None else (self.origin[0], *astuple(self.origin[1]))
        return {
            "tables": list(self._tables),
            "dead_shares": list(self._dead_shares),
            "names": list(self._names),
            "global_norms": list(self._global_norms),
            "spikes": list(self._spikes),
            "nonfinite": dict(self._nonfinite),
            "origin": origin,
            "told": sorted(self._logged_kinds),
            "written": {kind: sorted(layers) for kind, layers in self._written.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._tables.extend(state["tables"])
        self._dead_shares.extend(state["dead_shares"])
        self._names = tuple(state["names"])
        self._global_norms.extend(state["global_norms"])
        self._spikes.extend((step, norm) for step, norm in state["spikes"])
        self._nonfinite = dict(state["nonfinite"])
        if state["origin"] is not None:
            step, *rest = state["origin"]
            self.origin = (step, Origin(*rest))
        self._logged_kinds = set(state["told"])
        self._written = {kind: frozenset(layers) for kind, layers in state["written"].items()}

    def add(self, step: int, table: FloatArray, names: Sequence[str], global_norm: float) -> Iterator[Text]:
        """Add a sample; yield texts about its step."""
        self._names = names
        self._tables.append(table)
        for row in np.flatnonzero(np.isinf(table[:, GRADIENT_NORM])).tolist():
            self._nonfinite[names[row]] = self._nonfinite.get(names[row], 0) + 1
        if rules.is_spike(global_norm, self._global_norms):
            self._spikes.append((step, global_norm))
            median = float(np.median(self._global_norms))
            yield self._report("spikes", f"step {step}: gradient norm {global_norm:.3g}, usually {median:.3g}: a spike")
        if np.isfinite(global_norm):
            self._global_norms.append(global_norm)

    def add_activations(self, dead_shares: dict[str, float]) -> None:
        """Add the share of dead units by module."""
        self._dead_shares.append(dead_shares)

    def set_origin(self, step: int, origin: Origin) -> Iterator[Text]:
        """Note where values stopped being finite; only the first time is reported."""
        if self.origin is None:
            self.origin = (step, origin)
            yield self._report("nonfinite", f"step {step}: NaN or infinity: {origin.message}")

    def _report(self, kind: str, message: str) -> Text:
        self._log_once(kind, message)
        return _text(kind, message)

    def _log_once(self, kind: str, message: str) -> None:
        """Log to the console, once for each kind."""
        if kind not in self._logged_kinds:
            self._logged_kinds.add(kind)
            logger.warning("tbmetrics: %s", message)

    def news(self) -> Iterator[Text]:
        """Texts of the findings that have changed since the last call."""
        for finding in self.findings():
            if finding.sure and len(self._tables) >= _SAMPLES_BEFORE_CONSOLE:
                self._log_once(finding.kind, finding.message)
            layers = frozenset(name for name, _ in finding.layers)
            if not layers <= self._written.get(finding.kind, frozenset()):
                self._written[finding.kind] = layers
                yield _text(finding.kind, finding.message)

    def findings(self) -> list[Finding]:
        """The problems in the last samples."""
        findings: list[Finding | None] = []
        if self._tables:
            rows = max(len(table) for table in self._tables)
            padded = np.stack([_padded(table, rows) for table in self._tables])
            norms, ratios, names = padded[:, :, GRADIENT_NORM], padded[:, :, UPDATE_RATIO], self._names
            findings += [
                rules.vanishing(norms, names, self._thresholds[0]),
                rules.exploding(norms, names, self._thresholds[1]),
                rules.by_depth(norms, names),
                rules.dead(norms, names),
                rules.frozen(ratios, names),
            ]
        if self._dead_shares:
            modules = list(self._dead_shares[-1])
            shares = np.array([[sample.get(m, np.nan) for m in modules] for sample in self._dead_shares])
            findings.append(rules.dead_units(shares, modules))
        return [finding for finding in findings if finding is not None]

    def issues(self) -> dict[str, Any]:
        """`{kind: {"detected", "layers": [{"name", "norm"}], …}}` for every kind."""
        issues: dict[str, Any] = {kind: {"detected": False, "layers": []} for kind in KINDS}
        for finding in self.findings():
            layers = [{"name": name, "norm": value} for name, value in finding.layers]
            issues[finding.kind] = {"detected": True, "layers": layers, "message": finding.message}
        if self._nonfinite or self.origin:
            layers = [{"name": name, "samples": count} for name, count in self._nonfinite.items()]
            issues["nonfinite"] = {"detected": True, "layers": layers, "origin": self._origin_json()}
        if self._spikes:
            spikes = [{"step": step, "norm": norm} for step, norm in self._spikes]
            issues["spikes"] = {"detected": True, "layers": [], "spikes": spikes}
        return issues

    def _origin_json(self) -> dict[str, Any] | None:
        if self.origin is None:
            return None
        step, origin = self.origin
        return {"step": step, "kind": origin.kind, "name": origin.name, "message": origin.message}


def _text(kind: str, message: str) -> Text:
    """A tag for each kind: TensorBoard would show only one of two texts at the same step and tag."""
    return Text(health_tag(kind), f"**{kind.replace('_', ' ')}**: {message}")


def _padded(table: FloatArray, rows: int) -> FloatArray:
    """`table` with rows of NaN for parameters that appeared later."""
    if len(table) == rows:
        return table
    return np.pad(table, ((0, rows - len(table)), (0, 0)), constant_values=np.nan)
