"""Hooks that measure sampled optimizer steps on the device, and the samples on their way to the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tbmetrics.errors import InputError
from tbmetrics.tracking.cadence import Cadence
from tbmetrics.tracking.hooks import Hook, ParameterHook, StepHook, is_compiled
from tbmetrics.training_dynamics.gradients.activations import ForwardSample, ForwardWatch
from tbmetrics.training_dynamics.gradients.noise_scale import PassWatch
from tbmetrics.training_dynamics.gradients.norms import DirectionSketch, WeightsBefore, norm_packets
from tbmetrics.training_dynamics.gradients.parameters import ParameterRows
from tbmetrics.training_dynamics.gradients.step_sample import StepSample


class StepSampler:
    """Measures sampled steps when the optimizers step or, without optimizers, when backward passes finish gradients.

    With several optimizers a step lasts until one of them steps again.

    Args:
        rows: the parameters to measure.
        activations: the modules whose outputs are measured, see `ForwardWatch`.
        every, detail_every: steps between samples, and between detailed samples.
        model, optimizers, track_weights, histograms, on_nonfinite, scaler: see `GradientTracker`.
        guard: runs the actions of hooks.
        refuse: with `on_nonfinite="raise"`: called before each step with (name, norm) of its gradients and the forward
            pass; raises if one is not finite.

    Attributes:
        step: optimizer steps done; set from outside unless `counts_steps`.
        forward: the watch on the model's outputs.
        skips: steps left out by a `GradScaler`.
        directions: the gradients that the next are compared with.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        rows: ParameterRows,
        *,
        activations: bool | Sequence[str],
        every: Cadence,
        detail_every: Cadence,
        track_weights: bool,
        histograms: bool,
        on_nonfinite: str,
        scaler: torch.amp.GradScaler | None,
        guard: Callable[..., Any],
        refuse: Callable[[list[tuple[str, float]], ForwardSample | None], None],
    ) -> None:
        self.model, self.optimizers = model, list(optimizers)
        self.counts_steps, self.step = True, 0
        self._rows, self._every, self._detail_every = rows, every, detail_every
        self._track_weights, self._histograms, self._on_nonfinite = track_weights, histograms, on_nonfinite
        self._guard, self._refuse = guard, refuse
        self.forward = ForwardWatch(model, activations, self._wanted, self._set_forward, guard)
        self.skips = SkipWatch(scaler, self._set_forward)
        self._passes = PassWatch(rows, guard)
        self.directions = DirectionSketch()
        self._handles: list[Any] = []
        self._stepped: set[int] = set()  # ids of what has stepped in the current step
        self._sample: StepSample | None = None
        self._weights_before: dict[int, WeightsBefore] = {}
        self._forward: ForwardSample | None = None
        self._in_flight: deque[StepSample] = deque()

    @property
    def attached(self) -> bool:
        """Whether the hooks are set."""
        return bool(self._handles)

    def attach(self) -> None:
        """Set the hooks; idempotent."""
        if self._handles:
            return
        for optimizer in self.optimizers:
            before = StepHook(partial(self._guard, self._before_step))
            after = Hook(partial(self._guard, self._after_step))
            self._handles += [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
        if not self.optimizers:
            finished = ParameterHook(self._on_gradient)
            self._handles += [p.register_post_accumulate_grad_hook(finished) for p in self._rows.hookable()]
        elif not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            self._passes.attach()
        if not is_compiled(self.model):
            self.forward.attach()
        self.skips.attach()

    def detach(self) -> None:
        """Remove every hook; idempotent. Samples on their way from the device can still be taken."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forward.detach()
        self._passes.detach()
        self.skips.detach()
        self._weights_before.clear()

    def take(self, *, wait: bool = False) -> list[StepSample]:
        """The samples that have arrived, oldest first; with `wait` all of them, including the open step's."""
        if wait:
            self.close()
        samples = []
        while self._in_flight and (wait or self._in_flight[0].arrived()):
            samples.append(self._in_flight.popleft())
        return samples

    # -------------------------------------------------------------------------------------------- in a step

    def _wanted(self) -> tuple[bool, bool]:
        """Whether this forward pass is checked for being finite, and whether its activations are measured."""
        if self._forward is not None:  # a further pass of a step that is sampled already
            return False, False
        step = self.step + 1
        check = self._on_nonfinite == "raise" or (self._on_nonfinite == "warn" and self._every.due(step))
        return check, self._detail_every.due(step)

    def _set_forward(self, sample: ForwardSample | None = None) -> None:
        """Hold the forward pass of the step to come; None when that step is left out."""
        self._forward = sample

    def _open(self, key: int) -> bool:
        """Note that `key` steps; begin a new step if it already has in this one. True if the step is sampled."""
        if key in self._stepped:
            self.close()
        if not self._stepped:
            step = self.step + 1
            detailed = self._detail_every.due(step)
            if detailed or self._every.due(step):
                self._sample = StepSample(detailed, forward=self._forward)
            if self._on_nonfinite != "raise":
                self._forward = None
        self._stepped.add(key)
        return self._sample is not None

    def _before_step(self, optimizer: torch.optim.Optimizer) -> None:
        sampled = self._open(id(optimizer))
        if not sampled and self._on_nonfinite != "raise":
            return
        pairs = list(self._rows.stepped_by(optimizer))
        if not pairs:
            return
        rows, parameters = [row for row, _ in pairs], [parameter for _, parameter in pairs]
        gradients = [p.grad for p in parameters if p.grad is not None]
        scale, found_inf = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
        packets = norm_packets(rows, gradients, scale)
        if self._on_nonfinite == "raise" and found_inf is None:
            self._refuse([(self._rows.names[row], norm) for p in packets for row, norm in p.pairs()], self._forward)
        if self._sample is None:
            return
        self._sample.gradients += packets
        self._sample.take_found_inf(found_inf)
        if self._track_weights and (self._sample.detailed or self._on_nonfinite == "warn"):
            self._sample.weights += norm_packets(rows, parameters)  # not needed otherwise
        if self._sample.detailed:
            self._take_details(self._sample, rows, parameters, gradients, id(optimizer))

    def _take_details(
        self, sample: StepSample, rows: list[int], parameters: list[Tensor], gradients: list[Tensor], key: int
    ) -> None:
        sample.cosines += self.directions.turn(rows, gradients)
        names = [self._rows.names[row] for row in rows]
        if self._histograms:
            sample.take_histograms("gradients", names, gradients)
        if self._track_weights:
            self._weights_before[key] = WeightsBefore(rows, parameters)
            if self._histograms:
                sample.take_histograms("weights", names, parameters)

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        before = self._weights_before.pop(id(optimizer), None)
        if before is not None and self._sample is not None:
            self._sample.changes += before.changed()
        self.skips.stepped()
        if self.counts_steps and optimizer is self.optimizers[0]:
            self.step += 1
        if len(self._stepped) >= len(self.optimizers):
            self.close()

    def _take_weights(self, sample: StepSample) -> None:
        """Measure weights after backward passes without an optimizer; what a step changes is not known here."""
        rows, parameters = zip(*self._rows.chosen(), strict=True)
        sample.weights += norm_packets(rows, parameters)
        if sample.detailed and self._histograms:
            names = [self._rows.names[row] for row in rows]
            sample.take_histograms("weights", names, parameters)

    def _on_gradient(self, parameter: Tensor) -> None:
        self._guard(self._gradient_finished, parameter)

    def _gradient_finished(self, parameter: Tensor) -> None:
        if self._open(id(parameter)) and self._sample is not None and parameter.grad is not None:
            row = self._rows.row(parameter)
            if row is not None:
                name = self._rows.names[row] if self._histograms and self._sample.detailed else None
                self._sample.take_gradient(row, parameter.grad, name)

    def close(self) -> None:
        """End the step and send its sample on its way."""
        if not self._stepped:
            return
        self._stepped.clear()
        if not self.optimizers and self.counts_steps:
            self.step += 1
        self._forward = None
        passes = self._passes.end_step()
        if self._detail_every.due(self.step + 1):
            self._passes.measure_next()
        sample, self._sample = self._sample, None
        if sample is not None:
            sample.passes = passes
            if not self.optimizers and self._track_weights:
                self._take_weights(sample)
            sample.finish(self.step)
            self._in_flight.append(sample)


class SkipWatch:
    """Counts the calls of `scaler.step` in which the optimizer did not step, because scaled gradients overflowed.

    While attached, a counting function replaces the scaler's own `step`; it reads nothing from the device.

    Args:
        scaler: the `GradScaler`, if there is one.
        on_skip: called when a step was left out.

    Attributes:
        count: steps left out so far.

    Raises:
        InputError: `scaler` is not a GradScaler.
    """

    def __init__(self, scaler: torch.amp.GradScaler | None, on_skip: Callable[[], None]) -> None:
        if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
            raise InputError(f"scaler must be a torch.amp.GradScaler, got {type(scaler).__name__}")
        self.count = 0
        self._scaler, self._on_skip = scaler, on_skip
        self._steps = 0

    def attach(self) -> None:
        """Put the counting function in the place of `scaler.step`."""
        if self._scaler is not None and "step" not in vars(self._scaler):
            self._scaler.step = self._step  # type: ignore[method-assign]

    def detach(self) -> None:
        """Restore the scaler's own `step`; idempotent."""
        if self._scaler is not None and vars(self._scaler).get("step") == self._step:
            del self._scaler.step

    def stepped(self) -> None:
        """Note that an optimizer has stepped."""
        self._steps += 1

    def _step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        before = self._steps
        result = torch.amp.GradScaler.step(self._scaler, optimizer, *args, **kwargs)  # type: ignore[arg-type]
        if self._steps == before:
            self.count += 1
            self._on_skip()
        return result
