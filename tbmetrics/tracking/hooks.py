"""Hooks that may be copied and pickled with what they hang on, and that the compiler does not see."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch


def _nothing(*_: Any, **__: Any) -> None:
    """What a hook becomes in a copy of its module."""


def _make_nothing() -> Callable[..., None]:
    return _nothing


class Hook:
    """Calls `action`; a copied or unpickled module has a hook that does nothing in its place.

    While `torch.compile` traces, or a CUDA graph is being captured, it does nothing, so that neither holds any of it.
    """

    def __init__(self, action: Callable[..., Any]) -> None:
        self._action = action

    def __call__(self, *args: Any) -> None:
        """What torch calls."""
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

    Torch keeps hooks of parameters where Python's garbage collector does not look: one that held its owner, and with it
    the model, would keep both for good.
    """

    def __init__(self, action: Callable[..., Any]) -> None:
        kept = weakref.WeakMethod(action)
        super().__init__(lambda *args: method(*args) if (method := kept()) is not None else None)


class StepHook(Hook):
    """Calls `action(optimizer)` before an optimizer steps; with a closure, after its first call.

    In `optimizer.step(closure)`, as Lightning and LBFGS step, the gradients come into being within the step.
    """

    def __call__(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What torch calls; returns the arguments to step with where it changes them."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure) or torch.compiler.is_compiling():
            super().__call__(optimizer)
            return None
        once = _Once(closure, lambda: super(StepHook, self).__call__(optimizer))
        return (args, {**kwargs, "closure": once}) if "closure" in kwargs else ((args[0], once, *args[2:]), kwargs)


class _Once:
    """A closure that calls `after` once, behind its first call."""

    def __init__(self, closure: Callable[[], Any], after: Callable[[], None]) -> None:
        self._closure = closure
        self._after: Callable[[], None] | None = after

    def __call__(self) -> Any:
        found = self._closure()
        after, self._after = self._after, None
        if after is not None:
            after()
        return found


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether `module` or a part of it runs through `torch.compile`."""
    return any(m._compiled_call_impl is not None or type(m).__name__ == "OptimizedModule" for m in module.modules())
