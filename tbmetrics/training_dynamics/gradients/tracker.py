"""GradientTracker: gradients, weights and what steps change, measured where the optimizer steps, and their health."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tbmetrics.errors import InputError
from tbmetrics.records import Record, Scalar, dynamics_tag
from tbmetrics.records.history import TimedRecord, to_jsonable
from tbmetrics.tracking.cadence import FIRST_STEPS, Cadence
from tbmetrics.tracking.checks import check_choice
from tbmetrics.tracking.optimizers import as_optimizers
from tbmetrics.tracking.state import checked, checked_tracker_state, pack, tracker_state, unpack
from tbmetrics.tracking.tracker import Tracker
from tbmetrics.training_dynamics.gradients.activations import ForwardSample
from tbmetrics.training_dynamics.gradients.parameters import ParameterRows
from tbmetrics.training_dynamics.gradients.sample_records import SampleRecords
from tbmetrics.training_dynamics.gradients.sampling import StepSampler
from tbmetrics.training_dynamics.gradients.step_sample import (
    GRADIENT_COSINE,
    GRADIENT_NORM,
    UPDATE_RATIO,
    WEIGHT_NORM,
    StepSample,
)
from tbmetrics.training_dynamics.health.log import HealthLog
from tbmetrics.training_dynamics.health.rules import EXPLODING_THRESHOLD, VANISHING_THRESHOLD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DETAILS_BEFORE_THINNING = 200  # detailed samples until their interval doubles, again and again


class GradientTracker(Tracker):
    """Measures gradients, weights, what steps change, and activations; usable alone or in a session.

        tracker = GradientTracker(model, optimizer)
        tracker.register_hooks()
        ...                                   # training
        tracker.update(epoch=0)
        tracker.detect_gradient_issues()
        tracker.remove_hooks()

    Gradients are measured when the optimizer steps: after unscaling and clipping, reduced over ranks. Without an
    optimizer they are measured as each backward pass finishes them. In a step without a sample there is nothing to do
    for the hooks. On a sampled step all norms are taken in fused calls and copied without waiting for the device.

    Args:
        model: the model whose parameters are measured.
        optimizer: one or several; None = measure at the end of backward passes.
        save_dir: where `visualize` writes its figures.
        every: steps between samples of the norms; None = steps 1, 2, 5, 10, 20, 50, …, the first step of each epoch,
            and multiples of 10 that are at least half a second apart. In distributed training steps 1, 2, 5, 10, 20,
            30, …, so that all ranks sample together.
        detail_every: steps between detailed samples: what the step changed, directions, histograms, activations; None =
            steps 1, 5, 20, 100, … and multiples of 100 that are at least five seconds apart. The interval doubles after
            every 200 of them.
        include, exclude: patterns of parameter names, e.g. `["blocks.*.attn"]`.
        activations: True = outputs of all activation modules, patterns of module names, or False.
        track_weights: also measure weights and what steps change; False saves the copy of the weights that a detailed
            sample holds for one step.
        histograms: write histograms in detailed samples.
        on_nonfinite: "warn" says where the first NaN or infinity in a sample came from; "raise" looks at every
            step, waits for the device to do so, and raises `NonFiniteError` before the optimizer steps; "ignore".
        scaler: the `torch.amp.GradScaler` in use, so that skipped steps are counted.
        vanishing_threshold, exploding_threshold: of the median gradient norm of a parameter.

    Attributes:
        history: all measurements, bounded.

    Raises:
        InputError: an argument cannot work; the message says which and why.
    """

    name = "training_dynamics"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
        *,
        save_dir: str | os.PathLike[str] | None = None,
        every: int | None = None,
        detail_every: int | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        activations: bool | Sequence[str] = True,
        track_weights: bool = True,
        histograms: bool = True,
        on_nonfinite: str = "warn",
        scaler: torch.amp.GradScaler | None = None,
        vanishing_threshold: float = VANISHING_THRESHOLD,
        exploding_threshold: float = EXPLODING_THRESHOLD,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        check_choice("on_nonfinite", on_nonfinite, ("warn", "raise", "ignore"))
        if not 0 <= vanishing_threshold < exploding_threshold:
            thresholds = f"{vanishing_threshold!r} and {exploding_threshold!r}"
            raise InputError(f"vanishing_threshold must be at least 0 and below exploding_threshold, got {thresholds}")
        self.save_dir = save_dir
        self._every = Cadence(every, "every")
        self._detail_every = Cadence(detail_every, "detail_every", steps=100, seconds=5.0, first=FIRST_STEPS[::2])
        self._stretchable = tuple(c for c in (self._every, self._detail_every) if not c.is_exact)
        self._rows = ParameterRows(model, include, exclude)
        self._sampler = StepSampler(
            model,
            as_optimizers(optimizer),
            self._rows,
            activations=activations,
            every=self._every,
            detail_every=self._detail_every,
            track_weights=track_weights,
            histograms=histograms,
            on_nonfinite=on_nonfinite,
            scaler=scaler,
            guard=self.guard,
            refuse=self._refuse,
        )
        self._health = HealthLog(vanishing_threshold, exploding_threshold)
        modules = self._sampler.forward.names
        look_for_origin = on_nonfinite != "ignore"
        self._sample_records = SampleRecords(self._rows, modules, self._health, look_for_origin=look_for_origin)
        self._details = self._skips_written = 0
        self._ready: list[TimedRecord] = []

    @property
    def cadences(self) -> tuple[Cadence, ...]:  # type: ignore[override]
        """Those that no number was given for; none if norms of sharded parameters need every rank at the same step."""
        return () if self._rows.sharded else self._stretchable

    # ------------------------------------------------------------------------------------------------- hooks

    def use_optimizers(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Measure at the steps of `optimizers`, if none was given at construction."""
        if not self._sampler.optimizers and not self._sampler.attached:
            self._sampler.optimizers = list(optimizers)

    def register_hooks(self) -> None:
        """Set the hooks; idempotent."""
        self._sampler.attach()

    def remove_hooks(self) -> None:
        """Remove every hook; idempotent. Samples on their way from the device are still read."""
        self._sampler.detach()

    def start(self) -> None:
        """Set the hooks; the session counts the steps."""
        self._sampler.counts_steps = False
        self._sampler.attach()

    def stop(self) -> None:
        """Remove every hook."""
        self._sampler.detach()

    def _refuse(self, norms: list[tuple[str, float]], forward: ForwardSample | None) -> None:
        step = self._sampler.step + 1
        refused = self._sample_records.refusal(step, norms, forward)
        if refused is not None:
            error, texts = refused
            self._ready += [TimedRecord(step, time.time(), text) for text in texts]
            raise error

    # --------------------------------------------------------------------------------------------- arriving

    @property
    def next_step(self) -> int:  # type: ignore[override]
        """The step before the next that may be sampled; 0 while a sample is on its way."""
        return 0 if self.has_arrivals else self._sampler.next_step

    def after_step(self, step: int) -> None:
        """Take the session's number of the step just done."""
        self._sampler.count_to(step)
        self.has_arrivals = bool(self._sampler.in_flight or self._ready)

    def arrived(self) -> Sequence[TimedRecord]:
        """Records of the samples that have reached the host."""
        self._take_samples(wait=False)
        return self.pending()

    def _take_samples(self, *, wait: bool) -> None:
        for sample in self._sampler.take(wait=wait):
            step = sample.step or 0
            self._ready += [TimedRecord(step, sample.wall_time, record) for record in self._records(sample, step)]

    def _records(self, sample: StepSample, step: int) -> Iterator[Record]:
        skips = self._sampler.skips
        skips.count += sample.skipped()
        if skips.count != self._skips_written:
            self._skips_written = skips.count
            yield Scalar(dynamics_tag("skipped_steps"), float(skips.count))
        if sample.skipped():
            return
        yield from self._sample_records.add(sample, step)
        if sample.detailed:
            self._count_detail()

    def _count_detail(self) -> None:
        self._details += 1
        if self._details % DETAILS_BEFORE_THINNING == 0:
            self._detail_every.thin()

    # --------------------------------------------------------------------------------------------- epochs

    def records(self, epoch: int) -> Sequence[TimedRecord]:
        """End `epoch`; waits for samples that are still on the device."""
        self._sampler.end_epoch()
        self._take_samples(wait=True)
        self._sample_records.means.end(epoch)
        now = time.time()
        self._ready += [TimedRecord(self._sampler.step, now, text) for text in self._health.news()]
        return self.pending()

    def update(self, epoch: int, batch: int | None = None) -> None:
        """Take what was measured since the last call as belonging to `epoch`.

        Args:
            epoch: of the values in `get_metrics()`; a second call for the same epoch replaces its values.
            batch: index of the batch, for loops that call this after each batch; not needed.

        Raises:
            InputError: no hooks are set, so nothing can have been measured.
        """
        if self._is_switched_off():
            return
        if not self._sampler.attached and not len(self.history.tables):
            raise InputError("update() has nothing to take: call register_hooks() before training")
        self.guard(self.collect, epoch)

    # -------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """Means, the health of the last samples, gradients to compare the next with, and cadences."""
        self._sampler.send_last()
        self._take_samples(wait=True)
        self._file_if_alone(self.pending)
        return tracker_state(
            self,
            parameters=list(self._rows.names),
            step=self._sampler.step,
            skips=(self._sampler.skips.count, self._skips_written),
            details=self._details,
            cadences=[c.state() for c in (self._every, self._detail_every)],
            means=pack(self._sample_records.means.state()),
            health=pack(self._health.state()),
            samples=self._sample_records.state(),
            directions=self._sampler.directions.state(),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; parameters that appear later are compared by their place.

        Raises:
            InputError: the state is of other parameters, or of a newer version.
        """
        names = list(self._rows.names)
        known = checked(state, "GradientTracker.load_state_dict")["parameters"]
        entries = checked_tracker_state(self, {**state, "parameters": known[: max(len(names), 1)]}, parameters=names)
        self._details = entries["details"]
        self._sampler.skips.count, self._skips_written = entries["skips"]
        for cadence, cadence_state in zip((self._every, self._detail_every), entries["cadences"], strict=True):
            cadence.restore(cadence_state)
        self._sampler.count_to(entries["step"])
        self._sample_records.means.restore(unpack(entries["means"]))
        self._health.restore(unpack(entries["health"]))
        self._sample_records.restore(entries["samples"])
        self._sampler.directions.restore(entries["directions"])

    # --------------------------------------------------------------------------------------------- results

    def get_metrics(self) -> dict[str, Any]:
        """Means over each epoch's samples, one value per epoch, and the problems; JSON-ready.

        Returns:
            `{"epochs": [...], "gradient_norms": {parameter: [...]}, "weight_norms": {...}, "update_ratios": {...},
            "gradient_cosines": {...}, "noise_scale_passes", "skipped_steps", "issues": {...}}`
        """
        column = partial(self._sample_records.means.column, self._rows.names)
        metrics: dict[str, Any] = to_jsonable(
            {
                "epochs": self._sample_records.means.epochs,
                "gradient_norms": column(GRADIENT_NORM),
                "weight_norms": column(WEIGHT_NORM),
                "update_ratios": column(UPDATE_RATIO),
                "gradient_cosines": column(GRADIENT_COSINE),
                "noise_scale_passes": self._sample_records.noise.value,
                "skipped_steps": self._sampler.skips.count,
                "issues": self.detect_gradient_issues(),
            }
        )
        return metrics

    def detect_gradient_issues(self) -> dict[str, Any]:
        """Problems in the last samples: `{kind: {"detected": bool, "layers": [{"name", "norm"}], …}}`.

        Kinds: "vanishing_gradients", "exploding_gradients", "nonfinite" (with its "origin"), "gradients_by_depth",
        "dead_layers", "frozen_layers", "dead_units", "spikes". See `health` for the rules.
        """
        return self._health.issues()

    def visualize(self) -> dict[str, Figure]:
        """Figures of all measurements so far, by name; also written to `save_dir` as PNG, if given.

        Raises:
            InputError: `save_dir` cannot be written.
        """
        from tbmetrics.figures.output import collect_figures
        from tbmetrics.figures.training_dynamics import figures

        return collect_figures(figures(self.history), self.save_dir)
