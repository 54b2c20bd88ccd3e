"""Hooks that copies, pickles, compilers, tracers and function transforms do not see."""

from __future__ import annotations

import contextlib
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._C import _functorch
from torch.compiler import is_compiling


def _make_nothing() -> tuple[Callable[..., Any], tuple[Any, str]]:
    """How to make a hook that does nothing, from the standard library: a pickle of it loads without tbmetrics."""
    return getattr, (contextlib.nullcontext(), "__exit__")


class Gate:
    """Whether hooks do anything; between samples a hook costs no more than looking here."""

    __slots__ = ("is_open",)

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open


OPEN = Gate()


class Hook:
    """Calls `action` while `gate` is open; in a copied or unpickled module, a hook that does nothing takes its place.

    It does nothing while a pass is traced, exported or compiled, inside `torch.func`'s transforms and while a CUDA
    graph is captured: there tensors hold no values, or only until the transform ends, and the action would be recorded.
    """

    #: Which of torch's arguments the action takes.
    _taken = slice(None)

    def __init__(self, action: Callable[..., Any], gate: Gate = OPEN) -> None:
        self._action, self._gate = action, gate

    def __call__(self, *args: Any) -> None:
        """Called by torch."""
        # The compiler comes first: it must not see the gate, or it would compile anew whenever that has moved.
        if is_compiling() or not self._gate.is_open or _is_tracing() or _transforms() is not None:
            return
        if (_dispatch_modes() and _is_traced()) or (_HAS_CUDA and _is_captured()):
            return
        self._action(*args[self._taken])

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        return self.__copy__()

    def __copy__(self) -> Callable[..., Any]:
        make, arguments = _make_nothing()
        nothing: Callable[..., Any] = make(*arguments)
        return nothing

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, str]]:
        return _make_nothing()


# Asked at every step, so looked up once.
_is_tracing, _transforms = torch._C._is_tracing, _functorch.peek_interpreter_stack
_dispatch_modes, _dispatch_mode = torch._C._len_torch_dispatch_stack, torch._C._get_dispatch_mode
_TRACING_MODES = tuple(getattr(torch._C._TorchDispatchModeKey, name) for name in ("PROXY", "FAKE", "FUNCTIONAL"))


_HAS_CUDA = torch.backends.cuda.is_built()


def _is_traced() -> bool:
    """Whether a dispatch mode of `make_fx`, of fake tensors or of functionalisation is on."""
    return any(_dispatch_mode(key) is not None for key in _TRACING_MODES)


def _is_captured() -> bool:
    """Whether a CUDA graph is being captured."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


class EvaluationHook(Hook):
    """Calls `action(module, args, output)` after a forward pass, but not in training."""

    def __call__(self, module: nn.Module, *args: Any) -> None:
        """Called by torch."""
        if not (module.training and torch.is_grad_enabled()):
            super().__call__(module, *args)


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
        if is_compiling() or not self._gate.is_open:
            return None
        closure = closure_of(args, kwargs)
        if closure is None:
            super().__call__(optimizer)
            return None
        once = _Once(closure, partial(super().__call__, optimizer))
        return (args, {**kwargs, "closure": once}) if "closure" in kwargs else ((args[0], once, *args[2:]), kwargs)


def closure_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any] | None:
    """The closure in the arguments of an optimizer's step, the first of which is the optimizer."""
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    return closure if callable(closure) else None


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


class _ForwardHooks(OrderedDict[int, Any]):
    """A module's forward hooks: all for a pass, only the user's for copies, pickles and `torch.jit.script`.

    A pass goes through `items()`. `torch.jit.script` compiles what `values()` gives, and cannot compile ours.
    """

    def values(self) -> list[Any]:  # type: ignore[override]
        return [hook for hook in super().values() if not isinstance(hook, Hook)]

    def __reduce__(self) -> tuple[type[OrderedDict[int, Any]], tuple[list[tuple[int, Any]]]]:
        return OrderedDict, ([(key, hook) for key, hook in self.items() if not isinstance(hook, Hook)],)


class ForwardHandle:
    """Removes a hook on a module's forward pass; the last one leaves the module as it was."""

    def __init__(self, module: nn.Module, table_name: str, register: Callable[[], Any]) -> None:
        self._module, self._table_name = module, table_name
        if not getattr(module, table_name):  # else somebody's handles refer to the table, and it must stay
            setattr(module, table_name, _ForwardHooks())
        self._handle = register()

    def remove(self) -> None:
        """Remove the hook; idempotent."""
        self._handle.remove()
        table = getattr(self._module, self._table_name)
        if isinstance(table, _ForwardHooks) and not table:
            setattr(self._module, self._table_name, OrderedDict())


def before_forward(module: nn.Module, action: Callable[..., Any]) -> ForwardHandle:
    """Call `action(module, args)` before each forward pass of `module`."""
    return ForwardHandle(module, "_forward_pre_hooks", lambda: module.register_forward_pre_hook(Hook(action)))


def after_forward(module: nn.Module, action: Callable[..., Any], *, always: bool = False) -> ForwardHandle:
    """Call `action(module, args, output)` after each forward pass of `module`; `always`: also after one that raised."""
    register = partial(module.register_forward_hook, Hook(action), always_call=always)
    return ForwardHandle(module, "_forward_hooks", register)


def after_evaluation(module: nn.Module, action: Callable[..., Any]) -> ForwardHandle:
    """Call `action(module, args, output)` after each forward pass of `module` outside training."""
    return ForwardHandle(module, "_forward_hooks", partial(module.register_forward_hook, EvaluationHook(action)))


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether `module` or a part of it runs through `torch.compile`."""
    return any(m._compiled_call_impl is not None or type(m).__name__ == "OptimizedModule" for m in module.modules())
