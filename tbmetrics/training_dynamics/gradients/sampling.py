"""Sampling optimizer steps: hooks that measure on the device, and samples on their way to the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tbmetrics.tracking.cadence import Cadence
from tbmetrics.tracking.hooks import Hook, ParameterHook, StepHook, is_compiled
from tbmetrics.training_dynamics.gradients.accumulation import PassWatch
from tbmetrics.training_dynamics.gradients.activations import ForwardSample, ForwardWatch
from tbmetrics.training_dynamics.gradients.changes import DirectionSketch, WeightsBefore
from tbmetrics.training_dynamics.gradients.norms import norm_packets
from tbmetrics.training_dynamics.gradients.parameters import ParameterRows
from tbmetrics.training_dynamics.gradients.scaler import SkipWatch
from tbmetrics.training_dynamics.gradients.step_sample import StepSample


class StepSampler:
    """Measures sampled steps where the optimizers step, or, without one, where backward passes finish gradients.

    With several optimizers a step is what happens until one of them steps again.

    Args:
        model, optimizers: what is measured.
        rows: which parameters.
        activations: which modules' outputs, see `ForwardWatch`.
        every, detail_every: when.
        track_weights, histograms, on_nonfinite: what, see `GradientTracker`.
        scaler: see `GradientTracker`.
        guard: runs what hooks do.
        refuse: with `on_nonfinite="raise"`: called before each step with (name, norm) of its gradients and the forward
            pass; raises where one is not finite.

    Attributes:
        step: optimizer steps done; set from outside where `own_clock` is False.
        forward: the watch on the model's outputs.
        skips: steps left out by a `GradScaler`.
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
        self.own_clock, self.step = True, 0
        self._rows, self._every, self._detail_every = rows, every, detail_every
        self._track_weights, self._histograms, self._on_nonfinite = track_weights, histograms, on_nonfinite
        self._guard, self._refuse = guard, refuse
        self.forward = ForwardWatch(model, activations, self._wants, self._take_forward, guard)
        self.skips = SkipWatch(scaler, self._drop_forward)
        self._passes = PassWatch(rows, guard)
        self._directions = DirectionSketch()
        self._handles: list[Any] = []
        self._round: set[int] = set()  # ids of what has stepped in the step that is being made
        self._sample: StepSample | None = None
        self._before: dict[int, WeightsBefore] = {}
        self._forward: ForwardSample | None = None
        self._in_flight: deque[StepSample] = deque()

    @property
    def attached(self) -> bool:
        """Whether the hooks are set."""
        return bool(self._handles)

    def attach(self) -> None:
        """Sets the hooks; idempotent."""
        if self._handles:
            return
        for optimizer in self.optimizers:
            before = StepHook(lambda optimizer: self._guard(self._before_step, optimizer))
            after = Hook(lambda optimizer, *_: self._guard(self._after_step, optimizer))
            self._handles += [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
        if not self.optimizers:
            finished = ParameterHook(self._on_gradient)
            self._handles += [p.register_post_accumulate_grad_hook(finished) for p in self._rows.hookable()]
        elif not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            self._passes.attach()
        if not is_compiled(self.model):
            self.forward.attach()
        self.skips.attach()

    def directions_state(self) -> dict[int, Tensor]:
        """The gradients that the next are compared with, by row, on the host."""
        return self._directions.state()

    def restore_directions(self, state: Mapping[int, Tensor]) -> None:
        """Takes what `directions_state` gave."""
        self._directions.restore(state)

    def detach(self) -> None:
        """Removes every hook; idempotent. What is on its way from the device can still be taken."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forward.detach()
        self._passes.detach()
        self.skips.detach()
        self._before.clear()

    def take(self, *, wait: bool = False) -> list[StepSample]:
        """The samples that have arrived, oldest first; with `wait` all of them, the open step's too."""
        if wait:
            self.close()
        found = []
        while self._in_flight and (wait or self._in_flight[0].arrived()):
            found.append(self._in_flight.popleft())
        return found

    # -------------------------------------------------------------------------------------------- in a step

    def _wants(self) -> tuple[bool, bool]:
        """Whether this forward pass is checked for being finite, and whether its activations are measured."""
        if self._forward is not None:  # a further pass of a step that is sampled already
            return False, False
        step = self.step + 1
        check = self._on_nonfinite == "raise" or (self._on_nonfinite == "warn" and self._every.due(step))
        return check, self._detail_every.due(step)

    def _take_forward(self, sample: ForwardSample) -> None:
        self._forward = sample

    def _drop_forward(self) -> None:
        """The step of this forward pass is left out."""
        self._forward = None

    def _open(self, key: int) -> bool:
        """Notes that `key` steps; begins a new step where it has stepped before. Whether the step is sampled."""
        if key in self._round:
            self.close()
        if not self._round:
            step = self.step + 1
            detailed = self._detail_every.due(step)
            if detailed or self._every.due(step):
                self._sample = StepSample(detailed, forward=self._forward)
            if self._on_nonfinite != "raise":
                self._forward = None
        self._round.add(key)
        return self._sample is not None

    def _before_step(self, optimizer: torch.optim.Optimizer) -> None:
        sampled = self._open(id(optimizer))
        if not sampled and self._on_nonfinite != "raise":
            return
        pairs = list(self._rows.of_optimizer(optimizer))
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
            self._sample.weights += norm_packets(rows, parameters)  # otherwise nobody asks for them
        if self._sample.detailed:
            self._take_details(self._sample, rows, parameters, gradients, id(optimizer))

    def _take_details(
        self, sample: StepSample, rows: list[int], parameters: list[Tensor], gradients: list[Tensor], key: int
    ) -> None:
        sample.cosines += self._directions.turn(rows, gradients)
        names = [self._rows.names[row] for row in rows]
        if self._histograms:
            sample.take_histograms("gradients", zip(names, gradients, strict=True))
        if self._track_weights:
            self._before[key] = WeightsBefore(rows, parameters)
            if self._histograms:
                sample.take_histograms("weights", zip(names, parameters, strict=True))

    def _after_step(self, optimizer: torch.optim.Optimizer) -> None:
        before = self._before.pop(id(optimizer), None)
        if before is not None and self._sample is not None:
            self._sample.changes += before.changed()
        self.skips.stepped()
        if self.own_clock and optimizer is self.optimizers[0]:
            self.step += 1
        if len(self._round) >= len(self.optimizers):
            self.close()

    def _take_weights(self, sample: StepSample) -> None:
        """Weights after backward passes without an optimizer; what a step changes is not known here."""
        rows, parameters = zip(*self._rows.of_model(), strict=True)
        sample.weights += norm_packets(rows, parameters)
        if sample.detailed and self._histograms:
            names = [self._rows.names[row] for row in rows]
            sample.take_histograms("weights", zip(names, parameters, strict=True))

    def _on_gradient(self, parameter: Tensor) -> None:
        self._guard(self._gradient_finished, parameter)

    def _gradient_finished(self, parameter: Tensor) -> None:
        if self._open(id(parameter)) and self._sample is not None and parameter.grad is not None:
            row = self._rows.row(parameter)
            if row is not None:
                named = self._rows.names[row] if self._histograms and self._sample.detailed else None
                self._sample.take_gradient(row, parameter.grad, named)

    def close(self) -> None:
        """The step is done: its sample goes on its way."""
        if not self._round:
            return
        self._round.clear()
        if not self.optimizers and self.own_clock:
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
