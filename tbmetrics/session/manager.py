"""MetricsManager: a plain-verb interface to a `TBMetrics` session that also writes figures and JSON."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from tbmetrics.class_performance.inputs import LOGITS
from tbmetrics.class_performance.tracker import ClassPerformanceTracker
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.events.places import writable_directory
from tbmetrics.figures.output import announced
from tbmetrics.figures.progress import progress
from tbmetrics.records.history import to_jsonable
from tbmetrics.resource_usage.monitor import ResourceMonitor
from tbmetrics.session.session import TBMetrics
from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("tbmetrics")

TENSORBOARD = "tensorboard"
CLASS_METRICS, TRAINING_DYNAMICS, RESOURCE_USAGE = "class_metrics", "training_dynamics", "resource_usage"


class MetricsManager:
    """Track classes, gradients and resources of a training loop; write figures, JSON and event files.

        manager = MetricsManager(model=model, attributes=["shape"], label_to_idx_dict={"shape": {"ring": 0, "bar": 1}},
                                 hmt_info={"shape": {"head": {"ring": 900}, "tail": {"bar": 4}}})
        for epoch in range(1, epochs + 1):
            manager.start_epoch(epoch)
            for batch_idx, batch in enumerate(loader):
                manager.update_batch(batch_idx)
                ...
            manager.update_epoch_results(logits_dict, labels_dict, batch_size=32, num_samples=len(dataset))
        manager.finalize()

    Every call is translated for a `TBMetrics` session (`tb`), whose own methods may be mixed in. After `finalize()`,
    `save_dir` holds `class_metrics/`, `training_dynamics/` and `resource_usage/` with figures and a JSON file each,
    `metrics.json` with everything, and `tensorboard/` with the event files.

    Args:
        model: the model; None leaves out training dynamics.
        attributes: attributes to track; None tracks all that have labels.
        label_to_idx_dict: `{attribute: {label: index}}`. Without labels and groups, classes are left out.
        idx_to_label_dict: `{attribute: {index: label}}`, instead of or in addition to `label_to_idx_dict`.
        hmt_info: head, medium and tail classes by attribute, in any form `ClassGroups.from_hmt_info` accepts.
        save_dir: output directory, created if missing.
        optimizer: one or several; gradients are measured as the optimizer sees them, and its steps are counted.
            Without one, gradients are measured as backward passes finish, and each batch counts as a step.
        track_weights: also track weights and their updates; False avoids copying the weights every 100 steps.
        attention: True looks for attention in the first training pass of each epoch, and takes a model without any as
            it is; an attention with as many keys or queries as an attribute has classes, and the attribute's name in
            its own, is drawn with the names of the classes. Or a configured `AttentionVisualizer`, or False.
        inputs, logit_scale, top_k: what `update_epoch_results` is given, and recalls at k, as for `TBMetrics`.
        options: further options of `TBMetrics`.

    Attributes:
        tb: the session.
        class_performance, gradients, attention, resources: its trackers, each None if it is off.

    Raises:
        InputError: labels, groups or a directory cannot be used; the message says which and why.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        attributes: Iterable[str] | None = None,
        label_to_idx_dict: Mapping[str, Mapping[Any, int]] | None = None,
        idx_to_label_dict: Mapping[str, Mapping[int, Any]] | None = None,
        hmt_info: Mapping[str, Mapping[Any, Any]] | None = None,
        save_dir: str | os.PathLike[str] = "visualizations",
        *,
        optimizer: Any = None,
        track_weights: bool = True,
        attention: AttentionVisualizer | bool = True,
        inputs: str = LOGITS,
        logit_scale: float | None = None,
        top_k: int | Sequence[int] = (),
        **options: Any,
    ) -> None:
        self.save_dir = writable_directory(save_dir, "save_dir").absolute()
        self.class_performance: ClassPerformanceTracker | None = None
        if label_to_idx_dict is not None or idx_to_label_dict is not None or hmt_info is not None:
            self.class_performance = ClassPerformanceTracker(
                attributes,
                label_to_idx_dict,
                idx_to_label_dict,
                hmt_info,
                self.save_dir / CLASS_METRICS,
                inputs=inputs,
                logit_scale=logit_scale,
                top_k=top_k,
            )
        self.resources = ResourceMonitor(self.save_dir / RESOURCE_USAGE)
        self.gradients: GradientTracker | None = None
        self.attention: AttentionVisualizer | None = attention if isinstance(attention, AttentionVisualizer) else None
        if model is not None:
            folder = self.save_dir / TRAINING_DYNAMICS
            self.gradients = GradientTracker(model, optimizer, save_dir=folder, track_weights=track_weights)
            if attention is True:
                self.attention = AttentionVisualizer(model, classes=self._tracked_classes(), quiet=True)
        if self.attention is not None:
            self.attention.save_dir = self.attention.save_dir or self.save_dir / TRAINING_DYNAMICS / "attention"
        self.tb = TBMetrics(
            self.save_dir / TENSORBOARD,
            model=model,
            optimizer=optimizer,
            class_performance=self.class_performance or False,
            gradients=self.gradients or False,
            attention=self.attention or False,
            resources=self.resources,
            **options,
        )
        if self.tb.diagnostics is not None:
            self.tb.diagnostics.save_dir = self.tb.diagnostics.save_dir or self.save_dir / CLASS_METRICS
        self._batch_open = self._finalized = False
        self._has_warned = False

    def start_tracking(self) -> None:
        """Open the event file and set hooks; any other call does so if needed."""
        self.tb.start()

    def start_epoch(self, epoch: int) -> None:
        """Begin `epoch`; end one that is still open."""
        self._end_batch()
        self.tb.start_epoch(epoch)

    def update_batch(self, batch_idx: int) -> None:
        """Begin a training batch; without an optimizer, the previous batch counts as a step.

        Args:
            batch_idx: index of the batch in the epoch; not used, since each call counts one batch.
        """
        self._end_batch()
        self._batch_open = True

    def start_component(self, name: str) -> None:
        """Start timing component `name`; components nest."""
        self.tb.start_component(name)

    def end_component(self, name: str | None = None) -> None:
        """Stop timing component `name`, or the innermost."""
        self.tb.end_component(name)

    def update_epoch_results(
        self,
        logits_dict: Mapping[str, Tensor],
        labels_dict: Mapping[str, Tensor],
        batch_size: int | None = None,
        num_samples: int | None = None,
    ) -> None:
        """Evaluate the whole validation set for the open epoch and end the epoch.

        Args:
            logits_dict: `{attribute: logits}`, (N, C) each.
            labels_dict: `{attribute: labels}`, multi-hot (N, C) or class indices (N,).
            batch_size, num_samples: training batch size and samples in the epoch, for the throughput.

        Raises:
            InputError: attributes, shapes, types or values do not fit; earlier measurements are kept.
        """
        self._end_batch()
        if self.class_performance is not None or not self.tb.enabled:
            self.tb.update(logits_dict, labels_dict)
        elif not self._has_warned:
            self._has_warned = True
            logger.warning(
                "tbmetrics: no classes were given, so class performance is left out: give "
                "MetricsManager(label_to_idx_dict=..., hmt_info=...)"
            )
        self.end_epoch(batch_size, num_samples)

    def end_epoch(self, batch_size: int | None = None, num_samples: int | None = None) -> None:
        """End the open epoch, after a validation or without one; `update_epoch_results` does it too.

        Args:
            batch_size, num_samples: training batch size and samples in the epoch, for the throughput.
        """
        self._end_batch()
        self.tb.end_epoch(batch_size, num_samples)

    def stop_tracking(self) -> None:
        """End the open epoch, remove all hooks and close the event file; idempotent. `finalize` still writes files."""
        self._end_batch()
        self.tb.finalize()

    def finalize(self) -> dict[str, Any]:
        """End tracking, remove all hooks, write figures and JSON, once; show on stderr how far it is.

        Returns:
            everything measured, as `get_metrics` gives it.
        """
        writes = not self._finalized and self.tb.enabled and self.tb.writes
        with progress("MetricsManager", shown=writes) as show:
            show(0, 0, "ending the session")
            self.stop_tracking()
            if not writes:
                return self.get_metrics()
            self._finalized = True
            names = itertools.count(1)
            show(0, 0, "drawing figures")
            with announced(lambda name: show(next(names), 0, name)):
                self.visualize()
        metrics = self.get_metrics()
        if self.class_performance is not None:
            self._write(f"{CLASS_METRICS}/class_metrics.json", metrics["class_performance"])
        self._write(f"{RESOURCE_USAGE}/resource_usage.json", metrics["resource_usage"])
        if self.gradients is not None:
            self._write(f"{TRAINING_DYNAMICS}/training_dynamics.json", metrics["training_dynamics"])
        if self.attention is not None and self.attention.attention_maps:
            self._write(f"{TRAINING_DYNAMICS}/attention.json", self.attention.get_metrics())
        self._write("metrics.json", metrics)
        return metrics

    def visualize(self) -> None:
        """Write figures of everything measured so far, one directory per area."""
        for tracker in (self.class_performance, self.tb.diagnostics, self.gradients, self.attention, self.resources):
            if tracker is not None:
                tracker.visualize()

    def generate_visualizations(self) -> None:
        """The same as `visualize`."""
        self.visualize()

    def get_metrics(self) -> dict[str, Any]:
        """Return everything measured so far, JSON-ready.

        Returns:
            `{"class_performance": {"class_metrics", "type_metrics", "epochs"}, "resource_usage": {"epoch_data",
            "component_data"}, "training_dynamics": {...}, "gradient_issues": {...}}`; without classes or a model,
            theirs are empty. `"attention"` has the statistics of each module if attention was seen, `"diagnostics"` is
            included if they are on.
        """
        metrics = self.tb.get_metrics()
        dynamics = metrics.get(TRAINING_DYNAMICS, {})
        statistics = metrics.get("attention", {}).get("statistics")
        return {
            "class_performance": metrics.get("class_performance", {}),
            "resource_usage": metrics.get(RESOURCE_USAGE, {}),
            "training_dynamics": dynamics,
            "gradient_issues": dynamics.get("issues", {}),
            **({"attention": statistics} if statistics else {}),
            **({"diagnostics": metrics["diagnostics"]} if "diagnostics" in metrics else {}),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs; see `TBMetrics.state_dict`."""
        return self.tb.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict()` before the first epoch; see `TBMetrics.load_state_dict`.

        Raises:
            InputError: classes, parameters or the version do not match.
        """
        self.tb.load_state_dict(state)

    def _end_batch(self) -> None:
        if self._batch_open:
            self.tb.step()
        self._batch_open = False

    def _tracked_classes(self) -> ClassGroups | None:
        performance = self.class_performance
        return None if performance is None else ClassGroups({a: performance.classes[a] for a in performance.attributes})

    def _write(self, name: str, content: Any) -> None:
        path = self.save_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(to_jsonable(content), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
