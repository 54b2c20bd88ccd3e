"""Hooks that measure sampled optimizer steps on the device, and the samples on their way to the host."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tbmetrics.tracking.cadence import Cadence
from tbmetrics.tracking.hooks import Gate, ParameterHook, is_compiled
from tbmetrics.tracking.optimizers import OptimizerSteps, UnseenSteps
from tbmetrics.training_dynamics.gradients.activations import ForwardSample, ForwardWatch
from tbmetrics.training_dynamics.gradients.directions import DirectionSketch
from tbmetrics.training_dynamics.gradients.noise_scale import PassWatch
from tbmetrics.training_dynamics.gradients.norms import WeightsBefore, norm_packets
from tbmetrics.training_dynamics.gradients.parameters import ParameterRows
from tbmetrics.training_dynamics.gradients.skipped_steps import SkipWatch
from tbmetrics.training_dynamics.gradients.step_sample import StepSample

logger = logging.getLogger("tbmetrics")


class StepSampler:
    """Measures sampled steps when the optimizers step or, without optimizers, when backward passes finish gradients.

    With several optimizers a step lasts until all have stepped, or until one steps again after the first, whose steps
    are counted: optimizers may take turns. If no hook hears of the optimizers' steps, gradients are measured in
    backward passes there, too.

    Whether a step is sampled is decided when the one before is done. If a session counts the steps of a single
    optimizer and its first step was seen, then only in a sampled step there are hooks, but for one that finds its gate
    closed: it runs after the step, where none may be removed.

    Args:
        rows: the parameters to measure.
        activations: the modules whose outputs are measured, see `ForwardWatch`.
        every, detail_every: steps between samples, and between detailed samples.
        model, optimizers, track_weights, histograms, on_nonfinite, scaler: see `GradientTracker`.
        guard: runs the actions of hooks.
        refuse: with `on_nonfinite="raise"`: called before each step with (name, norm) of its gradients and the forward
            pass; raises if one is not finite.

    Attributes:
        counts_steps: whether steps are counted here; otherwise `count_to` is to be called.
        step: optimizer steps done.
        in_flight: samples on their way to the host, oldest first.
        attached: whether the hooks are set.
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
        self._gate, self._is_quiet = Gate(), False
        self._is_sampled_next = self._is_detailed_next = False
        self._rows, self._every, self._detail_every = rows, every, detail_every
        self._track_weights, self._histograms, self._on_nonfinite = track_weights, histograms, on_nonfinite
        self._guard, self._refuse = guard, refuse
        self.forward = ForwardWatch(model, activations, self._wanted, self._set_forward, guard)
        self.skips = SkipWatch(scaler, self._set_forward)
        self._passes = PassWatch(rows, guard)
        self.directions = DirectionSketch()
        self.attached = False
        self._steps: list[OptimizerSteps] = []
        self._unseen = UnseenSteps(partial(guard, self._measure_backward))
        self._by_backward = False
        self._hook_by_parameter: dict[int, Any] = {}  # by id(parameter)
        self._stepped: set[int] = set()  # ids of what has stepped in the current step
        self._number = 0  # of the current step
        self._has_measured = self._has_said_so = False
        self._sample: StepSample | None = None
        self._weights_before: dict[int, WeightsBefore] = {}
        self._forward: ForwardSample | None = None
        self.in_flight: deque[StepSample] = deque()

    def attach(self) -> None:
        """Set the hooks; idempotent."""
        if self.attached:
            return
        self.attached, self._by_backward = True, not self.optimizers
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if is_distributed or self._rows.sharded:
            self._every.by_steps()
            self._detail_every.by_steps()
        for optimizer in self.optimizers:
            before, after = (partial(self._guard, f, id(optimizer)) for f in (self._before_step, self._after_step))
            self._steps.append(OptimizerSteps(optimizer, before, after, self._gate))
            self._steps[-1].attach()
        if self._by_backward:
            self._hook_parameters()
        else:
            self._unseen.attach(self.optimizers)
            if not is_distributed:
                self._passes.attach()
        if not is_compiled(self.model):
            self.forward.attach()
        self.skips.attach()
        self._is_quiet, self._gate.is_open = False, True
        self.count_to(self.step)

    def count_to(self, step: int) -> None:
        """Take the number of steps done, and decide whether the next one is sampled."""
        self.step = step
        if not self.attached:
            return
        self._is_detailed_next = self._detail_every.due(step + 1)
        self._is_sampled_next = self._is_detailed_next or self._every.due(step + 1)
        if self._is_sampled_next and not self._stepped:
            self._passes.watch_next(measure=self._is_detailed_next)
        is_open = self._is_sampled_next or not self._is_quiet or bool(self._stepped)
        if is_open is not self._gate.is_open:
            self._move_gate(is_open)

    @property
    def next_step(self) -> int:
        """The step whose end `count_to` has to be told next, at the latest; those between are not sampled."""
        if self._gate.is_open or not self.attached:
            return 0
        return min(cadence.next_after(self.step + 1) for cadence in (self._every, self._detail_every)) - 1

    def _move_gate(self, is_open: bool) -> None:
        self._gate.is_open = is_open
        self.forward.look(is_open)
        for steps in self._steps:
            if is_open:
                steps.expect_before()
            else:
                steps.forget_before()

    def _can_be_quiet(self) -> bool:
        """Whether there is nothing to do in a step that is not sampled."""
        is_plain = len(self._steps) == 1 and self._steps[0].is_plain
        return is_plain and not self.counts_steps and self._on_nonfinite != "raise" and not self.skips.is_needed

    def _hook_parameters(self) -> None:
        """Set hooks on parameters that accumulate gradients: at first, and on those that appear or thaw later."""
        self._rows.look_for_new()
        for parameter in self._rows.hookable():
            if id(parameter) not in self._hook_by_parameter:
                hook = ParameterHook(self._on_gradient)
                self._hook_by_parameter[id(parameter)] = parameter.register_post_accumulate_grad_hook(hook)

    def detach(self) -> None:
        """Remove every hook; idempotent. Samples on their way from the device can still be taken."""
        for handle in (*self._steps, *self._hook_by_parameter.values()):
            handle.remove()
        self._steps.clear()
        self._hook_by_parameter.clear()
        self.attached = False
        self._unseen.detach()
        self.forward.detach()
        self._passes.detach()
        self.skips.detach()
        self._weights_before.clear()

    def send_last(self) -> None:
        """Send the sample of the last step on its way, unless the optimizer whose steps are counted is to step yet."""
        if self._by_backward or self._has_counted():
            self.close()

    def end_epoch(self) -> None:
        """Send the last sample on its way, and see to parameters and steps that hooks do not reach.

        The first step of the next epoch is sampled.
        """
        self.send_last()
        self._unseen.end_epoch()
        if self._forward is not None and not self._has_measured:
            self._say_nothing_measured()
        if self.attached and self._by_backward:
            self._hook_parameters()
        if self.attached:
            self._every.begin_epoch()
            self.count_to(self.step)

    def _say_nothing_measured(self) -> None:
        if not self._has_said_so:
            self._has_said_so = True
            logger.warning(
                "tbmetrics: the model ran in training, but no gradient was seen in a backward pass%s, so none is "
                "measured. Where backward passes leave none on the model's parameters, as under FSDP, give the "
                "optimizer whose step() runs outside torch.compile: GradientTracker(model, optimizer).",
                " and no step of the optimizer" if self.optimizers else "",
            )

    def take(self, *, wait: bool = False) -> list[StepSample]:
        """The samples that have arrived, oldest first; with `wait` all that were sent."""
        samples = []
        while self.in_flight and (wait or self.in_flight[0].arrived()):
            samples.append(self.in_flight.popleft())
        return samples

    # -------------------------------------------------------------------------------------------- in a step

    def _wanted(self) -> tuple[bool, bool]:
        """Whether this forward pass is checked for being finite, and whether its activations are measured."""
        if self._forward is not None:  # a further pass of a step that is sampled already
            return False, False
        check = self._on_nonfinite == "raise" or (self._on_nonfinite == "warn" and self._is_sampled_next)
        return check, self._is_detailed_next

    def _set_forward(self, sample: ForwardSample | None = None) -> None:
        """Hold the forward pass of the step to come; None when that step is left out."""
        self._forward = sample
        if sample is not None and self._by_backward and self._is_detailed_next:
            self._hook_parameters()  # not at every sample, since it walks through the model

    def _open(self, key: int) -> bool:
        """Note that `key` steps; begin a new step if this one is over. True if it is to be measured."""
        if key in self._stepped:
            if not self._by_backward and not self._has_counted():
                return False  # another turn of this optimizer within the step
            self.close()
        if not self._stepped:
            self._number = self.step + 1
            if self._is_sampled_next:
                self._begin_sample(detailed=self._is_detailed_next)
            if self._on_nonfinite != "raise":
                self._forward = None
        self._stepped.add(key)
        return self._sample is not None

    def _begin_sample(self, *, detailed: bool) -> None:
        self._every.sampled(self._number)
        if detailed:
            self._detail_every.sampled(self._number)
        self._sample = StepSample(detailed, forward=self._forward)
        if self._by_backward and self._track_weights:
            self._take_weights(self._sample)  # now, before the caller's step changes them

    def _has_counted(self) -> bool:
        """Whether the optimizer whose steps are counted has stepped in the current step."""
        return bool(self.optimizers) and id(self.optimizers[0]) in self._stepped

    def _before_step(self, key: int, optimizer: torch.optim.Optimizer) -> None:
        if self._by_backward:  # a step is seen after all: what its backward pass left is measured here
            self._by_backward, self._sample = False, None
            self._stepped.clear()
        self._unseen.saw_step()
        self._is_quiet = False  # until the step is open: no hook that runs may be removed
        is_measured = self._open(key)
        self._is_quiet = self._can_be_quiet()
        if not is_measured and self._on_nonfinite != "raise":
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
        if self._sample is None or not is_measured:
            return
        self._sample.gradients += packets
        self._sample.take_found_inf(found_inf)
        if self._track_weights and (self._sample.detailed or self._on_nonfinite == "warn"):
            self._sample.weights += norm_packets(rows, parameters)  # not needed otherwise
        if self._sample.detailed:
            self._take_details(self._sample, rows, parameters, gradients, key)

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

    def _after_step(self, key: int, optimizer: torch.optim.Optimizer) -> None:
        before = self._weights_before.pop(key, None)
        if before is not None and self._sample is not None:
            self._sample.changes += before.changed()
        self.skips.stepped()
        if self.counts_steps and key == id(self.optimizers[0]):
            self.count_to(self.step + 1)
        if len(self._stepped) >= len(self.optimizers):
            self.close()

    def _measure_backward(self, passes: int) -> None:
        """Measure in backward passes from now on: steps go by unseen."""
        self._by_backward = True
        if self.counts_steps:
            self.count_to(self.step + passes)
        self._hook_parameters()

    def _take_weights(self, sample: StepSample) -> None:
        """Measure weights after backward passes without an optimizer; what a step changes is not known here."""
        rows, parameters = zip(*self._rows.measurable(), strict=True)
        sample.weights += norm_packets(rows, parameters)
        if sample.detailed and self._histograms:
            names = [self._rows.names[row] for row in rows]
            sample.take_histograms("weights", names, parameters)

    def _on_gradient(self, parameter: Tensor) -> None:
        if self._sample is None and self._stepped and id(parameter) not in self._stepped:
            self._stepped.add(id(parameter))  # of a step that is not sampled
            return
        self._guard(self._gradient_finished, parameter)

    def _gradient_finished(self, parameter: Tensor) -> None:
        if not self._by_backward:  # a step was seen after all
            return
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
        self._forward = None
        passes = self._passes.end_step()
        self.count_to(self.step + (self._by_backward and self.counts_steps))
        sample, self._sample = self._sample, None
        if sample is not None:
            self._has_measured = True
            sample.passes = passes
            sample.finish(self._number if self._by_backward else self.step)
            self.in_flight.append(sample)
