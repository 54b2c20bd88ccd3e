"""Steps of optimizers: those that hooks see, wrapped ones too, and those that no hook sees."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from tbmetrics.errors import InputError
from tbmetrics.tracking.hooks import Gate, Hook, ParameterHook, StepHook, closure_of

logger = logging.getLogger("tbmetrics")

#: Names under which wrappers hold the optimizer whose step they run (SAM, ZeRO, LARC, schedule-free, …).
_INNER = ("optimizer", "base_optimizer", "optim", "base", "inner_optimizer")
#: New gradients without a step between them; a `GradScaler` that starts at 2**16 has been halved to 1 by then.
_PASSES_BEFORE_UNSEEN = 20
_told: WeakSet[Optimizer] = WeakSet()  # optimizers whose steps were said not to be seen


def as_optimizers(optimizer: Any) -> list[Optimizer]:
    """One, several or no optimizers as a list, without the wrappers whose own step no hook sees.

    Raises:
        InputError: something else was given.
    """
    if optimizer is None:
        return []
    optimizers = [_hookable(item) for item in (optimizer if isinstance(optimizer, Sequence) else [optimizer])]
    for item in optimizers:
        if not isinstance(item, Optimizer):
            kind = type(item).__name__
            raise InputError(f"optimizer must be a torch.optim.Optimizer or a sequence of them, got {kind}")
    return optimizers


def _hookable(optimizer: Any) -> Any:
    """`optimizer`, or what it wraps if that one's step is called (Accelerate, Lightning) or only that one has hooks."""
    while (inner := _inner(optimizer)) is not None:
        if getattr(optimizer, "optimizer", None) is not inner and _has_hooks(optimizer):
            return optimizer
        optimizer = inner
    return optimizer


def _inner(optimizer: Any) -> Optimizer | None:
    inner = (getattr(optimizer, name, None) for name in _INNER)
    return next((item for item in inner if isinstance(item, Optimizer) and item is not optimizer), None)


def _has_hooks(optimizer: Any) -> bool:
    return isinstance(optimizer, Optimizer) and "_optimizer_step_pre_hooks" in vars(optimizer)


def _layers(optimizer: Optimizer) -> Iterator[Optimizer]:
    """`optimizer` and what it wraps, outermost first."""
    layer: Optimizer | None = optimizer
    while layer is not None:
        if _has_hooks(layer):
            yield layer
        layer = _inner(layer)


class OptimizerSteps:
    """Calls `before` and `after` around each step of an optimizer.

    A wrapper such as SAM or ZeRO may run the step of what it wraps within its own, or only that one: the outermost step
    that runs counts, with its own parameter groups. With a closure, which may move the weights (SAM), it is the inner
    one if it steps the same parameters.

    Args:
        optimizer: the optimizer.
        before, after: called with the optimizer whose step runs; `before`, with a closure, after its first call.
        gate: while it is closed `after` is not called.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        before: Callable[[Optimizer], None],
        after: Callable[[Optimizer], None],
        gate: Gate | None = None,
    ) -> None:
        self._before, self._after = before, after
        self._gate = Gate() if gate is None else gate
        self._layers = list(_layers(optimizer))
        self._running: int | None = None  # the layer whose step runs
        self._before_handles: list[Any] = []
        self._after_handles: list[Any] = []

    @property
    def is_plain(self) -> bool:
        """Whether the optimizer wraps no other."""
        return len(self._layers) == 1

    def attach(self) -> None:
        """Set the hooks."""
        self.expect_before()
        for depth, layer in enumerate(self._layers):
            after = self._after if self.is_plain else partial(self._leave, depth)
            self._after_handles.append(layer.register_step_post_hook(_AfterStep(after, self._gate)))

    def expect_before(self) -> None:
        """Call `before` from now on, again; must not be called from it."""
        if self._before_handles:
            return
        for depth, layer in enumerate(self._layers):
            before = self._before if self.is_plain else partial(self._enter, depth)
            hook = _WrapperHook if _has_same_parameters(self._layers[depth : depth + 2]) else StepHook
            self._before_handles.append(layer.register_step_pre_hook(hook(before)))

    def forget_before(self) -> None:
        """Call only `after` from now on, if that can be told without `before`; must not be called from it."""
        if self.is_plain:
            _remove(self._before_handles)

    def remove(self) -> None:
        """Remove the hooks; idempotent."""
        _remove(self._before_handles)
        _remove(self._after_handles)
        self._running = None

    def _enter(self, depth: int, optimizer: Optimizer) -> None:
        if self._running is None or depth <= self._running:  # else within a wrapper's step
            self._running = depth
            self._before(optimizer)

    def _leave(self, depth: int, optimizer: Optimizer) -> None:
        if self._running == depth:
            self._running = None
            self._after(optimizer)


class _WrapperHook(StepHook):
    """Calls `action(optimizer)` before a wrapper steps, unless it steps with a closure."""

    def __call__(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return super().__call__(optimizer, args, kwargs) if closure_of(args, kwargs) is None else None


def _has_same_parameters(layers: Sequence[Optimizer]) -> bool:
    """Whether there are two layers, and they step the same parameters."""
    parameters = [{id(p) for group in layer.param_groups for p in group["params"]} for layer in layers]
    return len(parameters) == 2 and parameters[0] == parameters[1]


class _AfterStep(Hook):
    """Calls `action(optimizer)` after an optimizer has stepped."""

    _taken = slice(1)


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()


class UnseenSteps:
    """Notices that optimizers step unseen: gradients begin anew, pass after pass, and no hook hears of a step.

    So it is when a step runs inside `torch.compile`, or when another optimizer, or none, changes the weights. One hook
    on one parameter watches until the first step is seen; what this means for the measurements is said once.

    Args:
        on_unseen: called once, with the number of backward passes so far.
        on_pass: called at each later backward pass, until a step is seen.

    Attributes:
        is_certain: whether steps have gone by unseen, and none has been seen since.
    """

    def __init__(self, on_unseen: Callable[[int], None], on_pass: Callable[[], None] | None = None) -> None:
        self._on_unseen, self._on_pass = on_unseen, on_pass
        self._optimizers: Sequence[Optimizer] = ()
        self.is_certain = False
        self._passes = self._begun = self._version = 0
        self._handle: Any = None

    def attach(self, optimizers: Sequence[Optimizer]) -> None:
        """Watch the first parameter of `optimizers` that can have gradients."""
        self._optimizers = optimizers
        parameters = (p for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"])
        watched = next(filter(accumulates_gradients, parameters), None)
        if watched is not None:
            self._handle = watched.register_post_accumulate_grad_hook(ParameterHook(self._on_gradient))

    def detach(self) -> None:
        """Remove the hook; idempotent."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def saw_step(self) -> None:
        """Note that a step was seen: nothing is left to watch for."""
        self.is_certain = False
        self.detach()

    def end_epoch(self) -> None:
        """An epoch without a step is proof, even if gradients are set to zero in place and never begin anew."""
        self._begun = max(self._begun, self._passes)
        self._judge()

    def _on_gradient(self, parameter: Tensor) -> None:
        if self._handle is None or parameter.grad is None:
            return
        self._passes += 1
        version, self._version = self._version, parameter.grad._version
        self._begun += self._passes == 1 or self._version <= version  # accumulated in place, it would have grown
        if self.is_certain and self._on_pass is not None:
            self._on_pass()
        self._judge()

    def _judge(self) -> None:
        if self._handle is None or self.is_certain or self._begun < _PASSES_BEFORE_UNSEEN:
            return
        self.is_certain = True
        self._say()
        self._on_unseen(self._passes)

    def _say(self) -> None:
        names = ", ".join(dict.fromkeys(type(optimizer).__name__ for optimizer in self._optimizers))
        if not _told.issuperset(self._optimizers):
            _told.update(self._optimizers)
            logger.warning(
                "tbmetrics: %d backward passes and no step() of %s was seen: it runs inside torch.compile, or "
                "something else changes the weights. Until one is seen, gradients are measured as backward passes "
                "finish them, and steps are counted by batches or backward passes. To measure at the step, call step() "
                "outside torch.compile, or give optimizer=… the optimizer whose step() runs.",
                self._passes,
                names,
            )


def accumulates_gradients(parameter: Tensor) -> bool:
    """Whether backward passes leave gradients in `parameter`, so that a hook may be set on it."""
    return parameter.requires_grad and parameter.is_leaf and not is_lazy(parameter) and not parameter.is_meta
