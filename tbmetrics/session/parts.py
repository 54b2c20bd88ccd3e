"""Build the trackers of a session from the arguments of TBMetrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tbmetrics.class_performance.inputs import DEFAULT_ACTIVATION, Activation
from tbmetrics.class_performance.tracker import ClassPerformanceTracker
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.events.places import is_url
from tbmetrics.resource_usage.monitor import ResourceMonitor
from tbmetrics.resource_usage.profiler import ProfilerTracker
from tbmetrics.tracking.optimizers import as_optimizers
from tbmetrics.tracking.tracker import Tracker
from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

if TYPE_CHECKING:
    from tbmetrics.class_performance.diagnostics import LongTailDiagnostics


@dataclass(frozen=True)
class SessionTrackers:
    """Trackers of a session, each None if off; `all` also holds the user's own, in calling order."""

    classes: ClassGroups | None
    class_performance: ClassPerformanceTracker | None
    diagnostics: LongTailDiagnostics | None
    gradients: GradientTracker | None
    attention: AttentionVisualizer | None
    resources: ResourceMonitor | None
    profiler: ProfilerTracker | None
    all: tuple[Tracker, ...]

    @classmethod
    def build(
        cls,
        *,
        model: torch.nn.Module | None,
        optimizer: Any,
        classes: ClassGroups | Mapping[Any, Any] | None,
        class_performance: ClassPerformanceTracker | bool,
        gradients: GradientTracker | bool,
        attention: AttentionVisualizer | bool,
        resources: ResourceMonitor | bool,
        diagnostics: LongTailDiagnostics | bool,
        profiler: ProfilerTracker | bool | None,
        activation: Activation,
        performance_options: Mapping[str, Any],
        further: Sequence[Tracker],
        log_dir: str,
    ) -> SessionTrackers:
        """Build the trackers for the arguments of `TBMetrics`."""
        groups, performance = class_performance_tracker(classes, class_performance, activation, performance_options)
        built = (
            performance,
            long_tail_diagnostics(diagnostics, groups, model, performance, activation),
            gradient_tracker(gradients, model, optimizer),
            attention_visualizer(attention, model, groups),
            ResourceMonitor(images=True) if resources is True else resources or None,
            profiler_tracker(profiler, further, log_dir),
        )
        present = [tracker for tracker in built if tracker is not None]
        return cls(groups, *built, uniquely_named(tuple(dict.fromkeys((*present, *further)))))


def class_performance_tracker(
    classes: ClassGroups | Mapping[Any, Any] | None,
    option: ClassPerformanceTracker | bool,
    activation: Activation,
    options: Mapping[str, Any] | None = None,
) -> tuple[ClassGroups | None, ClassPerformanceTracker | None]:
    """Class groups and tracker for TBMetrics' `classes` and `class_performance`.

    Args:
        classes, option, activation: as for `SessionTrackers.build`.
        options: further ones of the tracker, if they were given.
    """
    given = {name: value for name, value in (options or {}).items() if value not in (None, ())}
    if isinstance(option, ClassPerformanceTracker):
        if activation not in (DEFAULT_ACTIVATION, option.activation):
            given = {"inputs": 0, "logit_scale": 0, **given}
        if given:
            raise InputError(
                f"{' and '.join(given)} differ from those of class_performance=…: give them to the "
                "ClassPerformanceTracker"
            )
        return option.classes, option
    if classes is None or not option:
        return None, None
    groups = classes if isinstance(classes, ClassGroups) else ClassGroups.from_counts(classes)
    inputs, logit_scale = activation.inputs, activation.logit_scale
    return groups, ClassPerformanceTracker(classes=groups, inputs=inputs, logit_scale=logit_scale, **given)


def long_tail_diagnostics(
    option: LongTailDiagnostics | bool,
    classes: ClassGroups | None,
    model: torch.nn.Module | None,
    class_performance: ClassPerformanceTracker | None,
    activation: Activation,
) -> LongTailDiagnostics | None:
    """Tracker for TBMetrics' `diagnostics`, given the session's classes, model, thresholds and kind of scores."""
    if not option:
        return None
    from tbmetrics.class_performance.diagnostics import LongTailDiagnostics

    tracker = LongTailDiagnostics() if option is True else option
    tracked = class_performance.attributes if class_performance is not None else tuple(classes or ())
    tracked_classes = ClassGroups({a: classes[a] for a in tracked}) if classes is not None else None
    thresholds = class_performance.thresholds if class_performance is not None else None
    activation = class_performance.activation if class_performance is not None else activation
    if activation.takes_classes:
        raise InputError("diagnostics need scores: give inputs='logits' or 'probabilities', or leave diagnostics out")
    tracker.use(tracked_classes, model, thresholds, activation)
    if option is True and tracked_classes is None:
        raise InputError(
            "diagnostics=True needs classes: give TBMetrics(..., classes=ClassGroups.from_counts({...})), with "
            "class_performance left on"
        )
    return tracker


def gradient_tracker(
    option: GradientTracker | bool, model: torch.nn.Module | None, optimizer: Any
) -> GradientTracker | None:
    """Tracker for TBMetrics' `gradients`; a configured one without an optimizer gets the session's."""
    if isinstance(option, GradientTracker):
        option.use_optimizers(as_optimizers(optimizer))
        return option
    if not option or model is None:
        return None
    return GradientTracker(model, optimizer)


def attention_visualizer(
    option: AttentionVisualizer | bool, model: torch.nn.Module | None, classes: ClassGroups | None
) -> AttentionVisualizer | None:
    """Tracker for TBMetrics' `attention`."""
    if isinstance(option, AttentionVisualizer):
        return option
    if option and model is None:
        raise InputError("attention=True needs a model: give TBMetrics(..., model=model)")
    return AttentionVisualizer(model, classes=classes) if option and model is not None else None


def profiler_tracker(
    option: ProfilerTracker | bool | None, trackers: Sequence[Tracker], log_dir: str
) -> ProfilerTracker | None:
    """Profiler for TBMetrics' `profiler`, or from `trackers`; writes to `log_dir` unless it has a folder."""
    if option is False:
        return None
    if option is None:
        option = next((t for t in trackers if isinstance(t, ProfilerTracker)), None)
    if is_url(log_dir) and (option is None or option is True or option.log_dir is None):
        if option is None:
            return None
        raise InputError(
            f"log_dir {log_dir!r} is a URL, and traces need a folder of this machine: "
            "give profiler=ProfilerTracker('traces')"
        )
    tracker = option if isinstance(option, ProfilerTracker) else ProfilerTracker(at=(10,) if option else ())
    if tracker.log_dir is None:
        tracker.log_dir = Path(log_dir)
    return tracker


def uniquely_named(trackers: tuple[Tracker, ...]) -> tuple[Tracker, ...]:
    """Return `trackers`; raise `InputError` if two share a name."""
    names = [t.name for t in trackers]
    if len(set(names)) != len(names):
        raise InputError(f"two trackers share a name: {names}; give each tracker a `name` of its own")
    return trackers


def number_of_parameters(model: torch.nn.Module | None) -> int | None:
    """Number of values in all parameters of `model`, or None without a model or if any is still lazy."""
    if model is None or any(torch.nn.parameter.is_lazy(p) for p in model.parameters()):
        return None
    return sum(p.numel() for p in model.parameters())
