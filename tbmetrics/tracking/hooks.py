"""Hooks that can be copied and pickled with their module, and that the compiler does not see."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch


def _nothing(*_: Any, **__: Any) -> None:
    """The hook in a copy of a module."""


def _make_nothing() -> Callable[..., None]:
    return _nothing


class Hook:
    """Calls `action`; in a copied or unpickled module, a hook that does nothing takes its place.

    It does nothing while `torch.compile` traces or a CUDA graph is captured, so that neither records the action.
    """

    def __init__(self, action: Callable[..., Any]) -> None:
        self._action = action

    def __call__(self, *args: Any) -> None:
        """Called by torch."""
        if torch.compiler.is_compiling():
            return
        if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
            return
        self._action(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return _nothing

    def __copy__(self) -> Callable[..., None]:
        return _nothing

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_nothing, ()


class ParameterHook(Hook):
    """Calls the bound method `action` as long as its owner lives.

    Torch holds hooks of parameters out of reach of Python's garbage collector: a hook that held its owner, and with it
    the model, would leak both.
    """

    def __init__(self, action: Callable[..., Any]) -> None:
        reference = weakref.WeakMethod(action)

        def call_if_alive(*args: Any) -> None:
            method = reference()
            if method is not None:
                method(*args)

        super().__init__(call_if_alive)


class StepHook(Hook):
    """Calls `action(optimizer)` before an optimizer steps; with a closure, after its first call.

    In `optimizer.step(closure)`, as Lightning and LBFGS call it, the gradients are computed within the step.
    """

    def __call__(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Called by torch; returns the changed arguments of the step, or None."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure) or torch.compiler.is_compiling():
            super().__call__(optimizer)
            return None
        once = _Once(closure, partial(super().__call__, optimizer))
        return (args, {**kwargs, "closure": once}) if "closure" in kwargs else ((args[0], once, *args[2:]), kwargs)


class _Once:
    """A closure that calls `after` once, after its first call."""

    def __init__(self, closure: Callable[[], Any], after: Callable[[], None]) -> None:
        self._closure = closure
        self._after: Callable[[], None] | None = after

    def __call__(self) -> Any:
        loss = self._closure()
        after, self._after = self._after, None
        if after is not None:
            after()
        return loss


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether `module` or a part of it runs through `torch.compile`."""
    return any(m._compiled_call_impl is not None or type(m).__name__ == "OptimizedModule" for m in module.modules())
