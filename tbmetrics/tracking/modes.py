"""Modes of torch that what a tracker keeps must not depend on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")

_AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # kinds of devices


def in_plain_mode(method: Callable[P, T]) -> Callable[P, T]:
    """Run `method` outside `torch.autocast` and `torch.inference_mode`; called in the latter, without gradients.

    Counts in bfloat16 would be wrong beyond 256. A sum that is first made in inference mode could not be added to
    outside: one validation may use both.
    """

    @wraps(method)
    def plain(*args: P.args, **kwargs: P.kwargs) -> T:
        is_inference = torch.is_inference_mode_enabled()
        autocast = [kind for kind in _AUTOCAST if torch.is_autocast_enabled(kind)]
        if not is_inference and not autocast:
            return method(*args, **kwargs)
        with ExitStack() as modes:
            for kind in autocast:
                modes.enter_context(torch.autocast(kind, enabled=False))
            if is_inference:
                modes.enter_context(torch.inference_mode(False))
                modes.enter_context(torch.no_grad())
            return method(*args, **kwargs)

    return plain
