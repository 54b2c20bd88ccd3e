"""Modes of torch that what a tracker keeps must not depend on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def outside_inference(method: Callable[P, T]) -> Callable[P, T]:
    """Run `method` outside `torch.inference_mode`, without gradients if it was called inside.

    A sum that is first made in inference mode could not be added to outside: one validation may use both.
    """

    @wraps(method)
    def outside(*args: P.args, **kwargs: P.kwargs) -> T:
        if not torch.is_inference_mode_enabled():
            return method(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return method(*args, **kwargs)

    return outside
