"""What TBMetrics is made of: its trackers from its arguments, and what it asks of its surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tbmetrics.class_performance.diagnostics import LongTailDiagnostics
from tbmetrics.class_performance.tracker import ClassPerformanceTracker
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.events.places import event_file_names, is_url
from tbmetrics.resource_usage.monitor import ResourceMonitor
from tbmetrics.resource_usage.profiler import ProfilerTracker
from tbmetrics.tracking.tracker import Tracker
from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
from tbmetrics.training_dynamics.gradients.tracker import GradientTracker, as_optimizers


@dataclass(frozen=True)
class SessionTrackers:
    """The trackers of a session, each None if it is off; `all` of them, with those of the user, in order."""

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
        further: Sequence[Tracker],
        log_dir: str,
    ) -> SessionTrackers:
        """The trackers that the arguments of `TBMetrics` ask for."""
        groups, performance = class_performance_tracker(classes, class_performance)
        built = (
            performance,
            long_tail_diagnostics(diagnostics, groups, model, performance),
            gradient_tracker(gradients, model, optimizer),
            attention_visualizer(attention, model),
            resource_monitor(resources),
            profiler_tracker(profiler, further, log_dir),
        )
        present = [tracker for tracker in built if tracker is not None]
        return cls(groups, *built, uniquely_named(tuple(dict.fromkeys((*present, *further)))))


def class_performance_tracker(
    classes: ClassGroups | Mapping[Any, Any] | None, option: ClassPerformanceTracker | bool
) -> tuple[ClassGroups | None, ClassPerformanceTracker | None]:
    """The groups and the tracker that TBMetrics' `classes` and `class_performance` ask for."""
    if isinstance(option, ClassPerformanceTracker):
        return option.classes, option
    if classes is None or not option:
        return None, None
    groups = classes if isinstance(classes, ClassGroups) else ClassGroups.from_counts(classes)
    return groups, ClassPerformanceTracker(classes=groups)


def long_tail_diagnostics(
    option: LongTailDiagnostics | bool,
    classes: ClassGroups | None,
    model: torch.nn.Module | None,
    class_performance: ClassPerformanceTracker | None,
) -> LongTailDiagnostics | None:
    """The tracker that TBMetrics' `diagnostics` asks for, with the session's classes, model and thresholds."""
    if not option:
        return None
    tracker = LongTailDiagnostics() if option is True else option
    tracked = class_performance.attributes if class_performance is not None else tuple(classes or ())
    chosen = ClassGroups({a: classes[a] for a in tracked}) if classes is not None else None
    tracker.use(chosen, model, class_performance.thresholds if class_performance is not None else None)
    if option is True and chosen is None:
        raise InputError(
            "diagnostics=True needs classes: give TBMetrics(..., classes=ClassGroups.from_counts({...})), with "
            "class_performance left on"
        )
    return tracker


def gradient_tracker(
    option: GradientTracker | bool, model: torch.nn.Module | None, optimizer: Any
) -> GradientTracker | None:
    """The tracker that TBMetrics' `gradients` asks for; a configured one without optimizer gets the session's."""
    if isinstance(option, GradientTracker):
        option.use_optimizers(as_optimizers(optimizer))
        return option
    if not option or model is None:
        return None
    return GradientTracker(model, optimizer)


def attention_visualizer(
    option: AttentionVisualizer | bool, model: torch.nn.Module | None
) -> AttentionVisualizer | None:
    """The tracker that TBMetrics' `attention` asks for."""
    if isinstance(option, AttentionVisualizer):
        return option
    if option and model is None:
        raise InputError("attention=True needs a model: give TBMetrics(..., model=model)")
    return AttentionVisualizer(model) if option and model is not None else None


def resource_monitor(option: ResourceMonitor | bool) -> ResourceMonitor | None:
    """The monitor that TBMetrics' `resources` asks for."""
    return ResourceMonitor(images=True) if option is True else option or None


def profiler_tracker(
    option: ProfilerTracker | bool | None, trackers: Sequence[Tracker], log_dir: str
) -> ProfilerTracker | None:
    """The profiler that TBMetrics' `profiler` or `trackers` ask for; without a folder of its own it uses `log_dir`."""
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
    """`trackers`, refused where two share a name."""
    names = [t.name for t in trackers]
    if len(set(names)) != len(names):
        raise InputError(f"two trackers share a name: {names}; give each tracker a `name` of its own")
    return trackers


def number_of_parameters(model: torch.nn.Module | None) -> int | None:
    """Values in all parameters of `model`; None without one, and where lazy modules do not know theirs yet."""
    if model is None or any(torch.nn.parameter.is_lazy(p) for p in model.parameters()):
        return None
    return sum(p.numel() for p in model.parameters())


def first_optimizer(optimizer: Any) -> torch.optim.Optimizer | None:
    """The optimizer whose steps are counted."""
    return next(iter(as_optimizers(optimizer)), None)


def holds_events(log_dir: str) -> bool:
    """Whether `log_dir` holds a run already."""
    return bool(event_file_names(log_dir))
